"""Decides recorded retries again, connection by connection, in one world or in several.

A connection is in one world as long as no draw is missing. Where one is, it splits into as many
as there are samples, each with draws of its own, and every total is kept for each sample.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.events import RetryRefused, RetryScheduled
from rat_fsm.policy import RetryPolicy
from rat_fsm.replay.what_if.answer import Compared, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rat_fsm.replay.what_if.questions import Decided, Question, World

    Draws = Callable[[], float]

# Seconds: no sum of delays that anybody recorded becomes endless.
LONGEST: Final = 1e15
# How many retries that never happened are thought of at most, after the first.
BEYOND: Final = 100


@attrs.define
class Tally:
    """What is counted of a world; the last three if no retry beyond the record helped."""

    attempts: int = 0
    give_ups: int = 0
    added: float = 0.0
    more_attempts: int = 0
    more_give_ups: int = 0
    more_added: float = 0.0


@attrs.define
class Retried:
    """A connection whose retries are decided again: one world, or one for each sample."""

    worlds: list[World]
    split: bool = False

    def reset(self) -> None:
        """The recorded connection works again, and counts from zero."""
        for world in self.worlds:
            world.attempts, world.previous, world.beyond = 0, None, None

    def recovered(self) -> None:
        """The recorded connection works again: no retry that never happened was missing."""
        for world in self.worlds:
            world.beyond = None


class Retries:
    """Keeps the totals of every sample while decisions are made again.

    Args:
        seed: of the draws that are missing.
        samples: how many stand for each.
    """

    def __init__(self, seed: int, samples: int) -> None:
        self.recorded = Tally()
        self.sampled = False
        self._shared = Tally()
        self._tallies = [Tally() for _ in range(samples)]
        self._randoms = [Random(f"{seed}:{number}") for number in range(samples)]  # noqa: S311 - chance, not secrecy

    def count(self, decided: Decided) -> None:
        """Counts what was recorded."""
        if isinstance(decided, RetryScheduled):
            self.recorded.attempts += 1
        else:
            self.recorded.give_ups += 1
        self.recorded.added += _delay(decided)

    def skip(self, decided: Decided) -> None:
        """Counts a decision that would not have been asked for in any world."""
        self._shared.added -= _delay(decided)

    def stand(self, decided: Decided) -> None:
        """Counts a decision that stays as it was."""
        if isinstance(decided, RetryScheduled):
            self._shared.attempts += 1
        else:
            self._shared.give_ups += 1

    def decide(self, retried: Retried, question: Question) -> Decided | None:
        """Decides in every world; the first answer of another kind than the recorded one."""
        drawing = self._is_missing_a_draw(retried, question)
        if drawing:
            self._split(retried)
        parted: Decided | None = None
        for world, tally, random in self._worlds(retried):
            if world.over:
                _skip(world, tally, question.error.decided)
                continue
            answer = question.ask(world, random() if drawing else question.draw)
            _count(world, tally, question.error.decided, answer)
            if not _alike(answer, question.error.decided):
                parted = parted or answer
                world.over = isinstance(answer, RetryRefused)
            world.beyond = question if _is_beyond(answer, question.error.decided) else None
        return parted

    def _is_missing_a_draw(self, retried: Retried, question: Question) -> bool:
        """Whether the answer of any world depends on a draw that was not recorded.

        A refusal of `RetryPolicy` never does, and it may be asked without a draw.
        """
        if not question.needs_draw or not isinstance(question.policy, RetryPolicy):
            return question.needs_draw
        answers = (question.ask(world, None) for world in retried.worlds if not world.over)
        return any(isinstance(answer, RetryScheduled) for answer in answers)

    def _split(self, retried: Retried) -> None:
        self.sampled = True
        if not retried.split:
            retried.split = True
            retried.worlds = [attrs.evolve(retried.worlds[0]) for _ in self._tallies]

    def _worlds(self, retried: Retried) -> Iterator[tuple[World, Tally, Draws]]:
        """Each world with its tally and its draws; an only world uses none."""
        if not retried.split:
            return iter(((retried.worlds[0], self._shared, self._randoms[0].random),))
        randoms = (random.random for random in self._randoms)
        return zip(retried.worlds, self._tallies, randoms, strict=True)

    def end(self, retried: Retried) -> Span:
        """Nothing follows for this connection; answers how much longer it would have waited."""
        longest = []
        for world, tally, random in self._worlds(retried):
            longest.append(world.added + _go_on(world, tally, random))
        return Span(_settled(min(world.added for world in retried.worlds)), _settled(max(longest)))

    def compared(self) -> dict[str, Compared]:
        """The totals: attempts, give-ups and waiting."""
        shared, tallies = self._shared, self._tallies
        return {
            "attempts": _compared(
                self.recorded.attempts,
                [shared.attempts + tally.attempts for tally in tallies],
                [shared.more_attempts + tally.more_attempts for tally in tallies],
            ),
            "give_ups": _compared(
                self.recorded.give_ups,
                [shared.give_ups + tally.give_ups for tally in tallies],
                [shared.more_give_ups + tally.more_give_ups for tally in tallies],
            ),
            "waiting": _compared(
                self.recorded.added,
                [self.recorded.added + (shared.added + tally.added) for tally in tallies],
                [shared.more_added + tally.more_added for tally in tallies],
            ),
        }


def _compared(recorded: float, least: Sequence[float], more: Sequence[float]) -> Compared:
    most = [some + rest for some, rest in zip(least, more, strict=True)]
    return Compared(_settled(recorded), _settled(min(least)), _settled(max(most)))


def _settled(total: float) -> float:
    """A total to the microsecond: what was added and taken off again is nothing, not a trace."""
    return round(total, 6) + 0.0  # and never a negative nothing


def _alike(answer: Decided, decided: Decided) -> bool:
    return isinstance(answer, RetryScheduled) == isinstance(decided, RetryScheduled)


def _is_beyond(answer: Decided, decided: Decided) -> bool:
    return isinstance(answer, RetryScheduled) and isinstance(decided, RetryRefused)


def _delay(decided: Decided) -> float:
    """The seconds that follow from a decision."""
    if isinstance(decided, RetryRefused):
        return 0.0
    return min(LONGEST, max(0.0, decided.delay))


def _skip(world: World, tally: Tally, decided: Decided) -> None:
    world.added -= _delay(decided)
    tally.added -= _delay(decided)


def _count(world: World, tally: Tally, decided: Decided, answer: Decided) -> None:
    if isinstance(answer, RetryScheduled):
        tally.attempts += 1
    else:
        tally.give_ups += 1
    added = _delay(answer) - _delay(decided)
    tally.added += added
    world.added += added
    world.take(answer)


def _go_on(world: World, tally: Tally, random: Draws) -> float:
    """How long it would wait if no retry that was never recorded helped, up to `BEYOND`."""
    question, waited = world.beyond, 0.0
    if question is None:
        return waited
    for _ in range(BEYOND):
        answer = question.ask(world, random() if question.needs_draw else question.draw)
        world.take(answer)
        if isinstance(answer, RetryRefused):
            tally.more_give_ups += 1
            break
        tally.more_attempts += 1
        waited += _delay(answer)
    tally.more_added += waited
    return waited
