"""Reading a trace out of a log: which life, up to when, by which lifecycle."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgument, StreamNotFound
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Position,
    Registered,
    UnknownEvent,
    to_datetime,
)
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.log import EventLog
from rat_fsm.replay import read_events
from rat_fsm.table import Lifecycle
from rat_fsm.traces import trace_of
from tests.cli.logs import START, Ticking, a_life, change, write
from tests.logs import close_connection, register
from tests.orders import OLD_ORDER, ORDER, New, Old, Packed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log in which one id lives twice, and others between."""
    path = tmp_path / "events.db"
    again = [("c1", Registered("10.0.0.2", "websocket")), ("c1", Activated())]
    write(path, *a_life("c1"), *a_life("c10"), *again)
    return path


def test_a_life(path: Path) -> None:
    """The events of one life, with the time since its first, and where they stand."""
    found = trace_of(path, "c1", life=1)
    recorded = [each for each in read_events(path) if each.stream.id == "c1"][:9]
    assert found.lifecycle is CONNECTION
    assert found.events == tuple((r.micros - recorded[0].micros, r.event) for r in recorded)
    origin = found.origin
    assert (origin.life, origin.lives, origin.foreign) == (1, 2, False)
    assert (origin.stream, origin.first) == (recorded[0].stream, recorded[0].position)
    assert origin.last == recorded[-1].position


def test_the_last_life_is_taken(path: Path) -> None:
    """Without a number it is the last; one that is not there is refused."""
    assert [type(event) for _, event in trace_of(str(path), "c1").events] == [Registered, Activated]
    assert trace_of(path, "c1") == trace_of(path, "c1", life=2)
    for life in (0, 3, -1):
        with pytest.raises(InvalidArgument, match=f"c1 has no life {life} here, only 2"):
            trace_of(path, "c1", life=life)
    with pytest.raises(StreamNotFound, match="has never heard of c2"):
        trace_of(path, "c2")


def test_up_to_a_moment(path: Path) -> None:
    """A position and a time are inclusive; before a life there is nothing to tell."""
    whole = trace_of(path, "c10")
    third = [each for each in read_events(path) if each.stream.id == "c10"][2]
    assert third.position is not None
    for until in (third.position, third.at):
        found = trace_of(path, "c10", until=until)
        assert (found.events, found.origin.last) == (whole.events[:3], third.position)
    for until in (Position(1, 0), to_datetime(START)):
        with pytest.raises(InvalidArgument, match="connection/c10 had not begun by"):
            trace_of(path, "c10", until=until)
    with pytest.raises(InvalidArgument, match="there is no frame 999"):
        trace_of(path, "c10", until=Position(999, 0))
    with pytest.raises(InvalidArgument, match="no time zone"):
        trace_of(path, "c10", until=datetime.datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


def test_a_log_of_several_writers(path: Path) -> None:
    """Lives under different writers are counted in the order they began."""
    with EventLog.open(path, writer="other", clock=Ticking()) as log:
        log.append(("connection", "c1"), Registered("10.0.0.9"))
    origins = [trace_of(path, "c1", life=life).origin for life in (1, 2, 3)]
    assert sorted(origin.stream.born.split(":")[0] for origin in origins) == ["other", "w0", "w0"]
    began = {r.stream: r.micros for r in reversed(list(read_events(path)))}
    assert [o.stream for o in origins] == sorted((o.stream for o in origins), key=began.__getitem__)


def test_the_log_of_this_process() -> None:
    """A log in memory is read as far as it is durable, while it is written."""
    with EventLog.open("memory:") as log:
        register(log, "c1", "c2")
        log.flush()
        assert [type(event) for _, event in trace_of(log, "c1").events] == [
            *(Registered, Activated, ActivityRecorded),
        ]
        close_connection(log, "c1")
        log.flush()
        assert len(trace_of(log, "c1").events) == 5


def test_a_run_of_the_node(path: Path) -> None:
    """A run is a stream like any other."""
    assert [type(event).__name__ for _, event in trace_of(path, "w0:1").events] == [
        *("Started", "Serving", "Stopped"),
    ]


def test_a_lifecycle_of_somebody_else(tmp_path: Path) -> None:
    """A user's stream needs its lifecycle, by which it is read and lifted to today's schema."""
    path = tmp_path / "events.db"
    with EventLog.open(path, lifecycles=(OLD_ORDER,)) as log:
        log.append(("order", "o1"), Old.Placed("tea", 2.5), Packed(2))
    with pytest.raises(InvalidArgument, match=r"order/o1 is of the lifecycle 'order', .* --module"):
        trace_of(path, "o1")
    found = trace_of(path, "o1", lifecycles=[ORDER])
    assert [event for _, event in found.events] == [New.Placed("tea", 250, "EUR"), Packed(2)]
    assert found.origin.foreign
    assert not trace_of(path, "o1", lifecycles=[OLD_ORDER]).origin.foreign


def test_unknown_events(path: Path) -> None:
    """What nobody knows is kept as it is read."""
    change(path, "UPDATE frames SET body = replace(body, '.recovered', '.redeemed')")
    kinds = [type(event) for _, event in trace_of(path, "c10").events]
    assert kinds[6] is UnknownEvent


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=12))
def test_the_lives_are_all_of_the_events(ids: list[str]) -> None:
    """Every event of an id is in exactly one of its lives, in order."""
    with EventLog.open("memory:") as log:
        for each in ids:
            if log.read_model.record("connection", each) is None:
                register(log, each)
            else:
                close_connection(log, each)
        log.flush()
        for each in set(ids):
            first = trace_of(log, each, life=1)
            lives = [trace_of(log, each, life=n + 1) for n in range(first.origin.lives)]
            events: list[Any] = [event for life in lives for _, event in life.events]
            recorded = [r.event for r in log.read() if r.stream.id == each]
            assert events == recorded


def test_a_lifecycle_of_the_same_name(path: Path) -> None:
    """A user's own definition of a connection reads and judges it."""
    rows = [[k.cls, s, d] for k in CONNECTION.events for s, d in k.moves.items()]
    states = CONNECTION.states
    mine = Lifecycle("connection", states=states, final=CONNECTION.final, transitions=rows)
    assert trace_of(path, "c10", lifecycles=[mine]).lifecycle is mine
