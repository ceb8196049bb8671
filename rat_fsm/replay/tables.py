"""The tables that the streams of a log are judged by: those its frames were written under.

The lifecycles of rat_fsm are known; others, and older ones, are read from the definitions that
writers record when they start. Nobody's classes are needed for that.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from rat_fsm.codec import decode
from rat_fsm.events import Started
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.replay.sources import mentioning, new_model
from rat_fsm.table import fingerprint_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rat_fsm.codec import Decoded
    from rat_fsm.stores.port import Store

UNKNOWN: Final = "?"
STARTED: Final = b'"node.started"'  # is in the body of every frame in which a run begins


@attrs.frozen
class Table:
    """One lifecycle as a definition in a log gives it."""

    name: str
    initial: str
    final: frozenset[str]
    moves: Mapping[tuple[str, str], str]
    states: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, str, str]]:
        """Every edge: (tag, source, destination)."""
        return [(tag, source, dest) for (tag, source), dest in self.moves.items()]

    def next_state(self, state: str, tag: str) -> str | None:
        """Where an event leads from a state, None where it is illegal."""
        return self.moves.get((tag, state))


class _Anything(Table):
    """The table of a lifecycle that nobody defined: one state, and every event is legal."""

    def next_state(self, state: str, tag: str) -> str | None:  # noqa: ARG002 - Table's signature
        return state


UNDEFINED: Final = _Anything("", UNKNOWN, frozenset(), {})


class Tables:
    """Finds the tables that frames name by their fingerprints.

    Args:
        store: the log, which is searched for definitions that are not known.
        known: tables of the log that somebody has found already, by fingerprint.
    """

    def __init__(self, store: Store, known: Mapping[str, Table] | None = None) -> None:
        self._store = store
        ours = {lc.fingerprint: read_table(lc.definition) for lc in (CONNECTION, NODE)}
        self._known = {**(known or {}), **ours}
        self._searched = 0
        self._named: dict[tuple[str, ...], dict[str, Table]] = {}

    def of(self, fingerprints: tuple[str, ...], lifecycle: str) -> Table:
        """The table of a lifecycle in a frame."""
        return self.by_name(fingerprints).get(lifecycle, UNDEFINED)

    def by_name(self, fingerprints: tuple[str, ...]) -> Mapping[str, Table]:
        """Lifecycle → its table in a frame."""
        named = self._named.get(fingerprints)
        if named is None:
            self._search(set(fingerprints))
            found = [self._known[name] for name in fingerprints if name in self._known]
            named = self._named[fingerprints] = {table.name: table for table in reversed(found)}
        return named

    def _search(self, wanted: set[str]) -> None:
        """Learns what writers said when they started, until it knows what is wanted.

        It goes on where it ended; only the log of others, or an older one, needs it.
        """
        if self._known.keys() >= wanted:
            return
        for stored in mentioning(self._store, STARTED, self._searched):
            self._searched = stored.position
            for _, started in started_in(decode(stored, new_model())):
                for fingerprint, table in tables_of(started).items():
                    self._known.setdefault(fingerprint, table)
            if self._known.keys() >= wanted:
                return


class Definition(msgspec.Struct):
    """What this module needs of a definition in a log."""

    name: str
    initial: str
    final: list[str]
    edges: list[tuple[str, str, str]]
    states: list[str] = msgspec.field(default_factory=list)


def read_table(definition: Mapping[str, Any]) -> Table:
    """The table that a definition describes.

    Raises:
        msgspec.ValidationError: it describes none.
    """
    read = msgspec.convert(definition, Definition)
    moves = {(tag, source): dest for tag, source, dest in read.edges}
    ends = (state for _, source, dest in read.edges for state in (source, dest))
    states = tuple(s for s in dict.fromkeys([*read.states, *ends]) if s != read.initial)
    return Table(read.name, read.initial, frozenset(read.final), moves, states)


def started_in(decoded: Decoded) -> Iterator[tuple[int, Started]]:
    """The runs that begin in a frame, each with the number of its first event."""
    for seq, row in enumerate(decoded.rows, decoded.stored.frame.first):
        reader = decoded.readers[row[2]]
        if reader.kind is not None and reader.kind.cls is Started:
            event = reader.read(row[3:])
            if isinstance(event, Started):
                yield seq, event


def tables_of(started: Started) -> dict[str, Table]:
    """The tables that a run recorded, by fingerprint; what describes none is passed over."""
    found = {}
    for definition in started.lifecycles:
        with contextlib.suppress(msgspec.ValidationError):  # it is not what we would write
            found[fingerprint_of(definition)] = read_table(definition)
    return found
