"""Simpler values: the simplest first, and no end of the chain is missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.events import Closing, Registered
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.table import EventType
from rat_fsm.testing.strategies import plain_json
from rat_fsm.traces.simpler import simpler, simpler_events
from tests.orders import ORDER, New, Noted

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        (False, [None]),
        (True, [None, False]),
        (0, [None]),
        (1, [None, 0]),
        (9, [None, 0, 1, 5, 7, 8]),
        (-4, [None, 0, 4]),
        (0.0, [None]),
        (0.5, [None, 0.0, 1.0, 0.0, 1.0]),
        (-2.5, [None, 0.0, 2.5]),
        (3.0, [None, 0.0, 1.0, 2.0]),
        (1e300, [None, 0.0, 1.0]),
        ("", [None]),
        ("abcd", [None, "", "ab", "cd", "abc", "bcd"]),
        ([2], [None, [], [None], [0], [1]]),
        ({"a": 1, "b": ""}, [None, {}, {"b": ""}, {"a": 1}]),
    ],
)
def test_candidates(value: Any, expected: list[Any]) -> None:
    """Nothing first, then halves, then as little less as there is."""
    found = list(simpler(value))[: len(expected)]
    assert (found, [type(x) for x in found]) == (expected, [type(x) for x in expected])


def search(value: Any, holds: Callable[[Any], bool]) -> tuple[Any, int]:
    """Where a greedy search ends, and after how many candidates."""
    tried = 0
    while True:
        for candidate in simpler(value):
            tried += 1
            if holds(candidate):
                value = candidate
                break
        else:
            return value, tried


@given(st.integers(1, 2**60), st.integers(0, 2**60))
def test_a_threshold_is_found(low: int, more: int) -> None:
    """The smallest number that will do is found in the square of the logarithm."""
    found, tried = search(low + more, lambda x: x is not None and x >= low)
    assert (found, tried < 4_000) == (low, True)


@given(plain_json, st.randoms(use_true_random=False))
def test_every_chain_ends(value: Any, chance: Any) -> None:
    """Whatever of the candidates is taken, none is the value itself, and some day none is left."""
    for _ in range(10_000):
        candidates = [c for c in simpler(value) if c is not None or chance.random() < 0.1]
        assert value not in [c for c in candidates if type(c) is type(value)]
        if not candidates:
            return
        value = chance.choice(candidates[:3])
    pytest.fail("it goes on and on")


def kind_of(lifecycle: Any, cls: type) -> EventType:
    """How a lifecycle knows a class."""
    kind = lifecycle.event_type(cls)
    assert isinstance(kind, EventType)
    return kind


def test_events() -> None:
    """One field becomes simpler, and only values that its class takes are offered."""
    closing = Closing("kicked", "admin", "streaming", 1006)
    kind = kind_of(CONNECTION, Closing)
    reasons = [event.reason for event in simpler_events(kind, closing, 0)]
    assert (reasons[0], None in reasons) == ("", False)
    assert next(simpler_events(kind, closing, 3)) == attrs.evolve(closing, code=None)
    metadata = Registered("10.0.0.1", "sse", {"a": 1})
    assert next(simpler_events(kind_of(CONNECTION, Registered), metadata, 2)).metadata == {}
    assert next(simpler_events(kind_of(ORDER, Noted), Noted([1]), 0)) == Noted(None)


def test_an_event_that_cannot_be_written_again() -> None:
    """It stays as it is."""
    placed = New.Placed("tea", 2**70, "EUR")
    assert list(simpler_events(kind_of(ORDER, New.Placed), placed, 0)) == []
