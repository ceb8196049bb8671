"""Which policy answers: one that is given, or that of each decision but for what is changed.

What is not changed is as recorded. A decision names the policy that made it; where it does not
(rat_fsm before that was recorded, events of one's own), the start of its writer's run may. Where
neither does, the decision itself says what it can (the cap is the highest delay, no draw means
no jitter, a verdict stands) and the defaults of `RetryPolicy` stand for the rest.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import RetryRefused, RetryScheduled
from rat_fsm.policy import CUSTOM, RetryPolicy
from rat_fsm.replay.what_if.errors import TOO_LONG, as_recorded

if TYPE_CHECKING:
    from rat_fsm.replay.what_if.errors import Policy

    Told = tuple[tuple[str, Any], ...]

NAMES: Final = tuple(RetryPolicy().as_dict())
DELAYS: Final = frozenset({"base_delay", "max_delay", "jitter"})
ENOUGH: Final = 2**53  # more retries than anybody counts
KEPT: Final = 256  # policies of a log: a server has a handful


@attrs.frozen
class Recorded:
    """The policy behind a recorded decision, as far as the log tells.

    Attributes:
        policy: what is told, and guesses for the rest.
        told: the names of the parameters that are told.
    """

    policy: RetryPolicy
    told: frozenset[str]

    @property
    def gives_delays(self) -> bool:
        """Whether the log tells how long every retry waits, but for a server's Retry-After."""
        return self.told >= DELAYS


@attrs.frozen
class Changed(RetryPolicy):
    """The policy of a decision with some parameters changed; what does not depend on them stays.

    A delay is computed again where a parameter of delays was changed, or for another attempt
    than the recorded one: so those of a jitter of one's own, which no log can hold, stay.
    """

    keeps_delays: bool = True

    def decide(self, error: Any, **facts: Any) -> RetryScheduled | RetryRefused:
        """Decides as `RetryPolicy`, with the recorded delay where that stays."""
        answer, then = super().decide(error, **facts), error.decided
        if (
            self.keeps_delays
            and isinstance(answer, RetryScheduled)
            and isinstance(then, RetryScheduled)
            and answer.attempt == then.attempt
        ):
            return attrs.evolve(answer, delay=then.delay, cap=then.cap)
        return answer


class Policies:
    """Answers with the policy to ask about a recorded decision.

    Args:
        wanted: a policy; or the parameters of `RetryPolicy` that are changed.

    Raises:
        InvalidArgument, InvalidArgumentType: it is neither, or a value is none for its parameter.
    """

    def __init__(self, wanted: Policy | Mapping[str, Any] | None) -> None:
        self._changes: Mapping[str, Any] = {}
        self._policy: Policy | None = None
        self._last: tuple[Recorded, Policy] | None = None
        if isinstance(wanted, Mapping):
            self._changes = _checked(wanted)
        elif wanted is not None:
            self._policy = _prepared(wanted)

    @property
    def are_recorded(self) -> bool:
        """Whether nothing is changed, so that every decision stands."""
        return self._policy is None and not self._changes

    def asked(self, recorded: Recorded) -> Policy:
        """Who decides in place of a recorded policy."""
        if self._policy is not None:
            return self._policy
        if self._last is None or self._last[0] is not recorded:  # a server has one, so one is kept
            self._last = recorded, self._changed(recorded)
        return self._last[1]

    def _changed(self, recorded: Recorded) -> Policy:
        return Changed(
            **{**{name: getattr(recorded.policy, name) for name in NAMES}, **self._changes},
            rules=(as_recorded,),
            keeps_delays=not DELAYS & self._changes.keys(),
        )


def _checked(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in changes:
        if name not in NAMES:
            raise InvalidArgument(f"{name!r} is no parameter to change: {', '.join(NAMES)} are")
    RetryPolicy(**changes)
    return dict(changes)


def _prepared(policy: Any) -> Policy:
    """A policy that can be asked about errors of the past."""
    if isinstance(policy, type) or not callable(getattr(policy, "decide", None)):
        raise InvalidArgumentType(
            "a policy is a RetryPolicy or another object with its method decide, "
            f"not {_name_of(policy)}"
        )
    if isinstance(policy, RetryPolicy):
        return attrs.evolve(policy, rules=(as_recorded,))
    return policy  # type: ignore[no-any-return]  # it has the method, and is asked with care


def _name_of(value: object) -> str:
    return f"the class {value.__qualname__}" if isinstance(value, type) else type(value).__name__


def recorded_policy(decided: RetryScheduled | RetryRefused, run: Mapping[str, Any]) -> Recorded:
    """The policy behind a decision, as the decision tells it, or the start of its writer's run."""
    told = _told(decided.policy) or _told(run)
    if len(told) == len(NAMES):
        return _complete(told)
    return _completed(decided, dict(told))


def _told(facts: Mapping[str, Any]) -> Told:
    """The parameters that are named, with values that can be compared and looked up."""
    return tuple(
        (name, facts[name])
        for name in NAMES
        if name in facts and isinstance(facts[name], (bool, int, float, str))
    )


@functools.lru_cache(KEPT)
def _complete(told: Told) -> Recorded:
    return _build(RetryPolicy(), dict(told))


def _completed(decided: RetryScheduled | RetryRefused, told: dict[str, Any]) -> Recorded:
    return _build(_guessed(decided), told)


def _build(guess: RetryPolicy, told: dict[str, Any]) -> Recorded:
    """What is told in place of what is guessed; of a jitter of one's own, its bounds."""
    if told.get("jitter") == CUSTOM:
        guess = attrs.evolve(guess, jitter="full")
        del told["jitter"]
    try:
        return Recorded(attrs.evolve(guess, **told), frozenset(told))
    except (InvalidArgument, InvalidArgumentType):
        return Recorded(guess, frozenset())  # not what we would write, so it tells nothing


def _guessed(decided: RetryScheduled | RetryRefused) -> RetryPolicy:
    """A policy that decides as was decided, for a log that tells of none."""
    if isinstance(decided, RetryRefused):
        if decided.cause == "exhausted":
            return RetryPolicy(max_retries=0)
        return RetryPolicy(resumable=decided.cause != "committed")
    jitter = "none" if decided.draw is None else "full"
    try:
        return RetryPolicy(max_retries=ENOUGH, max_delay=decided.cap, jitter=jitter)
    except InvalidArgument:
        return RetryPolicy(max_retries=ENOUGH, jitter=jitter)


def retry_after(
    decided: RetryScheduled | RetryRefused, recorded: Recorded, previous: float | None
) -> float | None:
    """The pause that a server asked for, in seconds, where it shows in what was decided.

    It does where it raised the delay beyond the policy's own.
    """
    if isinstance(decided, RetryRefused):
        return TOO_LONG if decided.cause == "retry_after_too_long" else None
    own = recorded.policy.max_delay
    if recorded.gives_delays:
        own = recorded.policy.delay(max(1, decided.attempt), draw_of(decided), previous)
    return decided.delay if decided.delay > own else None


def draw_of(decided: RetryScheduled | RetryRefused) -> float | None:
    """The recorded draw, None where there is none between 0 and 1."""
    draw = decided.draw if isinstance(decided, RetryScheduled) else None
    return draw if draw is not None and 0 <= draw <= 1 else None
