"""Gathers activity before it is accepted, so that a busy stream costs a handful of events."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from rat_fsm.core import Activity
from rat_fsm.core import decide as core_decide
from rat_fsm.errors import LogClosed, LogUnavailable, Refused
from rat_fsm.runtime.scheduler import weak

if TYPE_CHECKING:
    from rat_fsm.log.eventlog import EventLog
    from rat_fsm.runtime.clock import Clock

PRESSURE_INTERVAL: Final = 1.0
_log = logging.getLogger("rat_fsm")


class Accumulator:
    """What each connection has sent since its last ActivityRecorded.

    Everything happens under the log's lock. What is gathered is appended on a timer, and before
    any other event of its connection: the log calls `settle`. Under pressure the timer slows
    down, so that a store that has fallen behind gets fewer and larger events.
    """

    def __init__(self, log: EventLog, clock: Clock, interval: float) -> None:
        self._event_log = log
        self._clock = clock
        self._interval = interval
        self._sums: dict[str, list[int]] = {}
        self._scheduled = False
        self._pressed = False
        log.add_source(self)

    def add(self, connection_id: str, sent: int, messages: int) -> bool:
        """Gathers; False where no open connection has this id."""
        with self._event_log.reading() as model:
            record = model.record("connection", connection_id)
            if record is None:
                return False
            sums = self._sums.setdefault(connection_id, [0, 0])
            sums[0] += sent
            sums[1] += messages
            self._schedule()
        return True

    def _schedule(self) -> None:
        if self._scheduled:
            return
        self._scheduled = True
        pressed = self._event_log.under_pressure
        if pressed and not self._pressed:
            _log.warning("the log has fallen behind: activity is gathered for longer")
        self._pressed = pressed
        delay = max(self._interval, PRESSURE_INTERVAL) if pressed else self._interval
        self._clock.schedule(delay, weak(self.flush))

    def settle(self, connection_id: str, *, reserved: bool = False) -> None:
        """Appends what was gathered for one connection, if anything.

        Raises:
            LogUnavailable: there is no room even for what ends a connection; it waits on.
        """
        if connection_id not in self._sums:
            return
        with self._event_log.reading():
            sums = self._sums.pop(connection_id, None)
            if sums is not None:
                self._append(connection_id, sums, reserved=reserved)

    def _append(self, connection_id: str, sums: list[int], *, reserved: bool) -> None:
        try:
            append_activity(self._event_log, connection_id, *sums, reserved=reserved)
        except LogUnavailable:
            self._sums[connection_id] = sums  # nothing is discarded: it waits for room
            if reserved:
                raise

    def flush(self) -> None:
        """Appends what was gathered for every connection."""
        self._scheduled = False
        for connection_id in list(self._sums):
            self.settle(connection_id)
        if self._sums:
            self._schedule()


def append_activity(
    log: EventLog, connection_id: str, sent: int, messages: int, *, reserved: bool
) -> None:
    """Appends what a connection has sent; one that has ended meanwhile is let go.

    Raises:
        LogUnavailable: there is no room.
    """
    request = Activity(sent, messages)
    try:
        log.transact(
            "connection",
            connection_id,
            lambda stream, model: core_decide(request, stream, model),
            reserved=reserved,
        )
    except (Refused, LogClosed):
        _log.debug("%r ended before its last activity was recorded", connection_id)
