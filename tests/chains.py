"""Sound chains of frames, stores in which others stand, and what verifying says of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.codec import hash_of
from rat_fsm.log import EventLog
from rat_fsm.log.verifying import VerifyReport, verify_log
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import GENESIS, StoredFrame
from rat_fsm.testing import VirtualClock
from tests.logs import begin, crash, register

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rat_fsm.log.verifying import Witness


def with_two_writers(path: Path) -> None:
    """Frames 1 to 6, of w0 and w1 by turns, of two events the first two, of three the others."""
    clock = VirtualClock()
    logs = [EventLog.open(path, clock=clock) for _ in range(2)]
    for log in logs:
        begin(log)
    for number in range(2):
        for log in logs:
            register(log, f"c{number}")
            log.flush()
            clock.advance(1.0)
    for log in logs:
        crash(log)
        log.store.close()


def verified(path: Path, witnesses: Iterable[Witness] = ()) -> VerifyReport:
    """The report on a file that is opened for reading."""
    with contextlib.closing(open_store(path)) as store:
        return verify_log(store, witnesses)


def found(report: VerifyReport) -> list[tuple[int, str, str]]:
    """The problems of a report, as tuples."""
    return [attrs.astuple(problem) for problem in report.problems]


def one_writer() -> list[StoredFrame]:
    """Four frames of one writer, a second apart, of three events, the first of two."""
    clock = VirtualClock()
    with EventLog(clock=clock) as log:
        begin(log)
        for number in range(3):
            clock.advance(1.0)
            register(log, f"c{number}")
            log.flush()
        return list(log.store.read())


FOUR: Final = one_writer()


def showing(frames: Iterable[StoredFrame]) -> MemoryStore:
    """A store in which these frames stand, which it would not have taken."""
    store = MemoryStore()
    store._frames.extend(frames)
    return store


def rewritten(number: int, **changes: Any) -> MemoryStore:
    """Four frames, one of them changed, and every hash from there on made right again."""
    frames: list[StoredFrame] = []
    for stored in FOUR:
        prev = frames[-1].frame.hash if frames else GENESIS
        frame = attrs.evolve(stored.frame, prev=prev)
        if stored.position == number:
            frame = attrs.evolve(frame, **changes)
        frames.append(StoredFrame(stored.position, attrs.evolve(frame, hash=hash_of(frame))))
    return showing(frames)
