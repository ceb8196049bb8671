"""The store port on JetStream, put together.

The sequence of a message is the frame's position. `rat_fsm.stores.nats.link` makes the port's
calls from coroutines.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rat_fsm.errors import LogClosed, StoreUnreadable
from rat_fsm.stores.nats import snapshots
from rat_fsm.stores.nats.chain import Chains
from rat_fsm.stores.nats.durability import guarantee
from rat_fsm.stores.nats.link import Link
from rat_fsm.stores.nats.loop import PATIENCE
from rat_fsm.stores.nats.opening import opened
from rat_fsm.stores.nats.reading import Reader
from rat_fsm.stores.nats.slots import Slots
from rat_fsm.stores.nats.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from rat_fsm.stores.nats.address import Address
    from rat_fsm.stores.port import Frame, Slot, Snapshot, StoredFrame

POLL_INTERVAL: Final = 0.25  # of a wait that hears nothing
OPEN_PATIENCE: Final = 20.0  # of a cluster that has just started
RELEASE_PATIENCE: Final = 2.0
SNAPSHOT_PATIENCE: Final = 15.0
_log = logging.getLogger("rat_fsm")
T = TypeVar("T")


class NatsStore:
    """Frames in a JetStream stream. See `rat_fsm.stores.port.Store` for what the methods promise.

    Writers hold their slots by leases (see `rat_fsm.stores.port.SupportsSlots`), which a task on
    the link's loop renews.

    Attributes:
        address: where it is, and how.
        url: the same without anything secret.
        writable: whether it was opened for writing.
        guarantee: what an acknowledgement means, as the servers were when it was opened.
    """

    def __init__(self, address: Address, *, writable: bool = False) -> None:
        self.address = address
        self.url = address.url
        self.writable = writable
        self._streams = Streams(address.stream)
        self._closed = False
        self._begin()
        try:
            self.guarantee = guarantee(self._opened(), address.monitors)
        except BaseException:
            self.close()
            raise
        _stores.add(self)

    def _begin(self) -> None:
        """Makes what belongs to one process: a forked child has its own."""
        self._link = Link(self.address)
        self._reader = Reader(self._link, self._streams.frames)
        self._chains = Chains(self._streams)
        self._slots = Slots(self._streams.slots, self.address.lease)
        self._changed = threading.Condition()
        self._heard = 0
        self._listening = False
        self._finalizer = weakref.finalize(self, self._link.retire)
        self._finalizer.atexit = False

    def _opened(self) -> int:
        try:
            work = opened(self._link, self._streams, writable=self.writable)
            return self._link.run(work, OPEN_PATIENCE)
        except StoreUnreadable:
            raise
        except OSError as problem:
            raise StoreUnreadable(f"cannot open {self.url}: {problem}") from None

    def begin_in_child(self) -> None:
        """For a forked child: leaves the connection and the slots to the parent."""
        self._finalizer.detach()
        self._link.leave()
        _left_to_parent.append(self._link)
        self._begin()

    def append(self, frame: Frame) -> int:
        """Publishes a frame on its writer's subject, if its slot has not been taken meanwhile."""
        return self._write(lambda link: self._append(link, frame))

    async def _append(self, link: Link, frame: Frame) -> int:
        await self._slots.ensure(link, frame.writer)
        return await self._chains.append(link, frame)

    def _write(
        self, work: Callable[[Link], Coroutine[Any, Any, T]], patience: float = PATIENCE
    ) -> T:
        if self._closed or not self.writable:
            raise LogClosed(f"{self.url} is not open for writing")
        return self._link.run(work(self._link), patience)

    def read(self, after: int = 0, writer: str | None = None) -> Iterator[StoredFrame]:
        """The frames after a position, in batches; see the port."""
        return self._reader.read(after, writer)

    def head(self, writer: str) -> StoredFrame | None:
        """The last frame of a writer."""
        head = self._reader.head(writer)
        if head is not None:
            self._chains.note(head)
        return head

    def heads(self) -> dict[str, StoredFrame]:
        """The last frame of every writer."""
        return self._reader.heads()

    def wait(self, after: int, timeout: float) -> bool:
        """Polls, and looks at once when a writer says that it has stored something."""
        deadline = time.monotonic() + timeout
        if timeout > 0:
            self._listen()
        while True:
            heard = self._heard
            if self._last() > after:
                return True
            if self._closed:
                raise LogClosed(f"{self.url} was closed")
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._pause(heard, min(left, POLL_INTERVAL))

    def _pause(self, heard: int, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._heard != heard or self._closed, seconds)

    def _last(self) -> int:
        try:
            return self._reader.last()
        except StoreUnreadable:
            if self._closed:
                raise LogClosed(f"{self.url} was closed") from None
            raise

    def _listen(self) -> None:
        with self._changed:
            if self._listening or self._closed:
                return
            self._listening = True
        reference = weakref.ref(self)  # the link outlives a store that nobody closed

        def hear() -> None:
            store = reference()
            if store is not None:
                store.hear()

        with contextlib.suppress(OSError):  # the next connection listens, and until then we poll
            self._link.listen(self._streams.stored, hear)

    def hear(self) -> None:
        """Somebody has stored something: whoever waits looks at once."""
        with self._changed:
            self._heard += 1
            self._changed.notify_all()

    def claim(self, writer: str | None) -> str:
        """Takes the lease on a slot, which is renewed until `release`; see the port."""
        try:
            avoid = self._chains.cut_short
            return self._write(lambda link: self._slots.take(link, writer, avoid), OPEN_PATIENCE)
        except StoreUnreadable:
            raise
        except OSError as problem:
            raise StoreUnreadable(f"cannot claim a slot of {self.url}: {problem}") from None

    def release(self, writer: str) -> None:
        """Gives a slot back; where no server answers, its lease ends by itself."""
        if self._closed or writer not in self._slots.held:
            return
        try:
            self._write(lambda link: self._slots.give_back(link, writer), RELEASE_PATIENCE)
        except OSError as problem:
            _log.warning("the slot of %s is free when its lease ends: %s", writer, problem)

    def slots(self) -> dict[str, Slot]:
        """Every slot that was ever taken, by writer."""
        return self._reader.ask(self._slots.all)

    def holds(self, writer: str) -> bool:
        """Whether a slot that this store took is its own, as far as it has heard."""
        return self._slots.holds(writer)

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot in place of the writer's older one."""
        stream = self._streams.snapshots
        self._write(lambda link: snapshots.save(link, stream, snapshot), SNAPSHOT_PATIENCE)

    def load_snapshot(self, writer: str) -> Snapshot | None:
        """The writer's snapshot."""
        stream = self._streams.snapshots
        return self._reader.ask(
            lambda link: snapshots.load(link, stream, writer), SNAPSHOT_PATIENCE
        )

    def reopen(self) -> None:
        """A new connection; claims stay."""
        if self._closed or not self.writable:
            raise LogClosed(f"{self.url} is not open for writing")
        self._chains.forget()
        self._link.run(self._link.reconnect())

    def close(self) -> None:
        """Gives every slot back, ends every wait and the thread."""
        for writer in list(self._slots.held):
            self.release(writer)
        self._closed = True
        self._link.close()
        with self._changed:
            self._changed.notify_all()


_stores: weakref.WeakSet[NatsStore] = weakref.WeakSet()
# A child must neither use nor close what it has of its parent's connections.
_left_to_parent: list[Link] = []


def _begin_in_child() -> None:
    for store in list(_stores):
        store.begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
