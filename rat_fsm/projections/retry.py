"""How often each connection has been retried, and what the last delay was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from rat_fsm.events import Recovered, RetriesReset, RetryRefused, RetryScheduled

if TYPE_CHECKING:
    from rat_fsm.projections.connections import Folds
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.stats import Totals


class RetryRecord(Protocol):
    """What this projection keeps of a stream."""

    retries: int
    total_retries: int
    delay: float | None


def _scheduled(totals: Totals, record: RetryRecord, _at: int, event: RetryScheduled) -> None:
    totals.retries += 1
    record.total_retries += 1
    record.retries = event.attempt
    record.delay = event.delay


def _refused(totals: Totals, record: RetryRecord, _at: int, _event: RetryRefused) -> None:
    totals.retries_refused += 1
    record.delay = None


def _recovered(totals: Totals, _record: RetryRecord, _at: int, _event: Recovered) -> None:
    totals.recoveries += 1


def _reset(_totals: Totals, record: RetryRecord, _at: int, _event: RetriesReset) -> None:
    record.retries = 0
    record.delay = None


RETRY_FOLDS: Folds = {
    RetryScheduled: _scheduled,
    RetryRefused: _refused,
    Recovered: _recovered,
    RetriesReset: _reset,
}


class Retries(Mapping[str, int]):
    """Open connections that have been retried → how often since the last reset."""

    def __init__(self, model: ReadModel) -> None:
        self._model = model

    def __getitem__(self, connection_id: str) -> int:
        """The count of one connection.

        Raises:
            KeyError: it is not open, or has not been retried.
        """
        record = self._model.record("connection", connection_id)
        count: int = getattr(record, "retries", 0)
        if not count:
            raise KeyError(connection_id)
        return count

    def __iter__(self) -> Iterator[str]:
        """The ids that have a count, over a copy."""
        records = list(self._model.ids("connection").values())
        return iter([record.id for record in records if record.retries])

    def __len__(self) -> int:
        """How many connections have a count."""
        return sum(1 for _ in self)

    def delay(self, connection_id: str) -> float | None:
        """The delay, in seconds, last scheduled and not refused or reset since."""
        record = self._model.record("connection", connection_id)
        delay: float | None = getattr(record, "delay", None)
        return delay
