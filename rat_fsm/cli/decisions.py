"""Says why a retry was decided so, from what the decision and its policy have recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rat_fsm.cli.text import seconds
from rat_fsm.cli.words import joined
from rat_fsm.events import RetryRefused, RetryScheduled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Policy = Mapping[str, Any]

_TOLERANCE: Final = 1e-9
_LARGEST: Final = 1e15
_SHARES: Final[Mapping[str, Callable[[float], float]]] = {
    "none": lambda _draw: 1.0,
    "full": lambda draw: draw,
    "equal": lambda draw: 0.5 + draw / 2,
}


def explain(event: Any, recorded: Policy) -> str:
    """Why a retry was scheduled or refused; nothing for other events.

    Args:
        event: any event.
        recorded: the policy to go by where the event names none.
    """
    match event:
        case RetryScheduled():
            return _scheduled(event, event.policy or recorded)
        case RetryRefused():
            return _refused(event, event.policy or recorded)
    return ""


def _scheduled(event: RetryScheduled, policy: Policy) -> str:
    most = _number(policy, "max_retries")
    allowed = "" if most is None else f"{most:g} retries allowed"
    return joined(_delay(event, policy), allowed, f"at most {seconds(event.cap)}")


def _delay(event: RetryScheduled, policy: Policy) -> str:
    """How the delay came about, as far as that can be said."""
    drawn = "" if event.draw is None else f"draw {event.draw:.2f}"
    base, highest = _number(policy, "base_delay"), _number(policy, "max_delay")
    jitter = policy.get("jitter")
    if base is None or highest is None or not isinstance(jitter, str):
        return drawn
    backoff = min(highest, base * 2.0 ** min(event.attempt - 1, 1000))
    share = _SHARES.get(jitter)
    how = joined(f"backoff {seconds(backoff)}", drawn and f"{jitter} jitter with {drawn}")
    if share is None:
        return how
    longer = backoff * share(1.0 if event.draw is None else event.draw) + _TOLERANCE < event.delay
    return joined(how, "raised by Retry-After" if longer else "")


def _refused(event: RetryRefused, policy: Policy) -> str:
    """What a cause means under a policy."""
    most, cap = _number(policy, "max_retries"), _number(policy, "retry_after_cap")
    meanings = {
        "exhausted": f"all {'' if most is None else f'{most:g} '}retries are used up",
        "not_retryable": "errors of this kind are not retried",
        "committed": "a byte had gone to the client, and the policy is not resumable",
        "retry_after_too_long": "the server asked for more than "
        + ("is allowed" if cap is None else seconds(cap)),
    }
    return meanings.get(event.cause, "")


def _number(policy: Policy, name: str) -> float | None:
    """A number of a recorded policy, which may be anything."""
    value = policy.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return value if abs(value) <= _LARGEST else None
