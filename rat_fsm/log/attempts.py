"""Tries to store a frame, and finds out what came of it.

A store that fails is never trusted: it is reopened and asked for its head before the same frame
is tried again.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.errors import LogError, RatFsmError, WriterFenced
from rat_fsm.events import StoreRestored
from rat_fsm.lifecycles import NODE

if TYPE_CHECKING:
    import threading

    from rat_fsm.log.accept import Acceptor
    from rat_fsm.log.backlog import Backlog
    from rat_fsm.log.progress import Progress
    from rat_fsm.stores.port import Frame, Store

MAX_ERROR: Final = 512
_log = logging.getLogger("rat_fsm")


@attrs.define(eq=False, kw_only=True)
class Attempts:
    """One attempt after another to append to a store.

    Args:
        store: where frames go.
        gate: held while it is written to.
        progress: what becomes known of it.
        acceptor: where an outage is recorded once it is over.
        backlog: what waited meanwhile.
    """

    _store: Store
    _gate: threading.Lock
    _progress: Progress
    _acceptor: Acceptor
    _backlog: Backlog

    def store(self, frame: Frame) -> int | None:
        """Tries once; answers with the frame's position, None where it is to be tried again.

        Raises:
            WriterFenced: the slot is lost, and the frame was not stored before.
        """
        with self._gate:
            if self._progress.unknown:
                position = self._settle(frame, self._progress.error)
                if position is not None or self._progress.unknown:
                    return position
            try:
                position = self._store.append(frame)
            except WriterFenced as problem:
                return self._unheard_of(frame, problem)
            except Exception as problem:  # noqa: BLE001 - whatever a store raises, settle it
                return self._settle(frame, problem)
            self._note(None, unknown=False)
            return position

    def _unheard_of(self, frame: Frame, problem: WriterFenced) -> int | None:
        """Where a refused frame stands that had been stored before, though nobody told.

        Whoever has the slot now may have added to it, so it need not be the head any more.

        Raises:
            WriterFenced: it is not there, or nobody can tell.
        """
        last = self._progress.position
        try:
            stored = next(self._store.read(last.frame if last else 0, frame.writer), None)
        except OSError as unreachable:
            self._note(unreachable, unknown=True)
            return None
        except LogError as unreadable:  # a frame is damaged, or evicted: that does not pass
            raise problem from unreadable
        if stored is None or stored.frame.hash != frame.hash:
            raise problem
        self._note(None, unknown=False)
        return stored.position

    def _settle(self, frame: Frame, problem: Exception | None) -> int | None:
        """After a failed append: reopens the store and reads whether the frame is there."""
        try:
            self._store.reopen()
            head = self._store.head(frame.writer)
        except Exception as unreachable:  # noqa: BLE001 - whatever it is, the outcome is unknown
            # Why the append failed says more, such as that a disk is full, than what came of it.
            self._note(problem or unreachable, unknown=True)
            return None
        if head is not None and head.frame.hash == frame.hash:
            self._note(None, unknown=False)
            return head.position
        self._note(problem, unknown=False)
        return None

    def _note(self, error: Exception | None, *, unknown: bool) -> None:
        before, since = self._progress.error, self._progress.failing_since
        if error is not None and before is None:
            _log.warning("the log's store fails and is retried: %s", error)
            self._progress.failing_since = time.monotonic()
        self._progress.error = error
        self._progress.unknown = unknown
        if error is None and before is not None:
            _log.warning("the log's store works again after %d retries", self._progress.retries)
            self._record_outage(before, time.monotonic() - since)

    def _record_outage(self, error: Exception, seconds: float) -> None:
        """Says in the run how long the store was away; nobody could have been told before."""
        if self._acceptor.run is None:
            return
        retries, spilled = self._progress.retries, self._backlog.spilled
        event = StoreRestored(str(error)[:MAX_ERROR], seconds, retries, spilled)
        try:
            self._acceptor.transact(NODE, self._acceptor.run, lambda *_: (event,), reserved=True)
        except RatFsmError as problem:
            _log.warning("an outage of the store could not be recorded: %s", problem)
