"""Follows every stream of one lifecycle through its states, and counts the ways it takes.

Payloads are not even looked at, so nobody's classes are needed: streams are judged by the
definitions that their frames were written under. What is kept grows with the streams open at
once, not with the log.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.projections.definitions import UNDEFINED, read_table
from rat_fsm.replay.quantiles import Sketch
from rat_fsm.replay.tables import Tables
from rat_fsm.table import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rat_fsm.codec import Body
    from rat_fsm.projections.definitions import Table
    from rat_fsm.stores.port import Frame, Store

    Edge = tuple[str, str, str]

_OURS: Final = {known.name: read_table(known.definition) for known in (CONNECTION, NODE)}
OVER: Final = object()  # the state of a stream that has ended: no way leads on


@attrs.define(eq=False)
class Way:
    """An edge of one definition; None is the state before the first event.

    Attributes:
        ends: whether it leads into a final state.
        moves: whether it leads elsewhere.
        count: how often it was taken.
    """

    tag: str
    source: str | None
    dest: str | None
    ends: bool
    moves: bool
    count: int = 0


@attrs.define(eq=False)
class Visit:
    """A stream in its present state; ``since`` is when it came there, microseconds."""

    born: int
    state: object = None
    since: int = 0


class Counting:
    """Takes one frame after the other.

    Attributes:
        table: the definition asked for; where a name was, the last that was in force.
        stays: state → how long each stay took that ended, microseconds.
        illegal: events that the definition in force has no way for.
        unknown: events that it does not name.
    """

    def __init__(self, store: Store, lifecycle: Lifecycle | str) -> None:
        self.stays: dict[str, Sketch] = {}
        self.illegal = 0
        self.unknown = 0
        self._tables = Tables(store)
        self._given: dict[str, Table] = {}
        self._name = lifecycle if isinstance(lifecycle, str) else lifecycle.name
        self.table = _OURS.get(self._name, UNDEFINED)
        if isinstance(lifecycle, Lifecycle):
            self.table = self._given[lifecycle.fingerprint] = read_table(lifecycle.definition)
        self._columns: dict[tuple[str, ...], Mapping[str, Mapping[object, Way]]] = {}
        self._in_force: dict[tuple[str, ...], Mapping[str, Table]] = {}
        self._visits: dict[str, dict[int, Visit]] = {}
        self._ended: list[int] = []

    def ways(self) -> list[Way]:
        """Every edge of every definition that was in force."""
        return [way for columns in self._columns.values() for way in _each(columns)]

    def taken(self) -> Counter[Edge]:
        """How often each edge was taken, without those that never were."""
        edges: Counter[Edge] = Counter()
        for way in self.ways():
            if way.count:
                source, dest = (
                    self.table.initial if s is None else s for s in (way.source, way.dest)
                )
                edges[way.tag, source, dest] += way.count
        return edges

    def names(self) -> list[str]:
        """The lifecycles that were in force."""
        return sorted({name for tables in self._in_force.values() for name in tables})

    def open_states(self) -> list[str]:
        """The present states of all streams that have begun and not ended."""
        states = (visit.state for visits in self._visits.values() for visit in visits.values())
        return [state for state in states if isinstance(state, str)]

    def take(self, frame: Frame, body: Body, first: int, stop: int) -> None:
        """Follows the rows before ``stop`` and counts those of them from ``first`` on."""
        columns = self._columns_of(frame.fingerprints)
        known = self._visits.setdefault(frame.writer, {})
        visits = self._present(known, body)
        if any(visits):
            ways = [columns.get(tag, {}) for tag, _, _ in body.types]
            self._rows(body.events[: min(first, stop)], visits, ways, frame.first_at, 0)
            self._rows(body.events[first:stop], visits, ways, frame.first_at, 1)
        while self._ended:
            known.pop(self._ended.pop(), None)

    def _columns_of(self, fingerprints: tuple[str, ...]) -> Mapping[str, Mapping[object, Way]]:
        """Tag → state → way, by the definition in force."""
        if fingerprints not in self._columns:
            given = {t.name: t for name, t in self._given.items() if name in fingerprints}
            tables = self._in_force[fingerprints] = {
                **self._tables.by_name(fingerprints),
                **given,
            }
            self._columns[fingerprints] = _columns(tables.get(self._name, UNDEFINED))
        if not self._given:
            self.table = self._in_force[fingerprints].get(self._name, self.table)
        return self._columns[fingerprints]

    def _present(self, known: dict[int, Visit], body: Body) -> list[Visit | None]:
        """Where a frame's streams stand, None for those of other lifecycles.

        One that has events and is not known has ended, and was forgotten.
        """
        name, get = self._name, known.get
        visits = [get(born) if of == name else None for of, _, born, _ in body.streams]
        for number, (of, _, born, before) in enumerate(body.streams):
            if visits[number] is None and of == name:
                visits[number] = visit = Visit(born, OVER if before else None)
                if not before:
                    known[born] = visit
        return visits

    def _rows(
        self,
        rows: Iterable[Sequence[Any]],
        visits: Sequence[Visit | None],
        ways: Sequence[Mapping[object, Way]],
        base: int,
        counted: int,
    ) -> None:
        """Follows rows; ``counted`` is 1, or 0 for those that are not to be counted."""
        for row in rows:
            visit = visits[row[1]]
            if visit is None:
                continue
            way = ways[row[2]].get(visit.state)
            if way is None:
                self._odd(counted, known=bool(ways[row[2]]))
                continue
            way.count += counted
            if way.moves:
                self._move(visit, way, base + row[0], counted)

    def _odd(self, counted: int, *, known: bool) -> None:
        if known:
            self.illegal += counted
        else:
            self.unknown += counted

    def _move(self, visit: Visit, way: Way, at: int, counted: int) -> None:
        if counted and way.source is not None:
            stays = self.stays.get(way.source)
            if stays is None:
                stays = self.stays[way.source] = Sketch()
            stays.add(at - visit.since)
        visit.state, visit.since = way.dest, at
        if way.ends:
            visit.state = OVER
            self._ended.append(visit.born)


def _columns(table: Table) -> dict[str, dict[object, Way]]:
    columns: dict[str, dict[object, Way]] = {}
    for tag, source, dest in table.rows():
        begin, end = (None if state == table.initial else state for state in (source, dest))
        way = Way(tag, begin, end, ends=dest in table.final, moves=begin != end)
        columns.setdefault(tag, {})[begin] = way
    return columns


def _each(columns: Mapping[str, Mapping[object, Way]]) -> Iterator[Way]:
    for column in columns.values():
        yield from column.values()
