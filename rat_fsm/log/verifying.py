"""Verifies a log: every hash chain from its beginning, and whatever else it is held against.

A chain finds any damage inside the frames that are there. That frames are missing at its end it
cannot tell, nor that somebody has computed all of it anew; witnesses can: a head kept beside the
log, a checkpoint kept elsewhere, a snapshot folded from the frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from rat_fsm.codec import check_frame, no_collection, open_body
from rat_fsm.errors import DamagedFrame, StoreUnreadable, UnsupportedFormat
from rat_fsm.stores.port import GENESIS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rat_fsm.codec import Body
    from rat_fsm.stores.port import Frame, Store, StoredFrame


@attrs.frozen
class Problem:
    """What is wrong with a log.

    Attributes:
        position: the frame it was found at.
        writer: whose chain it is; empty where nobody knows.
        message: what is wrong, in a sentence.
    """

    position: int
    writer: str
    message: str


@attrs.frozen
class VerifyReport:
    """What verifying found.

    Attributes:
        frames: how many frames are sound.
        events: how many events those hold.
        writers: everybody who wrote, sorted.
        problems: the first of each writer, what is missing, and what the witnesses contradict.
    """

    frames: int
    events: int
    writers: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class Witness(Protocol):
    """Something that a log is held against while it is read."""

    def take(self, stored: StoredFrame, body: Body | None) -> None:
        """Looks at the next frame; its body is None where its chain is broken there or before."""

    def problems(self) -> Iterable[Problem]:
        """What the log contradicts, once it was read to its end."""


def verify_log(
    store: Store,
    witnesses: Iterable[Witness] = (),
    progress: Callable[[int], object] | None = None,
) -> VerifyReport:
    """Recomputes the chain of every writer and checks that sequence and time go on within it.

    Args:
        store: the log.
        witnesses: what the log is held against besides.
        progress: called with the position of each frame that was looked at.

    Raises:
        HistoryEvicted: a bounded memory log no longer holds the beginning.
    """
    check = _Check(tuple(witnesses))
    after = 0
    while True:
        try:
            for stored in store.read(after):
                with no_collection():
                    check.take(stored)
                after = stored.position
                if progress is not None:
                    progress(after)
        except DamagedFrame as problem:  # of the store, which knows no more about the frame
            after = check.unreadable(problem.position or after + 1, problem)
        except StoreUnreadable as problem:
            check.unreadable(after + 1, problem)
            return check.report()
        else:
            return check.report()


class _Check:
    """What is known of a log while it is read."""

    def __init__(self, witnesses: tuple[Witness, ...]) -> None:
        self._witnesses = witnesses
        self._chains: dict[str, Chain] = {}
        self._problems: list[Problem] = []
        self._last = 0
        self._frames = self._events = 0

    def take(self, stored: StoredFrame) -> None:
        """Looks at the next frame, and lets the witnesses look."""
        self._follow(stored.position)
        body = self._sound(stored)
        for witness in self._witnesses:
            witness.take(stored, body)

    def _sound(self, stored: StoredFrame) -> Body | None:
        writer = stored.frame.writer
        chain = self._chains.setdefault(writer, Chain())
        if chain.broken:
            return None
        try:
            body = chain.extend(stored)
        except (DamagedFrame, UnsupportedFormat) as problem:
            chain.broken = True
            self._problems.append(Problem(stored.position, writer, str(problem)))
            return None
        self._frames += 1
        self._events += stored.frame.count
        return body

    def unreadable(self, position: int, problem: Exception) -> int:
        """Notes a place where there is no frame to be had; answers with that place."""
        self._follow(position)
        self._problems.append(Problem(position, "", str(problem)))
        return position

    def _follow(self, position: int) -> None:
        if position != self._last + 1:
            missing = f"frames {self._last + 1} to {position - 1} are missing"
            self._problems.append(Problem(self._last + 1, "", missing))
        self._last = position

    def report(self) -> VerifyReport:
        """Everything that was found, in the order of the log; what two witnesses say, once."""
        for witness in self._witnesses:
            self._problems.extend(witness.problems())
        found = sorted(dict.fromkeys(self._problems), key=lambda problem: problem.position)
        return VerifyReport(self._frames, self._events, tuple(sorted(self._chains)), tuple(found))


@attrs.define
class Chain:
    """Where the chain of a writer has come to."""

    prev: bytes = GENESIS
    next: int = 1
    last_at: int | None = None
    broken: bool = False

    def extend(self, stored: StoredFrame) -> Body:
        """Checks that a frame is sound and goes on from here; answers with its body.

        Raises:
            DamagedFrame, UnsupportedFormat: it does not.
        """
        frame = stored.frame
        check_frame(stored, self.prev)
        body = open_body(stored)
        problem = self._break(frame)
        if problem is not None:
            raise DamagedFrame(problem, position=stored.position)
        self.prev, self.last_at = frame.hash, frame.last_at
        self.next = frame.first + frame.count
        return body

    def _break(self, frame: Frame) -> str | None:
        if frame.first != self.next:
            return f"it begins with event {frame.first} of {frame.writer}, not {self.next}"
        if self.last_at is not None and frame.first_at < self.last_at:
            return f"its time goes back {self.last_at - frame.first_at} µs"
        return None
