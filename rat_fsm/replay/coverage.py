"""Which edges of a lifecycle some logs take, such as those of tests, and which another does."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from rat_fsm.codec import no_collection, open_body
from rat_fsm.errors import InvalidArgumentType
from rat_fsm.replay.counting import Counting
from rat_fsm.replay.sources import opened
from rat_fsm.table import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.projections.definitions import Table
    from rat_fsm.replay.counting import Edge
    from rat_fsm.replay.sources import LogSource


@attrs.frozen
class TransitionCoverage:
    """What tests take of a lifecycle; can be drawn like the lifecycle itself.

    Attributes:
        name: the lifecycle's.
        initial: the state before the first event, which is not among ``states``.
        states: state → how often tests came into it from another.
        final: those of the states that end a stream.
        edges: (tag, source, destination), each one of the table → how often tests took it.
        production: the same of the log of production; None where there was none.
        foreign: edges that were taken, in either, and are not in the table: a log was written
            under another definition.
    """

    name: str
    initial: str
    states: Mapping[str, int]
    final: frozenset[str]
    edges: Mapping[Edge, int]
    production: Mapping[Edge, int] | None
    foreign: Mapping[Edge, int]

    def rows(self) -> list[Edge]:
        """Every edge of the table: (tag, source, destination)."""
        return list(self.edges)

    @property
    def taken(self) -> list[Edge]:
        """The edges that tests take, in the order of the table."""
        return [edge for edge, count in self.edges.items() if count]

    @property
    def missed(self) -> list[Edge]:
        """The edges that no test takes."""
        return [edge for edge, count in self.edges.items() if not count]

    @property
    def missed_states(self) -> list[str]:
        """The states that no test comes into."""
        return [state for state, count in self.states.items() if not count]

    @property
    def untested(self) -> list[Edge]:
        """The edges that production takes and no test does, the busiest first."""
        counts = Counter(self.production or {})
        wanted = (edge for edge in self.missed if counts[edge])
        return sorted(wanted, key=counts.__getitem__, reverse=True)

    @property
    def percent(self) -> float:
        """How much of all edges tests take, 0 to 100."""
        return 100 * len(self.taken) / max(1, len(self.edges))  # a log may define none


def transition_coverage(
    lifecycle: Lifecycle, *logs: LogSource, production: LogSource | None = None
) -> TransitionCoverage:
    """Holds the edges that logs take against the table.

    Each event is judged by the definition it was written under; one that this has no way for
    takes no edge. Of an open log what is durable counts: flush it.

    ::

        coverage = transition_coverage(ORDER, "tests.db", production="orders.db")
        assert not coverage.untested

    Args:
        lifecycle: whose edges.
        logs: what tests wrote: URLs or paths, stores, or logs.
        production: a log to compare with.

    Raises:
        InvalidArgumentType: ``lifecycle`` is none, or a source is no log.
        HistoryEvicted: a bounded memory log no longer holds the beginning.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: a log cannot be read.
    """
    if not isinstance(lifecycle, Lifecycle):
        raise InvalidArgumentType(f"coverage is of a Lifecycle, not of {lifecycle!r}")
    tests: Counter[Edge] = Counter()
    for log in logs:
        tests.update(counted(lifecycle, log).taken())
    busy = None if production is None else counted(lifecycle, production).taken()
    return covered(lifecycle, tests, busy)


def counted(lifecycle: Lifecycle | str, log: LogSource) -> Counting:
    """What the streams of a lifecycle did in a whole log: nothing, where there are none.

    Raises:
        InvalidArgumentType, HistoryEvicted, StoreUnreadable, UnsupportedFormat, DamagedFrame: see
            `transition_coverage`.
    """
    with opened(log) as store:
        counting = Counting(store, lifecycle)
        for stored in store.read():
            with no_collection():
                body = open_body(stored)
                counting.take(stored.frame, body, 0, len(body.events))
    return counting


def lifecycles_in(log: LogSource) -> set[str]:
    """The names of the lifecycles that a log has streams of.

    Raises:
        InvalidArgumentType, HistoryEvicted, StoreUnreadable, UnsupportedFormat, DamagedFrame: see
            `transition_coverage`.
    """
    with opened(log) as store:
        return {stream[0] for stored in store.read() for stream in open_body(stored).streams}


def covered(
    table: Lifecycle | Table, tests: Mapping[Edge, int], production: Mapping[Edge, int] | None
) -> TransitionCoverage:
    """The coverage of a table by edges that were counted."""
    rows = table.rows()
    entered = dict.fromkeys(table.states, 0)
    edges = {edge: tests.get(edge, 0) for edge in rows}
    for (_, source, dest), count in edges.items():
        entered[dest] += count if source != dest else 0
    busy = None if production is None else {edge: production.get(edge, 0) for edge in rows}
    either = Counter(tests) + Counter(production or {})
    foreign = {edge: count for edge, count in either.items() if edge not in edges}
    return TransitionCoverage(
        table.name, table.initial, entered, frozenset(table.final), edges, busy, foreign
    )
