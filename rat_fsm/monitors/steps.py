"""Turns recorded events into steps: each event with the state before and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.events import Started
from rat_fsm.projections.definitions import UNDEFINED, UNKNOWN, read_table, tables_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rat_fsm.events import Recorded, Stream
    from rat_fsm.projections.definitions import Table
    from rat_fsm.table import Lifecycle


@attrs.frozen
class Step:
    """What a monitor's predicate looks at: one event, and what it did to its stream.

    Attributes:
        recorded: the event in its envelope.
        before: the state of its stream before it, that of a lifecycle's ``initial`` at first;
            ``?`` where nobody can tell.
        state: the state after it; the same as before where the event was illegal.
        ended: whether its stream can take no event after it.
    """

    recorded: Recorded
    before: str
    state: str
    ended: bool

    @property
    def event(self) -> Any:
        """What happened."""
        return self.recorded.event

    @property
    def stream(self) -> Stream:
        """Whose event it is."""
        return self.recorded.stream


class Steps:
    """Follows every open stream through its table: that which its writer recorded, if it did.

    It holds one state for each open stream.
    """

    def __init__(self, lifecycles: Iterable[Lifecycle]) -> None:
        self._known = {lc.name: read_table(lc.definition) for lc in lifecycles}
        self._recorded: dict[str, Mapping[str, Table]] = {}
        self._states: dict[str, str] = {}

    def take(self, recorded: Recorded) -> Step:
        """The step that the next event is."""
        if isinstance(recorded.event, Started):
            tables = tables_of(recorded.event).values()
            self._recorded[recorded.writer] = {table.name: table for table in tables}
        table, born = self._table(recorded), recorded.stream.born
        before = self._states.pop(born, table.initial if recorded.version == 1 else UNKNOWN)
        state = _state_after(table, before, recorded.type)
        ended = state in table.final
        if not ended and state != UNKNOWN:
            self._states[born] = state
        return Step(recorded, before, state, ended)

    def begin(self, born: str, state: str) -> None:
        """Says where a stream stands whose earlier events will not come."""
        self._states[born] = state

    def _table(self, recorded: Recorded) -> Table:
        name = recorded.stream.lifecycle
        table = self._recorded.get(recorded.writer, {}).get(name)
        return table or self._known.get(name, UNDEFINED)


def _state_after(table: Table, before: str, tag: str) -> str:
    """Where an event leads; where it came from is not known, it may tell that all the same."""
    if before != UNKNOWN:
        return table.next_state(before, tag) or before
    told = {dest for (one, _), dest in table.moves.items() if one == tag}
    return told.pop() if len(told) == 1 else UNKNOWN
