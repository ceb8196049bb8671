"""Shrinking: legal and the predicate, never more, and nothing left that could go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ErrorRecorded,
    Recovered,
    Registered,
    RetryScheduled,
    Stalled,
    UnknownEvent,
    Unstalled,
)
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.table import Lifecycle
from rat_fsm.traces import Told, Trace, expression, shrink, tell
from tests.orders import ORDER, Done, New, Noted, Packed
from tests.traces.made import ERROR, LIFE, RETRY, anything, is_legal, legal, trace

if TYPE_CHECKING:
    from collections.abc import Callable


def events_of(some: Trace) -> list[Any]:
    """What happens in a trace."""
    return [event for _, event in some.events]


def shrunk(text: str, *events: Any) -> Trace:
    """What an expression makes of events."""
    some = trace(*events)
    result = shrink(some, expression(text, CONNECTION))
    assert result.minimal
    return result.trace


def test_what_does_not_matter_goes() -> None:
    """Of a life with two retries, what shows a closing of one kind is two events."""
    assert events_of(shrunk("reason == 'completed'", *LIFE)) == [
        Registered("", "", {}),
        Closing("completed", "", "", None),
    ]


def test_the_way_back_is_not_made_up() -> None:
    """Two retries need a recovery between them: the one that was recorded."""
    found = shrunk("retries == 2", *LIFE)
    retry = RetryScheduled(0, 0.0, None, 0.0, "")
    assert events_of(found) == [Registered("", "", {}), retry, retry]
    again = shrunk("retries == 2 and bytes_sent >= 1600 and state == 'closed'", *LIFE)
    assert [type(event) for event in events_of(again)] == [
        *(Registered, Activated, ActivityRecorded, ActivityRecorded, RetryScheduled, Recovered),
        *(ActivityRecorded, RetryScheduled, Recovered, ActivityRecorded, Closing, Closed),
    ]


def test_a_number_comes_down_to_the_threshold() -> None:
    """A number ends at the least that will do; so does a time."""
    found = shrunk("bytes_sent >= 700 and duration > 2 and 'reset' in message", *LIFE)
    assert events_of(found) == [
        Registered("", "", {}),
        Activated(""),
        ActivityRecorded(700, 0),
        ErrorRecorded("", "reset", "", retryable=False),
    ]
    assert found.events[-1][0] == 2_000_001


def test_what_goes_only_together() -> None:
    """A retry and its end go though an error between them stays."""
    found = shrunk(
        "errors == 1 and bytes_sent == 11",
        *(Registered("x"), Activated(), ActivityRecorded(5, 1)),
        *(RETRY, ERROR, Recovered(1), ActivityRecorded(6, 1)),
    )
    assert [type(event) for event in events_of(found)] == [
        *(Registered, Activated, ActivityRecorded, ErrorRecorded, ActivityRecorded),
    ]


PREDICATES: Final[dict[str, Callable[[Told], object]]] = {
    "anything": lambda _told: True,
    "its last state": lambda told: told.record.state in {"retrying", "closing", "serving", "open"},
    "two of a kind": lambda told: len({type(e) for e in told.events}) < len(told.events),
    "an even number": lambda told: len(told.events) % 2 == 0,
    "much": lambda told: sum(getattr(e, "bytes_sent", 0) for e in told.events) > 1000,
    "a state twice": lambda told: any(
        told.states.count(state) > 1 for state in ("connecting", "draining", "open")
    ),
    "late": lambda told: told.value("duration") > 1.2,
}
# The searches below go on until nothing changes; this is not where they end.
ENOUGH: Final = 400_000


@given(legal(most=16), st.sampled_from(sorted(PREDICATES)))
def test_what_shrinking_keeps(some: Trace, name: str) -> None:
    """The result is legal, the predicate holds, it is no longer, and nothing single can go."""
    predicate = PREDICATES[name]
    if not predicate(tell(some)):
        with pytest.raises(InvalidArgument, match="does not hold for the stream as recorded"):
            shrink(some, predicate)
        return
    result = shrink(some, predicate, limit=ENOUGH)
    found = result.trace
    assert is_legal(found)
    assert predicate(tell(found))
    assert len(found.events) <= len(some.events)
    assert found.events[0][0] == 0
    assert [at for at, _ in found.events] == sorted(at for at, _ in found.events)
    kinds = [type(event) for event in events_of(found)]
    rest = iter(type(event) for event in events_of(some))
    assert all(kind in rest for kind in kinds), "they are some of the events, in their order"
    assert result.minimal
    for number in range(len(found.events) if len(found.events) > 1 else 0):
        events = (*found.events[:number], *found.events[number + 1 :])
        begin = events[0][0]
        fewer = attrs.evolve(found, events=tuple((at - begin, event) for at, event in events))
        assert not (is_legal(fewer) and predicate(tell(fewer)))
    assert shrink(some, predicate, limit=ENOUGH) == result, "and it is the same every time"


@settings(max_examples=20)
@given(anything(), st.integers(0, 300))
def test_it_is_bounded(some: Trace, limit: int) -> None:
    """No more events are folded than the limit says, and what is there by then is legal."""
    folded = 0

    def counting(told: Told) -> bool:
        nonlocal folded
        folded += len(told.events)
        return told.record.state != told.trace.lifecycle.initial

    told = tell(some)
    begin = len(told.events) + told.legal.count(True) * (not all(told.legal))
    if told.record.state == some.lifecycle.initial:
        return
    result = shrink(some, counting, limit=limit)
    assert folded - begin <= limit
    assert is_legal(result.trace)


def test_a_limit_is_told() -> None:
    """Where the limit comes first, the result says that it may not be minimal."""
    result = shrink(trace(*LIFE), expression("retries == 2", CONNECTION), limit=30)
    assert not result.minimal
    assert expression("retries == 2", CONNECTION)(tell(result.trace))


def test_illegal_events_go_first() -> None:
    """What the table has no way for is no part of the result."""
    unknown = UnknownEvent("connection.novelty", 7, {}, "unknown tag")
    assert events_of(
        shrunk("state == 'active'", LIFE[0], unknown, Closed("x", 0, 0, 0, 0, 0), LIFE[1])
    ) == [
        Registered("", "", {}),
        Activated(""),
    ]
    with pytest.raises(InvalidArgument, match="only with the events that the table has no way for"):
        shrink(trace(LIFE[0], unknown), expression("illegal > 0", CONNECTION))
    with pytest.raises(InvalidArgument, match="only with the events that the table has no way for"):
        shrink(trace(unknown), lambda _told: True)


def test_what_does_not_hold_is_explained() -> None:
    """An expression that does not hold says what the stream answers."""
    with pytest.raises(InvalidArgument, match=r"as recorded: retries is 2, reason is 'completed'$"):
        shrink(trace(*LIFE), expression("retries > 2 and reason == 'limit'", CONNECTION))


@pytest.mark.parametrize("problem", [ZeroDivisionError("oops"), SystemExit(3)])
def test_a_predicate_that_raises(problem: BaseException) -> None:
    """At the beginning or later, it is one error that says for which stream."""

    def predicate(told: Told) -> bool:
        if len(told.events) < 5:
            raise problem
        return True

    for events in (LIFE[:3], LIFE):
        with pytest.raises(InvalidArgument, match=f"raised {type(problem).__name__} for a stream"):
            shrink(trace(*events), predicate)


def test_an_expression_that_raises() -> None:
    """What cannot be compared is an error, not an answer."""
    for text in ("len(errors) > 1", "kind > 3", "'x' in errors"):
        with pytest.raises(InvalidArgument, match="raised TypeError"):
            shrink(trace(*LIFE), expression(text, CONNECTION))


def test_other_lifecycles() -> None:
    """A user's lifecycle shrinks by its own table, and its values by their types."""
    events = New.Placed("tea", 250, "EUR"), Packed(3), Noted({"by": ["ann"]}), Packed(4), Done()
    some = trace(*events, lifecycle=ORDER)
    result = shrink(some, expression("boxes > 2 and state == 'done' and note != None", ORDER))
    assert events_of(result.trace) == [New.Placed("", 0, ""), Packed(3), Noted({}), Done()]


@attrs.frozen
class Up:
    """One up."""


@attrs.frozen
class Down:
    """One down."""


@attrs.frozen
class Seen:
    """Somebody looked."""


LIFT: Final = Lifecycle(
    "lift",
    states=("ground", "first", "second"),
    final={"ground"},
    transitions=[
        [Up, "new", "first"],
        [Up, "first", "second"],
        [Down, "second", "first"],
        [Down, "first", "ground"],
        [Seen, ["first", "second"], None],
    ],
)


@settings(max_examples=25)
@given(st.lists(st.sampled_from([Up(), Down(), Seen()]), max_size=30))
def test_no_pair_is_left_that_could_go(events: list[Any]) -> None:
    """Where neither of two events can go alone, they go together."""
    state = LIFT.initial
    taken: list[Any] = []
    for event in events:
        after = LIFT.next_state(state, event)
        if after is not None:
            state, taken = after, [*taken, event]
    seen = taken.count(Seen())
    if not seen:
        return
    result = shrink(trace(*taken, lifecycle=LIFT), lambda told: told.events.count(Seen()) == seen)
    assert events_of(result.trace) == [Up(), *[Seen()] * seen]


def test_stalls() -> None:
    """The two ends of a stall are legal one without the other, and neither is made up."""
    events = Registered("x"), Activated(), Stalled(1.0), Unstalled(2.0), Stalled(3.0)
    assert events_of(shrunk("stalled and waited >= 2.5", *events)) == [
        *(Registered("", "", {}), Activated(""), Stalled(3.0)),
    ]
