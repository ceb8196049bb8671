"""Keeps what a store does not take in a local file, in order, until the store takes it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from rat_fsm.codec import check_frame
from rat_fsm.errors import DamagedFrame, WriterBusy, WriterFenced
from rat_fsm.stores.port import SupportsSlots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rat_fsm.log.aside import Aside
    from rat_fsm.stores.port import Frame, Store, StoredFrame
    from rat_fsm.stores.spill import SpillFile

SLOT_PATIENCE: Final = 20.0  # for a process that is just ending, where slots are not leased
SLOT_RETRY: Final = 0.25
_log = logging.getLogger("rat_fsm")


class Spill:
    """The frames of one writer that its store has not taken; used by the committing thread only.

    Attributes:
        file: where they are; what it held before, or could not be moved from it, stays there.
        last: the sequence number of the last event that was kept, in the file or in memory.
        events: how many events are in the file and not stored.
        error: why the file does not take more, None while it does.
    """

    def __init__(self, file: SpillFile) -> None:
        self.file = file
        self.last = self.events = 0
        self.error: OSError | None = None
        self._base = file.last
        self._kept: deque[tuple[int, int]] = deque()  # of each frame: last event, how many
        self._tail: list[Frame] = []  # what the file did not take; it comes after what it holds
        self._littered = False

    @property
    def waits(self) -> bool:
        """Whether there is something that is not stored."""
        return bool(self._kept or self._tail)

    @property
    def oldest_at(self) -> int:
        """The time of the oldest event that the file did not take, 0 where it has all."""
        return self._tail[0].first_at if self._tail else 0

    def holds(self, frame: Frame) -> bool:
        """Whether the next frame to be stored is in the file, so that a kill does not lose it."""
        return bool(self._kept) and self._kept[0][0] == frame.last

    def is_open(self) -> bool:
        """Whether it can take more now: what it could not write before, it tries again."""
        return not self._tail or self._write(self._tail)

    def keep(self, frames: Iterable[Frame]) -> None:
        """Adds frames; where the file does not take them they stay in memory."""
        fresh = list(frames)
        if fresh:
            self.last = fresh[-1].last
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
        self._kept.extend((frame.last, frame.count) for frame in frames)
        self.events += sum(frame.count for frame in frames)
        return True

    def next_after(self, seq: int) -> Frame:
        """The first frame that begins after an event; there must be one.

        Raises:
            StoreUnreadable: the file cannot be read.
            DamagedFrame: what it holds is not what was put into it.
        """
        if not self._kept:
            return self._tail[0]
        stored = self.file.next_after(seq, self._base)
        if stored is None:
            raise DamagedFrame(f"what comes after event {seq} is gone from {self.file.path}")
        check_frame(stored, None)
        return stored.frame

    def forget(self, seq: int) -> bool:
        """Everything up to an event is stored, and `tidy` may delete it; whether more waits."""
        while self._kept and self._kept[0][0] <= seq:
            self.events -= self._kept.popleft()[1]
            self._littered = True
        self._tail = [frame for frame in self._tail if frame.first > seq]
        return self.waits

    def tidy(self, seq: int) -> None:
        """Deletes from the file what is stored, or does so the next time: nothing needs it."""
        if self._littered:
            with tidying(self.file):
                self.file.drop(seq, self._base)
                self._littered = False

    def set_aside(self, aside: Aside) -> None:
        """Moves everything into another file; what that does not take stays in this one."""
        if aside.keep(self._in_file()):
            with tidying(self.file):
                self.file.drop(self.last, self._base)
        else:
            aside.leave(self.events, self.file.path)
        aside.keep(self._tail)
        self._kept.clear()
        self._tail, self.events, self._littered = [], 0, False
        self._base = self.file.last

    def _in_file(self) -> Iterator[Frame]:
        """What is in the file and not stored."""
        if self._kept:
            first = self._kept[0][0]
            frames = (stored.frame for stored in self.file.read(self._base))
            yield from (frame for frame in frames if frame.last >= first)


@contextlib.contextmanager
def tidying(file: SpillFile) -> Iterator[None]:
    """Where a file does not let go of what is not needed any more, that does no harm."""
    try:
        yield
    except OSError as problem:  # a full disk has no room to delete either
        _log.warning("%s still holds events that were delivered: %s", file.path, problem)


def deliver_left(store: Store, file: SpillFile) -> list[StoredFrame]:
    """Stores what a process that ended left in a spill file, as far as its slot is still its own.

    What is damaged there is said and stays in the file, for ``rat-fsm verify`` to look at.

    Returns:
        The frames that do not continue their writer's chain any more: they are still in the file.

    Raises:
        OSError: the store does not take them; they stay where they are.
    """
    left: list[StoredFrame] = []
    by_writer = itertools.groupby(_sound(file), key=lambda stored: stored.frame.writer)
    for writer, frames in [(writer, list(group)) for writer, group in by_writer]:
        events = sum(stored.frame.count for stored in frames)
        _log.warning("%d events of %s are in %s, and delivered now", events, writer, file.path)
        rest = _deliver(store, writer, frames)
        with tidying(file):
            file.remove(one.position for one in frames if one not in rest)
        left += rest
    return left


def _sound(file: SpillFile) -> list[StoredFrame]:
    """The frames of a file that are what their hashes say."""
    found: list[StoredFrame] = []
    position = 0
    while True:
        try:
            for stored in file.read(position):
                position = stored.position
                check_frame(stored, None)
                found.append(stored)
        except DamagedFrame as problem:
            _log.error("a frame of %s is damaged and stays there: %s", file.path, problem)
            position = problem.position or position + 1
        else:
            return found


def _deliver(store: Store, writer: str, frames: list[StoredFrame]) -> list[StoredFrame]:
    """Appends frames to a chain; answers with those that do not belong there."""
    try:
        _claim(store, writer)
    except WriterBusy:
        return frames
    try:
        waiting = _not_stored(store, writer, frames)
        for number, stored in enumerate(waiting):
            try:
                store.append(stored.frame)
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


def _not_stored(store: Store, writer: str, frames: list[StoredFrame]) -> list[StoredFrame]:
    """The frames that the store has not got; it may have been killed before it forgot them."""
    head = store.head(writer)
    if head is None or head.frame.first < frames[0].frame.first:
        return frames
    kept = {one.frame.hash for one in frames}
    stored = {one.frame.hash for one in store.read(0, writer) if one.frame.hash in kept}
    return [one for one in frames if one.frame.hash not in stored]
