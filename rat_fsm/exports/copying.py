"""Puts frames into a store as they are: verified, in their order, at their positions.

A copy goes on behind what its destination holds, so one that was killed is simply started again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from rat_fsm.errors import InvalidArgument, LogsDiverged, LogUnavailable, StoreUnreadable
from rat_fsm.exports.chains import Chains
from rat_fsm.log.ids import check_id
from rat_fsm.replay.sources import opened
from rat_fsm.stores import open_store
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rat_fsm.exports.selecting import Progress
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.stores.port import Store, StoredFrame

    Destination = str | Path | Store


@attrs.frozen
class Copied:
    """What was put into a log.

    Attributes:
        frames: how many were added.
        events: how many events those hold.
        before: how many frames were there already.
        writers: everybody whose frames the log holds now, sorted.
    """

    frames: int
    events: int
    before: int
    writers: tuple[str, ...]


def copy_log(
    source: LogSource, destination: Destination, *, progress: Progress | None = None
) -> Copied:
    """Copies the frames of a log into another store, each verified first.

    Positions and hashes stay what they are; snapshots are not copied, they are made again. The
    destination must be empty or an earlier copy; it is compared with the source frame by frame,
    and then gone on with. A frame is durable before the next is read, so a copy that was killed
    can be started again. A server may be writing the source; what it stores meanwhile may be
    copied or not. Nobody may write the destination: whoever opens it for writing ends what is
    open in it, and then it is no copy any more.

    Args:
        source: the log.
        destination: a URL or path, where a log is made if there is none, or a writable store.
        progress: called with the position of each frame that was copied.

    Raises:
        LogsDiverged: the destination is no earlier copy; nothing was added then. Or somebody
            else wrote to it meanwhile.
        WriterBusy: somebody is writing the destination.
        DamagedFrame: a frame of the source is not what its writer stored; the frames before it
            are copied.
        HistoryEvicted: a bounded memory log no longer holds the beginning.
        LogUnavailable: the destination cannot be written; what was added before stays.
        StoreUnreadable, UnsupportedFormat: one of them cannot be opened.
    """
    last = 0
    with opened(source) as store, receiving(destination) as receiver:
        for stored in store.read():
            receiver.take(stored)
            last = stored.position
            if progress is not None:
                progress(last)
        if receiver.before > last:
            raise LogsDiverged(
                f"{receiver.name} is no earlier copy: it has {receiver.before} frames, and "
                f"{store.url} {last}",
                position=last + 1,
            )
        return receiver.copied


@contextlib.contextmanager
def receiving(destination: Destination, writers: Iterable[str] = ()) -> Iterator[Receiver]:
    """A receiver for a store, with the slots of its writers and of these claimed meanwhile.

    Raises:
        WriterBusy: somebody else holds one of them.
        StoreUnreadable, UnsupportedFormat, InvalidArgument: see `open_store`.
    """
    with contextlib.ExitStack() as stack:
        if destination == "memory:":
            raise InvalidArgument("a memory: log would be gone as soon as it was made")
        if isinstance(destination, (str, Path)):
            store = open_store(destination, writable=True)
            stack.callback(store.close)
        else:
            store = destination
            if not store.writable:
                raise StoreUnreadable(f"{store.url} was opened for reading only")
        slots = stack.enter_context(_Slots(store))
        for writer in sorted({*writers, *store.heads()}):
            slots.claim(writer)
        receiver = Receiver(store, slots)
        stack.callback(receiver.rest)
        yield receiver


class _Slots(contextlib.AbstractContextManager["_Slots"]):
    """The claimed slots of a store, given back together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._claimed: set[str] = set()

    def claim(self, writer: str) -> None:
        """Claims a slot that is not claimed here yet."""
        if writer not in self._claimed:
            check_id(writer, "writer")
            self._store.claim(writer)
            self._claimed.add(writer)

    def __exit__(self, *_: object) -> None:
        for writer in self._claimed:
            self._store.release(writer)


class Receiver:
    """Takes the frames of a log one after the other, and adds those that a store does not have.

    Attributes:
        name: what to call the store.
        before: how many frames it had.
    """

    def __init__(self, store: Store, slots: _Slots) -> None:
        self.name = store.url
        self.before = last_frame(store)
        self._store = store
        self._slots = slots
        self._chains = Chains(self.before, store.heads())
        self._held: Iterator[StoredFrame] | None = None
        self._frames = self._events = 0

    @property
    def copied(self) -> Copied:
        """What was added so far."""
        return Copied(self._frames, self._events, self.before, tuple(self._chains.writers))

    def take(self, stored: StoredFrame) -> None:
        """Compares the next frame with the one that is there, or adds it.

        Raises:
            LogsDiverged, DamagedFrame, LogUnavailable, WriterBusy: see `copy_log`.
        """
        if stored.position <= self.before:
            self._compare(stored)
        else:
            self.rest()
            self._add(stored)

    def rest(self) -> None:
        """Lets go of what it reads: SQLite tidies up when its last handle, the writer's, closes."""
        self._held = None

    def _compare(self, stored: StoredFrame) -> None:
        if self._held is None:
            self._held = self._store.read(stored.position - 1)
        if next(self._held, None) != stored:
            raise LogsDiverged(
                f"{self.name} is no earlier copy: its frame {stored.position} is another one",
                position=stored.position,
            )

    def _add(self, stored: StoredFrame) -> None:
        self._chains.extend(stored)
        self._slots.claim(stored.frame.writer)
        try:
            position = self._store.append(stored.frame)
        except OSError as problem:
            raise LogUnavailable(f"{problem}; what was added before stays") from problem
        if position != stored.position:
            raise LogsDiverged(
                f"{self.name} is no copy any more: somebody else wrote its frame "
                f"{stored.position} meanwhile",
                position=stored.position,
            )
        self._frames, self._events = self._frames + 1, self._events + stored.frame.count
