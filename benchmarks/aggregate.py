"""A connection as an aggregate of the `eventsourcing` library, as its documentation writes one."""

from __future__ import annotations

from eventsourcing.domain import Aggregate, event


class Connection(Aggregate):
    """Counts what it has sent."""

    @event("Registered")
    def __init__(self) -> None:
        self.bytes = 0
        self.messages = 0

    @event("ActivityRecorded")
    def record_activity(self, bytes_sent: int, messages_sent: int) -> None:
        """Counts."""
        self.bytes += bytes_sent
        self.messages += messages_sent
