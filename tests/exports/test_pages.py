"""Each event of a page is judged as the history of its stream would judge it."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm import EventLog, read_events
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import (
    MICROSECOND,
    Activated,
    CallbackFailed,
    ErrorRecorded,
    Position,
    Registered,
    Stream,
    UnknownEvent,
    to_datetime,
)
from rat_fsm.exports import without_personal_data
from rat_fsm.exports.pages import pages
from rat_fsm.exports.selecting import EVERYTHING, Selection, selected
from rat_fsm.replay.lives import lives_of
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing.stored import frame_of
from tests.cli.logs import Ticking, a_life
from tests.exports.stores import stores, written
from tests.frames import LIFECYCLES
from tests.histories import Recorder
from tests.orders import OLD_ORDER, ORDER, Done, New, Old, Packed

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.stores.port import Store


def rows(store: Store, selection: Selection = EVERYTHING) -> list[Any]:
    """Stream, tag, version and verdict of every row."""
    return [
        (row.stream, row.type, row.before, row.after, row.legal)
        for page in pages(store, selection)
        for row in page.rows
    ]


@given(store=stores(least=3))
def test_states_are_those_of_the_history(store: MemoryStore) -> None:
    """Over several writers, illegal and unknown events: before, after and legality agree."""
    told = {
        (life.stream, step.micros, step.type, step.before, step.after, step.legal)
        for stream_id in {recorded.stream.id for recorded in selected(store, EVERYTHING)}
        for life in lives_of(store, stream_id, merge=False)
        for step in life.steps
    }
    found = {
        (row.stream, row.micros, row.type, row.before, row.after, row.legal)
        for page in pages(store, EVERYTHING)
        for row in page.rows
    }
    assert found == told


@given(store=stores(), data=st.data())
def test_a_selection_is_a_filter(store: MemoryStore, data: st.DataObject) -> None:
    """What is selected is what a look at each event would have chosen, in the same order."""
    everything = list(selected(store, EVERYTHING))
    assert [recorded.position for recorded in everything] == [
        Position(page.position, row.offset)
        for page in pages(store, EVERYTHING)
        for row in page.rows
    ]
    positions = st.none() | st.builds(Position, st.integers(0, 9), st.integers(0, 4))
    micros = [recorded.micros for recorded in everything] or [0]
    times = st.none() | st.sampled_from(micros).map(to_datetime)
    chosen = Selection(
        since=data.draw(times),
        until=data.draw(times | positions),
        after=data.draw(positions),
        lifecycles=data.draw(st.frozensets(st.sampled_from([lc.name for lc in LIFECYCLES]))),
    )
    expected = [
        recorded
        for recorded in everything
        if recorded.position is not None
        and (chosen.since is None or recorded.at >= chosen.since)
        and (not isinstance(chosen.until, datetime.datetime) or recorded.at <= chosen.until)
        and (not isinstance(chosen.until, Position) or recorded.position <= chosen.until)
        and (chosen.after is None or recorded.position > chosen.after)
        and (not chosen.lifecycles or recorded.stream.lifecycle in chosen.lifecycles)
    ]
    assert list(selected(store, chosen)) == expected
    states = dict(zip([r.position for r in everything], rows(store), strict=True))
    assert rows(store, chosen) == [states[recorded.position] for recorded in expected]


def test_old_definitions_and_lifecycles_that_nobody_knows(tmp_path: Path) -> None:
    """Streams of users are judged by what was recorded with them; no code of theirs is needed."""
    path = tmp_path / "events.db"
    with EventLog.open(path, lifecycles=[OLD_ORDER], clock=Ticking()) as log:
        log.begin()
        log.append(("order", "o1"), Old.Placed("tea", 1.5), Packed(2))
    with EventLog.open(path, lifecycles=[ORDER], clock=Ticking(), writer="w0") as log:
        log.begin()
        log.append(("order", "o2"), New.Placed("tea", 150, "EUR"), Packed(2), Done())
    found = rows(open_store(path), Selection(lifecycles=frozenset({"order"})))
    assert [row[1:] for row in found] == [
        ("order.placed", "new", "open", True),
        ("order.packed", "open", "packed", True),
        ("order.placed", "new", "open", True),
        ("order.packed", "open", "open", True),
        ("order.done", "open", "done", True),
    ]


def test_what_comes_after_the_end() -> None:
    """A stream that has ended is not begun again by what an honest log does not hold."""
    store, recorder, stream = MemoryStore(), Recorder(), Stream("connection", "a", "w0:1")
    life = [Registered("10.0.0.1"), *[event for _, event in a_life("a")[-2:]]]
    events = [recorder.record("connection", "a", event) for event in life]
    first = frame_of(events, LIFECYCLES)
    store.append(first)
    late = recorder.record("connection", "a", Activated())
    store.append(frame_of([attrs.evolve(late, stream=stream, version=4)], LIFECYCLES, first))
    assert [row[1:] for row in rows(store)] == [
        ("connection.registered", "new", "connecting", True),
        ("connection.closing", "connecting", "closing", True),
        ("connection.closed", "closing", "closed", True),
        ("connection.activated", "closed", "closed", False),
    ]


def test_what_is_redacted() -> None:
    """Addresses, metadata, messages, and all of an event that nobody here knows."""
    unknown = UnknownEvent("order.placed", 1, {"by": "Ann"}, "unknown tag")
    assert [
        without_personal_data(event)
        for event in (
            *(Registered("10.0.0.1", "sse", {"user": "Ann"}), CallbackFailed("c1", "Ann!")),
            *(ErrorRecorded("OSError", "Ann!", "bug", retryable=False), unknown, Activated("/")),
        )
    ] == [
        *(Registered("", "sse", {}), CallbackFailed("c1", "")),
        *(ErrorRecorded("OSError", "", "bug", retryable=False), attrs.evolve(unknown, data={})),
        Activated("/"),
    ]


def test_what_cannot_be_selected() -> None:
    """A time needs a zone, a position is a position."""
    naive = datetime.datetime(2026, 9, 21)  # noqa: DTZ001 - what is refused here
    anything: Any = Selection  # a type checker refuses some of these, too
    for options in ({"since": naive}, {"until": naive}):
        with pytest.raises(InvalidArgument, match="has no time zone"):
            anything(**options)
    for refused in ({"since": Position(1, 0)}, {"until": 7}, {"after": naive}):
        with pytest.raises(InvalidArgumentType):
            anything(**refused)


def test_frames_that_hold_nothing_are_not_decoded(tmp_path: Path) -> None:
    """A selection of a second of a long log reads the headers of the others only."""
    path = written(tmp_path / "events.db", *(f"c{number}" for number in range(20)))
    events = list(read_events(path))
    middle = events[len(events) // 2]
    seen: list[int] = []
    chosen = Selection(since=middle.at, until=middle.at + MICROSECOND)
    assert list(selected(open_store(path), chosen, progress=seen.append)) == [middle]
    assert events[-1].position == Position(len(seen), 0)
    last = Position(3, 0)
    assert list(selected(open_store(path), Selection(until=last)))[-1].position == last
