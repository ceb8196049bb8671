"""What a new log makes of what dead processes left behind."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from rat_fsm.core import ForceDrain, StartDrain
from rat_fsm.errors import DamagedFrame, IllegalEvent, WriterBusy
from rat_fsm.events import Activated, Closed, Closing, Registered, Stopped
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.projections.model import FOLD_VERSION
from rat_fsm.replay import replay
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import Snapshot
from rat_fsm.table import Lifecycle
from rat_fsm.testing import VirtualClock
from tests.logs import LIFECYCLES, close_connection, crash, execute, register, told
from tests.orders import ORDER, Done, New, Packed
from tests.processes import writer_process

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rat_fsm.events import Position, Recorded


def split_at(recorded: Iterable[Recorded], frame: int) -> tuple[list[Recorded], list[Recorded]]:
    """What stands up to a frame, and what comes after it."""
    events = list(recorded)
    count = sum(1 for e in events if e.position is not None and e.position.frame <= frame)
    return events[:count], events[count:]


def since(log: EventLog, position: Position | None) -> list[Recorded]:
    """What was recorded after a position."""
    return list(log.read(position))


def test_a_killed_process_is_ended_at_its_last_time(tmp_path: Path) -> None:
    """Its connections end with a crash, then its run does, all at the time of its last event."""
    path = tmp_path / "log.db"
    with writer_process(path, count=2) as other:
        other.run("log.append(('connection', 'c3'), Registered('10.0.0.3', 'sse', {}))")
        other.kill()
    with contextlib.closing(open_store(path)) as store:
        *_, last = store.read()
    with EventLog.open(path, writer="w9") as log:
        before, ends = split_at(log.read(), last.position)
        births = [recorded.micros for recorded in before if isinstance(recorded.event, Registered)]
        duration = [(last.frame.last_at - birth) / 1_000_000 for birth in births]
        assert told(ends) == [
            ("w0", "w0 0", Closing("crash", "crash", "streaming")),
            ("w0", "w0 0", Closed("crash", 0, 1, 0, 0, duration[0])),
            ("w0", "w0 1", Closing("crash", "crash", "streaming")),
            ("w0", "w0 1", Closed("crash", 1, 1, 0, 0, duration[1])),
            ("w0", "c3", Closing("crash", "crash", "handshake")),
            ("w0", "c3", Closed("crash", 0, 0, 0, 0, duration[2])),
            ("w0", "w0:1", Stopped({"clean": False})),
        ]
        assert {recorded.micros for recorded in ends} == {last.frame.last_at}
        assert [recorded.seq for recorded in ends] == list(range(10, 17))
        assert replay(log.store).open_connections == 0


@pytest.mark.parametrize("requests", [(StartDrain(30.0),), (StartDrain(30.0), ForceDrain())])
def test_a_process_killed_while_draining_was_shutting_down(requests: tuple[object, ...]) -> None:
    """Where the run was draining already, its connections were forced by the shutdown."""
    store, clock = MemoryStore(), VirtualClock()
    log = EventLog(store, clock=clock)
    register(log, "c1")
    clock.advance(2.5)
    for request in requests:
        log.transact_node(request)
    crash(log)
    position = log.flush()
    clock.advance(60.0)
    again = EventLog(store, clock=clock)
    ends = since(again, position)
    assert told(ends) == [
        ("w0", "c1", Closing("forced", "shutdown", "streaming")),
        ("w0", "c1", Closed("forced", 1, 1, 0, 0, 2.5)),
        ("w0", "w0:1", Stopped({"clean": False})),
    ]
    assert again.read_model == replay(again)
    again.close()


def test_what_a_clean_close_left_open_is_ended_too() -> None:
    """A log that was closed with connections open was shut down, and its run has ended already."""
    store = MemoryStore()
    with EventLog(store, clock=VirtualClock()) as log:
        register(log, "c1")
    position = log.flush()
    with EventLog(store, clock=VirtualClock()) as again:
        assert told(since(again, position)) == [
            ("w0", "c1", Closing("forced", "shutdown", "streaming")),
            ("w0", "c1", Closed("forced", 1, 1, 0, 0, 0.0)),
        ]


def test_an_earlier_shutdown_does_not_excuse_a_later_crash() -> None:
    """Only the run that died counts, whatever earlier runs of the writer did."""
    store = MemoryStore()
    with EventLog(store, clock=VirtualClock()) as log:
        log.transact_node(StartDrain(1.0))
    second = EventLog(store, clock=VirtualClock())
    register(second, "c1")
    crash(second)
    position = second.flush()
    with EventLog(store, clock=VirtualClock()) as third:
        assert [event for _, _, event in told(since(third, position))] == [
            Closing("crash", "crash", "streaming"),
            Closed("crash", 1, 1, 0, 0, 0.0),
            Stopped({"clean": False}),
        ]


def test_free_slots_are_recovered_and_busy_ones_left() -> None:
    """A writing open ends what every dead writer left, and nothing of a living one."""
    store = MemoryStore()
    logs = [EventLog(store) for _ in range(4)]
    for log in logs:
        register(log, f"of {log.writer}")
        log.flush()
    for log in (logs[1], logs[3]):
        crash(log)
    again = EventLog(store)
    assert again.writer == "w1"
    assert sorted(replay(store).connections) == ["of w0", "of w2"]
    register(logs[0], "another")
    close_connection(logs[2], "of w2")
    logs[0].flush()
    logs[2].flush()
    assert sorted(replay(store).connections) == ["another", "of w0"]
    assert [replay(log) == log.read_model for log in (logs[0], logs[2], again)] == [True] * 3
    for log in (logs[0], logs[2], again):
        log.close()


def test_recovering_again_finds_nothing_to_do() -> None:
    """A log that was recovered and closed is opened without a further event."""
    store = MemoryStore()
    log = EventLog(store)
    register(log, "c1")
    crash(log)
    with EventLog(store, writer="other"):
        pass
    frames = list(store.read())
    with EventLog(store), EventLog(store, writer="third"):
        assert list(store.read()) == frames


def test_streams_that_nobody_abandons_wait_for_their_writer() -> None:
    """A lifecycle without ``abandon`` goes on, version and all, under the writer it began with."""
    store = MemoryStore()
    log = EventLog(store, lifecycles=LIFECYCLES, writer="orders")
    log.append(("order", "o1"), New.Placed("tea", 250, "EUR"), Packed(2))
    crash(log)
    with EventLog(store, lifecycles=LIFECYCLES) as other:
        with pytest.raises(IllegalEvent, match="order/o1 is 'new'"):
            other.append(("order", "o1"), Done())
        other.append(("order", "o1"), New.Placed("coffee", 300, "EUR"))
        other.flush()
    with EventLog(store, lifecycles=LIFECYCLES, writer="orders") as again:
        again.append(("order", "o1"), Done(), expected_version=2)
        again.flush()
        history = [(r.stream.born, r.version, r.event) for r in again.read() if r.stream.id == "o1"]
        assert again.read_model == replay(again)
    assert history == [
        ("orders:3", 1, New.Placed("tea", 250, "EUR")),
        ("orders:3", 2, Packed(2)),
        ("w0:3", 1, New.Placed("coffee", 300, "EUR")),
        ("orders:3", 3, Done()),
    ]


def test_an_id_has_many_lives() -> None:
    """A connection's id may come again once it has closed, as another stream with its own birth."""
    store = MemoryStore()
    log = EventLog(store)
    for _ in range(2):
        register(log, "c1")
        close_connection(log, "c1")
    register(log, "c1")
    crash(log)
    with EventLog(store) as again:
        register(again, "c1")
        again.flush()
        lives: dict[str, list[tuple[int, str]]] = {}
        for r in again.read():
            if r.stream.id == "c1":
                lives.setdefault(r.stream.born, []).append((r.version, r.type))
        assert again.read_model == replay(again)
    whole = [
        (number, f"connection.{name}")
        for number, name in enumerate(
            ["registered", "activated", "activity_recorded", "closing", "closed"], 1
        )
    ]
    assert list(lives.values()) == [whole, whole, whole, whole[:3]]
    assert list(lives) == ["w0:3", "w0:8", "w0:13", "w0:21"]


def cancelled(_stream: object, _model: object, _at: int) -> tuple[Done, ...]:
    """How an errand ends that nobody goes on with."""
    return (Done(),)


ERRAND: Final = Lifecycle(
    "errand",
    states=("open", "done"),
    final={"done"},
    transitions=[[Packed, "new", "open"], [Done, "open", "done"]],
    abandon=cancelled,
)


def test_users_lifecycles_say_how_they_are_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    """``abandon`` is asked for every stream that has not ended, and only for those."""
    store = MemoryStore()
    log = EventLog(store, lifecycles=(ERRAND,))
    log.append(("errand", "e1"), Packed())
    log.append(("errand", "e2"), Packed(), Done())
    crash(log)
    position = log.flush()
    with EventLog(store, lifecycles=(ERRAND,)) as again:
        assert told(since(again, position)) == [
            ("w0", "e1", Done()),
            ("w0", "w0:1", Stopped({"clean": False})),
        ]
    caplog.clear()
    with EventLog(store, lifecycles=(ERRAND,)):
        assert caplog.messages == []


def test_streams_of_unknown_lifecycles_are_left(caplog: pytest.LogCaptureFixture) -> None:
    """A process that does not know a lifecycle recovers the others, and says what it left."""
    store = MemoryStore()
    log = EventLog(store, lifecycles=LIFECYCLES)
    log.append(("order", "o1"), New.Placed("tea", 250, "EUR"))
    register(log, "c1")
    crash(log)
    with EventLog(store, writer="other") as other:
        assert replay(other.store).open_connections == 0
    assert "writer w0: 1 unknown events" in caplog.messages
    with EventLog(store, lifecycles=LIFECYCLES, writer="w0") as again:
        again.append(("order", "o1"), Done(), expected_version=1)


def damage(path: Path, position: int) -> None:
    """Changes a byte in a frame."""
    execute(path, f"UPDATE frames SET salt = zeroblob(16) WHERE position = {position}")  # noqa: S608 - ours


def test_a_damaged_chain_is_not_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its own writer is refused; the others open, and say which cannot be recovered."""
    path = tmp_path / "log.db"
    with writer_process(path) as other:
        other.kill()
    damage(path, 1)
    with contextlib.closing(open_store(path)) as store:
        before = list(store.read())
    with pytest.raises(DamagedFrame, match="frame 1 is damaged: its hash"):
        EventLog.open(path)
    with EventLog.open(path, writer="w1") as log:
        register(log, "c1")
        log.flush()
        assert list(log.store.read(0, "w0")) == before
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    reason = "frame 1 is damaged: its hash does not match its content"
    assert errors == [f"writer w0 cannot be recovered: {reason}"]
    with contextlib.closing(open_store(path, writable=True)) as free:
        assert [free.claim("w0"), free.claim("w1")] == ["w0", "w1"]


def test_a_failed_open_holds_nothing(tmp_path: Path) -> None:
    """After opening has failed the slot is free and the file may be opened again."""
    path = tmp_path / "log.db"
    with EventLog.open(path) as log:
        with pytest.raises(WriterBusy):
            EventLog.open(path, writer="w0")
        log.begin()
    damage(path, 1)
    execute(path, "DELETE FROM snapshots")
    for _ in range(2):
        with pytest.raises(DamagedFrame):
            EventLog.open(path)


def last_position(path: Path) -> int:
    """Where the last frame stands."""
    ((position,),) = execute(path, "SELECT max(position) FROM frames")
    return int(position)


def with_snapshot(path: Path) -> None:
    """A closed log of one writer, with a snapshot, and an open connection from before it."""
    with EventLog.open(path, lifecycles=LIFECYCLES, clock=VirtualClock()) as log:
        register(log, "c1", "c2")
        log.flush()
        close_connection(log, "c1")
        log.append(("order", "o1"), New.Placed("tea", 250, "EUR"), Packed())
    assert execute(path, "SELECT position FROM snapshots") == [(last_position(path),)]


SNAPSHOTS: Final = {
    "another fold version": "fold_version = fold_version + 1",
    "beyond the head": "position = position + 1",
    "before the beginning": "position = -1",
    "at another frame of the writer": "position = 1",
    "of other lifecycles": "data = replace(CAST(data AS TEXT), (SELECT value FROM json_each("
    "CAST(data AS TEXT), '$.fingerprints') LIMIT 1), 'x')",
    "that is no JSON": "data = x'00'",
    "that is too deep": "data = CAST(replace(printf('%.*c', 5000, 'x'), 'x', '[') AS BLOB)",
    "without a model": "data = CAST(json_remove(CAST(data AS TEXT), '$.model') AS BLOB)",
    "with a strange record": "data = CAST(json_set(CAST(data AS TEXT), '$.model.records[0].x', 1)"
    " AS BLOB)",
    "with a record of nowhere": "data = CAST(json_set(CAST(data AS TEXT),"
    " '$.model.records[0].lifecycle', 'x') AS BLOB)",
    "of another type": "position = 'two'",
    "of another head": "head = zeroblob(32)",
    "with a text for a head": "head = hex(head)",
    "of an older rat_fsm, without a head": "head = NULL",
}


def test_a_snapshot_spares_reading_what_is_before_it(tmp_path: Path) -> None:
    """A log with a snapshot opens without looking at older frames, and to the same model."""
    path = tmp_path / "log.db"
    with_snapshot(path)
    damage(path, 1)
    with EventLog.open(path, lifecycles=LIFECYCLES) as log:
        order = log.read_model.record("order", "o1")
        assert order is not None
        assert (order.version, log.read_model.stats.as_dict()["closed_connections"]) == (2, 2)
        log.append(("order", "o1"), Done(), expected_version=2)
        log.flush()
        assert log.read_model == replay(log)


@pytest.mark.parametrize("change", SNAPSHOTS.values(), ids=SNAPSHOTS.keys())
def test_a_snapshot_that_does_not_fit_is_rebuilt(change: str, tmp_path: Path) -> None:
    """It is as if there were none: the log is read from its beginning, and a new one is saved."""
    path = tmp_path / "log.db"
    with_snapshot(path)
    execute(path, f"UPDATE snapshots SET {change}")  # noqa: S608 - see above
    with EventLog.open(path, lifecycles=LIFECYCLES) as log:
        assert log.read_model == replay(log)
        log.append(("order", "o1"), Done(), expected_version=2)
    saved = execute(path, "SELECT fold_version, position FROM snapshots")
    assert saved == [(FOLD_VERSION, last_position(path))]
    execute(path, f"UPDATE snapshots SET {change}")  # noqa: S608 - see above
    damage(path, 1)
    with pytest.raises(DamagedFrame, match="frame 1"):
        EventLog.open(path, lifecycles=LIFECYCLES)


def test_what_follows_a_snapshot_must_continue_it(tmp_path: Path) -> None:
    """The first frame after a snapshot is held against the frame that the snapshot ends with."""
    path = tmp_path / "log.db"
    with_snapshot(path)
    (snapshot,) = execute(path, "SELECT * FROM snapshots")
    last = last_position(path)
    with EventLog.open(path, lifecycles=LIFECYCLES):
        pass
    execute(path, f"UPDATE frames SET hash = zeroblob(32) WHERE position = {last}")  # noqa: S608
    with contextlib.closing(open_store(path, writable=True)) as store:
        forged = attrs.evolve(Snapshot(*snapshot), head=bytes(32))
        store.save_snapshot(forged)  # type: ignore[attr-defined]
    with pytest.raises(DamagedFrame, match=f"frame {last + 1} is damaged: it does not continue"):
        EventLog.open(path, lifecycles=LIFECYCLES)


def test_a_long_recovery_saves_a_snapshot(tmp_path: Path) -> None:
    """Folding many events once is enough: the next open starts from there."""
    path = tmp_path / "log.db"
    script = (
        "record = log.read_model.record('connection', 'w0 0')\n"
        "for _ in range(100_001): log.record_activity(record, 1, 1)\n"
    )
    with writer_process(path) as other:
        other.run(f"exec({script!r})")
        other.kill()
    with EventLog.open(path, writer="other") as log:
        log.begin()
    saved = execute(path, "SELECT writer, position FROM snapshots ORDER BY writer")
    last = execute(path, "SELECT max(position) FROM frames WHERE writer = 'w0'")
    assert [writer for writer, _ in saved] == ["other", "w0"]
    assert saved[1][1] < last[0][0]  # what recovering appended follows it
    damage(path, 1)
    with EventLog.open(path) as again:
        assert again.read_model.stats.as_dict()["closed_by_reason"] == {"crash": 1}
        assert again.read_model.stats.as_dict()["total_messages_sent"] == 100_002


def test_a_snapshot_keeps_everything_of_a_connection_when_recovered(tmp_path: Path) -> None:
    """A model from a snapshot and one from all frames agree on every record."""
    path = tmp_path / "log.db"
    first: Any = EventLog.open(path, lifecycles=(CONNECTION, NODE, ORDER))
    register(first, "c1")
    first.append(("connection", "c2"), Registered("10.0.0.2", "llm", {"a": [1, None]}), Activated())
    first.close()
    from_snapshot = EventLog.open(path, lifecycles=LIFECYCLES)
    model = from_snapshot.read_model
    assert model == replay(from_snapshot)
    from_snapshot.close()
