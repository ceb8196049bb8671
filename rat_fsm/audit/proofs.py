"""Proofs about one event, or about two checkpoints, for somebody who has the log no more or never.

Each is made in one pass over the log and held against the checkpoint before it is handed out.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import attrs

from rat_fsm.audit.leaves import leaves_of
from rat_fsm.audit.merkle import (
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    roots_of,
    verify_consistency,
    verify_inclusion,
)
from rat_fsm.codec import no_collection, open_body
from rat_fsm.errors import InvalidArgument
from rat_fsm.replay.sources import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.audit.checkpoints import Checkpoint
    from rat_fsm.events import Position
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.stores.port import Store


@attrs.frozen
class EventProof:
    """One event, and why it is among those that a checkpoint was made of.

    Attributes:
        index: which event of the log it is, counted from 0.
        data: the data of its leaf: 32 bytes of salt, then JSON; see `rat_fsm.audit.leaves`.
        path: the hashes that lead from it to the root (RFC 9162, section 2.1.3).
    """

    index: int
    data: bytes
    path: tuple[bytes, ...]

    def check(self, checkpoint: Checkpoint) -> None:
        """Checks it against a checkpoint, whose signature the caller has checked.

        Raises:
            Unproven: the event is not among those of the checkpoint.
        """
        leaf = leaf_hash(self.data)
        verify_inclusion(leaf, self.index, checkpoint.size, self.path, checkpoint.root)


def prove_event(source: LogSource, position: Position, checkpoint: Checkpoint) -> EventProof:
    """Proves that a checkpoint was made of a log that had an event, telling nothing of others.

    Raises:
        InvalidArgument: there is no event at the position, or it came after the checkpoint.
        Unproven: the log is not the one that the checkpoint was made of.
        DamagedFrame, StoreUnreadable, UnsupportedFormat, HistoryEvicted: it cannot be read.
    """
    with opened(source) as store:
        index, data = _event(store, position)
        ranges = inclusion_ranges(index, checkpoint.size)
        proof = EventProof(index, data, tuple(roots_of(ranges, _leaves(store))))
    proof.check(checkpoint)
    return proof


def prove_extension(source: LogSource, older: Checkpoint, newer: Checkpoint) -> tuple[bytes, ...]:
    """Proves that the newer of two checkpoints extends the older (RFC 9162, section 2.1.4).

    Returns:
        The hashes that `check_extension` takes.

    Raises:
        InvalidArgument: the older checkpoint has more events.
        Unproven: it does not, or the log is not the one that they were made of.
        DamagedFrame, StoreUnreadable, UnsupportedFormat, HistoryEvicted: it cannot be read.
    """
    with opened(source) as store:
        ranges = consistency_ranges(older.size, newer.size)
        path = tuple(roots_of(ranges, _leaves(store)))
    check_extension(older, newer, path)
    return path


def check_extension(older: Checkpoint, newer: Checkpoint, path: tuple[bytes, ...]) -> None:
    """Checks what `prove_extension` gave, without the log.

    Raises:
        Unproven: the newer checkpoint does not extend the older.
    """
    verify_consistency(older.size, newer.size, older.root, newer.root, path)


def _event(store: Store, position: Position) -> tuple[int, bytes]:
    """Which event of the log stands at a position, and the data of its leaf."""
    before = 0
    for stored in store.read():
        count = stored.frame.count
        if stored.position == position.frame and 0 <= position.offset < count:
            data = leaves_of(stored, open_body(stored))
            return before + position.offset, next(islice(data, position.offset, None))
        before += count
    raise InvalidArgument(f"there is no event {position}")


def _leaves(store: Store) -> Iterator[list[bytes]]:
    for stored in store.read():
        with no_collection():
            leaves = [leaf_hash(data) for data in leaves_of(stored, open_body(stored))]
        yield leaves
