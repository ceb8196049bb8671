"""A log to tamper with, a key, and what verifying says relative to a checkpoint."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.audit import PrivateKey, seal_log, witnesses_of
from rat_fsm.codec import hash_of
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store
from rat_fsm.stores.port import GENESIS, StoredFrame
from tests.chains import with_two_writers
from tests.logs import execute

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rat_fsm.audit import Checkpoint
    from rat_fsm.log.verifying import VerifyReport
    from rat_fsm.stores.port import Frame

KEY: Final = PrivateKey("example.com/log", bytes(range(32)))


def sealed(path: Path) -> Checkpoint:
    """The checkpoint of a new log of two writers with six frames and sixteen events."""
    with_two_writers(path)
    return seal_log(path, KEY)[0]


def report_on(path: Path, *checkpoints: Checkpoint) -> VerifyReport:
    """What verifying says of a file, relative to checkpoints if there are any."""
    with contextlib.closing(open_store(path)) as store:
        witnesses = [w for checkpoint in checkpoints for w in witnesses_of(checkpoint)]
        return verify_log(store, witnesses)


def rechain(path: Path) -> None:
    """Makes numbers, times and hashes of a file right, as who has changed something would."""
    with contextlib.closing(open_store(path)) as store:
        frames = rechained(store.read())
    # Writer and number must be unique all the while.
    execute(path, "UPDATE frames SET first = -position", *map(_update, frames))


def _update(stored: StoredFrame) -> str:
    frame = stored.frame
    return (
        f"UPDATE frames SET first = {frame.first}, first_at = {frame.first_at},"  # noqa: S608 - ours
        f" last_at = {frame.last_at}, prev = x'{frame.prev.hex()}',"
        f" hash = x'{frame.hash.hex()}' WHERE position = {stored.position}"
    )


def rechained(frames: Iterable[StoredFrame]) -> list[StoredFrame]:
    """Frames that continue each other, whatever they were before."""
    last: dict[str, Frame] = {}
    made = []
    for stored in frames:
        frame = _after(last.get(stored.frame.writer), stored.frame)
        last[frame.writer] = frame
        made.append(StoredFrame(stored.position, frame))
    return made


def _after(before: Frame | None, frame: Frame) -> Frame:
    if before is None:
        frame = attrs.evolve(frame, prev=GENESIS, first=1)
    else:
        later = max(0, before.last_at - frame.first_at)
        frame = attrs.evolve(
            frame,
            prev=before.hash,
            first=before.first + before.count,
            first_at=frame.first_at + later,
            last_at=frame.last_at + later,
        )
    return attrs.evolve(frame, hash=hash_of(frame))


def renumber(path: Path) -> None:
    """Closes the gaps between positions."""
    rows = execute(path, "SELECT position FROM frames ORDER BY position")
    for number, (position,) in enumerate(rows, 1):
        execute(path, f"UPDATE frames SET position = {number} WHERE position = {position}")  # noqa: S608 - ours
