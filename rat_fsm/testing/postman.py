"""The cheapest ways through a graph that take each of its edges: the Chinese postman's.

A way begins at one place and ends at one of some others. Give each of these an edge back to the
beginning that costs nothing, repeat edges until every place is left as often as it is entered, in
the cheapest manner, and walk round (Edmonds and Johnson, "Matching, Euler tours and the Chinese
postman", 1973; with directions that is a flow, so it takes polynomial time).
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Edge = tuple[str, str]


@attrs.frozen
class Arc:
    """One more of an edge, or with ``times`` -1 one less, on the way from ``source`` on."""

    edge: int
    times: int
    source: str


def ways(edges: Sequence[Edge], start: str, ends: Iterable[str]) -> list[list[int]]:
    """The numbers of the edges of each way: every edge is in one, in the fewest steps in all.

    Args:
        edges: (source, destination); there may be several between two places, and loops.
        start: where ways begin; it reaches every place.
        ends: where they end; every place reaches one of them.
    """
    closed = [*edges, *((end, start) for end in ends)]
    round_trip = _circuit(closed, _repeated(closed, len(edges)), start)
    found: list[list[int]] = [[]]
    for number in round_trip:
        if number < len(edges):
            found[-1].append(number)
        else:
            found.append([])
    return found[:-1]


def _repeated(edges: Sequence[Edge], real: int) -> list[int]:
    """How often to take each edge; those after the ``real`` ones cost nothing and need not be.

    The cheapest flow from what is entered more often to what is left more often.
    """
    times = [1] * real + [0] * (len(edges) - real)
    surplus = Counter(dest for _, dest in edges[:real])
    surplus.subtract(source for source, _ in edges[:real])
    while any(surplus.values()):
        costs, arcs = _nearest(edges, times, real, [s for s in surplus if surplus[s] > 0])
        place = min((s for s in costs if surplus[s] < 0), key=costs.__getitem__)
        surplus[place] += 1
        while place in arcs:
            arc = arcs[place]
            times[arc.edge] += arc.times
            place = arc.source
        surplus[place] -= 1
    return times


def _nearest(
    edges: Sequence[Edge], times: Sequence[int], real: int, sources: Iterable[str]
) -> tuple[dict[str, int], dict[str, Arc]]:
    """What it costs to come to each place, and the last arc there (Bellman and Ford's search).

    To take an edge once more costs one; to take one of its repetitions back gains one.
    """
    leaving: dict[str, list[tuple[str, int, Arc]]] = {}
    for number, (source, dest) in enumerate(edges):
        cost = 1 if number < real else 0
        leaving.setdefault(source, []).append((dest, cost, Arc(number, 1, source)))
        if times[number] > cost:  # an edge that costs something is taken once at least
            leaving.setdefault(dest, []).append((source, -cost, Arc(number, -1, dest)))
    costs = dict.fromkeys(sources, 0)
    arcs: dict[str, Arc] = {}
    waiting = deque(costs)
    while waiting:
        place = waiting.popleft()
        for dest, cost, arc in leaving[place]:
            if dest not in costs or costs[place] + cost < costs[dest]:
                costs[dest], arcs[dest] = costs[place] + cost, arc
                waiting.append(dest)
    return costs, arcs


def _circuit(edges: Sequence[Edge], times: Sequence[int], start: str) -> list[int]:
    """One round that takes each edge so many times (Hierholzer's algorithm)."""
    left: dict[str, Iterator[int]] = {}
    for place in dict.fromkeys(source for source, _ in edges):
        out = [n for n, (source, _) in enumerate(edges) for _ in range(times[n]) if source == place]
        left[place] = iter(out)
    taken: list[int] = []
    stack: list[tuple[str, int | None]] = [(start, None)]
    while stack:
        place, came = stack[-1]
        number = next(left[place], None)
        if number is not None:
            stack.append((edges[number][1], number))
            continue
        stack.pop()
        if came is not None:
            taken.append(came)
    return taken[::-1]
