"""Events and requests as Hypothesis draws them: whatever their types allow, and a log takes."""

from __future__ import annotations

import datetime
import enum
import subprocess
import sys
from collections.abc import Mapping, Sequence  # noqa: TC003 - strategies look at them
from typing import TYPE_CHECKING, Annotated, Final, Literal, NewType

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rat_fsm.testing
from rat_fsm import core
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import (
    Position,
    Recorded,
    RetryRefused,
    RetryScheduled,
    Started,
    Stream,
    UnknownEvent,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.table import Lifecycle
from rat_fsm.testing import events, requests
from rat_fsm.testing.registering import REQUESTS
from tests.frames import LIFECYCLES
from tests.histories import some
from tests.orders import ORDER, New, Packed
from tests.traces.parcels import Sent

if TYPE_CHECKING:
    from decimal import Decimal

Cents = NewType("Cents", int)
QUICK: Final = settings(max_examples=8)


class Size(enum.Enum):
    """How large."""

    SMALL = "s"
    LARGE = "l"


@attrs.frozen
class Place:
    """A node of a tree."""

    name: str
    inside: Place | None = None


@attrs.frozen
class Rich:
    """An event with a field of every kind."""

    cents: Cents
    size: Size
    place: Place
    moment: datetime.datetime
    choice: Literal["a", "b"]
    marked: Annotated[int, "with a mark"]
    pair: tuple[int, str]
    some: tuple[int, ...]
    names: Sequence[str]
    bare: list  # type: ignore[type-arg]  # as some write it
    counts: Mapping[str, int]
    sizes: dict[Size, bool]
    maybe: float | None
    flags: frozenset[int]
    anything: object
    _hidden: int = 0
    made: int = attrs.field(init=False, default=7)


class Fields:
    """Where each value must be of its type."""

    TYPES: Final = {
        "cents": int,
        "size": Size,
        "place": Place,
        "moment": datetime.datetime,
        "pair": tuple,
        "some": tuple,
        "names": list,
        "bare": list,
        "counts": dict,
        "sizes": dict,
        "flags": frozenset,
    }


@QUICK
@given(events(Rich))
def test_every_kind_of_field(event: Rich) -> None:
    """Each value is of its field's type, nested ones too."""
    for name, cls in Fields.TYPES.items():
        assert isinstance(getattr(event, name), cls)
    assert event.choice in {"a", "b"}
    assert isinstance(event.place.inside, Place | None)
    assert event.made == 7


RICH: Final = Lifecycle(
    "rich", states=("there",), final={"there"}, transitions=[[Rich, "new", "there"]]
)


@settings(max_examples=5)
@given(events(Rich))
def test_a_log_takes_what_is_drawn(event: Rich) -> None:
    """And gives it back as it was."""
    with EventLog(lifecycles=[RICH]) as log:
        log.append((RICH, "a"), event)
        log.flush()
        assert [r.event for r in log.read() if r.stream.lifecycle == "rich"] == [event]


@pytest.mark.parametrize(
    "cls", [kind.cls for lifecycle in LIFECYCLES for kind in lifecycle.events], ids=str
)
def test_every_event_of_ours_can_be_drawn(cls: type) -> None:
    """By what its types say alone."""
    assert isinstance(some(events(cls)), cls)


@QUICK
@given(events(New.Placed, currency=st.sampled_from(["EUR", "CHF"])))
def test_a_field_by_a_strategy_of_ones_own(event: New.Placed) -> None:
    """In place of what its type says."""
    assert event.currency in {"EUR", "CHF"}


@attrs.frozen
class Weighed:
    """An event that checks what it is given."""

    grams: int = attrs.field(validator=attrs.validators.ge(0))


@QUICK
@given(events(Weighed))
def test_what_a_class_refuses_is_not_drawn(event: Weighed) -> None:
    """A validator is respected."""
    assert event.grams >= 0


@attrs.frozen
class Priced:
    """An event whose type only a type checker knows."""

    price: Decimal


def test_a_type_that_cannot_be_told() -> None:
    """It is named; nor could a log read such an event back."""
    with pytest.raises(InvalidArgumentType, match=r"the type of Priced\.price cannot be told: "):
        events(Priced)


def test_what_is_no_event() -> None:
    """What cannot be drawn is refused before anything is."""
    with pytest.raises(InvalidArgumentType, match="<class 'int'> is no attrs class"):
        events(int)
    with pytest.raises(InvalidArgument, match="Packed has no field 'box', only boxes"):
        events(Packed, box=st.integers())


@QUICK
@given(st.data())
def test_requests_of_ours(data: st.DataObject) -> None:
    """Every request that a lifecycle of ours decides can be drawn, and is decided or refused."""
    lifecycle = data.draw(st.sampled_from([CONNECTION, NODE]))
    request = data.draw(requests(lifecycle))
    assert type(request) in REQUESTS[lifecycle.fingerprint]


def test_every_request_is_there() -> None:
    """Each that is decided is a request of one of the two."""
    known = [cls for classes in REQUESTS.values() for cls in classes]
    assert sorted(known, key=str) == sorted(core._DECISIONS, key=str)


def test_a_policy_that_is_asked_answers() -> None:
    """The policy of a retry is a function with an answer that can be read."""
    request = some(requests(CONNECTION), lambda one: isinstance(one, core.Retry))
    answer = request.outcome(None)
    assert isinstance(answer, RetryRefused | RetryScheduled)
    assert repr(request) == f"Retry(outcome=Answer(event={answer!r}))"


@attrs.frozen
class Order:
    """A request of a user's."""

    item: str
    note = attrs.field()  # type: ignore[var-annotated]  # as some write it


@QUICK
@given(requests(ORDER, Order))
def test_requests_of_ones_own(request: object) -> None:
    """Where their classes are given; nobody stores them, so that no type is missed."""
    assert isinstance(request, Order)


def test_requests_of_nobody_knows_which_class() -> None:
    """They must be given."""
    with pytest.raises(InvalidArgument, match="of which classes the requests to order are"):
        requests(ORDER)


@pytest.mark.parametrize(
    "cls", [Started, core.Close, core.Retry, Position, Stream, Recorded, UnknownEvent, Lifecycle]
)
def test_hypothesis_knows_our_classes(cls: type) -> None:
    """By the entry point, in whatever is built of them."""
    Holder = attrs.make_class("Holder", {"held": attrs.field(type=cls)})  # noqa: N806 - a class
    held = some(st.builds(Holder)).held
    assert isinstance(held, cls)


@QUICK
@given(st.from_type(Position), st.from_type(Stream))
def test_envelopes_are_such_as_there_are(position: Position, stream: Stream) -> None:
    """Positions count from one, and streams were born somewhere."""
    assert position.frame >= 1
    assert position.offset >= 0
    assert stream.born.partition(":")[2].isdigit()


REGISTERED: Final = """
import sys
import hypothesis
assert "rat_fsm.testing.strategies" not in sys.modules, "made before it was asked for"
from rat_fsm.events import Activated
print(hypothesis.find(hypothesis.strategies.from_type(Activated), lambda _: True))
"""
ABSENT: Final = """
import sys
sys.modules["hypothesis"] = None
from rat_fsm.testing import VirtualClock, check_golden
try:
    from rat_fsm.testing import events
except ImportError as problem:
    print(type(problem).__name__, problem)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "said"),
    [
        (REGISTERED, "Activated(route='')"),
        (
            ABSENT,
            "MissingExtra rat_fsm.testing.events needs an extra: pip install 'rat-fsm[testing]'",
        ),
    ],
    ids=["registered", "absent"],
)
def test_hypothesis_is_no_duty(script: str, said: str) -> None:
    """Its plugin makes nothing before it is asked; without it the rest can be imported."""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == said


def test_the_public_names_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are imported late, too, and no other; a defect of ours is no missing extra."""
    for name in rat_fsm.testing.__all__:
        assert getattr(rat_fsm.testing, name) is not None
    assert set(rat_fsm.testing._LAZY) <= set(rat_fsm.testing.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'evnets'"):
        rat_fsm.testing.evnets  # noqa: B018
    monkeypatch.setitem(rat_fsm.testing._LAZY, "evnets", "nowhere")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'rat_fsm\.testing\.nowhere'"):
        rat_fsm.testing.evnets  # noqa: B018


@QUICK
@given(events(Sent))
def test_a_datetime(event: Sent) -> None:
    """What JSON holds as a string is drawn as what it is."""
    assert isinstance(event.since, datetime.datetime)
