"""Guesses which ids somebody meant who typed one that is not there."""

from __future__ import annotations

import heapq
from difflib import SequenceMatcher
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST: Final = 3
ALIKE: Final = 0.7
_MOST_READ: Final = 2_000_000
_TELLING: Final = 4  # a part of an id that is shorter may be part of any
_LONGEST: Final = 200  # comparing two strings takes the product of their lengths


def near_misses(ids: Iterable[str], wanted: str, most: int = MOST) -> list[str]:
    """The ids that look like another one, the likeliest first.

    Those that contain it or are contained in it are likely, and those that differ in a few
    places. Of very many ids, only the first two million are looked at.
    """
    folded = wanted.casefold()[:_LONGEST]
    matcher = SequenceMatcher(None, "", folded, autojunk=False)
    likely = ((_likeness(matcher, folded, name), name) for name in islice(ids, _MOST_READ))
    best = heapq.nsmallest(most, {(-score, name) for score, name in likely if score >= ALIKE})
    return [name for _, name in best]


def _likeness(matcher: SequenceMatcher[str], wanted: str, name: str) -> float:
    """How much an id is like the wanted one, 0..1; asks the quick bounds first."""
    folded = name.casefold()[:_LONGEST]
    shorter, longer = sorted((folded, wanted), key=len)
    if shorter in longer and len(shorter) >= min(_TELLING, len(longer) / 2):
        return 1 - (len(longer) - len(shorter)) / 1000
    matcher.set_seq1(folded)
    if matcher.real_quick_ratio() < ALIKE or matcher.quick_ratio() < ALIKE:
        return 0.0
    return matcher.ratio()
