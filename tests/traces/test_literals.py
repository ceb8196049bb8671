"""Literals: what Python reads back, laid out as formatters do."""

from __future__ import annotations

import ast
import datetime
import enum
import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import Activated, Closing, Registered, UnknownEvent
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.table import Lifecycle
from rat_fsm.testing.strategies import plain_json
from rat_fsm.traces.literals import construction, literal

if TYPE_CHECKING:
    from rat_fsm.table import EventType


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal down to their types."""
    return repr(left) == repr(right)


@given(plain_json)
def test_what_is_written_is_read_back(value: Any) -> None:
    """On one line or on many, a literal is the value, and no line is hostile to a terminal."""
    code = literal(value)
    assert same(ast.literal_eval(code.flat()), value)
    lines = list(code.lines("x = ", ""))
    assert same(ast.literal_eval("\n".join(lines).removeprefix("x = ")), value)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("it", '"it"'),
        ("it's", '"it\'s"'),
        ('a "b"', "'a \"b\"'"),
        ("'\"", "'\\'\"'"),
        ("\x1b\u202e\ud800\n", '"\\x1b\\u202e\\ud800\\n"'),
        ("名前", '"名前"'),
        ({"a": [1, None, 2.5, True]}, '{"a": [1, None, 2.5, True]}'),
        ([], "[]"),
        ({}, "{}"),
    ],
)
def test_one_line(value: Any, written: str) -> None:
    """A string is in double quotes where that changes nothing else."""
    assert literal(value).flat() == written


def test_many_lines() -> None:
    """What does not fit has an item a line, and a comma after the last."""
    value = {"a" * 30: "b" * 40, "c": [1, {"d": "e" * 80}]}
    assert list(literal(value).lines("    K = ")) == [
        "    K = {",
        f'        "{"a" * 30}": "{"b" * 40}",',
        '        "c": [',
        "            1,",
        "            {",
        f'                "d": "{"e" * 80}",',
        "            },",
        "        ],",
        "    }",
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf], b"x", (1, 2), {"a": object()}])
def test_what_is_no_literal(value: Any) -> None:
    """What has no literal is refused."""
    with pytest.raises(InvalidArgument, match="cannot be written as a literal"):
        literal(value)


def kind_of(lifecycle: Lifecycle, cls: type) -> EventType:
    """How a lifecycle knows a class."""
    kind = lifecycle.event_type(cls)
    assert kind is not None
    return kind


def made(event: Any, lifecycle: Lifecycle = CONNECTION) -> str:
    """The code that makes an event."""
    return construction("E", event, kind_of(lifecycle, type(event))).flat()


def test_events() -> None:
    """An event is the call of its class, without what goes without saying."""
    assert made(Activated()) == "E()"
    assert made(Registered("x", "sse", {})) == 'E(remote_addr="x", kind="sse")'
    assert made(Closing("a", "b", "c", 1)) == 'E(reason="a", ended_by="b", phase="c", code=1)'
    unknown = UnknownEvent("t", 7, {"a": 1}, "p")
    expected = 'E(tag="t", version=7, data={"a": 1}, problem="p")'
    assert construction("E", unknown, None).flat() == expected


class Colour(enum.Enum):
    """A type that JSON does not know."""

    RED = "red"


@attrs.frozen
class Painted:
    """An event with fields richer than JSON, and one that is private."""

    at: datetime.datetime
    colour: Colour = Colour.RED
    _note: str = ""
    tags: list[str] = attrs.field(factory=list)


@attrs.frozen(eq=False)
class Sealed:
    """An event that equals nothing but itself."""

    by: str


def twice(count: int) -> int:
    """A converter."""
    return 2 * count


@attrs.frozen
class Doubled:
    """An event whose class does something to what it is given."""

    count: int = attrs.field(converter=twice)


@attrs.frozen
class Picky:
    """An event whose class may refuse."""

    count: int = attrs.field()

    def __attrs_post_init__(self) -> None:
        raise LookupError(self.count)


PAINT = Lifecycle(
    "paint",
    states=("dry",),
    final={"dry"},
    transitions=[[cls, "new", "dry"] for cls in (Painted, Sealed, Doubled, Picky)],
)


def test_what_literals_do_not_make() -> None:
    """Where the class makes something else of literals, the JSON of the event is converted."""
    at = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    painted = (
        'convert({"at": "2026-01-02T00:00:00Z", "colour": "red", "_note": "x", "tags": []}, E)'
    )
    assert made(Painted(at, note="x"), PAINT) == painted
    assert made(Sealed("me"), PAINT) == 'convert({"by": "me"}, E)'
    assert made(Doubled(3), PAINT) == 'convert({"count": 6}, E)'
    picky = object.__new__(Picky)
    object.__setattr__(picky, "count", 7)
    assert made(picky, PAINT) == 'convert({"count": 7}, E)'


def test_what_is_a_default_by_value_only() -> None:
    """A value that equals the default but is of another type is written."""
    assert made(Registered("x", "stream", {"a": 1})) == 'E(remote_addr="x", metadata={"a": 1})'

    @attrs.frozen
    class Counted:
        """An event with a number."""

        count: float = 1

    lifecycle = Lifecycle("c", states=("x",), final={"x"}, transitions=[[Counted, "new", "x"]])
    assert made(Counted(1.0), lifecycle) == "E(count=1.0)"
