"""A log in PostgreSQL that has several hosts: one is away, only reads, or takes over."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest

from rat_fsm import ConnectionManager, EventLog, follow, replay
from rat_fsm.errors import DamagedFrame, StoreUnreadable, WriterFenced
from rat_fsm.events import WriterReplaced
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores.postgres import PostgresStore
from rat_fsm.testing.store_contract import make_chain, refusal_of
from tests.processes import PATIENCE
from tests.servers import postgres as pg
from tests.servers.fixtures import fresh
from tests.servers.harness import free_port
from tests.stores.test_postgres import schema_of
from tests.stores.test_postgres_faults import append_somehow, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rat_fsm.events import Position
    from tests.servers.postgres import PostgresServer, PostgresStandby

slow = pytest.mark.slow
pytestmark = pytest.mark.timeout(180)
CONNECTIONS: Final = 5
RECORDS: Final = 500


def several(*servers: PostgresServer) -> str:
    """The URL of a new log that is on one of some servers, wherever it is."""
    hosts = ",".join(f"{pg.HOST}:{server.port}" for server in servers)
    return fresh(f"postgresql://{pg.OWNER}:{pg.QUOTED}@{hosts}/postgres")


def at(server: PostgresServer, url: str) -> str:
    """The same log, on one server."""
    return f"{server.url}?{url.partition('?')[2]}"


@pytest.fixture
def standby(tmp_path: Path, mortal_postgres: PostgresServer) -> Iterator[PostgresStandby]:
    """A standby of a server that one test may do anything with."""
    standby = pg.PostgresStandby(tmp_path, mortal_postgres)
    try:
        standby.start()
        yield standby
    finally:
        standby.close()


def test_a_host_that_is_away_is_passed_over(postgres_18: PostgresServer) -> None:
    """By writing, reading, waiting, and the thread that renews slots."""
    port = f"{pg.HOST}:{postgres_18.port}"
    url = fresh(postgres_18.url.replace(port, f"{pg.HOST}:{free_port()},{port}"))
    with (
        contextlib.closing(PostgresStore(f"{url}&lease=1", writable=True)) as store,
        contextlib.closing(PostgresStore(url)) as reading,
    ):
        first, second = make_chain("w0", 2)
        store.claim("w0")
        assert (store.append(first), reading.wait(0, PATIENCE)) == (1, True)
        renewed = reading.slots()["w0"].seen
        until(lambda: reading.slots()["w0"].seen != renewed)
        assert (store.append(second), len(list(reading.read()))) == (2, 2)


@slow
def test_a_writer_passes_over_a_standby(
    mortal_postgres: PostgresServer, standby: PostgresStandby
) -> None:
    """Which serves readers, that see each frame in time; alone it is no place to write to."""
    url = several(mortal_postgres, standby)
    reverse = several(standby, mortal_postgres).partition("?")[0] + f"?schema={schema_of(url)}"
    with contextlib.closing(PostgresStore(reverse, writable=True)) as store:
        store.claim("w0")
        for frame in make_chain("w0", 100):
            append_somehow(store, frame)
        standby.catch_up()
        with contextlib.closing(PostgresStore(at(standby, url))) as reading:
            assert reading.wait(99, PATIENCE)
            assert list(reading.read()) == list(store.read())
            assert list(reading.naming("nobody")) == []
        preferring = f"{url}&target_session_attrs=prefer-standby"
        with contextlib.closing(PostgresStore(preferring)) as reading:
            assert reading._ask("SELECT pg_is_in_recovery()") == [(True,)]
        with pytest.raises(StoreUnreadable, match="read-only"):
            PostgresStore(at(standby, url), writable=True)


def flushed(log: EventLog) -> Position:
    """Where the last event of a log is stored, now that it is."""
    position = log.flush(2 * PATIENCE)
    assert position is not None
    return position


def sound(url: str) -> None:
    """Every chain of a log holds."""
    with contextlib.closing(PostgresStore(url)) as store:
        assert verify_log(store).problems == ()


def synchronous(primary: PostgresServer) -> None:
    """Has a server wait for its standby, from the next commit on."""
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    waiting = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
    until(lambda: primary.execute(waiting) == [(1,)])


@contextlib.contextmanager
def recording(url: str, **options: Any) -> Iterator[tuple[EventLog, ConnectionManager]]:
    """A log with some connections, all of them durable."""
    log = EventLog.open(url, **options)
    manager = ConnectionManager(log=log)
    for number in range(CONNECTIONS):
        manager.register_connection(f"c{number}", "10.0.0.1")
        manager.activate_connection(f"c{number}")
    log.flush(PATIENCE)
    try:
        yield log, manager
    finally:
        manager.shutdown()
        with contextlib.suppress(WriterFenced):
            log.close()


@slow
@pytest.mark.parametrize(
    "end", [pg.PostgresServer.kill, pg.PostgresServer.pause], ids=["killed", "silent"]
)
def test_a_synchronous_standby_takes_over_without_a_loss(
    mortal_postgres: PostgresServer, standby: PostgresStandby, end: Callable[[PostgresServer], None]
) -> None:
    """The log goes on there, under its slot, and says what an acknowledgement is worth now."""
    url = several(mortal_postgres, standby)
    synchronous(mortal_postgres)
    with recording(url) as (log, manager), follow(url) as follower:
        assert "standbys *" in log.health.guarantee
        told: list[Position] = []

        def record() -> None:
            for number in range(RECORDS):
                manager.record_activity("c0", 1, 1)
                if number % 10 == 0:
                    told.append(flushed(log))

        recorder = threading.Thread(target=record)
        recorder.start()
        until(lambda: len(told) > RECORDS // 50)
        end(mortal_postgres)
        before = told[-1]
        standby.promote()
        recorder.join(2 * PATIENCE)
        last = flushed(log)
        assert (log.writer, log.health.status, told[-1] > before) == ("w0", "ok", True)
        assert log.health.guarantee == "synced to the disk of one server"
        assert follower.wait(last, PATIENCE)
        assert follower.read_model == replay(at(standby, url))
        assert follower.read_model.connections["c0"].messages_sent == RECORDS
    sound(at(standby, url))


def works(call: Callable[[], object]) -> bool:
    """Whether a store can be asked for something."""
    try:
        call()
    except OSError:
        return False
    return True


def taken_over(primary: PostgresServer, standby: PostgresStandby, lost: Callable[[], None]) -> None:
    """A standby takes over that lacks what its primary acknowledged last."""
    standby.catch_up()
    standby.stop()
    lost()
    primary.kill()
    standby.start()
    standby.promote()


@slow
def test_a_standby_that_was_behind_costs_a_log_its_slot(
    mortal_postgres: PostgresServer, standby: PostgresStandby, tmp_path: Path
) -> None:
    """What the server had acknowledged is gone: it is said, and the chain that is left is left.

    The open connections go on under another slot, so that no number ever means two events.
    """
    url = several(mortal_postgres, standby)
    with recording(url, spill=str(tmp_path / "spill.db")) as (log, manager):
        kept = flushed(log)

        def lose() -> None:
            for _ in range(3):
                manager.record_activity("c0", 1, 1)
                log.flush(PATIENCE)

        taken_over(mortal_postgres, standby, lose)
        left = list(log.store.read())
        manager.record_activity("c0", 1, 1)
        until(lambda: log.writer == "w1")
        log.flush(PATIENCE)
        assert left[-1].position == kept.frame
        assert list(log.store.read(0, "w0")) == left
        (replaced,) = [r.event for r in log.read() if isinstance(r.event, WriterReplaced)]
        assert (replaced.writer, replaced.set_aside > 0) == ("w0", True)
        assert manager.connections["c0"].messages_sent == 0
        assert log.health.status == "ok"
    sound(at(standby, url))


@slow
def test_what_is_lost_is_named(mortal_postgres: PostgresServer, standby: PostgresStandby) -> None:
    """To a writer that has no other slot to go to, and to whoever has read it."""
    url = f"{several(mortal_postgres, standby)}&lease=1&connect_timeout=30"
    store = PostgresStore(url, writable=True)
    reading = PostgresStore(url)
    frames = make_chain("w0", 5)
    store.claim("w0")
    for frame in frames[:2]:
        append_somehow(store, frame)

    def lose() -> None:
        for frame in frames[2:4]:
            append_somehow(store, frame)
        assert len(list(reading.read())) == 4

    taken_over(mortal_postgres, standby, lose)
    said = refusal_of(append_somehow, store, frames[4])
    assert isinstance(said, WriterFenced)
    assert "ends at event 2 of w0, and had acknowledged 4: the server has lost them" in str(said)
    assert (store.holds("w0"), [s.frame for s in store.read()]) == (False, frames[:2])
    behind = refusal_of(reading.wait, 4, PATIENCE)
    assert isinstance(behind, StoreUnreadable)
    assert "ends at frame 2, and was read up to 4 before" in str(behind)
    store.release("w0")
    until(lambda: not reading.slots()["w0"].held)
    assert store.claim(None) == "w1"
    for frame in make_chain("w1", 3):
        append_somehow(store, frame)
    with pytest.raises(DamagedFrame, match="frame 4 is damaged: it is not the one that was read"):
        reading.wait(4, PATIENCE)
    store.close()
    reading.close()


@slow
def test_what_no_standby_has_is_not_called_stored(
    mortal_postgres: PostgresServer, standby: PostgresStandby
) -> None:
    """A server that was restarted shows a commit that still waits; the log waits with it."""
    # A renewal that waits for the standby as well would keep the frame from being written at all.
    url = f"{several(mortal_postgres, standby)}&lease=3600&connect_timeout=30"
    store = PostgresStore(url, writable=True)
    synchronous(mortal_postgres)
    first, second = make_chain("w0", 2)
    store.claim("w0")
    assert store.append(first) == 1
    standby.stop()
    assert isinstance(refusal_of(store.append, second), OSError)
    mortal_postgres.kill()
    mortal_postgres.start()
    assert isinstance(refusal_of(store.reopen), OSError)
    standby.start()
    until(lambda: works(store.reopen))
    head = store.head("w0")
    assert head is not None
    assert (head.position, head.frame) == (2, second)
    store.close()
