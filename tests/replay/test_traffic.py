"""Traffic: what streams did, against a plain fold of every one of them."""

from __future__ import annotations

import datetime
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.codec import open_body, payload_of, seal
from rat_fsm.errors import DamagedFrame, InvalidArgument, InvalidArgumentType, StoreUnreadable
from rat_fsm.events import Activated, Position, Recorded, Registered, Stream, UnknownEvent
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.replay import read_events, replay
from rat_fsm.replay.counting import Counting
from rat_fsm.replay.traffic import Stays, Traffic, traffic
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import GENESIS, Frame
from tests.cli.logs import START, Ticking, a_life, change, write
from tests.frames import LIFECYCLES
from tests.histories import histories
from tests.logs import crash
from tests.orders import OLD_ORDER, ORDER, Done, New, Noted, Old, Packed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rat_fsm.table import Lifecycle

KINDS: Final = {kind.cls: kind for lifecycle in LIFECYCLES for kind in lifecycle.events}
FINGERPRINTS: Final = tuple(lifecycle.fingerprint for lifecycle in LIFECYCLES)


def stored(history: Sequence[Recorded], size: int) -> tuple[MemoryStore, list[Recorded]]:
    """A log with these events in frames of at most ``size``, and the events as they stand in it."""
    store, heads, placed = MemoryStore(), dict[str, Frame](), list[Recorded]()
    runs = [list(run) for _, run in groupby(history, lambda recorded: recorded.writer)]
    for events in (run[n : n + size] for run in runs for n in range(0, len(run), size)):
        head = heads.get(events[0].writer)
        heads[events[0].writer] = frame = _frame(events, GENESIS if head is None else head.hash)
        position = store.append(frame)
        placed += [
            attrs.evolve(recorded, position=Position(position, offset))
            for offset, recorded in enumerate(events)
        ]
    return store, placed


def _frame(events: Sequence[Recorded], prev: bytes) -> Frame:
    first, last = events[0], events[-1]
    streams = {recorded.stream: recorded for recorded in reversed(events)}
    types = list(dict.fromkeys(_type(recorded) for recorded in events))
    body = {
        "types": [[tag, version, list(fields)] for tag, version, fields in types],
        "streams": [
            [s.lifecycle, s.id, int(s.born.partition(":")[2]), r.version - 1]
            for s, r in streams.items()
        ],
        "events": [
            [
                r.micros - first.micros,
                list(streams).index(r.stream),
                types.index(_type(r)),
                *_data(r),
            ]
            for r in events
        ],
    }
    return seal(
        writer=first.writer,
        first=first.seq,
        count=len(events),
        first_at=first.micros,
        last_at=last.micros,
        body=msgspec.json.encode(body),
        fingerprints=FINGERPRINTS,
        salt=bytes(16),
        prev=prev,
    )


def _type(recorded: Recorded) -> tuple[str, int, tuple[str, ...]]:
    if isinstance(recorded.event, UnknownEvent):
        return recorded.type, recorded.event.version, ()
    kind = KINDS[type(recorded.event)]
    return kind.tag, kind.version, kind.fields


def _data(recorded: Recorded) -> tuple[Any, ...]:
    if isinstance(recorded.event, UnknownEvent):
        return ()
    return payload_of(KINDS[type(recorded.event)], recorded.event)


def folded(events: Sequence[Recorded], lifecycle: Lifecycle, since: int = 0) -> Traffic:
    """The same by following each stream alone, exactly; events before the index are not counted."""
    edges = Counter(dict.fromkeys(lifecycle.rows(), 0))
    stays: dict[str, list[int]] = {state: [] for state in lifecycle.states}
    entered, odd = Counter[str](), Counter[str]()
    now: dict[Any, tuple[str, int]] = {}
    begun = ended = 0
    for number, recorded in enumerate(events):
        if recorded.stream.lifecycle != lifecycle.name:
            continue
        state, at = now.get(recorded.stream, (lifecycle.initial, 0))
        dest = lifecycle.next_state(state, recorded.event)
        counts = number >= since
        if dest is None:
            odd["unknown" if isinstance(recorded.event, UnknownEvent) else "illegal"] += counts
            continue
        edges[recorded.type, state, dest] += counts
        if dest == state:
            continue
        now[recorded.stream] = dest, recorded.micros
        entered[dest] += counts
        begun += counts and state == lifecycle.initial
        ended += counts and dest in lifecycle.final
        if counts and state != lifecycle.initial:
            stays[state].append(recorded.micros - at)
    open_states = [state for state, _ in now.values() if state not in lifecycle.final]
    return Traffic(
        lifecycle.name,
        lifecycle.initial,
        {s: _stays(entered[s], open_states.count(s), stays[s]) for s in lifecycle.states},
        lifecycle.final,
        dict(edges),
        begun,
        ended,
        len(open_states),
        odd["illegal"],
        odd["unknown"],
    )


def _stays(entered: int, now: int, durations: list[int]) -> Stays:
    if not durations:
        return Stays(entered, now, None, None)
    ordered, count = sorted(durations), len(durations)
    median, p90 = ordered[-(-count // 2) - 1], ordered[-(-count * 9 // 10) - 1]
    return Stays(entered, now, _near(median), _near(p90))


def _near(micros: int) -> Any:
    return pytest.approx(micros / 1_000_000, rel=0.0051, abs=0)


SIZES: Final = st.integers(1, 6)
ANY: Final = st.sampled_from(LIFECYCLES)


@given(histories(), SIZES, ANY)
def test_it_is_the_fold_of_every_stream(
    history: list[Recorded], size: int, lifecycle: Lifecycle
) -> None:
    """Legal or not, of any number of writers, however cut into frames."""
    store, events = stored(history, size)
    assert traffic(store, lifecycle) == folded(events, lifecycle)


@given(histories(), SIZES)
def test_it_agrees_with_the_read_model(history: list[Recorded], size: int) -> None:
    """As many streams stand in each state, and as many events are odd, as any replay says."""
    store, _ = stored(history, size)
    model = replay(store, lifecycles=LIFECYCLES)
    found = [traffic(store, lifecycle) for lifecycle in LIFECYCLES]
    for lifecycle, told in zip(LIFECYCLES, found, strict=True):
        states = model.totals.states[lifecycle.name]
        for state in set(lifecycle.states) - lifecycle.final:
            assert told.states[state].now == states[state]
    assert sum(told.illegal for told in found) == model.totals.illegal
    assert sum(told.unknown for told in found) == model.totals.unknown


# Frames of one writer alone hold more than two events.
HISTORIES: Final = histories(writers=("w0",), least=1) | histories(least=1)


@given(HISTORIES, SIZES, st.data())
def test_a_window_between_positions(
    history: list[Recorded], size: int, data: st.DataObject
) -> None:
    """Events before it set the states and are not counted, those after it do not exist.

    Nothing is counted in one that ends before it begins.
    """
    store, events = stored(history, size)
    first, last = data.draw(st.tuples(*[st.integers(0, len(events) - 1)] * 2))
    for lifecycle in LIFECYCLES:
        told = traffic(store, lifecycle, since=events[first].position, until=events[last].position)
        assert told == folded(events[: last + 1], lifecycle, first)


@given(histories(writers=("w0",), least=1), SIZES, st.data())
def test_a_window_between_times(history: list[Recorded], size: int, data: st.DataObject) -> None:
    """The same, inclusive at both ends."""
    store, events = stored(history, size)
    times = st.sampled_from([recorded.micros for recorded in events])
    since, until = data.draw(st.tuples(times, times))
    within = [recorded for recorded in events if recorded.micros <= until]
    first = sum(recorded.micros < since for recorded in events)
    for lifecycle in LIFECYCLES:
        told = traffic(store, lifecycle, since=_moment(since), until=_moment(until))
        assert told == folded(within, lifecycle, first)


def _moment(micros: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(0, datetime.UTC) + datetime.timedelta(
        microseconds=micros
    )


def test_one_life(tmp_path: Path) -> None:
    """Everything that is told about a life that worked, broke once, recovered and ended."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1"))
    told = traffic(path)
    assert {edge: count for edge, count in told.edges.items() if count} == {
        ("connection.registered", "new", "connecting"): 1,
        ("connection.activated", "connecting", "active"): 1,
        ("connection.activity_recorded", "active", "active"): 2,
        ("connection.error_recorded", "active", "active"): 1,
        ("connection.retry_scheduled", "active", "retrying"): 1,
        ("connection.recovered", "retrying", "active"): 1,
        ("connection.closing", "active", "closing"): 1,
        ("connection.closed", "closing", "closed"): 1,
    }
    assert list(told.edges) == CONNECTION.rows() == told.rows()
    assert (told.begun, told.ended, told.open, told.illegal, told.unknown) == (1, 1, 0, 0, 0)
    assert told.states["active"] == Stays(2, 0, _near(500_123), _near(4 * 500_123))
    assert told.states["closed"] == Stays(1, 0, None, None)


def orders(path: Path, lifecycle: Lifecycle, *events: tuple[str, Any]) -> None:
    """Appends to orders as a program does that is killed afterwards."""
    log = EventLog.open(path, lifecycles=(CONNECTION, NODE, lifecycle), writer="shop")
    log.begin()
    for order_id, event in events:
        log.append(("order", order_id), event)
    crash(log)


def test_a_lifecycle_that_only_the_log_knows(tmp_path: Path) -> None:
    """Its name suffices: states and edges are those of the definition that was recorded."""
    path = tmp_path / "orders.db"
    placed = New.Placed("book", 100, "EUR")
    orders(path, ORDER, ("1", placed), ("2", placed), ("1", Packed()), ("1", Done()))
    told = traffic(path, "order")
    assert told == traffic(path, ORDER)
    assert (told.name, told.initial, list(told.states)) == ("order", "new", ["open", "done"])
    assert (sorted(told.final), told.begun, told.ended, told.open) == (["done"], 2, 1, 1)
    assert told.edges == {
        ("order.placed", "new", "open"): 2,
        ("order.packed", "open", "open"): 1,
        ("order.noted", "open", "open"): 0,
        ("order.done", "open", "done"): 1,
    }


def test_events_are_judged_by_the_definition_they_were_written_under(tmp_path: Path) -> None:
    """What another definition had is told where it was used; the last in force comes first."""
    path = tmp_path / "orders.db"
    old, new = Old.Placed("book", 1.0), New.Placed("book", 100, "EUR")
    orders(path, OLD_ORDER, ("1", old), ("1", Packed()), ("1", Noted()), ("1", Done()), ("2", old))
    orders(path, ORDER, ("3", new), ("3", Packed()), ("2", Packed()), ("2", Done()))
    told = traffic(path, "order")
    assert told.illegal == told.unknown == 0
    assert told.edges == {
        ("order.placed", "new", "open"): 3,
        ("order.packed", "open", "open"): 2,
        ("order.noted", "open", "open"): 0,
        ("order.done", "open", "done"): 1,
        ("order.packed", "open", "packed"): 1,
        ("order.noted", "packed", "packed"): 1,
        ("order.done", "packed", "done"): 1,
    }
    entered = {state: stays.entered for state, stays in told.states.items()}
    assert entered == {"open": 3, "done": 2, "packed": 1}
    assert list(traffic(path, OLD_ORDER).edges)[: len(OLD_ORDER.rows())] == OLD_ORDER.rows()


def test_a_state_that_was_left_within_a_window_and_entered_before_it(tmp_path: Path) -> None:
    """It is there, though no way into it was counted."""
    path = tmp_path / "orders.db"
    orders(path, OLD_ORDER, ("1", Old.Placed("book", 1.0)), ("1", Packed()), ("1", Done()))
    orders(path, ORDER)
    done = next(r.position for r in read_events(path) if r.type == "order.done")
    told = traffic(path, "order", since=done)
    assert {edge for edge, count in told.edges.items() if count} == {
        ("order.done", "packed", "done")
    }
    assert told.states["packed"].entered == 0
    assert told.states["packed"].median is not None


def test_streams_that_ended_are_forgotten() -> None:
    """So that memory grows with the streams that are open, and with no others."""
    history = [
        Recorded(
            None, START, Stream("order", str(n), f"w0:{n}"), 1 + v, "w0", n + v, f"order.{tag}", e
        )
        for n in range(1, 200, 2)
        for v, (tag, e) in enumerate([("placed", New.Placed("b", 1, "EUR")), ("done", Done())])
    ]
    store, _ = stored(history, 7)
    counting = Counting(store, ORDER)
    for frame in store.read():
        body = open_body(frame)
        counting.take(frame.frame, body, 0, len(body.events))
        assert len(counting._visits["w0"]) <= 1


def test_a_log_without_any_definition() -> None:
    """A lifecycle that is given is its own definition, where nobody recorded one."""
    stream = Stream("order", "1", "w0:1")
    placed = New.Placed("book", 100, "EUR")
    store, _ = stored([Recorded(None, START, stream, 1, "w0", 1, "order.placed", placed)], 1)
    assert traffic(store, ORDER).begun == 1
    with pytest.raises(InvalidArgument, match=r"under a lifecycle order, but connection, node$"):
        traffic(store, "order")


def test_one_writer(tmp_path: Path) -> None:
    """Only its streams, and an unknown one is refused with the names of those that wrote."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1"))
    write(path, *a_life("c1")[:2], writer="other")
    assert (traffic(path).begun, traffic(path).ended) == (2, 1)
    assert traffic(path, writer="other").begun == 1
    with pytest.raises(InvalidArgument, match="no writer w9 wrote here, but other, w0"):
        traffic(path, writer="w9")


def test_a_log_that_is_being_written(tmp_path: Path) -> None:
    """What is durable counts, and every frame that was read is told to who waits."""
    path, seen = tmp_path / "events.db", list[int]()
    with EventLog.open(path, clock=Ticking()) as log:
        log.append(("connection", "c1"), Registered("10.0.0.1"))
        log.flush()
        assert traffic(path, progress=seen.append).states["connecting"].now == 1
        assert seen == [1]
        log.append(("connection", "c1"), Activated())
        log.flush()
        assert traffic(log).states["active"].now == 1


def test_an_empty_log() -> None:
    """Nothing happened; and nobody said what else could have."""
    store = MemoryStore()
    assert traffic(store) == folded([], CONNECTION)
    with pytest.raises(InvalidArgument, match="a lifecycle order, but none at all"):
        traffic(store, "order")


def test_bad_input(tmp_path: Path) -> None:
    """A missing file, a position past the end, a naive time, no moment, a damaged frame."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1"))
    with pytest.raises(StoreUnreadable):
        traffic(tmp_path / "none.db")
    with pytest.raises(InvalidArgument, match="there is no frame 99"):
        traffic(path, until=Position(99, 0))
    with pytest.raises(InvalidArgument, match="no time zone"):
        traffic(path, since=datetime.datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
    with pytest.raises(InvalidArgumentType):
        traffic(path, since="yesterday")  # type: ignore[arg-type]
    change(path, "UPDATE frames SET body = ? WHERE position = 1", b"{}")
    with pytest.raises(DamagedFrame):
        traffic(path)
