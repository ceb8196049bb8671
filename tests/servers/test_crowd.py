"""A crowd comes, reads, and vanishes, again and again: nothing of it stays but its record."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import socket
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from tests.processes import PATIENCE
from tests.servers.clients import HOST, RESET, fetch
from tests.servers.harness import Server
from tests.servers.kinds import APP, GRANIAN, UVICORN_HTTPTOOLS
from tests.servers.records import End, check_stats, read_lives

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.kinds import Kind

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

CROWD: Final = 2_000
WAVES: Final = 3
ARRIVAL: Final = 3.0  # seconds until the last of a wave has come
STAY: Final = 6.0  # seconds until the last has gone, after that
SEED: Final = 4
ENDLESS: Final = ("/raw/news", "/raw/heedless-news", "/starlette/news")
FINITE: Final = "/raw/briefs"
FIRST: Final = f"{FINITE}/first"
TOLERANCE: Final = 0.05
LEFT: Final = End("client_disconnect", "client", 200)
COMPLETED: Final = End("completed", "app", 200)
SPARE: Final = 200  # file descriptors beside those of the crowd
LAST_CHUNK: Final = b"0\r\n\r\n"


@attrs.frozen
class Plan:
    """What one client does.

    Attributes:
        finite: whether its stream ends by itself, which it waits for.
        rudely: whether it vanishes with RST, not FIN.
        comes: seconds after the wave began.
        stays: seconds after all have come.
    """

    path: str
    finite: bool
    rudely: bool
    comes: float
    stays: float


def plans(wave: int) -> list[Plan]:
    """A crowd, the same at every run; one in ten reads a stream to its end."""
    chance = random.Random(SEED + wave)  # noqa: S311 - no secret, and the same each time
    made = []
    for number in range(CROWD):
        finite = number % 10 == 0
        route = FINITE if finite else ENDLESS[number % len(ENDLESS)]
        comes, stays = chance.uniform(0, ARRIVAL), chance.uniform(0, STAY)
        path = f"{route}/{wave}-{number}"
        made.append(Plan(path, finite, chance.random() < 0.5, comes, stays))
    return made


class Reader(asyncio.Protocol):
    """A client that keeps nothing of what it reads.

    Attributes:
        begun: set once something has come.
        ended: set once the stream is complete, or broken off.
        complete: whether it came to its proper end.
    """

    def __init__(self, path: str) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.complete = False
        self._path = path
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        lines = f"GET {self._path} HTTP/1.1", f"Host: {HOST}", "Accept: text/event-stream", "", ""
        transport.write("\r\n".join(lines).encode())

    def data_received(self, data: bytes) -> None:
        if b"data: " in data:
            self.begun.set()
        if data.endswith(LAST_CHUNK):
            self.complete = True
            self.ended.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self.ended.set()

    def leave(self, *, rudely: bool) -> None:
        """Is gone."""
        if rudely:
            of_ours = self._transport.get_extra_info("socket")
            of_ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._transport.abort()


async def visit(port: int, plan: Plan, all_here: asyncio.Barrier) -> bool:
    """One client, from its coming to its going; whether its stream was as it should be."""
    await asyncio.sleep(plan.comes)
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(lambda: Reader(plan.path), HOST, port)
    try:
        async with asyncio.timeout(PATIENCE):
            await reader.begun.wait()
            await all_here.wait()
            if plan.finite:
                await reader.ended.wait()
        if not plan.finite:
            await asyncio.sleep(plan.stays)
        return reader.complete == reader.ended.is_set() == plan.finite
    finally:
        reader.leave(rudely=plan.rudely)


async def send_crowd(port: int, wave: int) -> Counter[bool]:
    """A wave; how many streams were as they should be, and how many were not."""
    crowd = plans(wave)
    all_here = asyncio.Barrier(len(crowd))
    return Counter(await asyncio.gather(*(visit(port, plan, all_here) for plan in crowd)))


def holdings(state: dict[str, Any]) -> dict[str, int]:
    """What a server gives back when its clients have gone."""
    open_ones = state["stats"]["active_connections"]
    return {"open": open_ones} | {name: state[name] for name in ("slots", "tasks", "fds")}


def wait_for_rest(server: Server, rest: dict[str, int]) -> None:
    """Waits until the server holds no more than it did at rest."""
    deadline = time.monotonic() + PATIENCE
    while True:
        (state,) = server.states().values()
        held = holdings(state)
        if all(held[name] <= rest[name] for name in rest):
            return
        assert time.monotonic() < deadline, f"it holds {held}, at rest {rest}; {server.output}"
        time.sleep(0.2)


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    """Lets this process, and the server it starts, have a file descriptor for each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CROWD + SPARE
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"at most {hard} file descriptors are allowed here")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def crowded(kind: Kind) -> Kind:
    """The same server for a crowd, with an application whose streams send a message a second."""
    arguments = ["tests.servers.crowded:app" if part == APP else part for part in kind.arguments]
    if kind.family == "granian":  # which serves 1024 requests at once by default
        arguments += ["--backpressure", str(CROWD + SPARE)]
    return attrs.evolve(kind, arguments=tuple(arguments))


@pytest.mark.parametrize("kind", [UVICORN_HTTPTOOLS, GRANIAN], ids=lambda kind: kind.name)
def test_nothing_stays_of_a_crowd(kind: Kind, tmp_path: Path) -> None:
    """Tasks, slots, descriptors and memory are given back, and each client's end is recorded."""
    resident = []
    with many_files(), Server(crowded(kind), tmp_path) as server:
        fetch(server.port, FIRST, "text/event-stream")
        server.ended(FIRST)  # so the log has its files, and all threads have started
        (state,) = server.states().values()
        rest = holdings(state) | {"open": 0, "slots": 0}
        for wave in range(WAVES):
            found = asyncio.run(send_crowd(server.port, wave))
            assert found == {True: CROWD}
            wait_for_rest(server, rest)
            resident.append(fetch(server.port, "/memory").json())
        (state,) = server.states().values()
        check_stats(server.log, state["writer"], state["stats"])
        server.stop()
    print(f"{kind.name}: KiB resident after each wave: {resident}")  # noqa: T201 - the figures are wanted
    assert state["stats"]["peak_connections"] == CROWD
    # What an allocator keeps goes up and down by some per cent; what leaks only adds up.
    assert resident[-1] <= max(resident[:-1]) * (1 + TOLERANCE)
    check_ends(server.log)


def check_ends(log: Path) -> None:
    """Each client has one record that ends once, as it left."""
    expected = {plan.path: plan.finite for wave in range(WAVES) for plan in plans(wave)}
    expected[FIRST] = True
    ends = {life.path: life.end for life in read_lives(log)}
    assert ends == {path: COMPLETED if finite else LEFT for path, finite in expected.items()}
