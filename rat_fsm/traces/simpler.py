"""Simpler values and events than a given one, the simplest first, as shrinkers of data try them.

A value that is taken is simplified again, so that a threshold is found in logarithmic time: of a
number the candidates are 0, 1, half of it, three quarters, … and one less, as in QuickCheck.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rat_fsm.codec import event_of, payload_of
from rat_fsm.errors import InvalidArgument, InvalidArgumentType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.table import EventType


def simpler_events(kind: EventType, event: Any, place: int) -> Iterator[Any]:
    """The event with a simpler value in one of its fields, as far as its class takes it."""
    try:
        payload = payload_of(kind, event)
    except (InvalidArgument, InvalidArgumentType):
        return  # what cannot be written again stays as it is
    for value in simpler(payload[place]):
        try:
            yield event_of(kind, (*payload[:place], value, *payload[place + 1 :]))
        except InvalidArgumentType:
            continue


def simpler(value: Any) -> Iterator[Any]:
    """Plain JSON simpler than a value; each chain of them ends."""
    if value is not None:
        yield None  # where a field may be empty, that is the simplest
    match value:
        case bool():
            yield from (False,) * value
        case int():
            yield from _integers(value)
        case float():
            yield from _floats(value)
        case str():
            yield from _shorter(value)
        case list():
            yield from _shorter(value)
            yield from _inside_list(value)
        case dict():
            yield from _dicts(value)


def _integers(value: int) -> Iterator[int]:
    if value < 0:
        yield from (0, -value)
    elif value > 1:
        yield from (0, 1)
        yield from _towards(value)
    elif value:
        yield 0


def _towards(value: int) -> Iterator[int]:
    """Half of a number above 1, three quarters, seven eighths, … and one less."""
    less = value // 2
    while less:
        yield value - less
        less //= 2


def _floats(value: float) -> Iterator[float]:
    """Whole numbers are simpler than fractions, whatever their size."""
    if value < 0:
        yield from (0.0, -value)
    elif not value.is_integer():
        yield from (0.0, 1.0, float(math.floor(value)), float(math.ceil(value)))
    else:  # a large one less one may be itself
        yield from (less for less in map(float, _integers(int(value))) if less < value)


def _shorter(value: Any) -> Iterator[Any]:
    """A string or a list without its end or without its beginning, nothing at all first."""
    if value:
        yield value[:0]
    for keep in _towards(len(value)) if len(value) > 1 else ():
        yield value[:keep]
        yield value[-keep:]


def _inside_list(value: list[Any]) -> Iterator[list[Any]]:
    for number, item in enumerate(value):
        for other in simpler(item):
            yield [*value[:number], other, *value[number + 1 :]]


def _dicts(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if value:
        yield {}
    for key in value:
        yield {other: value[other] for other in value if other != key}
    for key, item in value.items():
        for other in simpler(item):
            yield {**value, key: other}
