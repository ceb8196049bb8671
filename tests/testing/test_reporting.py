"""The report says what tests take, what they miss, and whether that is enough."""

from __future__ import annotations

from typing import Final

import pytest

from rat_fsm.replay.coverage import TransitionCoverage, covered
from rat_fsm.testing.reporting import Report
from tests.orders import OLD_ORDER, ORDER

PLACED: Final = ("order.placed", "new", "open")
PACKED: Final = ("order.packed", "open", "open")
NOTED: Final = ("order.noted", "open", "open")
DONE: Final = ("order.done", "open", "done")
SOME: Final = covered(ORDER, {PLACED: 5, NOTED: 1, ("order.lost", "open", "gone"): 2}, None)
ALL: Final = covered(ORDER, dict.fromkeys(ORDER.rows(), 1), None)


def report(
    *coverages: TransitionCoverage,
    least: float | None = None,
    missing: tuple[str, ...] = (),
    failures: tuple[str, ...] = (),
) -> Report:
    """A report about lifecycles that are called a, b and c."""
    return Report(dict(zip("abc", coverages, strict=False)), missing, least, failures)


def test_what_is_missed_is_told() -> None:
    """State by state, with what belongs to another definition."""
    assert list(report(SOME).lines()) == [
        "a: 2 of 4 edges (50 %), 1 of 2 states",
        "    no test: order.packed in open",
        "    no test: order.done from open to done",
        "    not in this table, 2 times: order.lost from open to gone",
    ]
    assert list(report(ALL).lines()) == ["a: 4 of 4 edges (100 %), 2 of 2 states"]


def test_what_production_takes_comes_first() -> None:
    """The busiest first, and each edge once."""
    coverage = covered(ORDER, {PLACED: 5}, {PACKED: 12, DONE: 1234, PLACED: 1246})
    assert list(report(coverage).lines()) == [
        "a: 1 of 4 edges (25 %), 1 of 2 states",
        "    production 1,234 times, no test: order.done from open to done",
        "    production 12 times, no test: order.packed in open",
        "    no test: order.noted in open",
    ]


def test_several_lifecycles_have_a_total() -> None:
    """It is of all edges, and rounded down: 100 % is everything."""
    none = covered(OLD_ORDER, {}, None)
    assert list(report(ALL, none, none).lines())[-1] == "total: 4 of 14 edges (28 %)"


def test_nothing_is_no_coverage() -> None:
    """A session in which no log was written, and one that never came to what was asked for."""
    assert list(report().lines()) == ["no test wrote an event of a lifecycle"]
    assert list(report(missing=("job",)).lines()) == ["job: no test wrote an event"]


@pytest.mark.parametrize(
    ("made", "problems"),
    [
        (report(SOME), []),
        (report(SOME, least=50.0), []),
        (report(SOME, least=50.5), ["2 of 4 edges (50 %) is less than --rat-fail-under=50.5"]),
        (report(ALL, least=100.0), []),
        (report(SOME, ALL, least=75.0), []),
        (report(ALL, missing=("job",)), []),
        (report(ALL, least=1.0, missing=("job",)), ["no test wrote an event of job"]),
        (report(least=0.0), ["0 of 0 edges (0 %) is less than --rat-fail-under=0"]),
        (report(ALL, failures=("a worker crashed",)), ["a worker crashed"]),
    ],
)
def test_what_is_not_enough(made: Report, problems: list[str]) -> None:
    """Only where a bound is given, but for what failed altogether."""
    assert made.problems() == problems
