"""Given, when, then: what such a test accepts, and what it says where it does not hold."""

from __future__ import annotations

import functools
import inspect
import itertools
import textwrap
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from rat_fsm.core import Activate, Activity, Close, Register
from rat_fsm.errors import IllegalEvent, InvalidArgument, InvalidArgumentType, Refused
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    DrainStarted,
    Registered,
    Serving,
    Started,
)
from rat_fsm.lifecycles import NODE
from rat_fsm.log import EventLog
from rat_fsm.testing import VirtualClock, given
from tests.orders import ORDER, Done, New, Noted, Packed

if TYPE_CHECKING:
    from collections.abc import Iterable

TEA: Final = New.Placed("tea", 250, "EUR")


@attrs.frozen
class Pack:
    """Put it into so many boxes."""

    boxes: int


@attrs.frozen
class Deliver:
    """Bring it, and write a note."""

    note: str = ""


class Empty(LookupError):
    """An error of somebody's own."""


def decide(request: Any, stream: Any, model: Any) -> Iterable[Any]:
    """How orders decide: at most as many boxes as there are orders."""
    match request:
        case Pack(boxes=0):
            raise Empty("nothing to pack")
        case Pack(boxes=boxes) if boxes > model.totals.states["order"]["open"]:
            raise Refused(f"{stream.id} cannot have {boxes} boxes", cause="too_many")
        case Pack(boxes=boxes):
            return (Packed(boxes),)
        case Deliver(note=note):
            return (Noted(note), Done()) if note else (Done(),)
    return ()


order = functools.partial(given, lifecycle=ORDER, decide=decide)


def test_what_follows() -> None:
    """The events that are decided, nothing, or a refusal; and a test may go on from there."""
    order(TEA).when(Deliver("thanks")).then(Noted("thanks"), Done())
    order().when("anything").then()
    packed = order(TEA).when(Pack(1)).then(Packed(1))
    assert packed.state == "open"
    packed.when(Deliver()).then(Done()).when(Deliver()).then_refused(IllegalEvent)
    order(TEA).when(Pack(2)).then_refused(cause="too_many")
    order(TEA).when(Pack(2)).then_refused(match="it cannot have 2 boxes").when(Pack(1)).then(
        Packed()
    )
    order(TEA).when(Pack(0)).then_refused(Empty)
    order(TEA).also(ORDER, "other", TEA).when(Pack(2)).then(Packed(2))


def test_the_lifecycles_of_rat_fsm_decide_by_themselves() -> None:
    """Nothing need be said of them."""
    active = (Registered("10.0.0.1"), Activated(), ActivityRecorded(7, 1))
    given().when(Register("10.0.0.1", "sse", {}, 1)).then(Registered("10.0.0.1", "sse", {}))
    given(*active[:1]).when(Activity(7, 1)).then(*active[1:])
    closed = Closed("normal", 7, 1, 0, 0, 2.0)
    at = VirtualClock().now()
    ended = given(*active).when(Close("normal", "app", at + 2_000_000))
    ended.then(Closing("normal", "app", "streaming"), closed)
    draining = (Started([], {}), Serving(), DrainStarted(30.0, 0))
    register = Register("10.0.0.1", "sse", {}, None)
    given().also(NODE, "run", *draining).when(register).then_refused(cause="draining")


def test_the_example_in_its_description_holds() -> None:
    """Whoever copies it has a test that passes."""
    example = str(inspect.getdoc(given)).partition("::\n\n")[2].partition("Tests of")[0]
    exec(textwrap.dedent(example), {})  # noqa: S102 - it is ours


def failure(test: Any) -> list[str]:
    """The lines that a test which does not hold says."""
    with pytest.raises(AssertionError) as caught:
        test()
    return str(caught.value).splitlines()


def test_what_a_failure_says() -> None:
    """In which state it was asked, what was to follow, and what did."""
    deliver = order(TEA).when(Deliver("thanks"))
    assert failure(lambda: deliver.then(Noted("thank"), Done())) == [
        "order in 'open', when Deliver(note='thanks')",
        "  - Noted(note='thank')",
        "  + Noted(note='thanks')",
        "  ?                  +",
        "    Done()",
    ]
    assert failure(lambda: deliver.then_refused(cause="unpaid")) == [
        "order in 'open', when Deliver(note='thanks')",
        "  was to raise Refused for 'unpaid',",
        "  but answered Noted(note='thanks'), Done()",
    ]
    assert failure(lambda: order(TEA).when(Pack(2)).then(Packed(2))) == [
        "order in 'open', when Pack(boxes=2)",
        "  was to answer Packed(boxes=2),",
        "  but raised Refused('it cannot have 2 boxes')",
    ]
    assert failure(lambda: order(TEA).when(Pack(2)).then_refused(cause="unpaid"))[1:] == [
        "  was to raise Refused for 'unpaid',",
        "  but raised Refused('it cannot have 2 boxes')",
    ]
    assert failure(lambda: order().when(Activate()).then(Packed())) == [
        "order in 'new', when Activate(route='')",
        "  - Packed(boxes=1)",
    ]
    assert failure(lambda: order(TEA).when(Pack(2)).then_refused(match="boots"))[1:] == [
        "  was to raise Refused with a message like 'boots',",
        "  but raised Refused('it cannot have 2 boxes')",
    ]


def test_a_failure_has_a_cause() -> None:
    """A defect of the decision shows with the line where it is."""
    asked = given(TEA, lifecycle=ORDER, decide=lambda _, stream, __: stream.nobody).when("pack")
    for asserting in (asked.then, asked.then_refused):
        with pytest.raises(AssertionError) as caught:
            asserting()
        assert isinstance(caught.value.__cause__, AttributeError)


def test_what_decides_by_something_else_is_found() -> None:
    """A decision that draws, counts or reads a clock cannot be replayed."""
    numbers = itertools.count(1)
    counting = given(TEA, lifecycle=ORDER, decide=lambda *_: [Packed(next(numbers))])
    assert failure(lambda: counting.when("pack").then(Packed(1))) == [
        "order in 'open', when 'pack'",
        "  answered Packed(boxes=1),",
        "  then answered Packed(boxes=2):",
        "  what is drawn, or the time, belongs into the request",
    ]


def test_what_is_no_test() -> None:
    """A past that cannot be, a lifecycle without a decision, and what is no error."""
    with pytest.raises(IllegalEvent, match="order/it is 'new' and cannot take"):
        order(Packed())
    with pytest.raises(InvalidArgumentType, match="is no event of the lifecycle order"):
        order([TEA])
    with pytest.raises(InvalidArgument, match="say how order decides"):
        given(TEA, lifecycle=ORDER)
    with pytest.raises(InvalidArgumentType, match="'order' is no lifecycle"):
        given(lifecycle="order")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentType, match="takes a class of exceptions, not 'too_many'"):
        order(TEA).when(Pack(2)).then_refused("too_many")  # type: ignore[arg-type]


@examples(st.lists(st.builds(Pack, st.integers(0, 3)) | st.builds(Deliver), max_size=5))
def test_it_decides_as_a_log_does(requests: list[Any]) -> None:
    """Whatever is asked one after the other, a log answers what the test has said."""
    told = order(TEA)
    with EventLog(lifecycles=[ORDER]) as log:
        log.append((ORDER, "it"), TEA)
        for request in requests:
            before = len(list(_events(log)))
            try:
                log.transact(ORDER, "it", functools.partial(decide, request))
            except (Refused, Empty) as problem:
                told.when(request).then_refused(type(problem))
            else:
                told = told.when(request).then(*list(_events(log))[before:])


def _events(log: EventLog) -> Iterable[Any]:
    log.flush()
    return (recorded.event for recorded in log.read() if recorded.stream.lifecycle == "order")
