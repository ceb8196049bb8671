"""Stores the frames of a writer in order, however long the store takes, or until it is given up."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.errors import StoreUnreadable, WriterFenced
from rat_fsm.log.observing import looks
from rat_fsm.log.waiting import MAX_BACKOFF, backoffs

if TYPE_CHECKING:
    from rat_fsm.log.accept import Acceptor
    from rat_fsm.log.attempts import Attempts
    from rat_fsm.log.backlog import Backlog
    from rat_fsm.log.handover import Handover
    from rat_fsm.log.observing import Look
    from rat_fsm.log.progress import Progress
    from rat_fsm.log.waiting import Waiters
    from rat_fsm.stores.port import Frame

SPILL_INTERVAL: Final = 0.25
_log = logging.getLogger("rat_fsm")


@attrs.define(eq=False, kw_only=True)
class Delivery:
    """The way of frames from the backlog to the store.

    Args:
        acceptor: whose rows they are made of.
        backlog: where they come from.
        attempts: stores them.
        handover: what happens where the store says that the slot is lost.
        waiters: who is told.
        progress: how far the store has come.
    """

    _acceptor: Acceptor
    _backlog: Backlog
    _attempts: Attempts
    _handover: Handover
    _waiters: Waiters
    _progress: Progress
    _looks: list[Look] = attrs.field(init=False)

    @_looks.default
    def _begin_looking(self) -> list[Look]:
        return looks(self._acceptor.writer, self._acceptor.model)

    def commit(self) -> None:
        """Stores what was spilled, then what is pending now, then what was spilled meanwhile."""
        if not self._deliver_spilled():
            return
        pending = self._acceptor.pending
        if pending:
            self._progress.oldest_at = pending[0]
        frames = self._backlog.take()
        self._say_refusals()
        if not all(self._deliver(frame) for frame in frames):
            return
        self._progress.oldest_at = 0
        self._deliver_spilled()

    def _deliver_spilled(self) -> bool:
        """Stores what was spilled; False where something is left, which comes before the rest."""
        try:
            for frame in self._backlog.from_file():
                self._deliver(frame)
                if self._waiters.giving_up:
                    return False
        except StoreUnreadable as problem:  # of the file: whatever the store raises is settled
            _log.warning("what was spilled cannot be read, and is tried again: %s", problem)
            self._progress.error = problem
            self._waiters.fail()
            self._waiters.pause(MAX_BACKOFF, failing=True)
            return False
        return True

    def _say_refusals(self) -> None:
        refused = self._acceptor.refused
        while refused:
            _log.error("a call that nobody waited for was refused", exc_info=refused.pop())

    def _deliver(self, frame: Frame) -> bool:
        """Stores a frame; False where it was given up or the slot is lost."""
        self._backlog.hold(frame)
        position = self._store(frame)
        if position is None:
            return False
        self._backlog.forget(frame)
        for look in self._looks:
            look(frame)
        self._progress.advance(frame, position)
        self._waiters.listen()
        self._waiters.answer()
        return True

    def _store(self, frame: Frame) -> int | None:
        """Stores a frame, however long it takes; None where it was given up or fenced."""
        for backoff in backoffs():
            if self._waiters.giving_up:
                break
            self._waiters.listen()
            try:
                position = self._attempts.store(frame)
            except WriterFenced as problem:
                self.lose_slot(problem)
                break
            if position is not None:
                return position
            self._backlog.fill()  # before anybody is told what is kept
            self._waiters.fail()
            if not self._waiters.giving_up:
                self._wait(backoff)
                self._progress.retries += 1
        return None

    def _wait(self, seconds: float) -> None:
        """Waits before the store is asked again; what is accepted meanwhile goes into the file."""
        if not self._backlog.spills:
            self._waiters.pause(seconds, failing=True)
            return
        deadline, hurried = time.monotonic() + seconds, False
        while not hurried and (left := deadline - time.monotonic()) > 0:
            if self._waiters.giving_up:
                return
            self._backlog.fill()
            hurried = self._waiters.pause(min(left, SPILL_INTERVAL), failing=True)

    def lose_slot(self, problem: WriterFenced) -> None:
        """The slot is somebody else's: goes on under another one, or ends."""
        if self._handover.move(problem):
            self._looks = self._begin_looking()
