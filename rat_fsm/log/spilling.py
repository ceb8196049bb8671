"""Keeps what a store does not take in a local file, in order, until the store takes it."""

from __future__ import annotations

import itertools
import logging
import sys
import time
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import WriterBusy, WriterFenced
from rat_fsm.stores.port import SupportsSlots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.stores.port import Frame, Store
    from rat_fsm.stores.spill import SpillFile

SLOT_PATIENCE: Final = 20.0  # for a process that is just ending, where slots are not leased
SLOT_RETRY: Final = 0.25
_log = logging.getLogger("rat_fsm")


class Spill:
    """The frames of one writer that its store has not taken; used by the committing thread only.

    Attributes:
        file: where they are.
        last: the sequence number of the last event that was kept.
        error: why the file does not take more, None while it does.
    """

    def __init__(self, file: SpillFile) -> None:
        self.file = file
        self.last = 0
        self.error: OSError | None = None
        self._tail: list[Frame] = []  # what the file did not take; it comes after what it holds

    @property
    def events(self) -> int:
        """How many events wait here."""
        events: int = self.file.events
        return events + sum(frame.count for frame in self._tail)

    def is_open(self) -> bool:
        """Whether it can take more now: what it could not write before, it tries again."""
        return not self._tail or self._write(self._tail)

    def keep(self, frames: Iterable[Frame]) -> None:
        """Adds frames; where the file does not take them they stay in memory."""
        fresh = list(frames)
        if fresh:
            self.last = fresh[-1].first + fresh[-1].count - 1
            self._write([*self._tail, *fresh])

    def _write(self, frames: list[Frame]) -> bool:
        try:
            self.file.keep(frames)
        except OSError as problem:
            if self.error is None:
                _log.error("events can be kept in memory only: %s", problem)
            self._tail, self.error = frames, problem
            return False
        self._tail, self.error = [], None
        return True

    def next_after(self, seq: int) -> Frame | None:
        """The first frame that begins after an event."""
        tail = (frame for frame in self._tail if frame.first > seq)
        return self.file.next_after(seq) or next(tail, None)

    def drop(self, writer: str, seq: int) -> None:
        """Forgets the frames of a writer up to an event, which are stored."""
        self.file.drop(writer, seq)
        self._tail = [frame for frame in self._tail if frame.first > seq]

    def clear(self) -> None:
        """Forgets everything."""
        for writer in {frame.writer for frame in self.frames()}:
            self.file.drop(writer, sys.maxsize)
        self._tail = []

    def frames(self) -> list[Frame]:
        """Everything that waits here."""
        return [*(stored.frame for stored in self.file.read()), *self._tail]


def deliver_left(store: Store, file: SpillFile) -> list[Frame]:
    """Stores what a process that ended left in a spill file, as far as its slot is still its own.

    Returns:
        The frames that do not continue their writer's chain any more: they are still in the file.

    Raises:
        OSError: the store does not take them; they stay where they are.
    """
    left: list[Frame] = []
    by_writer = itertools.groupby([one.frame for one in file.read()], key=lambda f: f.writer)
    for writer, frames in [(writer, list(group)) for writer, group in by_writer]:
        events = sum(frame.count for frame in frames)
        _log.warning("%d events of %s are in %s, and delivered now", events, writer, file.path)
        rest = _deliver(store, writer, frames)
        file.drop(writer, rest[0].first - 1 if rest else frames[-1].first + frames[-1].count)
        left += rest
    return left


def _deliver(store: Store, writer: str, frames: list[Frame]) -> list[Frame]:
    """Appends frames to a chain; answers with those that do not belong there."""
    try:
        _claim(store, writer)
    except WriterBusy:
        return frames
    try:
        waiting = _not_stored(store, writer, frames)
        for number, frame in enumerate(waiting):
            try:
                store.append(frame)
            except WriterFenced:
                return waiting[number:]
        return []
    finally:
        store.release(writer)


def _claim(store: Store, writer: str) -> None:
    """Takes the slot of a process that may have been killed a moment ago.

    A lease that nobody renews is waited for, however long it is.

    Raises:
        WriterBusy: somebody renews it, or has taken the slot meanwhile.
    """
    deadline = time.monotonic() + SLOT_PATIENCE
    before = _renewal(store, writer)
    while True:
        try:
            store.claim(writer)
        except WriterBusy:
            renewal = _renewal(store, writer)
            lives = time.monotonic() > deadline if renewal is None else renewal != before
            if lives:
                raise
            time.sleep(SLOT_RETRY)
        else:
            return


def _renewal(store: Store, writer: str) -> tuple[int, int | None] | None:
    """How often a slot was taken, and when its lease was last renewed; None without leases."""
    slot = store.slots().get(writer) if isinstance(store, SupportsSlots) else None
    return None if slot is None else (slot.epoch, slot.seen)


def _not_stored(store: Store, writer: str, frames: list[Frame]) -> list[Frame]:
    """The frames that the store has not got; it may have been killed before it forgot them."""
    head = store.head(writer)
    if head is None or head.frame.first < frames[0].first:
        return frames
    kept = {frame.hash for frame in frames}
    stored = {one.frame.hash for one in store.read(0, writer) if one.frame.hash in kept}
    return [frame for frame in frames if frame.hash not in stored]
