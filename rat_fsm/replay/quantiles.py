"""Quantiles of durations in a space that does not grow with how many there were."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

import attrs

ACCURACY: Final = 0.005
_GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA: Final = math.log(_GAMMA)


@attrs.define
class Sketch:
    """Counts durations in buckets, each a hundredth wider than the one before.

    A quantile is off by no more than half of that, and where all durations are alike by nothing.
    All that fit into 64 bits fall into some 4,400 buckets.

    Source: Masson, Rim, Lee: DDSketch, VLDB 2019, section 2.1.

    Attributes:
        count: how many durations were added.
    """

    count: int = 0
    _least: int = 0
    _most: int = 0
    _buckets: Counter[int] = attrs.field(factory=Counter)

    def add(self, duration: int) -> None:
        """Adds a duration, an integer of any unit; nothing is shorter than 0."""
        self._least = min(self._least, duration) if self.count else duration
        self._most = max(self._most, duration)
        self._buckets[math.ceil(math.log(duration) / _LOG_GAMMA) if duration > 0 else -1] += 1
        self.count += 1

    def quantile(self, share: float) -> float | None:
        """What at least this share of the durations does not exceed, None where there is none."""
        seen = 0
        for bucket, count in sorted(self._buckets.items()):
            seen += count
            if seen >= share * self.count:
                middle = 2 * _GAMMA**bucket / (_GAMMA + 1) if bucket >= 0 else 0.0
                return min(max(middle, self._least), self._most)
        return None
