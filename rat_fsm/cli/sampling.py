"""Looks at a cluster of writers now and then, and says how fast things went in between."""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.events import to_datetime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rat_fsm.projections.record import ConnectionRecord
    from rat_fsm.replay.cluster import ClusterView, WriterStatus
    from rat_fsm.replay.following import FollowerHealth, Lag

_SECOND: Final = 1_000_000


@attrs.frozen
class Rates:
    """What happened in a second, on average since the last look."""

    events: float = 0.0
    bytes: float = 0.0
    messages: float = 0.0


@attrs.frozen
class Connection:
    """An open connection at a look; ``rate`` is in bytes a second, times are in seconds."""

    writer: str
    id: str
    state: str
    stalled: bool
    kind: str
    route: str
    remote_addr: str
    bytes_sent: int
    messages_sent: int
    errors: int
    retries: int
    rate: float
    open_for: float
    silent_for: float


@attrs.frozen
class Sample:
    """What one look has found; ``at`` is seconds since the epoch, by the clock of this machine."""

    at: float
    writers: Mapping[str, WriterStatus]
    rates: Mapping[str, Rates]
    stats: Mapping[str, Any]
    total: Rates
    connections: tuple[Connection, ...]
    lag: Lag
    health: FollowerHealth

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain values."""
        writers = [
            {**status.as_dict(), "rates": attrs.asdict(self.rates[name])}
            for name, status in self.writers.items()
        ]
        return {
            "at": to_datetime(round(self.at * _SECOND)),
            "lag": attrs.asdict(self.lag),
            "health": attrs.asdict(self.health),
            "stats": self.stats,
            "rates": attrs.asdict(self.total),
            "writers": writers,
            "connections": [attrs.asdict(one) for one in self.connections],
        }


# The first come first.
ORDERS: Final[Mapping[str, Callable[[ConnectionRecord, float], Any]]] = {
    "busiest": lambda record, rate: (rate, record.bytes_sent),
    "stalled": lambda record, _: (record.stalled, -record.last_activity),
    "oldest": lambda record, _: -record.created_at,
    "failing": lambda record, _: (record.errors, record.total_retries),
}


class Sampler:
    """Looks at a cluster view; rates are counted from what it saw the last time."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view
        self._looked = 0.0
        self._counted: dict[str, tuple[int, int, int]] = {}
        self._sent: dict[tuple[str, int], int] = {}

    def look(self, order: str, most: int) -> Sample:
        """What is true now, with the first connections in some order; rates of 0 the first time.

        Raises:
            DamagedFrame, UnsupportedFormat, HistoryEvicted: the view has stopped.
        """
        view, now = self._view, time.monotonic()
        elapsed = now - self._looked if self._looked else float("inf")
        self._looked = now
        writers = view.writers()
        rates = {name: self._rates(status, elapsed) for name, status in writers.items()}
        return Sample(
            at=time.time(),
            writers=writers,
            rates=rates,
            stats=view.stats(),
            total=_sum(rates.values()),
            connections=self._connections(elapsed, ORDERS[order], most),
            lag=view.lag,
            health=view.health,
        )

    def _rates(self, status: WriterStatus, elapsed: float) -> Rates:
        stats = status.stats
        counts = status.events, stats["total_bytes_sent"], stats["total_messages_sent"]
        before = self._counted.get(status.writer, (0, 0, 0))
        self._counted[status.writer] = counts
        return Rates(*((now - then) / elapsed for now, then in zip(counts, before, strict=True)))

    def _connections(
        self, elapsed: float, order: Callable[[ConnectionRecord, float], Any], most: int
    ) -> tuple[Connection, ...]:
        with self._view.reading():
            records = self._view.open_records()
            before, self._sent = self._sent, {(r.writer, r.born): r.bytes_sent for r in records}
            rates = (
                (
                    record,
                    (record.bytes_sent - before.get((record.writer, record.born), 0)) / elapsed,
                )
                for record in records
            )
            first = heapq.nlargest(most, rates, key=lambda pair: order(*pair))
            return tuple(_connection(record, rate) for record, rate in first)


def _sum(rates: Iterable[Rates]) -> Rates:
    return Rates(*map(sum, zip(*((r.events, r.bytes, r.messages) for r in rates), strict=True)))


def _connection(record: ConnectionRecord, rate: float) -> Connection:
    now = time.time()
    return Connection(
        writer=record.writer,
        id=record.id,
        state=record.state,
        stalled=record.stalled,
        kind=record.kind,
        route=record.route,
        remote_addr=record.remote_addr,
        bytes_sent=record.bytes_sent,
        messages_sent=record.messages_sent,
        errors=record.errors,
        retries=record.total_retries,
        rate=rate,
        open_for=max(0.0, now - record.created_at / _SECOND),
        silent_for=max(0.0, now - record.last_activity / _SECOND),
    )
