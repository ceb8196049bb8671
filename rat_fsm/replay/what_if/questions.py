"""What a policy is asked about one connection, whoever wrote the policy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import RetryRefused, RetryScheduled

if TYPE_CHECKING:
    from rat_fsm.replay.what_if.errors import Policy, RecordedError

    Decided = RetryScheduled | RetryRefused


@attrs.define
class World:
    """How far a connection has come under the other policy.

    Attributes:
        attempts: retries since the last reset.
        previous: the last delay, seconds.
        added: how much longer it has waited than was recorded, seconds.
        over: whether it has given up; what was recorded after that did not happen.
        beyond: its last retry was never recorded: what to ask again, had it not helped.
    """

    attempts: int
    previous: float | None
    added: float = 0.0
    over: bool = False
    beyond: Question | None = None

    def take(self, answer: Decided) -> None:
        """Goes on as was decided."""
        if isinstance(answer, RetryScheduled):
            self.attempts, self.previous = answer.attempt, answer.delay
        else:
            self.previous = None


@attrs.frozen
class Question:
    """What a policy is asked in any world.

    Attributes:
        draw: the recorded one, None where there is none.
        committed: whether a byte had gone downstream.
    """

    policy: Policy
    error: RecordedError
    draw: float | None
    committed: bool

    @property
    def needs_draw(self) -> bool:
        """Whether a draw is missing, unless the policy refuses."""
        try:
            return self.draw is None and bool(getattr(self.policy, "needs_draw", True))
        except Exception as problem:  # whatever the code of others raises
            raise self._failure(problem) from problem

    def ask(self, world: World, draw: float | None) -> Decided:
        """What the policy decides, whoever wrote it.

        Raises:
            InvalidArgument: it raised something.
            InvalidArgumentType: it answered with something else than a decision.
        """
        try:
            answer = self.policy.decide(
                self.error,
                attempts=world.attempts,
                draw=draw,
                previous=world.previous,
                committed=self.committed,
            )
        except (Exception, SystemExit) as problem:  # whatever the code of others raises
            raise self._failure(problem) from problem
        _check(answer)
        return answer

    def _failure(self, problem: BaseException) -> InvalidArgument:
        name = self.error.error_type or "an error"
        return InvalidArgument(
            f"the policy cannot decide about {name} ({self.error.category}): "
            f"{type(problem).__name__}: {problem}"
        )


def _check(answer: object) -> None:
    if isinstance(answer, RetryRefused):
        return
    if not isinstance(answer, RetryScheduled):
        raise InvalidArgumentType(
            "a policy answers with RetryScheduled or RetryRefused, "
            f"not with {type(answer).__name__}"
        )
    if not (_is_number(answer.attempt) and _is_number(answer.delay)):
        raise InvalidArgumentType(
            "the attempt and the delay of a policy are finite numbers, "
            f"not {answer.attempt!r} and {answer.delay!r}"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
