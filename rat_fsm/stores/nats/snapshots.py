"""Snapshots, which may be larger than a message: in pieces, and a message that says what they are.

The pieces of a writer's snapshot are on ``rat_fsm.STREAM.snapshots.WRITER.NUMBER``; the message on
``….WRITER`` is written when they are all there, and has their digest. Where one was replaced
halfway they do not fit together, and there is no snapshot: it only saves time. The library's
object store would do the same; its reading waits for ever where a piece is missing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from rat_fsm.stores.nats.refusals import NOT_FOUND, Refusal
from rat_fsm.stores.port import Snapshot

if TYPE_CHECKING:
    from rat_fsm.stores.nats.link import Link
    from rat_fsm.stores.nats.streams import Stream

PIECE: Final = 512 * 1024


class _Label(msgspec.Struct):
    """What the message says that a snapshot ends with."""

    fold_version: int
    position: int
    head: str | None
    pieces: int
    digest: str


async def save(link: Link, stream: Stream, snapshot: Snapshot) -> None:
    """Keeps a snapshot in place of the writer's older one."""
    data, subject = snapshot.data, stream.subject(snapshot.writer)
    pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)]
    first = 0
    for number, piece in enumerate(pieces):
        sequence = await stream.put(link, f"{subject}.{number}", piece)
        first = first or sequence
    head = None if snapshot.head is None else snapshot.head.hex()
    digest = hashlib.sha256(data).hexdigest()
    label = _Label(snapshot.fold_version, snapshot.position, head, len(pieces), digest)
    last = await stream.put(link, subject, msgspec.json.encode(label))
    await stream.purge(link, f"{subject}.*", first or last)


async def load(link: Link, stream: Stream, writer: str) -> Snapshot | None:
    """The writer's snapshot, None where there is none that is whole."""
    subject = stream.subject(writer)
    try:
        found = await stream.last(link, subject)
    except Refusal as problem:
        if problem.code == NOT_FOUND:  # nobody has ever saved one
            return None
        raise
    label = None if found is None else _label(found.data)
    if label is None:
        return None
    pieces = [await stream.last(link, f"{subject}.{number}") for number in range(label.pieces)]
    data = b"".join(piece.data for piece in pieces if piece is not None)
    if hashlib.sha256(data).hexdigest() != label.digest:
        return None
    return Snapshot(writer, label.fold_version, label.position, data, _hash(label))


def _hash(label: _Label) -> bytes | None:
    return None if label.head is None else bytes.fromhex(label.head)


def _label(data: bytes) -> _Label | None:
    """What a message says, None where it is nothing of ours."""
    try:
        label = msgspec.json.decode(data, type=_Label)
        _hash(label)
    except ValueError:  # msgspec's errors are among them
        return None
    return label
