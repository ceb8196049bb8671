"""A log that has lost its slot goes on under another, and nothing is dropped without a word."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from rat_fsm import (
    CONNECTION,
    NODE,
    ConnectionManager,
    EventLog,
    Lifecycle,
    ReadModel,
    read_events,
    replay,
)
from rat_fsm.errors import DamagedFrame, OutcomeUnknown, WriterFenced
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    DrainForced,
    DrainStarted,
    Registered,
    RetryScheduled,
    Serving,
    Started,
    WriterReplaced,
)
from rat_fsm.log.recover import end_abandoned, fold_writer
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores.spill import SpillFile
from tests.leased import LeasedStore
from tests.orders import ORDER, New
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.stores.port import Frame, StoredFrame

PATIENCE = 10.0
STEPS = ["record", "register", "close", "lose", "recover", "flush", "away", "back"]
LIFECYCLES = {"connection": CONNECTION, "node": NODE, "order": ORDER}


@attrs.frozen
class JobStarted:
    """A job has begun, after so many events elsewhere."""

    before: int


@attrs.frozen
class JobDone:
    """It has ended."""


class DamagedStore(LeasedStore):
    """Nobody can read the chain of one writer."""

    damaged = ""

    def read(self, after: int = 0, writer: str | None = None) -> Iterator[StoredFrame]:
        if writer and writer == self.damaged:
            raise DamagedFrame("its hash is another", position=after + 1)
        return super().read(after, writer)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where things are set aside that nobody chose a place for."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "rat_fsm"


@contextlib.contextmanager
def opened(store: LeasedStore, **options: Any) -> Iterator[tuple[EventLog, ConnectionManager]]:
    """A log on a store with a manager of three connections: waiting, active, and retrying."""
    log = EventLog(store, lifecycles=(CONNECTION, ORDER), **options)
    manager = ConnectionManager(log=log, max_connections=7)
    for name in ("waiting", "active", "retrying"):
        manager.register_connection(name, f"10.0.0.{len(name)}", metadata={"user": name}, kind="ws")
    log.append(("connection", "active"), Activated("/rooms/{room}"))
    manager.record_activity("active", 100, 1)
    manager.activate_connection("retrying")
    log.append(("connection", "retrying"), RetryScheduled(2, 1.5, 0.5, 30.0, "network_error"))
    log.flush(PATIENCE)
    try:
        yield log, manager
    finally:
        store.away = False
        manager.shutdown()
        with contextlib.suppress(WriterFenced):  # where the slot was lost at last
            log.close()


def recovered_by_another(store: LeasedStore, writer: str) -> None:
    """Another process takes a slot over, ends what is open, and gives it back."""
    store.take_away(writer)
    other = store.elsewhere()
    end_abandoned(other, writer, fold_writer(other, writer, LIFECYCLES))
    store.give_back(writer)


def lose_the_end(store: LeasedStore) -> None:
    """What a server does that was behind by a frame when it took over."""
    del store._frames[-1]
    last = store._frames[-1]
    store._heads[last.frame.writer] = last


def born_of(model: ReadModel, name: str) -> int:
    """The number of the event with which an open connection began."""
    record = model.record("connection", name)
    assert record is not None
    return record.born


def aside_of(log: EventLog) -> Path:
    """The file that the log says it has put things into."""
    (replaced,) = [r.event for r in log.read() if isinstance(r.event, WriterReplaced)]
    return Path(replaced.file)


def wait_for_writer(log: EventLog, writer: str) -> None:
    """Until it goes on under another slot."""
    until(lambda: log.writer == writer)


def refuses(*_: Any) -> None:
    """What a full disk does."""
    raise OSError(28, "No space left on device")


def test_open_connections_begin_again_under_a_new_slot() -> None:
    """They say which stream they continue, stand where they stood, and go on as before."""
    store = LeasedStore()
    with opened(store) as (log, manager):
        borns = {name: f"w0:{born_of(log.read_model, name)}" for name in manager.connections}
        store.take_away("w0")
        assert manager.record_activity("active", 1, 1)
        with pytest.raises(WriterFenced, match="1 events were set aside"):
            log.flush(PATIENCE)
        assert (log.writer, log.health.status, log.health.set_aside) == ("w1", "ok", 1)
        log.flush(PATIENCE)
        model = replay(store, writer="w1", lifecycles=LIFECYCLES.values())
        assert model == log.read_model
        assert {record.id: record.continues for record in model.open_records()} == borns
        states = {name: info.state.value for name, info in manager.connections.items()}
        assert states == {"waiting": "connecting", "active": "active", "retrying": "retrying"}
        active, retrying = manager.connections["active"], manager.connections["retrying"]
        assert (active.route, active.metadata, active.kind) == (
            "/rooms/{room}",
            {"user": "active"},
            "ws",
        )
        assert (retrying.retry_count, log.read_model.retry.delay("retrying")) == (2, 1.5)
        assert manager.get_stats()["continued_connections"] == 3
        assert manager.get_stats()["max_connections"] == 7
        assert manager.record_activity("active", 5, 1)
        assert manager.unregister_connection("active")
        assert not manager.register_connection("waiting", "10.0.0.1")
        log.flush(PATIENCE)
        assert replay(store, writer="w1", lifecycles=LIFECYCLES.values()) == log.read_model
        assert verify_log(store).problems == ()


def test_a_connection_that_nobody_has_heard_of_is_new() -> None:
    """One whose beginning was set aside continues nothing that the log knows."""
    store = LeasedStore()
    with opened(store) as (log, manager):
        store.take_away("w0")
        manager.register_connection("late", "10.0.0.9")
        manager.activate_connection("late")
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        log.flush(PATIENCE)
        record = replay(store, writer="w1", lifecycles=LIFECYCLES.values()).record(
            "connection", "late"
        )
        assert getattr(record, "continues", None) == ""
        assert manager.get_stats()["continued_connections"] == 3


def test_a_slot_may_be_lost_before_anything_is_stored_there() -> None:
    """A connection continues the last stream of its own that somebody can know."""
    store = LeasedStore()
    with opened(store) as (log, manager):
        borns = {f"w0:{born_of(log.read_model, name)}" for name in manager.connections}
        append = store.append
        store.take_away("w0")
        manager.record_activity("active", 1, 1)

        def lose_the_next(frame: Frame) -> int:
            if frame.writer == "w1":
                store.take_away("w1")
            return append(frame)

        store.append = lose_the_next  # type: ignore[method-assign]
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        wait_for_writer(log, "w2")
        log.flush(PATIENCE)
        model = replay(store, writer="w2", lifecycles=LIFECYCLES.values())
        assert {record.continues for record in model.open_records()} == borns
        assert model == log.read_model


def test_a_slot_that_cannot_be_recovered_is_passed_by(caplog: pytest.LogCaptureFixture) -> None:
    """Its damage is somebody else's: the log goes on under the next one that is sound."""
    store = LeasedStore()
    with opened(store) as (log, _):
        with EventLog(store, writer="w1") as other:
            other.append(("connection", "z"), Registered("10.0.0.9"))
        for number, stored in enumerate(store._frames):
            if stored.frame.writer == "w1":
                body = stored.frame.body.replace(b"10.0.0.9", b"10.0.0.8")
                damaged = attrs.evolve(stored.frame, body=body)
                store._frames[number] = attrs.evolve(stored, frame=damaged)
        store._snapshots.clear()
        store.take_away("w0")
        wait_for_writer(log, "w2")
        log.flush(PATIENCE)
        assert "cannot go on as writer w1: frame" in caplog.text
        assert replay(store, writer="w2", lifecycles=LIFECYCLES.values()) == log.read_model
        assert store.claim("w1") == "w1"  # it was given back


def test_no_file_is_named_where_nothing_was_set_aside(state: Path) -> None:
    """Nor is one made."""
    store = LeasedStore()
    with opened(store) as (log, _):
        store.take_away("w0")
        wait_for_writer(log, "w1")
        log.flush(PATIENCE)
        (replaced,) = [r.event for r in log.read() if isinstance(r.event, WriterReplaced)]
        assert (replaced.set_aside, replaced.file, state.exists()) == (0, "", False)


@pytest.mark.parametrize("left", [True, False], ids=["spilled", "in memory"])
def test_what_cannot_be_set_aside_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    left: bool,
) -> None:
    """It stays where it is, if it is somewhere; the event names the place, or none."""
    store, path = LeasedStore(), tmp_path / "spill.db"
    tmp_path.joinpath("state").write_text("no folder")
    with opened(store, **({"spill": path} if left else {})) as (log, manager):
        store.away = left
        manager.record_activity("active", 1, 1)
        if left:
            until(lambda: log.health.spilled == 1)
            monkeypatch.setattr(SpillFile, "keep", refuses)
        store.take_away("w0")
        store.away = False
        wait_for_writer(log, "w1")
        log.flush(PATIENCE)
        (replaced,) = [r.event for r in log.read() if isinstance(r.event, WriterReplaced)]
        where = str(path) if left else ""
        assert (replaced.set_aside, replaced.file, log.health.set_aside) == (1, where, 1)
        assert "1 events of w0 cannot be set aside" in caplog.text
        assert replay(store, writer="w1", lifecycles=LIFECYCLES.values()) == log.read_model
    if left:
        kept = [r.event for r in read_events(path, lifecycles=LIFECYCLES.values())]
        assert kept == [ActivityRecorded(1, 1)]


def test_a_connection_that_the_store_has_lost_is_new() -> None:
    """A number that the former chain may give away again is continued by nobody."""
    store = LeasedStore()
    with opened(store) as (log, manager):
        known = f"w0:{born_of(log.read_model, 'active')}"
        manager.register_connection("young", "10.0.0.9")
        log.flush(PATIENCE)
        lose_the_end(store)
        store.take_away("w0")
        manager.record_activity("young", 1, 1)
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        log.flush(PATIENCE)
        continued = {
            r.stream.id: r.event.continues
            for r in log.read()
            if r.writer == "w1" and isinstance(r.event, Registered)
        }
        assert (continued["young"], continued["active"]) == ("", known)


def test_a_log_goes_on_where_nobody_can_read_what_was_stored_before() -> None:
    """Whether the refused frame is in the damaged chain is not to be found out: it is set aside."""
    store = DamagedStore()
    with opened(store) as (log, manager):
        store.take_away("w0")
        store.damaged = "w0"
        manager.record_activity("active", 1, 1)
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        log.flush(PATIENCE)
        assert (log.writer, log.health.status, log.health.set_aside) == ("w1", "ok", 1)
        store.damaged = ""


def test_what_was_not_stored_is_in_a_file_that_every_reader_reads(state: Path) -> None:
    """The events are there in order, for their owner only, and the new run says where."""
    store = LeasedStore()
    with opened(store) as (log, manager):
        seq = log.seq
        store.take_away("w0")
        for number in range(5):
            manager.record_activity("active", number, 1)
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        log.flush(PATIENCE)
        file = aside_of(log)
        assert file.parent == state
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        kept = list(read_events(file))
        assert [(r.writer, r.seq) for r in kept] == [("w0", seq + 1 + n) for n in range(5)]
        assert [r.event for r in kept] == [ActivityRecorded(n, 1) for n in range(5)]
        run = [r.event for r in log.read() if r.writer == "w1"][:3]
        assert [type(event) for event in run] == [Started, Serving, WriterReplaced]
        assert run[2] == WriterReplaced("w0", 5, str(file))


def test_a_slot_that_was_lost_while_nothing_happened_is_noticed() -> None:
    """The log looks now and then; nobody need append for it."""
    store = LeasedStore()
    with opened(store) as (log, manager):
        recovered_by_another(store, "w0")
        done = threading.Event()
        with log.subscribe() as following:
            for recorded in following:
                if isinstance(recorded.event, WriterReplaced):
                    done.set()
                    break
        assert done.is_set()
        log.flush(PATIENCE)
        assert set(manager.connections) == {"waiting", "active", "retrying"}
        ended = [r.stream.id for r in log.read() if isinstance(r.event, Closed)]
        assert sorted(ended) == ["active", "retrying", "waiting"]  # by the other, as a crash
        assert replay(store, writer=log.writer, lifecycles=LIFECYCLES.values()) == log.read_model


def test_what_was_stored_before_the_slot_was_lost_is_not_set_aside() -> None:
    """A frame whose acknowledgement was lost counts as stored, whatever others added after it."""
    store = LeasedStore()
    with opened(store) as (log, manager):
        store.unheard = True
        seq = log.append(("connection", "active"), ActivityRecorded(7, 1))
        with pytest.raises(OutcomeUnknown):
            log.flush()
        manager.record_activity("active", 8, 1)
        recovered_by_another(store, "w0")
        store.away = False
        with pytest.raises(WriterFenced, match="set aside"):
            log.flush(PATIENCE)
        log.flush(PATIENCE)
        assert [r.event.bytes_sent for r in log.read() if r.seq == seq] == [7]
        kept = [r.event for r in read_events(aside_of(log))]
        # That the store was away is one of them.
        assert (kept[0], len(kept)) == (ActivityRecorded(8, 1), 2)


def test_a_slot_may_come_back_to_the_one_that_lost_it() -> None:
    """The lowest free slot may be its own; then its chain goes on after what the other added."""
    store = LeasedStore()
    with opened(store) as (log, manager):
        recovered_by_another(store, "w0")
        manager.record_activity("active", 1, 1)
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        position = log.flush(PATIENCE)
        assert (log.writer, position is not None) == ("w0", True)
        assert set(manager.connections) == {"waiting", "active", "retrying"}
        assert replay(store, writer="w0", lifecycles=LIFECYCLES.values()) == log.read_model
        assert verify_log(store).problems == ()


def test_a_drain_goes_on() -> None:
    """A run that was draining, or forcing, is so under the new slot."""
    store = LeasedStore()
    with opened(store) as (log, manager):
        log.append_node(DrainStarted(30.0, 3, "SIGTERM"))
        log.append_node(DrainForced(3))
        log.flush(PATIENCE)
        store.take_away("w0")
        log.append(("connection", "active"), ActivityRecorded(1, 1))
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        assert (manager.draining, log.read_model.drain.phase) == (True, "forcing")
        assert not manager.register_connection("late", "10.0.0.9")


def test_those_who_wait_are_told() -> None:
    """Who waits for an event that was set aside gets an error; who appends after it a position."""
    store = LeasedStore()

    async def append(log: EventLog) -> None:
        store.take_away("w0")
        with pytest.raises(WriterFenced, match="set aside"):
            await log.append_async(("connection", "active"), ActivityRecorded(1, 1))
        position = await log.append_async(("connection", "active"), ActivityRecorded(2, 1))
        (stored,) = [s for s in store.read(position.frame - 1) if s.position == position.frame]
        assert stored.frame.writer == "w1"

    with opened(store) as (log, _):
        asyncio.run(append(log))


def test_other_lifecycles_stay_with_their_writer() -> None:
    """A stream that has no way to be resumed is not; under the new slot its id is free."""
    store = LeasedStore()
    with opened(store) as (log, _):
        log.append(("order", "o1"), New.Placed("tea", 250, "EUR"))
        log.flush(PATIENCE)
        store.take_away("w0")
        log.append(("connection", "active"), ActivityRecorded(1, 1))
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        assert log.read_model.record("order", "o1") is None
        assert log.read_model.record("connection", "active") is not None


def test_a_lifecycle_says_how_its_streams_go_on() -> None:
    """With `resume`, streams of users' own lifecycles begin again, told where they began."""
    told: list[str] = []

    def resume(stream: Any, born: str) -> tuple[Any, ...]:
        told.append(f"{stream.id} {born}")
        return (JobStarted(stream.version),)

    job = Lifecycle(
        "job",
        states=("running", "done"),
        final={"done"},
        transitions=[[JobStarted, "new", "running"], [JobDone, "running", "done"]],
        resume=resume,
    )
    store = LeasedStore()
    with EventLog(store, lifecycles=(job,)) as log:
        seq = log.append(("job", "o1"), JobStarted(0))
        log.append(("job", "o2"), JobStarted(0), JobDone())
        log.flush(PATIENCE)
        store.take_away("w0")
        log.append(("job", "o3"), JobStarted(0))
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        assert told == [f"o1 w0:{seq}", "o3 "]
        log.append(("job", "o1"), JobDone())
        log.flush(PATIENCE)
        assert replay(store, writer="w1", lifecycles=(job,)) == log.read_model


def test_a_stream_that_cannot_be_resumed_holds_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the code of a lifecycle raises is logged; the others go on, and so does the log."""

    def resume(stream: Any, _born: str) -> tuple[Any, ...]:
        raise ZeroDivisionError(stream.id)

    job = Lifecycle(
        "job",
        states=("running", "done"),
        final={"done"},
        transitions=[[JobStarted, "new", "running"], [JobDone, "running", "done"]],
        resume=resume,
    )
    store = LeasedStore()
    with EventLog(store, lifecycles=(job, CONNECTION)) as log:
        log.append(("job", "j"), JobStarted(0))
        log.append(("connection", "a"), Registered("10.0.0.1"))
        log.flush(PATIENCE)
        store.take_away("w0")
        log.append(("connection", "b"), Registered("10.0.0.2"))
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        log.append(("job", "j"), JobStarted(1))
        log.flush(PATIENCE)
        assert set(log.read_model.connections) == {"a", "b"}
        assert replay(store, writer="w1", lifecycles=(job, CONNECTION)) == log.read_model
    told = [record for record in caplog.records if record.exc_info]
    assert [str(record.exc_info[1]) for record in told if record.exc_info] == ["j"]


def test_a_writer_with_a_name_ends_and_sets_aside(state: Path) -> None:
    """Who asked for one slot gets no other: the log is fenced, its events are in a file."""
    store = LeasedStore()
    with contextlib.suppress(WriterFenced), opened(store, writer="mine") as (log, manager):
        store.take_away("mine")
        manager.record_activity("active", 3, 1)
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        health = log.health
        with pytest.raises(WriterFenced):
            log.append(("connection", "active"), ActivityRecorded(1, 1))
    # Out here, where the end of the manager, which is refused, cannot hide what is wrong.
    assert (health.status, health.set_aside) == ("fenced", 1)
    (file,) = state.glob("*.aside.db")
    assert next(r.event for r in read_events(file)) == ActivityRecorded(3, 1)


def test_the_store_may_be_away_when_the_slot_is_lost(tmp_path: Path) -> None:
    """It looks for another slot until it finds one; what is accepted meanwhile is set aside."""
    store = LeasedStore()
    with opened(store, spill=tmp_path / "spill.db") as (log, manager):
        store.away = True
        manager.record_activity("active", 1, 1)
        with pytest.raises(OSError, match="no route"):
            log.flush()
        while not log.health.spilled:
            time.sleep(0.001)
        store.take_away("w0")
        manager.record_activity("active", 2, 1)
        store.away = False
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        log.flush(PATIENCE)
        file = aside_of(log)
        assert file.parent == tmp_path
        assert [r.event.bytes_sent for r in read_events(file)] == [1, 2]
        assert (log.health.spilled, log.health.set_aside, log.health.status) == (0, 2, "ok")
        assert replay(store, writer=log.writer, lifecycles=LIFECYCLES.values()) == log.read_model


@given(
    steps=st.lists(
        st.sampled_from(
            ["record", "register", "close", "lose", "recover", "flush", "away", "back"]
        ),
        max_size=25,
    )
)
def test_every_event_is_stored_or_set_aside(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """Whatever is lost and when: each event accepted is in the store or in a file, once."""
    store, folder = LeasedStore(), tmp_path_factory.mktemp("spill")
    accepted = 0
    with opened(store, spill=folder / "spill.db") as (log, manager):
        base = sum(isinstance(r.event, ActivityRecorded) for r in log.read())
        for number, step in enumerate(steps):
            if step == "record":
                accepted += manager.record_activity("active", 1, 1)
            elif step == "register":
                manager.register_connection(f"c{number}", "10.0.0.1")
            elif step == "close":
                manager.unregister_connection("waiting")
            elif step == "lose":
                store.take_away(log.writer)
            elif step == "recover" and not store.away and log.health.status == "ok":
                with contextlib.suppress(WriterFenced):
                    log.flush(PATIENCE)
                recovered_by_another(store, log.writer)
            elif step == "flush" and not store.away:
                with contextlib.suppress(WriterFenced):
                    log.flush(PATIENCE)
            else:
                store.away = step == "away"
        store.away = False
        accepted += manager.record_activity("active", 1, 1)  # a slot that is lost is noticed now
        for _ in range(3):
            with contextlib.suppress(WriterFenced):
                log.flush(PATIENCE)
        assert "active" in manager.connections
        assert log.health.status == "ok"
        stored = [r for r in log.read() if isinstance(r.event, ActivityRecorded)]
        kept = [
            r
            for file in folder.glob("*.aside.db")
            for r in read_events(file)
            if isinstance(r.event, ActivityRecorded)
        ]
        assert len(stored) - base + len(kept) == accepted
        assert replay(store, writer=log.writer, lifecycles=LIFECYCLES.values()) == log.read_model
        assert verify_log(store).problems == ()
