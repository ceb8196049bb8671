"""Histories and logs as Hypothesis draws them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm import replay
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import ActivityRecorded, Recorded, UnknownEvent
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log.subscription import read_recorded
from rat_fsm.log.verifying import verify_log
from rat_fsm.projections.model import ReadModel
from rat_fsm.table import Lifecycle
from rat_fsm.testing import Recorder, histories, logs
from tests.frames import LIFECYCLES
from tests.histories import few, some
from tests.orders import ORDER, New, Noted

if TYPE_CHECKING:
    from rat_fsm.stores.memory import MemoryStore

QUICK: Final = settings(max_examples=8)
SEVERAL: Final = {"ids": "ab", "writers": ("w0", "w1"), "events": few}


def totals(history: list[Recorded]) -> Any:
    """What a replay counts."""
    return replay(history, lifecycles=LIFECYCLES).totals


@QUICK
@given(histories(LIFECYCLES, **SEVERAL))  # type: ignore[arg-type]
def test_legal_histories(history: list[Recorded]) -> None:
    """Nothing in them is illegal or unknown, nor longer than asked for."""
    counted = totals(history)
    assert (counted.illegal, counted.unknown) == (0, 0)
    assert len(history) <= 20


@QUICK
@given(st.sampled_from(LIFECYCLES), st.data())
def test_illegal_histories(lifecycle: Lifecycle, data: st.DataObject) -> None:
    """At least one event is illegal in each, and every event is known."""
    history = data.draw(histories(lifecycle, legal=False, events=few))
    counted = totals(history)
    assert counted.illegal > 0
    assert counted.unknown == 0


@QUICK
@given(histories((CONNECTION, ORDER), legal=None, min_size=5, max_size=9, **SEVERAL))  # type: ignore[arg-type]
def test_any_histories(history: list[Recorded]) -> None:
    """They are as long as asked for, in the order of time, each writer's numbers without a hole."""
    assert 5 <= len(history) <= 9
    assert all(one.micros <= other.micros for one, other in pairwise(history))
    for writer in ("w0", "w1"):
        seqs = [one.seq for one in history if one.writer == writer]
        assert seqs == list(range(1, len(seqs) + 1))
    assert {one.stream.lifecycle for one in history} <= {"connection", "order"}


def test_any_histories_hold_everything() -> None:
    """Legal, illegal and unknown events."""
    drawn = histories(ORDER, legal=None, max_size=6, events=few)
    assert some(drawn, lambda history: totals(history).illegal > 0)
    assert some(drawn, lambda history: totals(history).unknown > 0)
    assert some(drawn, lambda history: len(history) > 3 and totals(history).illegal == 0)


def test_a_legal_history_ends_with_its_streams() -> None:
    """An id that may begin again does, another does not."""
    orders = histories(ORDER, min_size=10, events=few)
    ended = some(orders, lambda history: history and history[-1].type == "order.done")
    assert len(ended) < 10
    again = some(histories(CONNECTION, events=few), lambda h: len({r.stream for r in h}) > 1)
    assert {recorded.stream.id for recorded in again} == {"a"}


@attrs.frozen
class Went:
    """It went."""


@attrs.frozen
class Came:
    """It came."""


def test_a_breach_where_nothing_is_illegal_is_not_drawn() -> None:
    """Only where something is; and where nothing ever is, that is said."""
    light = Lifecycle(
        "light",
        states=("on", "off"),
        final={"off"},
        transitions=[[Came, ["new"], "on"], [Went, ["new", "on"], "off"]],
    )
    found = some(histories(light, legal=False), lambda history: len(history) > 1)
    assert replay(found, lifecycles=[light]).totals.illegal > 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"min_size": 3, "max_size": 2}, "no history has from 3 to 2 events"),
        ({"min_size": -1}, "no history has from -1 to 20 events"),
        ({"legal": False, "max_size": 0}, "no history has from 1 to 0 events"),
        ({"ids": ()}, "a history wants at least one of ids"),
        ({"writers": ()}, "a history wants at least one of writers"),
        ({"lifecycles": ()}, "a history wants at least one of lifecycles"),
    ],
)
def test_what_cannot_be_drawn(arguments: dict[str, Any], problem: str) -> None:
    """It is refused before anything is drawn."""
    with pytest.raises(InvalidArgument, match=problem):
        histories(**{"lifecycles": ORDER, **arguments})


def test_where_nothing_is_ever_illegal() -> None:
    """A history with something illegal in it is refused."""
    with pytest.raises(InvalidArgument, match="no event is ever illegal in seen"):
        histories(Lifecycle.observed("seen"), legal=False)


def test_what_is_no_lifecycle() -> None:
    """Likewise."""
    with pytest.raises(InvalidArgumentType, match="'order' is no lifecycle"):
        histories(["order"])  # type: ignore[list-item]


def test_a_recorder_by_hand() -> None:
    """It counts for each writer and stream, and refuses nothing."""
    recorder = Recorder([ORDER])
    placed = New.Placed("a book", 100, "EUR")
    early = recorder.record("order", "a", Noted())
    first = recorder.record("order", "a", placed)
    other = recorder.record("order", "a", placed, writer="w1")
    assert (early.stream.born, early.version) == ("w0:1", 1)
    assert (first.stream.born, first.version, first.seq) == ("w0:2", 1, 2)
    assert (other.stream.born, other.type) == ("w1:1", "order.placed")
    assert recorder.state("order", "a") == "open"
    assert recorder.state("order", "b") == "new"


@QUICK
@given(logs((CONNECTION, CONNECTION, NODE, ORDER), legal=None, **SEVERAL))  # type: ignore[arg-type]
def test_logs_are_sound(store: MemoryStore) -> None:
    """Their chains verify, and a replay takes every event."""
    assert verify_log(store).problems == ()
    events = list(read_recorded(store, ReadModel(LIFECYCLES), None))
    assert sum(1 for _ in events) == sum(stored.frame.count for stored in store.read())
    assert replay(store, lifecycles=LIFECYCLES).totals.unknown == sum(
        isinstance(recorded.event, UnknownEvent) for recorded in events
    )


def test_logs_hold_several_writers_and_show_themselves() -> None:
    """What was drawn can be read where a failure is printed."""
    store = some(
        logs(CONNECTION, events=few, max_frame=2),
        lambda store: len(store.heads()) > 1 and any(s.frame.count > 1 for s in store.read()),
    )
    assert repr(store).startswith("a log of [('w")
    assert '"connection.registered"' in repr(store)


def test_logs_hold_activity_as_a_writer_stores_it() -> None:
    """In the same short rows."""
    found = some(
        logs(CONNECTION, events=few, writers=("w0",)),
        lambda store: any(b"activity_recorded" in stored.frame.body for stored in store.read()),
    )
    events = [r.event for r in read_recorded(found, ReadModel([CONNECTION]), None)]
    assert any(isinstance(event, ActivityRecorded) for event in events)


def test_frames_have_a_size() -> None:
    """At least one event."""
    with pytest.raises(InvalidArgument, match="no frame has at most 0 events"):
        logs(ORDER, max_frame=0)
