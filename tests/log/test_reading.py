"""Reading a log and following it: every durable event, once, in order."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import DamagedFrame, HistoryEvicted, UnsupportedFormat
from rat_fsm.events import Activated, Position, Registered, RetryRefused, UnknownEvent
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog, Subscription
from rat_fsm.log.subscription import read_recorded
from rat_fsm.projections.model import ReadModel
from rat_fsm.replay import replay
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import VirtualClock
from tests.logs import LIFECYCLES, begin, close_connection, crash, execute, register
from tests.orders import New
from tests.processes import PATIENCE, writer_process

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.events import Recorded


def with_frames(sizes: list[int]) -> EventLog:
    """A memory log whose frames hold so many events, after a first frame with its beginning."""
    log = EventLog(clock=VirtualClock())
    begin(log)
    for number, size in enumerate(sizes):
        stream = ("connection", f"c{number}")
        log.append(stream, Registered("10.0.0.1", "sse", {}), *[Activated()][: size - 1])
        for _ in range(size - 2):
            log.append(stream, RetryRefused("exhausted"))  # as often as one likes
        log.flush()
    return log


sizes = st.lists(st.integers(1, 5), max_size=5)


@given(sizes, st.integers(0, 8), st.integers(-1, 6))
def test_reading_begins_after_a_position(sizes: list[int], frame: int, offset: int) -> None:
    """Whatever the position, in a frame or between frames or beyond them all, it is exclusive."""
    with with_frames(sizes) as log:
        everything = list(log.read())
        after = Position(frame, offset)
        expected = [r for r in everything if r.position is not None and r.position > after]
        assert list(log.read(after)) == expected
        with log.subscribe(after) as subscription:
            assert [subscription.next(PATIENCE) for _ in expected] == expected
            assert subscription.next(0.0) is None


@given(sizes)
def test_positions_ascend_and_sequence_has_no_gaps(sizes: list[int]) -> None:
    """Each event stands after the one before, and each writer counts on by one."""
    with with_frames(sizes) as log:
        events = list(log.read())
        positions = [recorded.position for recorded in events]
        assert positions == sorted(set(positions), key=lambda p: (p.frame, p.offset))  # type: ignore[union-attr]
        assert [recorded.seq for recorded in events] == list(range(1, len(events) + 1))


def drain(subscription: Subscription, seen: list[Recorded]) -> threading.Thread:
    """A thread that follows a log until the subscription ends."""
    thread = threading.Thread(target=lambda: seen.extend(subscription))
    thread.start()
    return thread


def test_a_subscriber_sees_every_event_once_as_it_comes(tmp_path: Path) -> None:
    """Events of two writers, one of them in another process, arrive in the store's order."""
    path = tmp_path / "log.db"
    seen: list[Recorded] = []
    with EventLog.open(path) as log, writer_process(path) as other:
        subscription = log.subscribe()
        following = drain(subscription, seen)
        for number in range(20):
            register(log, f"c{number}")
            log.flush()
            if number % 5 == 0:
                other.run(f"log.append(('connection', 'x{number}'), Registered('10.0.0.2'))")
        other.end()
        expected = list(log.read())
        while len(seen) < len(expected):
            following.join(0.01)  # pytest's timeout bounds it
        subscription.close()
        following.join(PATIENCE)
        assert (seen, following.is_alive()) == (expected, False)
        assert len([r for r in seen if r.writer == other.writer]) == 2 + 3 + 4 + 1


@pytest.mark.parametrize("url", ["memory:", "sqlite:"])
def test_a_subscription_ends_with_its_log(url: str, tmp_path: Path) -> None:
    """Closing the log ends the iteration, after the last event."""
    log = EventLog.open(url if url == "memory:" else tmp_path / "log.db")
    seen: list[Recorded] = []
    following = drain(log.subscribe(), seen)
    register(log, "c1")
    log.close()
    following.join(PATIENCE)
    assert not following.is_alive()
    assert seen == list(log.read())
    assert seen[-1].type == "node.stopped"


def test_a_subscription_ends_when_it_is_closed() -> None:
    """Closing it from another thread ends an iteration that waits; it stays ended."""
    with EventLog() as log:
        seen: list[Recorded] = []
        subscription = log.subscribe()
        following = drain(subscription, seen)
        subscription.close()
        subscription.close()
        following.join(PATIENCE)
        assert not following.is_alive()
        register(log, "c1")
        log.flush()
        assert (list(subscription), subscription.next(0.0)) == ([], None)


def test_leaving_a_subscription_closes_it() -> None:
    """It is a context manager; events that were not taken are left."""
    with EventLog() as log:
        register(log, "c1")
        log.flush()
        with log.subscribe() as subscription:
            assert next(subscription).type == "node.started"
        assert list(subscription) == []


def test_only_durable_events_are_read() -> None:
    """What was accepted and is not stored yet is neither read nor delivered."""
    with EventLog() as log:
        begin(log)
        durable = log.flush()
        with log._committer.gate:  # the store is not written to while it is held
            register(log, "c1")
            with log.subscribe(durable) as subscription:
                assert (list(log.read(durable)), subscription.next(0.05)) == ([], None)
        log.flush()
        assert [r.stream.id for r in log.read(durable)] == ["c1"] * 3


def test_an_evicted_past_is_an_error_and_the_present_is_not() -> None:
    """A bounded memory log says what it no longer has, and its model has missed nothing."""
    store = MemoryStore(max_events=20)
    log, whole = EventLog(store, clock=VirtualClock()), EventLog(clock=VirtualClock())
    for each in (log, whole):
        for number in range(30):
            register(each, f"c{number}")
            close_connection(each, f"c{number}")
            each.flush()
        register(each, "last")
    position = log.flush()
    whole.flush()
    for reading in (lambda: list(log.read()), lambda: next(log.subscribe()), lambda: replay(log)):
        with pytest.raises(HistoryEvicted, match="frames 1 to "):
            reading()
    assert log.read_model == whole.read_model == replay(whole)
    assert position is not None
    recent = list(log.read(Position(position.frame - 1, 0)))
    assert [recorded.stream.id for recorded in recent][-3:] == ["last"] * 3
    log.close()
    whole.close()


def test_a_subscriber_that_fell_too_far_behind_is_told() -> None:
    """Eviction under a slow subscriber raises instead of skipping."""
    with EventLog(MemoryStore(max_events=10)) as log:
        register(log, "c0")
        log.flush()
        subscription = log.subscribe()
        first = next(subscription)
        for number in range(1, 20):
            register(log, f"c{number}")
            log.flush()
        assert first.type == "node.started"
        taken = [first]
        with pytest.raises(HistoryEvicted):
            taken.extend(subscription)
        assert [recorded.seq for recorded in taken] == list(range(1, len(taken) + 1))


def test_a_damaged_frame_stops_readers_there(tmp_path: Path) -> None:
    """What stands before it is read; the error names the frame; a newer format is another error."""
    path = tmp_path / "log.db"
    with EventLog.open(path) as log:
        begin(log)
        for name in ("c1", "c2"):
            register(log, name)
            log.flush()
    for change, error in (("body = '{'", DamagedFrame), ("format = 2", UnsupportedFormat)):
        execute(path, f"UPDATE frames SET {change} WHERE position = 2")  # noqa: S608 - ours
        store = open_store(path)
        reading = read_recorded(store, ReadModel((CONNECTION, NODE)), None)
        subscription = Subscription(store, ReadModel((CONNECTION, NODE)), None)
        for events in (reading, subscription):
            seen: list[Recorded] = []
            with pytest.raises(error, match="frame 2"):
                seen.extend(events)
            assert [recorded.seq for recorded in seen] == [1, 2]
        with pytest.raises(error, match="frame 2"):  # nobody passes over it by asking again
            subscription.next(PATIENCE)
        store.close()


def test_events_of_unknown_lifecycles_are_read_as_unknown() -> None:
    """Who does not know a lifecycle sees its events with their data all the same."""
    store = MemoryStore()
    log = EventLog(store, lifecycles=LIFECYCLES)
    log.append(("order", "o1"), New.Placed("tea", 250, "EUR"))
    crash(log)
    (event,) = [
        r.event for r in read_recorded(store, ReadModel((NODE,)), None) if r.stream.id == "o1"
    ]
    data = {"item": "tea", "cents": 250, "currency": "EUR"}
    assert event == UnknownEvent("order.placed", 3, data, "unknown tag")
