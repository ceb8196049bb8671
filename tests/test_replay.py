"""Folding a log again: all of it or a part, from whatever it is kept in."""

from __future__ import annotations

import datetime
import functools
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm.codec import encode_recorded
from rat_fsm.core import Activity, Close, Register, ReportError, Retry, StartDrain, decide
from rat_fsm.errors import InvalidArgument, InvalidArgumentType, Refused, StoreUnreadable
from rat_fsm.events import (
    EPOCH,
    Position,
    RetryRefused,
    RetryScheduled,
    Started,
    UnknownEvent,
    to_datetime,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.replay import replay
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.table import Lifecycle
from rat_fsm.testing import VirtualClock
from tests.logs import LIFECYCLES, begin, close_connection, crash, register
from tests.orders import OLD_ORDER, ORDER, Done, New, Noted, Old, Packed

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.events import Recorded
    from rat_fsm.projections.model import ReadModel

REQUESTS = st.one_of(
    st.builds(Register, st.just("10.0.0.1"), st.just("sse"), st.just({}), st.just(3)),
    st.builds(Activity, st.integers(0, 1000), st.integers(0, 3)),
    st.builds(ReportError, st.just("E"), st.just("m"), st.just("bug"), st.booleans()),
    st.sampled_from(
        [
            Retry(lambda c: RetryScheduled(c.retries + 1, 1.5, None, 30.0, "network_error")),
            Retry(lambda _connection: RetryRefused("exhausted")),
        ]
    ),
    st.builds(Close, st.sampled_from(["normal", "stale"]), st.just("app"), st.just(0)),
)
STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), REQUESTS, st.integers(0, 3), st.booleans()), max_size=25
)


def play(log: EventLog, clock: VirtualClock, steps: Any) -> None:
    """Asks a log for what the steps say, in frames of any size; what is refused is refused."""
    for connection_id, request, seconds, flush in steps:
        clock.advance(seconds)
        try:
            log.transact("connection", connection_id, functools.partial(decide, request))
        except Refused:
            continue
        if flush:
            log.flush()
    log.flush()


@given(STEPS)
def test_live_is_replay(steps: Any) -> None:
    """The live model is equal to the replayed one, whatever happened."""
    clock = VirtualClock()
    with EventLog(clock=clock) as log:
        play(log, clock, steps)
        assert log.read_model == replay(log)


@given(STEPS, STEPS)
@settings(max_examples=25)
def test_every_source_says_the_same(steps: Any, more: Any) -> None:
    """A store and the recorded events in it give equal models, of one writer or of all."""
    clock, store = VirtualClock(), MemoryStore()
    first, second = EventLog(store, clock=clock), EventLog(store, clock=clock)
    play(first, clock, steps)
    play(second, clock, more)
    events = list(first.read())
    assert replay(store) == replay(events) == replay(iter(events))
    for log in (first, second):
        own = replay(store, writer=log.writer)
        assert log.read_model == own == replay(log) == replay(events, writer=log.writer)
        assert own == replay([recorded for recorded in events if recorded.writer == log.writer])
    assert replay(first, writer=second.writer) == replay(second)
    first.close()
    second.close()


def test_urls_and_paths_say_the_same(tmp_path: Path) -> None:
    """A URL, a path as string or Path, an open store and the closed log: one model."""
    path = tmp_path / "log.db"
    log = EventLog.open(path)
    register(log, "c1", "c2")
    close_connection(log, "c1")
    log.flush()
    models = [replay(f"sqlite:{path}"), replay(str(path)), replay(path), replay(log.store)]
    assert [model == log.read_model for model in models] == [True] * 4
    log.close()
    assert replay(log) == replay(path)
    assert replay(log) != models[0]  # the run has ended since
    assert replay("memory:") == replay([])
    with pytest.raises(StoreUnreadable, match="no log at"):
        replay(tmp_path / "missing.db")


def up_to(events: list[Recorded], last: Recorded) -> list[Recorded]:
    """The events up to one of them."""
    return events[: events.index(last) + 1]


@given(STEPS, st.data())
@settings(max_examples=25)
def test_replay_goes_until_a_position(steps: Any, data: st.DataObject) -> None:
    """The position is inclusive, in the middle of a frame as well, and need not exist."""
    clock = VirtualClock()
    with EventLog(clock=clock) as log:
        log.begin()
        play(log, clock, steps)
        events = list(log.read())
        last = data.draw(st.sampled_from(events))
        expected = replay(up_to(events, last))
        assert last.position is not None
        assert replay(log, last.position) == expected == replay(events, last.position)
        assert replay(log, Position(last.position.frame, -1)) == replay(
            [r for r in events if r.position is not None and r.position.frame < last.position.frame]
        )
        assert replay(log, Position(10**9, 0)) == log.read_model
        assert replay(log, Position(0, 0)) == replay([])


@given(STEPS, st.data())
@settings(max_examples=25)
def test_replay_goes_until_an_instant(steps: Any, data: st.DataObject) -> None:
    """All events at or before it, in whatever time zone it is given, to the microsecond."""
    clock = VirtualClock()
    with EventLog(clock=clock) as log:
        log.begin()
        play(log, clock, steps)
        events = list(log.read())
        micros = data.draw(st.sampled_from(events)).micros + data.draw(st.sampled_from([-1, 0, 1]))
        hours = data.draw(st.integers(-12, 14))
        zone = datetime.timezone(datetime.timedelta(hours=hours))
        until = to_datetime(micros).astimezone(zone)
        expected = replay([recorded for recorded in events if recorded.micros <= micros])
        assert replay(log, until) == expected == replay(events, until=until)


def test_an_instant_counts_for_every_writer() -> None:
    """Writers' clocks may differ: a frame that stands later may be earlier."""
    store = MemoryStore()
    late = EventLog(store, clock=VirtualClock(EPOCH + datetime.timedelta(days=9)))
    early = EventLog(store, clock=VirtualClock(EPOCH + datetime.timedelta(days=1)))
    register(late, "late")
    position = late.flush()
    register(early, "early")
    early.flush()
    assert list(replay(store, EPOCH + datetime.timedelta(days=5)).connections) == ["early"]
    assert replay(store, position) == late.read_model
    late.close()
    early.close()


@pytest.mark.parametrize(
    ("until", "error", "message"),
    [
        (datetime.datetime(2026, 1, 1), InvalidArgument, "no time zone"),  # noqa: DTZ001 - the point
        ("2026-01-01", InvalidArgumentType, "not str"),
        (12, InvalidArgumentType, "not int"),
        (datetime.date(2026, 1, 1), InvalidArgumentType, "not date"),
    ],
)
def test_other_moments_are_refused(until: Any, error: type[Exception], message: str) -> None:
    """A naive datetime, or what is no moment, is refused before anything is read."""
    with pytest.raises(error, match=message):
        replay("/nowhere/at all.db", until)


@pytest.mark.parametrize("source", [7, None, [7], [("connection", "c1")], "nosuch:log"])
def test_other_sources_are_refused(source: Any) -> None:
    """What is no log, or holds something else than recorded events, is refused as an argument."""
    with pytest.raises((InvalidArgument, InvalidArgumentType)):
        replay(source)


def state_of(model: ReadModel, order: str) -> str | None:
    """The state of an order, None where the model does not know it."""
    record = model.record("order", order)
    return None if record is None else record.state


def old_log(store: MemoryStore, *, flushed: bool) -> list[Recorded]:
    """What a program wrote that had the old definition: packing was a state then."""
    log = EventLog(store, lifecycles=(OLD_ORDER,), writer="orders")
    if flushed:
        begin(log)
    log.append(("order", "o1"), Old.Placed("tea", 2.5), Packed(2))
    log.append(("order", "o2"), Old.Placed("coffee", 3.0), Packed(1), Noted("twice"), Done())
    log.flush()
    crash(log)
    return list(log.read())


@pytest.mark.parametrize("flushed", [True, False], ids=["frame by frame", "in one frame"])
def test_old_streams_are_judged_by_their_own_definition(*, flushed: bool) -> None:
    """Events are lifted to today's classes, and move through the table recorded with them.

    Whether that table stands in an earlier frame or in the same one makes no difference.
    """
    store = MemoryStore()
    old_log(store, flushed=flushed)
    log = EventLog(store, lifecycles=(ORDER,), writer="orders")
    model = replay(store, lifecycles=(CONNECTION, NODE, ORDER))
    assert [state_of(model, order) for order in ("o1", "o2")] == ["packed", "done"]
    assert model.stats.as_dict()["illegal_events"] == 0
    events = list(log.read())
    assert [e.event for e in events if e.stream.id == "o1"] == [
        New.Placed("tea", 250, "EUR"),
        Packed(2),
    ]
    assert model == replay(events, lifecycles=(CONNECTION, NODE, ORDER))
    assert model.totals.states["order"] == {"new": 0, "open": 0, "packed": 1, "done": 1}
    assert log.read_model == replay(log)
    log.append(("order", "o3"), New.Placed("cake", 1, "EUR"), Packed())
    log.flush()
    assert log.read_model == replay(log)
    assert (state_of(log.read_model, "o1"), state_of(log.read_model, "o3")) == ("packed", "open")
    log.close()


def test_a_renamed_beginning_is_still_a_beginning() -> None:
    """A definition with another name for what is before the first event judges all the same."""
    before = Lifecycle(
        "order",
        states=("open",),
        final={"open"},
        initial="nothing",
        transitions=[[Packed, "nothing", "open"]],
    )
    log = EventLog(lifecycles=(before,))
    log.append(("order", "o1"), Packed())
    log.flush()
    model = replay(log.store, lifecycles=(NODE, ORDER))
    assert (state_of(model, "o1"), model.totals.illegal) == ("open", 0)
    log.close()


def test_a_lifecycle_that_is_not_known_is_counted() -> None:
    """Its events are UnknownEvents, in a replay of frames and of recorded events alike."""
    with EventLog(lifecycles=LIFECYCLES) as log:
        log.append(("order", "o1"), New.Placed("tea", 250, "EUR"), Done())
        register(log, "c1")
        log.flush()
        assert log.read_model == replay(log)
        narrow = replay(log.store)
        assert narrow == replay(log.read())
        assert (narrow.totals.unknown, list(narrow.connections)) == (2, ["c1"])


def test_hostile_definitions_judge_nobody() -> None:
    """What a writer recorded in place of definitions is kept and otherwise ignored."""
    log = EventLog(clock=VirtualClock())
    register(log, "c1")
    log.flush()
    events = list(log.read())
    hostile: list[list[dict[str, Any]]] = [[], [{}]]
    hostile += [[{"name": "connection"}], [{"name": 1, "edges": [[]]}]]
    hostile += [[{"name": "elsewhere", "initial": "", "edges": []}]]
    for nonsense in hostile:
        started = Started(nonsense, {})
        forged = [r if r.seq > 1 else forge(r, started) for r in events]
        assert list(replay(forged).connections) == ["c1"]
    log.close()


def forge(recorded: Recorded, event: Any) -> Recorded:
    """The same envelope round another event."""
    return attrs.evolve(recorded, event=event)


def test_unknown_events_of_a_connection_keep_its_state() -> None:
    """An event that cannot be read counts as an event of its stream and changes nothing else."""
    log = EventLog(clock=VirtualClock())
    register(log, "c1")
    log.flush()
    *rest, last = log.read()
    unknown = UnknownEvent("connection.blessed", 1, {}, "unknown tag")
    model = replay([*rest, forge(last, unknown)])
    record = model.record("connection", "c1")
    assert record is not None
    assert (record.state, record.version, model.totals.unknown) == ("active", 3, 1)
    assert b'"type":"connection.activity_recorded"' in encode_recorded(last)
    log.close()


def test_a_drain_is_replayed() -> None:
    """Progress of a shutdown at any moment is part of the model."""
    clock = VirtualClock()
    log = EventLog(clock=clock)
    register(log, "c1", "c2")
    log.transact_node(StartDrain(30.0))
    log.flush()
    clock.advance(1.0)
    close_connection(log, "c1")
    log.flush()
    earlier = replay(log, until=to_datetime(clock.now() - 1))
    drains = [(m.drain.phase, m.drain.closed, m.drain.remaining) for m in (earlier, replay(log))]
    assert drains == [("draining", 0, 2), ("draining", 1, 1)]
    log.close()
