"""The vocabulary: immutable facts, exact times, places in order."""

from __future__ import annotations

import datetime
import inspect

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm import events
from rat_fsm.events import (
    Activated,
    Position,
    Recorded,
    Registered,
    Started,
    Stopped,
    Stream,
    to_datetime,
    to_micros,
)

CLASSES = [cls for cls in vars(events).values() if inspect.isclass(cls) and attrs.has(cls)]
FIRST = datetime.datetime.min.replace(tzinfo=datetime.UTC)
LAST = datetime.datetime.max.replace(tzinfo=datetime.UTC)
# Not at the ends of all time, where another zone's clock would be outside of it.
MOMENTS = st.datetimes(
    min_value=datetime.datetime(1, 1, 3),  # noqa: DTZ001 - the zone is drawn
    max_value=datetime.datetime(9999, 12, 29),  # noqa: DTZ001 - likewise
    timezones=st.timezones(),
)


@given(MOMENTS)
def test_times_survive_the_way_to_microseconds_and_back(moment: datetime.datetime) -> None:
    """Exactly, whatever the zone, before 1970 too; what comes back is UTC."""
    back = to_datetime(to_micros(moment))
    # Converted first: a time that a zone's clocks skip equals no time of another zone (PEP 495).
    assert (back, back.tzinfo) == (moment.astimezone(datetime.UTC), datetime.UTC)


@given(st.integers(to_micros(FIRST), to_micros(LAST)))
def test_microseconds_survive_the_way_to_datetimes_and_back(micros: int) -> None:
    """Exactly, over all the time there is, where a float of seconds would lose some."""
    assert to_micros(to_datetime(micros)) == micros


def test_a_naive_time_is_no_moment() -> None:
    """It cannot be told from another one, so it does not become a number."""
    with pytest.raises(TypeError):
        to_micros(datetime.datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_facts_do_not_change(cls: type) -> None:
    """Every class is frozen, slotted, compared by value, and says what it means."""
    assert "__dict__" not in dir(cls)
    assert cls.__doc__
    one = cls(*(0 for _ in attrs.fields(cls)))
    assert one == cls(*(0 for _ in attrs.fields(cls)))
    for field in attrs.fields(cls):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(one, field.name, 1)


def test_defaults_are_not_shared() -> None:
    """What one event holds, no other one does."""
    assert Registered("x").metadata is not Registered("x").metadata
    assert Started([], {}).limits is not Started([], {}).limits
    assert Stopped().report is not Stopped().report
    assert Registered("x") == Registered("x", "stream", {})


@given(st.lists(st.tuples(st.integers(), st.integers())))
def test_positions_are_ordered_as_numbers(places: list[tuple[int, int]]) -> None:
    """By frame, then by offset: 9.2 comes before 10.1."""
    assert sorted(Position(*place) for place in places) == [Position(*p) for p in sorted(places)]


def test_places_print_as_they_are_typed() -> None:
    """A position as frame.offset, a stream as lifecycle/id."""
    assert str(Position(12, 3)) == "12.3"
    assert str(Stream("connection", "c1", "w0:17")) == "connection/c1"


def test_a_recorded_event_knows_its_time() -> None:
    """As an aware datetime, to the microsecond."""
    stream = Stream("connection", "c1", "w0:1")
    tag = "connection.activated"
    recorded = Recorded(None, 1_000_001, stream, 1, "w0", 1, tag, Activated())
    assert recorded.at == datetime.datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=datetime.UTC)
