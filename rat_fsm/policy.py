"""When to try again, and how long to wait: values in, values out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.classification import (
    Rule,
    classify_error,
    describe_error,
    retry_after_of,
    status_of,
)
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import RetryRefused, RetryScheduled

if TYPE_CHECKING:
    from rat_fsm.classification import Classified

Jitter = Callable[[int, float | None, "Drawn"], float]
# The largest power of two a float holds: comparing with it refuses inf, nan and longer integers.
HIGHEST: Final = 2.0**1023
CUSTOM: Final = "custom"


@attrs.frozen
class Drawn:
    """A random source that answers with the one number drawn for this decision."""

    value: float

    def __call__(self) -> float:
        """The number, 0..1."""
        return self.value

    def random(self) -> float:
        """The number, 0..1."""
        return self.value

    def uniform(self, a: float, b: float) -> float:
        """The number, stretched to a..b."""
        return a + (b - a) * self.value


# AWS Architecture Blog, "Exponential Backoff And Jitter": full and equal jitter.
_JITTERS: Final[Mapping[str, Callable[[float, float], float]]] = {
    "none": lambda delay, _draw: delay,
    "full": lambda delay, draw: delay * draw,
    "equal": lambda delay, draw: delay / 2 + delay / 2 * draw,
}


def _require_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentType(f"{name} must be a number, not {type(value).__name__}")


def _require_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentType(f"{name} must be an integer, not {type(value).__name__}")
    if value < least:
        raise InvalidArgument(f"{name} must be at least {least}")


def _seconds(_instance: object, attribute: Any, value: Any) -> None:
    _require_number(attribute.name, value)
    if not 0 <= value <= HIGHEST:
        raise InvalidArgument(f"{attribute.name} must be finite and not negative, in seconds")


def _above_zero(_instance: object, attribute: Any, value: Any) -> None:
    if not value:
        raise InvalidArgument(f"{attribute.name} must be greater than 0 seconds")


def _count(_instance: object, attribute: Any, value: Any) -> None:
    _require_whole(attribute.name, value, 0)


def _flag(_instance: object, attribute: Any, value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidArgumentType(f"{attribute.name} must be True or False, not {value!r}")


def _jitter(_instance: object, _attribute: object, value: Any) -> None:
    if not isinstance(value, str) and not callable(value):
        raise InvalidArgumentType(f"jitter must be a name or a callable, not {value!r}")
    if isinstance(value, str) and value not in _JITTERS:
        raise InvalidArgument(f"jitter is {value!r}; use {', '.join(_JITTERS)} or a callable")


def _rules(_instance: object, _attribute: object, value: Any) -> None:
    if not isinstance(value, tuple):
        raise InvalidArgumentType(f"rules must be a sequence, not {type(value).__name__}")
    for rule in value:
        if not _is_rule(rule):
            raise InvalidArgumentType(
                f"a rule is a callable or (exception type, category, retryable), not {rule!r}"
            )


def _is_rule(rule: object) -> bool:
    if not isinstance(rule, tuple):
        # A class can be called too, but what it makes of an error is no classification.
        return callable(rule) and not isinstance(rule, type)
    match rule:
        case (type() as kind, str(), bool()):
            return issubclass(kind, BaseException)
    return False


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Iterable) else value


@attrs.frozen
class RetryPolicy:
    """How errors are retried.

    Attributes:
        max_retries: retries between two resets; 0 never retries.
        base_delay: seconds before the first retry; each further one waits twice as long.
        max_delay: seconds that no delay exceeds, but for one that the server asks for.
        jitter: none; full, uniform between 0 and the delay; equal, uniform between half the
            delay and the delay; or a callable ``(attempt, previous_delay, random) -> seconds``
            whose ``random.random()`` is the recorded draw, see `Drawn`.
        retry_after_cap: a server that asks to wait longer (seconds) is not retried.
        resumable: False refuses retries once a byte has gone downstream.
        rules: the user's own classification, see `classify_error`.

    Raises:
        InvalidArgument: a negative or endless number, a delay of 0, an unknown jitter.
        InvalidArgumentType: a value of the wrong type, or a rule that is none.
    """

    max_retries: int = attrs.field(default=3, validator=_count)
    base_delay: float = attrs.field(default=1.0, validator=[_seconds, _above_zero])
    max_delay: float = attrs.field(default=30.0, validator=[_seconds, _above_zero])
    jitter: str | Jitter = attrs.field(default="none", validator=_jitter)
    retry_after_cap: float = attrs.field(default=120.0, validator=_seconds)
    resumable: bool = attrs.field(default=True, validator=_flag)
    rules: tuple[Rule, ...] = attrs.field(default=(), converter=_as_tuple, validator=_rules)

    @property
    def needs_draw(self) -> bool:
        """Whether `decide` wants a random number."""
        return self.jitter != "none"

    def as_dict(self) -> dict[str, Any]:
        """What a log keeps of it, as plain JSON.

        A callable jitter is ``custom``. Rules are left out: a log holds what they answered.
        """
        return {
            "max_retries": self.max_retries,
            "base_delay": self.base_delay,
            "max_delay": self.max_delay,
            "jitter": self.jitter if isinstance(self.jitter, str) else CUSTOM,
            "retry_after_cap": self.retry_after_cap,
            "resumable": self.resumable,
        }

    def classify(self, error: BaseException | str) -> Classified:
        """The category of an error and whether it is retryable, the policy's rules first."""
        return classify_error(error, self.rules)

    def delay(
        self,
        attempt: int,
        draw: float | None = None,
        previous: float | None = None,
        retry_after: float | None = None,
    ) -> float:
        """Seconds before retry number ``attempt`` (1-based).

        ``min(max_delay, base_delay * 2 ** (attempt - 1))``, jittered by ``draw`` (0..1; without
        one, the longest that the jitter allows), and raised to ``retry_after``, the seconds the
        server asked for. Whether that is too long is for `decide` to say.

        Raises:
            InvalidArgument: an attempt below 1, or a draw outside 0..1.
            InvalidArgumentType: either is no number, or the jitter gave none.
        """
        _require_whole("attempt", attempt, 1)
        waited = self._jittered(attempt, 1.0 if draw is None else draw, previous)
        return float(max(waited, retry_after or 0.0))

    def _jittered(self, attempt: int, draw: float, previous: float | None) -> float:
        _require_number("draw", draw)
        if not 0 <= draw <= 1:
            raise InvalidArgument("draw must be between 0 and 1")
        if not callable(self.jitter):
            return _JITTERS[self.jitter](self._backoff(attempt), draw)
        wanted = self.jitter(attempt, previous, Drawn(draw))
        _require_number("the jitter's delay", wanted)
        return min(self.max_delay, max(0.0, wanted))  # in this order nan becomes 0

    def _backoff(self, attempt: int) -> float:
        try:
            return min(self.max_delay, math.ldexp(self.base_delay, attempt - 1))
        except OverflowError:
            return self.max_delay

    def decide(
        self,
        error: BaseException | str,
        *,
        attempts: int,
        draw: float | None = None,
        previous: float | None = None,
        committed: bool = False,
    ) -> RetryScheduled | RetryRefused:
        """What follows from an error of a connection.

        Args:
            error: what went wrong.
            attempts: retries since the last reset.
            draw: a random number 0..1 where `needs_draw`.
            previous: the last delay, in seconds.
            committed: whether a byte has gone downstream.

        Returns:
            The retry to record, or its refusal with the first cause that holds of not_retryable,
            committed, exhausted and retry_after_too_long.
        """
        category, retryable = self.classify(error)
        asked = retry_after_of(error)
        refusals = {
            "not_retryable": not retryable,
            "committed": committed and not self.resumable,
            "exhausted": attempts >= self.max_retries,
            "retry_after_too_long": asked is not None and asked > self.retry_after_cap,
        }
        for cause, holds in refusals.items():
            if holds:
                return RetryRefused(cause)
        delay = self.delay(attempts + 1, draw, previous, asked)
        return RetryScheduled(attempts + 1, delay, draw, max(self.max_delay, delay), category)


__all__ = [
    "Drawn",
    "RetryPolicy",
    "classify_error",
    "describe_error",
    "retry_after_of",
    "status_of",
]
