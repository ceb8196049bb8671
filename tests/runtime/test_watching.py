"""Monitors of what is recorded, while it is recorded."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rat_fsm.errors import InvalidArgumentType, StoreUnreadable, WriterFenced
from rat_fsm.events import Activated, Closed, Closing, MonitorViolated, Registered
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.log import EventLog
from rat_fsm.monitors import Monitor, always, eventually, leads_to, never_after
from rat_fsm.replay.monitoring import check_monitors
from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.runtime.watching import LiveMonitors
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import VirtualClock
from tests.leased import LeasedStore
from tests.monitors.told import Seen
from tests.orders import ORDER, Done, New, Noted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLACED = New.Placed("book", 1200, "EUR")
PATIENCE = 30.0
NOTED_ONCE = never_after(Noted, Noted, of=ORDER, name="noted once")
DONE_SOON = eventually(Done, of=ORDER, within=10, name="done soon")


@pytest.fixture
def clock() -> VirtualClock:
    """Time that stands still."""
    return VirtualClock()


@pytest.fixture
def log(clock: VirtualClock) -> Iterator[EventLog]:
    """A log of orders in memory."""
    with EventLog(clock=clock, lifecycles=(ORDER,)) as log:
        yield log


def violations(log: EventLog) -> list[tuple[str, str, str, int, int | None]]:
    """What the log says was violated: which monitor, how, whose, since which event, by which."""
    log.flush()
    return [
        (one.monitor, one.cause, f"{one.lifecycle}/{one.id}", one.since, one.by)
        for one in (recorded.event for recorded in log.read())
        if isinstance(one, MonitorViolated)
    ]


def seq_of(log: EventLog, event: Any) -> list[int]:
    """The numbers of the events that equal one."""
    return [recorded.seq for recorded in log.read() if recorded.event == event]


def test_a_violation_becomes_an_event_and_a_log_record(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """In the run of the writer, with what violated what; once."""
    with LiveMonitors(log, NOTED_ONCE) as live:
        log.append(("order", "o1"), PLACED, Noted(1), Noted(2), Noted(3))
        assert live.wait(PATIENCE)
        assert live.counts == {"noted once": 1}
    first, second = seq_of(log, Noted(1)) + seq_of(log, Noted(2))
    assert violations(log) == [("noted once", "event", "order/o1", first, second)]
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.getMessage().startswith("monitor violated: noted once of order/o1: violated at ")
    (event,) = [r for r in log.read() if isinstance(r.event, MonitorViolated)]
    assert (event.stream.lifecycle, event.stream.id) == ("node", log.node_id)


def test_a_deadline_passes_by_the_clock(log: EventLog, clock: VirtualClock) -> None:
    """Though nothing else is recorded, and not before its time."""
    with LiveMonitors(log, DONE_SOON) as live:
        log.append(("order", "o1"), PLACED)
        clock.advance(4)
        log.append(("order", "o2"), PLACED)
        log.append(("order", "o1"), Done())
        assert live.wait(PATIENCE)
        clock.advance(10)
        assert (live.wait(PATIENCE), violations(log)) == (True, [])
        clock.advance(0.000001)
        assert live.wait(PATIENCE)
    (since,) = seq_of(log, PLACED)[1:]
    assert violations(log) == [("done soon", "deadline", "order/o2", since, None)]


def test_what_is_recorded_in_time_and_stored_late_is_in_time(clock: VirtualClock) -> None:
    """A deadline waits for the store: what was accepted before it may not be durable yet."""
    store = SlowStore()
    with EventLog(store, clock=clock, lifecycles=(ORDER,)) as log:
        live = LiveMonitors(log, DONE_SOON)
        log.append(("order", "o1"), PLACED)
        log.append(("order", "o2"), PLACED)
        assert live.wait(PATIENCE)
        store.open.clear()
        clock.advance(9)
        log.append(("order", "o1"), Done())
        clock.advance(9)
        assert live.counts == {"done soon": 0}
        store.open.set()
        assert live.wait(PATIENCE)
        live.close()
        assert [whose for _, _, whose, _, _ in violations(log)] == ["order/o2"]


class SlowStore(MemoryStore):
    """A store in memory that waits until it may append."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()

    def append(self, frame: Any) -> int:
        self.open.wait(PATIENCE)
        return super().append(frame)


def test_what_was_before_is_not_judged(clock: VirtualClock) -> None:
    """But streams that are open are where they are, durable or not."""
    store = SlowStore()
    with EventLog(store, clock=clock, lifecycles=(ORDER,)) as log:
        log.append(("order", "o1"), PLACED, Noted(1), Noted(2))
        log.flush()
        store.open.clear()
        log.append(("order", "o1"), Noted(3))
        log.append(("order", "o2"), PLACED, Noted(4))
        seen = Seen()
        with LiveMonitors(log, NOTED_ONCE, DONE_SOON, always(seen, of=ORDER)) as live:
            log.append(("order", "o1"), Noted(5))
            store.open.set()
            clock.advance(60)
            log.append(("order", "o2"), Noted(6))
            assert live.wait(PATIENCE)
        states = [(step.before, step.recorded.version) for step in seen.steps]
        assert (violations(log), states) == ([], [("open", 5), ("open", 3)])


def test_a_log_that_goes_on_under_another_slot_is_judged_on(
    clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked of a stream of the old slot is asked no more; its next stream is judged."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = LeasedStore()
    ending = eventually(Closed, of=CONNECTION, within=10, name="ends soon")
    with EventLog(store, clock=clock) as log, LiveMonitors(log, ending) as live:
        log.append(("connection", "a"), Registered("10.0.0.1"))
        assert live.wait(PATIENCE)
        clock.advance(5)
        store.take_away("w0")
        log.append(("connection", "b"), Registered("10.0.0.2"))
        with pytest.raises(WriterFenced):
            log.flush(PATIENCE)
        assert live.wait(PATIENCE)
        clock.advance(6)
        assert live.wait(PATIENCE)
        assert live.counts == {"ends soon": 0}
        clock.advance(5)
        assert live.wait(PATIENCE)
        assert live.counts == {"ends soon": 2}
        born = [r.stream.born for r in log.read() if isinstance(r.event, Registered)]
        assert [one.rpartition(":")[0] for one in born] == ["w0", "w1", "w1"]


def test_a_predicate_that_raises_is_told_once(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """It judges nothing any more; the others, and the log, go on."""
    broken = always(lambda step: step.event.note < 2, of=ORDER, name="broken")
    with LiveMonitors(log, broken, NOTED_ONCE) as live:
        log.append(("order", "o1"), PLACED, Noted(1), Noted(5))
        log.append(("order", "o2"), PLACED)
        assert live.wait(PATIENCE)
        assert live.counts == {"broken": 0, "noted once": 1}
    (told,) = [one.getMessage() for one in caplog.records if "raised" in one.getMessage()]
    assert told.startswith("the monitor broken judges nothing any more: its predicate raised at ")
    assert told.endswith(" order.placed of order/o1")


def test_a_predicate_may_append_and_holds_up_nobody(log: EventLog) -> None:
    """It runs outside every lock of the log, while others record."""
    entered, leave = threading.Event(), threading.Event()

    def slow(step: Any) -> bool:
        if step.event == PLACED and step.stream.id == "o1":
            entered.set()
            assert leave.wait(PATIENCE)
            log.append(("order", "o3"), PLACED)
        return True

    with LiveMonitors(log, always(slow, of=ORDER)) as live:
        log.append(("order", "o1"), PLACED)
        assert entered.wait(PATIENCE)
        log.append(("order", "o2"), PLACED, Done())
        log.flush()
        leave.set()
        assert live.wait(PATIENCE)
        assert live.wait(PATIENCE)
    assert len(seq_of(log, PLACED)) == 3


def test_connections_of_a_manager(clock: VirtualClock) -> None:
    """A connection that never becomes active is found while it is open."""
    manager = ConnectionManager(clock=clock)
    with LiveMonitors(manager.log, leads_to(Registered, Activated, within=5)) as live:
        manager.register_connection("c1", "10.0.0.1")
        manager.register_connection("c2", "10.0.0.1")
        manager.record_activity("c1", 100)
        assert live.wait(PATIENCE)
        clock.advance(6)
        assert live.wait(PATIENCE)
        found = [(how, whose) for _, how, whose, _, _ in violations(manager.log)]
    manager.shutdown()
    assert found == [("deadline", "connection/c2")]


def test_live_says_what_a_check_of_the_log_says(tmp_path: Path) -> None:
    """On the system's clock, over a file that two writers share; each tells of its own streams."""
    monitors: tuple[Monitor, ...] = (
        never_after(Closing, Closed, name="never closed"),
        leads_to(Registered, Closed, within=0.01, name="closed at once"),
    )
    path = tmp_path / "events.db"
    with EventLog.open(path) as one, EventLog.open(path) as other:
        with LiveMonitors(one, *monitors) as live, LiveMonitors(other, *monitors) as there:
            for log, name in ((one, "c1"), (other, "c2")):
                log.append(("connection", name), Registered("10.0.0.1"))
            for log in (one, other):
                while not violations_of(log):
                    assert live.wait(PATIENCE)
                    assert there.wait(PATIENCE)
            ending = (Closing("normal", "app", "handshake"), Closed("normal", 0, 0, 0, 0, 1.0))
            one.append(("connection", "c1"), *ending)
        assert live.counts == {"never closed": 1, "closed at once": 1}
        assert there.counts == {"never closed": 0, "closed at once": 1}
    verdict = check_monitors(path, *monitors)
    assert verdict.counts == {"never closed": 1, "closed at once": 2}


def violations_of(log: EventLog) -> list[str]:
    """Which monitors were violated, says this writer."""
    log.flush()
    recorded = [one for one in log.read() if one.writer == log.writer]
    return [one.event.monitor for one in recorded if isinstance(one.event, MonitorViolated)]


class FailingStore(MemoryStore):
    """A store in memory whose reader fails a few times."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0

    def wait(self, after: int, timeout: float) -> bool:
        if self.failures > 0:
            self.failures -= 1
            raise StoreUnreadable("it is away")
        return super().wait(after, timeout)


def test_a_store_that_cannot_be_read_is_asked_again(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """And that is said once, and that it works again."""
    store = FailingStore()
    with EventLog(store, clock=clock, lifecycles=(ORDER,)) as log:
        store.failures = 2
        with LiveMonitors(log, NOTED_ONCE) as live:
            log.append(("order", "o1"), PLACED, Noted(1), Noted(2))
            assert live.wait(PATIENCE)
            assert live.counts == {"noted once": 1}
    told = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert told[0] == "a subscription waits for a store that fails: it is away"
    assert [text.split(",")[0] for text in told[1:]] == ["a subscription can read the store again"]


def test_they_end_with_the_log(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    """Closing them twice, or after the log, is nothing."""
    log = EventLog(clock=clock, lifecycles=(ORDER,))
    live = LiveMonitors(log, DONE_SOON)
    log.append(("order", "o1"), PLACED)
    assert live.wait(PATIENCE)
    log.close()
    live.close()
    live.close()
    clock.advance(60)
    live._thread.join(PATIENCE)
    assert not live._thread.is_alive()
    assert live.counts == {"done soon": 0}
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_what_is_no_monitor(log: EventLog) -> None:
    """It is refused before anything is followed."""
    threads = threading.active_count()
    with pytest.raises(InvalidArgumentType, match="is no monitor"):
        LiveMonitors(log, Done)  # type: ignore[arg-type]
    assert threading.active_count() == threads


class Gate:
    """A predicate that waits to be let through, and then is not satisfied."""

    def __init__(self) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()

    def __call__(self, _step: Any) -> bool:
        self.entered.set()
        assert self.leave.wait(PATIENCE)
        return False


def test_a_violation_that_cannot_be_recorded(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log records all the same, with why it is nowhere else."""
    log, gate = EventLog(clock=clock, lifecycles=(ORDER,)), Gate()
    live = LiveMonitors(log, always(gate, of=ORDER))
    log.append(("order", "o1"), PLACED)
    log.flush()
    assert gate.entered.wait(PATIENCE)
    log.close()
    gate.leave.set()
    live._thread.join(PATIENCE)
    told = [one.getMessage() for one in caplog.records]
    assert [line.partition(":")[0] for line in told] == [
        "monitor violated",
        "a violation could not be recorded",
    ]


def test_the_next_deadline_may_be_a_nearer_one(log: EventLog, clock: VirtualClock) -> None:
    """Of two monitors the one that has less patience is told first."""
    hurried = leads_to(Noted, Done, of=ORDER, within=1, name="hurried")
    with LiveMonitors(log, DONE_SOON, hurried) as live:
        log.append(("order", "o1"), PLACED)
        assert live.wait(PATIENCE)
        log.append(("order", "o1"), Noted())
        assert live.wait(PATIENCE)
        clock.advance(2)
        assert live.wait(PATIENCE)
        assert [name for name, *_ in violations(log)] == ["hurried"]
        clock.advance(60)
        assert live.wait(PATIENCE)
        assert [name for name, *_ in violations(log)] == ["hurried", "done soon"]


def test_monitors_that_fall_behind(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    """Where a bounded log drops what they have not seen, they say so and end; the log goes on."""
    gate = Gate()
    with EventLog(MemoryStore(max_events=4), clock=clock, lifecycles=(ORDER,)) as log:
        live = LiveMonitors(log, always(gate, of=ORDER, name="gate"))
        log.append(("order", "o1"), PLACED)
        log.flush()
        assert gate.entered.wait(PATIENCE)
        for number in range(9):
            log.append(("order", "o1"), Noted(number))
            log.flush()
        gate.leave.set()
        live._thread.join(PATIENCE)
        assert not live.wait(PATIENCE)
        log.append(("order", "o1"), Done())
    told = [one.getMessage() for one in caplog.records if "fallen" in one.getMessage()]
    assert [line.partition(":")[0] for line in told] == [
        "monitors have fallen behind, and judge nothing any more"
    ]


def test_a_predicate_that_ends_its_thread(log: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    """Not even SystemExit hurts anybody else."""

    def leaving(_step: Any) -> bool:
        raise SystemExit

    live = LiveMonitors(log, always(leaving, of=ORDER))
    log.append(("order", "o1"), PLACED)
    assert not live.wait(PATIENCE)
    assert "monitors cannot follow the log, and judge nothing any more" in caplog.text
    live.close()
    log.append(("order", "o1"), Done())
