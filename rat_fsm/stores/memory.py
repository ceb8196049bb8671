"""The default store: frames in memory, the oldest evicted beyond a bound."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import HistoryEvicted, LogClosed, WriterBusy, WriterFenced
from rat_fsm.stores.port import GENESIS, Frame, Snapshot, StoredFrame, frames_with

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EVENTS: Final = 100_000


class MemoryStore:
    """Keeps the newest frames, about ``max_events`` events in whole frames, until the process ends.

    It is the specification of the store port in its simplest form.
    """

    url = "memory:"
    writable = True
    guarantee = "nothing outlives the process"

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self._max_events = max_events
        self._changed = threading.Condition()
        self._frames: deque[StoredFrame] = deque()
        self._events = 0
        self._last = 0
        self._heads: dict[str, StoredFrame] = {}
        self._claimed: set[str] = set()
        self._snapshots: dict[str, Snapshot] = {}
        self._closed = False

    def append(self, frame: Frame) -> int:
        """Adds a frame to its writer's chain; see the port."""
        with self._changed:
            head = self._heads.get(frame.writer)
            if head is not None and head.frame.hash == frame.hash:
                return head.position
            if (frame.prev, frame.first) != _end(head):
                raise WriterFenced(f"the frame does not continue the chain of {frame.writer}")
            self._last += 1
            self._keep(StoredFrame(self._last, frame))
            self._changed.notify_all()
            return self._last

    def _keep(self, stored: StoredFrame) -> None:
        self._frames.append(stored)
        self._heads[stored.frame.writer] = stored
        self._events += stored.frame.count
        while self._events > self._max_events and len(self._frames) > 1:
            self._events -= self._frames.popleft().frame.count

    def read(self, after: int = 0, writer: str | None = None) -> Iterator[StoredFrame]:
        """The frames after a position, in order; see the port."""
        with self._changed:
            first = self._frames[0].position if self._frames else self._last + 1
            if after + 1 < first:
                raise HistoryEvicted(
                    f"frames {after + 1} to {first - 1} were evicted from the memory log; "
                    "keep them by opening a log on a file, such as sqlite:events.db"
                )
            frames = list(islice(self._frames, max(0, after + 1 - first), None))
        return (f for f in frames if writer is None or f.frame.writer == writer)

    def naming(self, name: str, after: int = 0) -> Iterator[StoredFrame]:
        """The frames after a position that hold a name as a JSON string; see the port."""
        return frames_with(name, self.read(after))

    def head(self, writer: str) -> StoredFrame | None:
        """The last frame of one writer."""
        with self._changed:
            return self._heads.get(writer)

    def heads(self) -> dict[str, StoredFrame]:
        """The last frame of every writer."""
        with self._changed:
            return dict(self._heads)

    def wait(self, after: int, timeout: float) -> bool:
        """Blocks until there is a frame after a position."""
        with self._changed:
            self._changed.wait_for(lambda: self._last > after or self._closed, timeout)
            if self._last > after:
                return True
            if self._closed:
                raise LogClosed("the memory log was closed")
            return False

    def claim(self, writer: str | None) -> str:
        """Takes a writer's slot, and opens the store again if it was closed; see the port."""
        with self._changed:
            self._closed = False
            name = writer or next(n for n in _slots() if n not in self._claimed)
            if name in self._claimed:
                raise WriterBusy(f"writer {name} is in use by another log")
            self._claimed.add(name)
            return name

    def release(self, writer: str) -> None:
        """Gives a slot back."""
        with self._changed:
            self._claimed.discard(writer)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot in place of the writer's older one."""
        with self._changed:
            self._snapshots[snapshot.writer] = snapshot

    def load_snapshot(self, writer: str) -> Snapshot | None:
        """The writer's snapshot."""
        with self._changed:
            return self._snapshots.get(writer)

    def reopen(self) -> None:
        """Nothing to do: memory has no handle."""

    def close(self) -> None:
        """Ends every wait, unless another log writes here; what is kept may still be read."""
        with self._changed:
            self._closed = not self._claimed
            self._changed.notify_all()


def _end(head: StoredFrame | None) -> tuple[bytes, int]:
    """What the next frame of a writer must continue: a hash and a sequence number."""
    if head is None:
        return GENESIS, 1
    return head.frame.hash, head.frame.first + head.frame.count


def _slots() -> Iterator[str]:
    number = 0
    while True:
        yield f"w{number}"
        number += 1
