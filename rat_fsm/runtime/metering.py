"""Counts what connections send, where the one who sends only adds to two numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rat_fsm.errors import LogUnavailable
from rat_fsm.runtime.accumulator import append_activity
from rat_fsm.runtime.scheduler import weak

if TYPE_CHECKING:
    from rat_fsm.log.eventlog import EventLog
    from rat_fsm.runtime.clock import Clock


class Meter:
    """What one connection has sent in its whole life.

    Only its owner adds to ``bytes_sent`` and ``messages_sent``, and never takes away: so whoever
    records the difference, on any thread, needs no lock against the owner. What is recorded
    already belongs to `Meters`, under the log's lock.
    """

    __slots__ = ("bytes_sent", "messages_sent", "recorded_bytes", "recorded_messages")

    def __init__(self) -> None:
        self.bytes_sent = 0
        self.messages_sent = 0
        self.recorded_bytes = 0
        self.recorded_messages = 0


class Meters:
    """Reads every meter at an interval, and before any other event of its connection.

    Args:
        log: where to record; it calls `settle`.
        clock: the source of time.
        interval: seconds between readings; 0 leaves them to who calls `settle`.
    """

    def __init__(self, log: EventLog, clock: Clock, interval: float) -> None:
        self._event_log = log
        self._clock = clock
        self._interval = interval
        self._meters: dict[str, Meter] = {}
        self._scheduled = False
        log.add_source(self)

    def attach(self, connection_id: str) -> Meter:
        """A new meter for an open connection."""
        meter = self._meters[connection_id] = Meter()
        self._schedule()
        return meter

    def detach(self, connection_id: str) -> None:
        """The connection has ended."""
        self._meters.pop(connection_id, None)

    def settle(self, connection_id: str, *, reserved: bool = False) -> None:
        """Records what one connection has sent since its last reading, if anything.

        Raises:
            LogUnavailable: there is no room even for what ends a connection; it waits on.
        """
        meter = self._meters.get(connection_id)
        if meter is not None and meter.bytes_sent + meter.messages_sent > (
            meter.recorded_bytes + meter.recorded_messages
        ):
            with self._event_log.reading():
                self._record(connection_id, meter, reserved=reserved)

    def _record(self, connection_id: str, meter: Meter, *, reserved: bool) -> None:
        before = meter.recorded_bytes, meter.recorded_messages
        now = meter.bytes_sent, meter.messages_sent
        meter.recorded_bytes, meter.recorded_messages = now  # before: transact settles again
        sent, messages = now[0] - before[0], now[1] - before[1]
        record: Any = self._event_log.read_model.record("connection", connection_id)
        if record is not None and self._event_log.record_activity(record, sent, messages):
            return
        try:
            append_activity(self._event_log, connection_id, sent, messages, reserved=reserved)
        except LogUnavailable:
            meter.recorded_bytes, meter.recorded_messages = before  # nothing is discarded
            if reserved:
                raise

    def flush(self) -> None:
        """Reads every meter now."""
        for connection_id in list(self._meters):
            self.settle(connection_id)

    def _schedule(self) -> None:
        if self._interval and not self._scheduled:
            self._scheduled = True
            self._clock.schedule(self._interval, weak(self._tick))

    def _tick(self) -> None:
        self._scheduled = False
        self.flush()
        if self._meters:
            self._schedule()
