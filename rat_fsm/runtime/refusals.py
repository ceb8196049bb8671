"""Counts clients that were turned away, one event per cause and second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.errors import LogError
from rat_fsm.events import ConnectionRefused
from rat_fsm.runtime.scheduler import weak

if TYPE_CHECKING:
    from rat_fsm.log.eventlog import EventLog
    from rat_fsm.runtime.clock import Clock

MERGE_INTERVAL: Final = 1.0


class Refusals:
    """Appends the first refusal of a cause at once and those of the next second together.

    While the log is unavailable they stay counted, and are appended when it is back.
    """

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._event_log = log
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._merging = False

    def count(self, cause: str) -> None:
        """One more client was turned away for this cause."""
        with self._event_log.reading():
            quiet = not self._merging
            self._counts[cause] = self._counts.get(cause, 0) + 1
            if quiet:
                self.flush()
                self._merging = True
                self._clock.schedule(MERGE_INTERVAL, weak(self._merged))

    def _merged(self) -> None:
        with self._event_log.reading():
            self._merging = False
            if self._counts:
                self.flush()
                self._merging = True
                self._clock.schedule(MERGE_INTERVAL, weak(self._merged))

    def flush(self) -> None:
        """Appends what was counted."""
        for cause, count in list(self._counts.items()):
            event = ConnectionRefused(cause, count)
            try:
                self._event_log.append_node(event)
            except LogError:
                return
            del self._counts[cause]
