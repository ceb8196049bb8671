"""The tables that the streams of a log are judged by: those its frames were written under.

The lifecycles of rat_fsm are known; others, and older ones, are read from the definitions that
writers record when they start. Nobody's classes are needed for that.
"""

from __future__ import annotations

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

    from rat_fsm.stores.port import Store

UNKNOWN: Final = "?"


@attrs.frozen
class Table:
    """One lifecycle as a definition in a log gives it."""

    name: str
    initial: str
    final: frozenset[str]
    moves: Mapping[tuple[str, str], str]

    def next_state(self, state: str, tag: str) -> str | None:
        """Where an event leads from a state, None where it is illegal."""
        return self.moves.get((tag, state))


class _Anything(Table):
    """The table of a lifecycle that nobody defined: one state, and every event is legal."""

    def next_state(self, state: str, tag: str) -> str | None:  # noqa: ARG002 - Table's signature
        return state


UNDEFINED: Final = _Anything("", UNKNOWN, frozenset(), {})


class Tables:
    """Finds the tables that frames name by their fingerprints."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known = {lc.fingerprint: read_table(lc.definition) for lc in (CONNECTION, NODE)}
        self._searched = False

    def of(self, fingerprints: tuple[str, ...], lifecycle: str) -> Table:
        """The table of a lifecycle in a frame."""
        if not self._searched and not self._known.keys() >= set(fingerprints):
            self._searched = True
            self._known = {**dict(_recorded(self._store)), **self._known}
        for fingerprint in fingerprints:
            table = self._known.get(fingerprint)
            if table is not None and table.name == lifecycle:
                return table
        return UNDEFINED


class Definition(msgspec.Struct):
    """What this module needs of a definition in a log."""

    name: str
    initial: str
    final: list[str]
    edges: list[tuple[str, str, str]]


def read_table(definition: Mapping[str, Any]) -> Table:
    """The table that a definition describes.

    Raises:
        msgspec.ValidationError: it describes none.
    """
    read = msgspec.convert(definition, Definition)
    moves = {(tag, source): dest for tag, source, dest in read.edges}
    return Table(read.name, read.initial, frozenset(read.final), moves)


def _recorded(store: Store) -> Iterator[tuple[str, Table]]:
    """What writers said when they started; only a log of others needs this search."""
    model = new_model()
    for stored in mentioning(store, b'"node.started"'):
        for recorded in decode(stored, model).recorded():
            if isinstance(recorded.event, Started):
                yield from _readable(recorded.event)


def _readable(event: Started) -> Iterator[tuple[str, Table]]:
    for definition in event.lifecycles:
        try:
            yield fingerprint_of(definition), read_table(definition)
        except msgspec.ValidationError:
            continue  # it is not what we would write, so nothing can be judged by it
