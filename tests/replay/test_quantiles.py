"""Quantiles from a sketch, against the sorted durations themselves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.replay.quantiles import ACCURACY, Sketch

DURATIONS = st.integers(0, 2**63 - 1) | st.integers(0, 10)


def sketch_of(durations: list[int]) -> Sketch:
    """A sketch to which they were added."""
    sketch = Sketch()
    for duration in durations:
        sketch.add(duration)
    return sketch


@given(st.lists(DURATIONS, min_size=1), st.sampled_from([0.01, 0.5, 0.9, 1.0]))
def test_a_quantile_is_off_by_half_a_percent_at_most(durations: list[int], share: float) -> None:
    """Whatever was added, the answer is beside the duration that the share does not exceed."""
    exact = sorted(durations)[math.ceil(share * len(durations)) - 1]
    found = sketch_of(durations).quantile(share)
    assert found == pytest.approx(exact, rel=ACCURACY * 1.01, abs=0)


@given(DURATIONS, st.integers(1, 5))
def test_durations_that_are_alike_are_exact(duration: int, count: int) -> None:
    """Where nothing differs there is nothing to approximate."""
    assert sketch_of([duration] * count).quantile(0.5) == duration


def test_its_size_does_not_grow_with_what_is_added() -> None:
    """All lengths from a microsecond to 292,000 years fall into less than 4,500 buckets."""
    sketch = sketch_of([int(1.003**n) for n in range(14_500)])
    assert sketch.count == 14_500
    assert len(sketch._buckets) < 4_500


def test_nothing_added() -> None:
    """No duration, no quantile."""
    assert Sketch().quantile(0.5) is None
