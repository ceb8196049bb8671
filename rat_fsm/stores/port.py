"""The port that every store implements, and the frame it keeps.

A store knows frames, not events. It gives all frames one total order and lets only the holder of
a writer's chain extend that chain. `rat_fsm.testing.store_contract` is the test-suite of this
port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import attrs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GENESIS: bytes = bytes(32)


@attrs.frozen
class Frame:
    """What one writer committed at once.

    Attributes:
        writer: whose chain it continues.
        first: the sequence number of its first event.
        count: how many events it holds.
        first_at: the time of the first event, microseconds; offsets in the body count from it.
        last_at: the time of the last event.
        fingerprints: of the lifecycles in force.
        salt: 16 random bytes, so that later proofs about one event reveal nothing of others.
        body: UTF-8 JSON, see `rat_fsm.codec`.
        prev: the hash of the writer's frame before, 32 zero bytes for the first.
        hash: SHA-256 over header, newline and body.
        format: the frame format; a reader refuses a newer one.
        algorithm: the name of the hash.
    """

    writer: str
    first: int
    count: int
    first_at: int
    last_at: int
    fingerprints: tuple[str, ...]
    salt: bytes
    body: bytes
    prev: bytes
    hash: bytes
    format: int = 1
    algorithm: str = "sha256"

    @property
    def last(self) -> int:
        """The sequence number of its last event."""
        return self.first + self.count - 1


@attrs.frozen
class StoredFrame:
    """A frame and its place in the store's total order, counted from 1 without gaps."""

    position: int
    frame: Frame


@attrs.frozen
class Snapshot:
    """A read model saved by a writer.

    Attributes:
        writer: whose events are folded in it.
        fold_version: of the code that folded; another version ignores it.
        position: the last frame that is folded.
        data: the model as JSON.
        head: the hash of that frame; None where an older rat_fsm saved it, which did not say.
    """

    writer: str
    fold_version: int
    position: int
    data: bytes
    head: bytes | None = None


@attrs.frozen
class Slot:
    """What a store with leases knows of a writer's slot.

    Attributes:
        writer: its name.
        epoch: how often it has been taken.
        held: whether somebody's lease on it runs now.
        seen: when its holder renewed it last, microseconds since the epoch; None where the store
            does not say.
    """

    writer: str
    epoch: int
    held: bool
    seen: int | None = None


@runtime_checkable
class Store(Protocol):
    """Where frames are kept. Every method may be called from any thread."""

    @property
    def url(self) -> str:
        """The address, without credentials."""

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""

    def append(self, frame: Frame) -> int:
        """Adds a frame to its writer's chain and answers with its position.

        Atomic, and durable on return. The writer's last frame again answers its position, so
        that who does not know how an append ended may repeat it.

        Raises:
            WriterFenced: ``frame.prev`` is not the hash of the writer's last frame, or
                ``frame.first`` does not follow its last event.
            OSError: it could not be stored, or nobody knows: call `reopen`, then look at `head`.
        """

    def read(self, after: int = 0, writer: str | None = None) -> Iterator[StoredFrame]:
        """The frames after a position, in order, of one writer or of all.

        What is stored while it is read may be among them or not. A store that was closed may
        still be read.

        Raises:
            HistoryEvicted: a bounded store has dropped some of them.
            DamagedFrame: what stands at a position is no frame; reading may go on after it.
            StoreUnreadable: the store cannot be read.
        """

    def heads(self) -> dict[str, StoredFrame]:
        """The last frame of every writer that ever wrote here."""

    def head(self, writer: str) -> StoredFrame | None:
        """The last frame of one writer, None where it never wrote here."""

    def wait(self, after: int, timeout: float) -> bool:
        """Blocks until there is a frame after a position, at most ``timeout`` seconds.

        Raises:
            LogClosed: there is none, and the store was closed.
        """

    def claim(self, writer: str | None) -> str:
        """Takes a writer's slot until `release`; None takes the lowest free of w0, w1, ….

        The end of the process gives it back as well, however it ends.

        Raises:
            WriterBusy: another log holds it.
        """

    def release(self, writer: str) -> None:
        """Gives a claimed slot back."""

    def reopen(self) -> None:
        """Drops a handle that failed and makes a new one; claims stay.

        Raises:
            OSError: the store cannot be reached.
        """

    def close(self) -> None:
        """Lets go of the handle and ends every `wait`; release the slots before. Idempotent."""


@runtime_checkable
class SupportsSnapshots(Protocol):
    """A store that keeps the newest snapshot of each writer."""

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot in place of the writer's older one."""

    def load_snapshot(self, writer: str) -> Snapshot | None:
        """The writer's snapshot, None where there is none."""


@runtime_checkable
class SupportsNames(Protocol):
    """A store that finds the frames in which a stream or an event has some name."""

    def naming(self, name: str, after: int = 0) -> Iterator[StoredFrame]:
        """The frames after a position that name a stream's id or an event's tag, in order.

        Others may be among them: who asks looks again.
        """


@runtime_checkable
class SupportsSlots(Protocol):
    """A store that leases its slots: a holder that was paused for long may have lost its own.

    `Store.append` raises `WriterFenced` then.
    """

    def slots(self) -> dict[str, Slot]:
        """Every slot that was ever taken, by writer."""

    def holds(self, writer: str) -> bool:
        """Whether a slot that this handle claimed is still its own, as far as it knows now."""


@runtime_checkable
class SupportsGuarantee(Protocol):
    """A store that says what its acknowledgement of a frame is worth where it runs."""

    @property
    def guarantee(self) -> str:
        """One line, such as ``synced to the disk of one server``."""


def last_frame(store: Store) -> int:
    """The position of the last frame, 0 where there is none."""
    return max((head.position for head in store.heads().values()), default=0)


def frames_with(name: str, frames: Iterable[StoredFrame]) -> Iterator[StoredFrame]:
    """Those frames whose body has a name in it as a JSON string."""
    needle = msgspec.json.encode(name)
    return (stored for stored in frames if needle in stored.frame.body)
