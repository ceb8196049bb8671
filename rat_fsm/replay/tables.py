"""The tables that the streams of a log are judged by: those its frames were written under.

The lifecycles of rat_fsm are known; others, and older ones, are read from the definitions that
writers record when they start. Nobody's classes are needed for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.codec import decode
from rat_fsm.events import Started
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.projections.definitions import UNDEFINED, Table, read_table, tables_of
from rat_fsm.replay.sources import naming, new_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rat_fsm.codec import Decoded
    from rat_fsm.stores.port import Store

STARTED: Final = "node.started"


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
        for stored in naming(self._store, STARTED, self._searched):
            self._searched = stored.position
            for _, started in started_in(decode(stored, new_model())):
                for fingerprint, table in tables_of(started).items():
                    self._known.setdefault(fingerprint, table)
            if self._known.keys() >= wanted:
                return


def started_in(decoded: Decoded) -> Iterator[tuple[int, Started]]:
    """The runs that begin in a frame, each with the number of its first event."""
    for seq, row in enumerate(decoded.rows, decoded.stored.frame.first):
        reader = decoded.readers[row[2]]
        if reader.kind is not None and reader.kind.cls is Started:
            event = reader.read(row[3:])
            if isinstance(event, Started):
                yield seq, event
