"""The part of a log that a question is about, between two moments that are positions or times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rat_fsm.events import Position, to_micros
from rat_fsm.replay.sources import check_moment

if TYPE_CHECKING:
    from rat_fsm.replay.sources import Moment


class Window:
    """From a moment to a moment, both inclusive; None is no bound.

    Raises:
        InvalidArgument: a datetime has no time zone.
        InvalidArgumentType: something is neither a position nor a datetime.
    """

    def __init__(self, since: Moment | None = None, until: Moment | None = None) -> None:
        for name, moment in (("since", since), ("until", until)):
            if moment is not None:
                check_moment(moment, name)
        self._since = _bound(since)
        self._until = _bound(until)

    def is_before(self, micros: int, position: Position | None) -> bool:
        """Whether an event stands before it."""
        since = self._since
        if isinstance(since, Position):
            return position is not None and position < since
        return since is not None and micros < since

    def is_after(self, micros: int, position: Position | None) -> bool:
        """Whether an event stands after it."""
        until = self._until
        if isinstance(until, Position):
            return position is not None and position > until
        return until is not None and micros > until

    def ends_before(self, frame: int) -> bool:
        """Whether nothing in this frame, or in any that follow, belongs to it."""
        return isinstance(self._until, Position) and frame > self._until.frame


def _bound(moment: Moment | None) -> Position | int | None:
    return moment if moment is None or isinstance(moment, Position) else to_micros(moment)
