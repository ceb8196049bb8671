"""Keeps the connections that would have fared or waited differently: counts, and the first few."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import attrs

from rat_fsm.replay.what_if.answer import Fate, Span, Wait

if TYPE_CHECKING:
    from rat_fsm.events import Stream


class Differences:
    """What is told of single connections, in bounded memory.

    Args:
        limit: how many fates, and how many waits, are kept.
    """

    def __init__(self, limit: int) -> None:
        self.changed: dict[str, int] = {}
        self.longer = self.shorter = 0
        self._limit = limit
        self._fates: dict[Stream, Fate] = {}
        self._waits: list[tuple[float, int, Wait]] = []

    @property
    def fates(self) -> tuple[Fate, ...]:
        """The first connections that would have fared differently, in the order of the log."""
        return tuple(self._fates.values())

    @property
    def waits(self) -> tuple[Wait, ...]:
        """The connections whose waiting would have changed most, the most first."""
        return tuple(wait for _, _, wait in sorted(self._waits, reverse=True))

    def part(self, fate: Fate) -> None:
        """A connection's two ways part; for each once."""
        self.changed[fate.what] = self.changed.get(fate.what, 0) + 1
        if len(self._fates) < self._limit:
            self._fates[fate.stream] = fate

    def ended(self, stream: Stream, reason: str) -> None:
        """A connection has ended, by the record."""
        fate = self._fates.get(stream)
        if fate is not None:
            self._fates[stream] = attrs.evolve(fate, ended=reason)

    def waited(self, stream: Stream, added: Span) -> None:
        """How much longer a connection would have waited in all."""
        self.longer += added.most > 0
        self.shorter += added.least < 0
        if added == Span(0.0, 0.0):
            return
        # The number keeps entries apart, so that no two waits are compared.
        number = self.longer + self.shorter
        entry = (max(abs(added.least), abs(added.most)), -number, Wait(stream, added))
        heapq.heappush(self._waits, entry)
        if len(self._waits) > self._limit:
            heapq.heappop(self._waits)
