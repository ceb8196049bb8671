"""What the committing half does once its slot is somebody else's: it takes another, or ends.

What the streams begin again with there is said in `rat_fsm.log.succession`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs

from rat_fsm.errors import (
    DamagedFrame,
    HistoryEvicted,
    RatFsmError,
    UnsupportedFormat,
    WriterFenced,
)
from rat_fsm.log.waiting import backoffs

if TYPE_CHECKING:
    import threading

    from rat_fsm.log.accept import Acceptor
    from rat_fsm.log.aside import Aside
    from rat_fsm.log.backlog import Backlog
    from rat_fsm.log.progress import Progress
    from rat_fsm.log.succession import Succession
    from rat_fsm.log.waiting import Waiters
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.stores.port import Store, StoredFrame

_log = logging.getLogger("rat_fsm")


@attrs.define(eq=False, kw_only=True)
class Handover:
    """The way of one log from slot to slot.

    Args:
        store: where the slots are.
        gate: held while it is written to.
        acceptor: whose writer changes.
        backlog: what is set aside.
        waiters: who is told.
        progress: how far each slot has come.
        succession: how the streams go on; None ends the log.
    """

    _store: Store
    _gate: threading.Lock
    _acceptor: Acceptor
    _backlog: Backlog
    _waiters: Waiters
    _progress: Progress
    _succession: Succession | None

    def end(self, problem: Exception) -> None:
        """Ends the log: what is pending can not be stored by this writer any more."""
        _log.error("the log of %s has stopped: %s", self._acceptor.writer, problem)
        self._acceptor.stop(problem)
        self._waiters.giving_up = True
        self._progress.error, self._progress.unknown = problem, False

    def move(self, problem: WriterFenced) -> bool:
        """The slot is lost: goes on under another one, or ends; whether it goes on."""
        succession = self._succession
        if succession is None:
            self.end(problem)
            return False
        if self._acceptor.refusal is not None or not succession.moves:
            self.end(problem)
            aside = self._set_aside(succession)
            succession.set_aside += aside.events
            aside.close()
            return False
        _log.error("writer %s has lost its slot: %s", self._acceptor.writer, problem)
        self._progress.error, self._progress.unknown = problem, False
        return self._go_on(succession)

    def _go_on(self, succession: Succession) -> bool:
        aside = self._set_aside(succession)
        try:
            found = self._look_for_slot(succession, aside)
        finally:
            succession.set_aside += aside.events
            aside.close()
        self._waiters.answer()
        return found

    def _set_aside(self, succession: Succession) -> Aside:
        """Moves everything that is accepted and not stored into a file of its own."""
        aside = succession.aside_for(self._acceptor.writer)
        self._backlog.set_aside(aside)
        return aside

    def _look_for_slot(self, succession: Succession, aside: Aside) -> bool:
        for backoff in backoffs():
            if self._waiters.giving_up:
                break
            try:
                with self._gate:
                    self._take_slot(succession, aside)
            except (OSError, WriterFenced) as unreachable:
                self._progress.error = unreachable
                self._waiters.fail()
                self._waiters.pause(backoff, failing=True)
            except RatFsmError as unusable:
                self.end(unusable)
            else:
                _log.warning("the log goes on as writer %s", self._acceptor.writer)
                self._progress.error = None
                return True
        return False

    def _take_slot(self, succession: Succession, aside: Aside) -> None:
        """Claims a slot, and begins there again what is open."""
        former, chain = self._acceptor.writer, self._backlog.chain
        self._store.release(former)
        self._store.reopen()
        kept = self._kept(former)
        writer, model, head = self._claim(succession)
        begin = succession.begin(former, kept, writer, model, aside)
        with self._acceptor.lock:
            left = self._acceptor.succeed(writer, model, begin)
            self._progress.lose_slot()
            self._backlog.begin(head)
        aside.keep(chain.frames(*left))

    def _claim(self, succession: Succession) -> tuple[str, ReadModel, StoredFrame | None]:
        """Claims the first free slot that can be recovered, with what it has recorded."""
        unusable: list[str] = []
        try:
            while True:
                writer = self._store.claim(None)
                try:
                    return writer, succession.fold(self._store, writer), self._store.head(writer)
                except (DamagedFrame, HistoryEvicted, UnsupportedFormat) as problem:
                    _log.error("the log cannot go on as writer %s: %s", writer, problem)
                    unusable.append(writer)  # held, so that another one is given
                except BaseException:
                    self._store.release(writer)
                    raise
        finally:
            for writer in unusable:
                self._store.release(writer)

    def _kept(self, former: str) -> int:
        """The number of the last event that the store still has of those it took.

        A server that was behind when it took over from another has lost the end of the chain.
        """
        head = self._store.head(former)
        last = 0 if head is None else head.frame.last
        return min(self._progress.durable, last)
