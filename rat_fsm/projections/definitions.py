"""Reads the tables that a log's own definitions describe: nobody's classes are needed for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from rat_fsm.table import fingerprint_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.events import Started

UNKNOWN: Final = "?"


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


def tables_of(started: Started) -> dict[str, Table]:
    """The tables that a run recorded, by fingerprint; what describes none is passed over."""
    found = {}
    for definition in started.lifecycles:
        try:
            found[fingerprint_of(definition)] = read_table(definition)
        except msgspec.ValidationError:  # it is not what we would write
            continue
    return found
