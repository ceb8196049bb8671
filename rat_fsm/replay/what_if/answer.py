"""What comes of asking a log what would have been: counts beside counts, and whose fate differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.events import (
        ConnectionRefused,
        Position,
        RetryRefused,
        RetryScheduled,
        Stream,
    )


@attrs.frozen
class Span:
    """From the least to the most: one number where nothing leaves it open."""

    least: float
    most: float


@attrs.frozen
class Compared:
    """How much there was, and how much there would have been: from the least to the most."""

    recorded: float
    least: float
    most: float

    @property
    def differs(self) -> bool:
        """Whether it would have been another number, or might have."""
        return self.least != self.recorded or self.most != self.recorded

    @property
    def added(self) -> Span:
        """The difference; below zero is saved."""
        return Span(self.least - self.recorded, self.most - self.recorded)


@attrs.frozen
class Fate:
    """A connection that would have fared differently.

    Attributes:
        micros: when the two ways part; ``position`` is where that stands in the log.
        what: ``refused`` at the door; ``gives_up`` where a retry was recorded; ``retries_on``
            where the recorded connection was given up.
        then: the recorded decision, None for who was let in.
        now: what would have been decided.
        ended: the reason of the recorded end, None where it has not ended.
    """

    stream: Stream
    micros: int
    position: Position
    what: str
    then: RetryScheduled | RetryRefused | None
    now: RetryScheduled | RetryRefused | ConnectionRefused
    ended: str | None = None


@attrs.frozen
class Wait:
    """A connection whose retries would have waited ``added`` seconds more; below zero, less."""

    stream: Stream
    added: Span


@attrs.frozen
class WhatIf:
    """What a log says would have been.

    All counts are of what happened within the time that was asked about. Where the least and the
    most differ, draws or outcomes that the log does not hold leave it open: the least supposes
    that the first retry which never happened would have helped, the most that none would.

    Attributes:
        attempts: retries scheduled.
        give_ups: retries refused.
        waiting: the sum of their delays, seconds.
        let_in: connections registered.
        refused: clients turned away. Those turned away then are counted and never simulated:
            the least supposes that ``found_room`` of them would have been let in.
        refused_then: how many were turned away then, by cause.
        found_room: of those that the limit turned away then, how many at most would have found
            room.
        changed: how many connections would have fared differently, by what: `Fate` says which
            there are; ``fates`` are the first of them.
        waits: the connections whose waiting would have changed most.
        longer: how many connections would have waited longer, or might have; ``shorter``
            likewise.
        untold: recorded retry decisions whose policy the log does not tell.
        samples: how many draws stand for each one that the log does not hold; 0 where none was
            needed.
        seed: of these draws.
    """

    attempts: Compared
    give_ups: Compared
    waiting: Compared
    let_in: Compared
    refused: Compared
    refused_then: Mapping[str, int]
    found_room: int
    changed: Mapping[str, int]
    fates: tuple[Fate, ...]
    waits: tuple[Wait, ...]
    longer: int
    shorter: int
    untold: int
    samples: int
    seed: int

    @property
    def differs(self) -> bool:
        """Whether anything would have been different, or might have."""
        counts = (self.attempts, self.give_ups, self.waiting, self.let_in, self.refused)
        return bool(self.changed or self.longer or self.shorter) or any(c.differs for c in counts)
