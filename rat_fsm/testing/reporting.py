"""Says what tests take of lifecycles, in lines for a terminal, and whether that is enough."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rat_fsm.replay.counting import Edge
    from rat_fsm.replay.coverage import TransitionCoverage


@attrs.frozen
class Report:
    """The outcome of a test session.

    Attributes:
        coverages: what to call a lifecycle → what was taken of it.
        missing: lifecycles to report of which no test wrote anything.
        least: the percentage of all edges that must be taken, None where any will do.
        failures: what is wrong in any case.
    """

    coverages: Mapping[str, TransitionCoverage]
    missing: Sequence[str]
    least: float | None
    failures: Sequence[str]

    def lines(self) -> Iterator[str]:
        """The report."""
        for name, coverage in self.coverages.items():
            yield from _about(name, coverage)
        for name in self.missing:
            yield f"{name}: no test wrote an event"
        if not self.coverages and not self.missing:
            yield "no test wrote an event of a lifecycle"
        if len(self.coverages) > 1:
            yield f"total: {self._total()}"

    def problems(self) -> list[str]:
        """Why it is not enough; empty where it is."""
        found, (taken, edges) = list(self.failures), self._sums()
        if self.least is None:
            return found
        found += (f"no test wrote an event of {name}" for name in self.missing)
        if not edges or 100 * taken < self.least * edges:
            found.append(f"{self._total()} is less than --rat-fail-under={self.least:g}")
        return found

    def _sums(self) -> tuple[int, int]:
        coverages = self.coverages.values()
        return sum(len(c.taken) for c in coverages), sum(len(c.edges) for c in coverages)

    def _total(self) -> str:
        return _part(*self._sums())


def _part(taken: int, edges: int) -> str:
    """Never 100 % where something is missing."""
    share = math.floor(100 * taken / edges) if edges else 0
    return f"{taken} of {edges} edges ({share} %)"


def _about(name: str, coverage: TransitionCoverage) -> Iterator[str]:
    states = len(coverage.states)
    entered = states - len(coverage.missed_states)
    part = _part(len(coverage.taken), len(coverage.edges))
    yield f"{name}: {part}, {entered} of {states} states"
    counts, untested = coverage.production or {}, coverage.untested
    for edge in untested:
        yield f"    production {counts[edge]:,} times, no test: {_way(edge)}"
    yield from (f"    no test: {_way(edge)}" for edge in coverage.missed if edge not in untested)
    for edge, count in coverage.foreign.items():
        yield f"    not in this table, {count:,} times: {_way(edge)}"


def _way(edge: Edge) -> str:
    tag, source, dest = edge
    return f"{tag} in {source}" if source == dest else f"{tag} from {source} to {dest}"
