"""Running totals over a log, so that statistics cost the same at any number of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rat_fsm.projections.model import ReadModel

MAX_REASONS: Final = 64


class Totals:
    """Counters since the start of the log, closed connections included.

    ``continued`` of those that were registered had been registered before, under another writer;
    ``stalled`` connections are open and their clients take nothing; ``definitions`` are the
    lifecycles that its writers recorded, by fingerprint;
    ``response_time`` is the sum, in microseconds, from Registered to Activated.
    """

    __slots__ = (
        "activations",
        "bytes_sent",
        "callback_failures",
        "closed",
        "closed_by_reason",
        "continued",
        "definitions",
        "erring",
        "errors",
        "illegal",
        "messages_sent",
        "open",
        "peak",
        "recoveries",
        "refused",
        "registered",
        "response_time",
        "retries",
        "retries_refused",
        "stalled",
        "states",
        "unknown",
    )

    def __init__(self) -> None:
        self.registered = 0
        self.continued = 0
        self.open = 0
        self.peak = 0
        self.closed = 0
        self.bytes_sent = 0
        self.messages_sent = 0
        self.errors = 0
        self.erring = 0
        self.retries = 0
        self.retries_refused = 0
        self.recoveries = 0
        self.activations = 0
        self.stalled = 0
        self.response_time = 0
        self.callback_failures = 0
        self.illegal = 0
        self.unknown = 0
        self.closed_by_reason: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.states: dict[str, dict[str, int]] = {}
        self.definitions: dict[str, dict[str, Any]] = {}

    def copy(self) -> Totals:
        """Equal totals that count on by themselves."""
        copy = Totals()
        copy.load(self.dump())
        copy.closed_by_reason, copy.refused = dict(self.closed_by_reason), dict(self.refused)
        copy.states = {lifecycle: dict(counts) for lifecycle, counts in self.states.items()}
        return copy

    def dump(self) -> dict[str, Any]:
        """Every counter, as plain values."""
        return {slot: getattr(self, slot) for slot in self.__slots__}

    def load(self, data: dict[str, Any]) -> None:
        """Takes every counter from what `dump` gave."""
        for slot, value in data.items():
            setattr(self, slot, value)


class Stats:
    """The statistics of a read model, under the guide's names and more."""

    def __init__(self, model: ReadModel) -> None:
        self._model = model

    def as_dict(self) -> dict[str, Any]:
        """All statistics at this moment.

        Counters run from the start of the log. ``state_distribution`` counts open connections,
        ``connections_with_errors`` those of them that had an error, ``average_response_time``
        is the mean in seconds from Registered to Activated, 0.0 before the first.
        """
        totals = self._model.totals
        return {
            "active_connections": totals.open,
            "total_connections": totals.registered,
            "continued_connections": totals.continued,
            "max_connections": self._model.limits.get("max_connections"),
            "peak_connections": totals.peak,
            "closed_connections": totals.closed,
            "refused_connections": sum(totals.refused.values()),
            "refused_by_cause": dict(totals.refused),
            "total_bytes_sent": totals.bytes_sent,
            "total_messages_sent": totals.messages_sent,
            "total_errors": totals.errors,
            "total_retries": totals.retries,
            "total_retries_refused": totals.retries_refused,
            "total_recoveries": totals.recoveries,
            "connections_with_errors": totals.erring,
            "stalled_connections": totals.stalled,
            "average_response_time": self.average_response_time,
            "state_distribution": self._distribution(),
            "closed_by_reason": dict(totals.closed_by_reason),
            "callback_failures": totals.callback_failures,
            "illegal_events": totals.illegal,
            "unknown_events": totals.unknown,
        }

    @property
    def average_response_time(self) -> float:
        """Mean seconds from Registered to Activated, 0.0 before the first."""
        totals = self._model.totals
        if not totals.activations:
            return 0.0
        return totals.response_time / totals.activations / 1_000_000

    def _distribution(self) -> dict[str, int]:
        counts = self._model.totals.states["connection"]
        return {state: n for state, n in counts.items() if state not in {"new", "closed"}}
