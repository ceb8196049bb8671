"""Errors as a log knows them: what a policy is asked about again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

from rat_fsm.events import RetryRefused, RetryScheduled

if TYPE_CHECKING:
    from rat_fsm.classification import Classified

# More than any cap: a policy's is at most 2.0**1023.
TOO_LONG: Final = sys.float_info.max
UNKNOWN: Final = "unknown_error"


class RecordedError(Exception):
    """An error of the past, as far as a log holds it.

    Attributes:
        error_type: as recorded before the decision, empty where nothing was; likewise
            ``message``, which `str` answers too.
        category: as it was classified then.
        retryable: likewise.
        retry_after: the pause that a server asked for, in seconds, where it shows in what was
            decided: it raised the delay, or was longer than the policy allowed (then this is
            longer than any may). None otherwise.
        decided: what was decided then.
    """

    def __init__(
        self,
        error_type: str,
        message: str,
        category: str,
        decided: RetryScheduled | RetryRefused,
        retry_after: float | None,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.category = category
        self.retryable = not isinstance(decided, RetryRefused) or decided.cause != "not_retryable"
        self.retry_after = retry_after
        self.decided = decided


class Policy(Protocol):
    """Whatever decides about retries: `RetryPolicy`, or an object of one's own.

    One that has an attribute ``needs_draw`` which is false gets a draw only where one is
    recorded.
    """

    def decide(
        self,
        error: RecordedError,
        *,
        attempts: int,
        draw: float | None,
        previous: float | None,
        committed: bool,
    ) -> RetryScheduled | RetryRefused:
        """What follows from an error, see `RetryPolicy.decide`; it must be pure."""


def as_recorded(error: Any) -> Classified:
    """A rule for `RetryPolicy`: the classification that a log holds of a `RecordedError`."""
    return error.category, error.retryable
