"""Error recovery: decides whether to retry, draws the delay, and remembers both as events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.core import ResetRetries, Retry
from rat_fsm.core import decide as core_decide
from rat_fsm.errors import LogClosed, LogUnavailable, Refused
from rat_fsm.events import RetriesReset, RetryScheduled
from rat_fsm.log.ids import check_id
from rat_fsm.policy import RetryPolicy
from rat_fsm.projections.retry import RETRY_FOLDS
from rat_fsm.projections.stats import Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rat_fsm.core import ConnectionView
    from rat_fsm.events import RetryRefused
    from rat_fsm.log.eventlog import EventLog
    from rat_fsm.projections.model import ReadModel

    Outcome = Callable[[ConnectionView], RetryScheduled | RetryRefused]


class ErrorRecovery:
    """Says whether and when to try again after an error, with exponential backoff.

    With a log, each decision is an event of the connection, and a connection that the log does
    not know is never retried. Without one, counts are kept in memory for any id, by the same
    fold.

    Args:
        max_retries: retries of one connection since its last reset.
        base_delay: seconds before the first retry; each further one waits twice as long.
        max_delay: seconds no delay exceeds.
        log: where to record, such as ``manager.log``.
        jitter: none, full, equal, or a callable ``(attempt, previous_delay, random) -> seconds``.
        rules: the user's own classification, asked first, see `classify_error`.
        resumable: False refuses to retry once a byte has gone to the client.
        retry_after_cap: a server that asks for a longer pause (seconds) is not retried.
        random: a callable that draws from 0..1; `random.random` by default.

    Attributes:
        policy: all of that as a value.
        retry_counts: connection id → retries since the last reset.
    """

    def __init__(
        self,
        max_retries: int = 3,
        base_delay: float = 1.0,
        max_delay: float = 30.0,
        *,
        log: EventLog | None = None,
        jitter: Any = "none",
        rules: Sequence[Any] = (),
        resumable: bool = True,
        retry_after_cap: float = 120.0,
        random: Callable[[], float] | None = None,
    ) -> None:
        self.policy = RetryPolicy(
            max_retries=max_retries,
            base_delay=base_delay,
            max_delay=max_delay,
            jitter=jitter,
            retry_after_cap=retry_after_cap,
            resumable=resumable,
            rules=tuple(rules),
        )
        self._told = self.policy.as_dict()
        self._random = random or _system_random()
        self._book: _LogBook | _MemoryBook = _MemoryBook() if log is None else _LogBook(log)
        self.retry_counts: Mapping[str, int] = self._book.counts

    @property
    def max_retries(self) -> int:
        """How many retries a connection gets between two resets."""
        return self.policy.max_retries

    @property
    def base_delay(self) -> float:
        """Seconds before the first retry."""
        return self.policy.base_delay

    @property
    def max_delay(self) -> float:
        """Seconds no delay exceeds."""
        return self.policy.max_delay

    def should_retry(self, connection_id: str, error: BaseException | str) -> bool:
        """Decides about one retry, draws its delay and records both.

        After True, wait `get_retry_delay` seconds and try again.
        """
        check_id(connection_id, "connection_id")
        draw = self._random() if self.policy.needs_draw else None

        def outcome(stream: ConnectionView) -> RetryScheduled | RetryRefused:
            decided = self.policy.decide(
                error,
                attempts=stream.retries,
                draw=draw,
                previous=stream.delay,
                committed=stream.bytes_sent > 0,
            )
            return attrs.evolve(decided, policy=self._told)

        return self._book.retry(connection_id, outcome)

    def get_retry_delay(self, connection_id: str) -> float:
        """Seconds to wait: as recorded, or else what the next retry would get without jitter."""
        recorded = self._book.delay(connection_id)
        if recorded is not None:
            return recorded
        attempt = self.retry_counts.get(connection_id, 0) + 1
        return min(self.policy.max_delay, self.policy.base_delay * 2.0 ** min(attempt - 1, 1000))

    def reset_retry_count(self, connection_id: str) -> None:
        """The work succeeded: counts from zero again. Without retries it does nothing."""
        self._book.reset(connection_id)

    def _is_recoverable_error(self, error: BaseException | str) -> bool:
        """Whether an error of this kind is worth a retry at all."""
        return self.policy.classify(error)[1]


def _system_random() -> Callable[[], float]:
    from random import random  # 3 ms that a server which draws nothing need not pay

    return random


class _LogBook:
    """Retries on a log."""

    def __init__(self, log: EventLog) -> None:
        self._event_log = log
        self.counts: Mapping[str, int] = log.read_model.retry

    def retry(self, connection_id: str, outcome: Outcome) -> bool:
        answers: list[Any] = []

        def recorded(stream: ConnectionView) -> RetryScheduled | RetryRefused:
            answers.append(outcome(stream))
            return answers[-1]  # type: ignore[no-any-return]  # just appended

        accepted = self._transact(connection_id, Retry(recorded))
        return accepted and bool(answers) and isinstance(answers[-1], RetryScheduled)

    def reset(self, connection_id: str) -> None:
        self._transact(connection_id, ResetRetries())

    def delay(self, connection_id: str) -> float | None:
        return self._event_log.read_model.retry.delay(connection_id)

    def _transact(self, connection_id: str, request: object) -> bool:
        def decide(stream: Any, model: ReadModel) -> Any:
            return core_decide(request, stream, model)

        try:
            self._event_log.transact("connection", connection_id, decide)
        except (Refused, LogUnavailable, LogClosed):
            return False
        return True


class _MemoryBook:
    """Retries without a log: the same fold over records that hold nothing else."""

    def __init__(self) -> None:
        self._records: dict[str, Any] = {}
        self._totals = Totals()
        self.counts: Mapping[str, int] = _Counts(self._records)

    def retry(self, connection_id: str, outcome: Outcome) -> bool:
        record = self._records.get(connection_id) or SimpleNamespace(
            retries=0, total_retries=0, delay=None, bytes_sent=0
        )
        event = outcome(record)
        self._records[connection_id] = record
        RETRY_FOLDS[type(event)](self._totals, record, 0, event)
        return isinstance(event, RetryScheduled)

    def reset(self, connection_id: str) -> None:
        record = self._records.pop(connection_id, None)
        if record is not None:
            RETRY_FOLDS[RetriesReset](self._totals, record, 0, RetriesReset())

    def delay(self, connection_id: str) -> float | None:
        record = self._records.get(connection_id)
        return None if record is None else record.delay


class _Counts(Mapping[str, int]):
    """A read-only view of the counts."""

    def __init__(self, records: dict[str, Any]) -> None:
        self._records = records

    def __getitem__(self, connection_id: str) -> int:
        count: int = self._records[connection_id].retries
        return count

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._records))

    def __len__(self) -> int:
        return len(self._records)
