"""Finds where an instant falls in a log, by looking at a few frames of it.

Within a writer time never goes back, so its frames can be searched by halving. Between writers it
may: each stamps its events when it accepts them, and commits them when it gets to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from rat_fsm.stores.port import Store, StoredFrame


@attrs.frozen
class Cut:
    """Where a log is cut by an instant.

    Attributes:
        whole: up to this frame every event is at or before the instant, 0 for none.
        last: behind this frame every event is after it.
    """

    whole: int
    last: int


def cut(store: Store, micros: int) -> Cut:
    """Where an instant, in microseconds, cuts a log."""
    whole: list[int] = []
    last = 0
    for writer, head in store.heads().items():
        later = _first_later(store, writer, head, micros)
        if later is None:
            last = max(last, head.position)
        else:
            whole.append(later.position - 1)
            last = max(last, later.position)
    return Cut(min(whole, default=last), last)


def _first_later(store: Store, writer: str, head: StoredFrame, micros: int) -> StoredFrame | None:
    """The writer's first frame with an event after an instant, None where there is none."""
    if head.frame.last_at <= micros:
        return None
    low, high, found = 0, head.position - 1, head
    while low < high:
        middle = (low + high) // 2
        stored = next(iter(store.read(middle, writer)))
        if stored.frame.last_at > micros:
            high, found = middle, stored
        else:
            low = stored.position
    return found
