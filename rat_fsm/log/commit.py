"""Commits accepted events: one thread a log turns what is pending into frames and stores them.

It takes the whole pending list at a time, at most every `INTERVAL`, so that many events share
one sync to disk (group commit). How they get into the store is `rat_fsm.log.delivery`'s.

While the store fails, what is accepted goes into a local file if the log has one
(`rat_fsm.log.spilling`). Where the slot itself is lost, the log goes on under another
(`rat_fsm.log.handover`), or ends.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import LogUnavailable, WriterFenced
from rat_fsm.log.attempts import Attempts
from rat_fsm.log.backlog import Backlog
from rat_fsm.log.delivery import Delivery
from rat_fsm.log.durability import wait_for
from rat_fsm.log.handover import Handover
from rat_fsm.log.progress import Progress
from rat_fsm.log.waiting import MAX_BACKOFF, Waiter, Waiters
from rat_fsm.stores.port import SupportsSlots

if TYPE_CHECKING:
    from rat_fsm.events import Position
    from rat_fsm.log.accept import Acceptor, Mark
    from rat_fsm.log.spilling import Spill
    from rat_fsm.log.succession import Succession
    from rat_fsm.stores.port import Store, StoredFrame

INTERVAL: Final = 0.010
LEASE_INTERVAL: Final = 1.0
LAST_PATIENCE: Final = 30.0  # with a store that hangs, where a file could still take the rest
_log = logging.getLogger("rat_fsm")


class Committer:
    """The committing half of a log, for one writer; `attach` it before anything else is asked.

    Args:
        store: where frames go.
        writer: whose they are.
        fingerprints: of the lifecycles in force.
        spill: where they go while the store fails; None keeps them in memory.
        succession: how the log goes on once its slot is lost; None ends it.

    Attributes:
        wake: asks for a commit soon; C code, safe in signal handlers and finalisers.
        gate: held while the store is written to, so that a fork can wait for a quiet moment.
        progress: how far the store has come.
        running: whether the thread has started.
    """

    def __init__(
        self,
        store: Store,
        writer: str,
        fingerprints: tuple[str, ...],
        *,
        spill: Spill | None = None,
        succession: Succession | None = None,
    ) -> None:
        self.progress = Progress()
        self._waiters = Waiters(self.progress)
        self.wake = self._waiters.wake
        self.gate = threading.Lock()
        self.running = False
        self._store = store
        self._name = f"rat-fsm-log-{writer}"
        self._fingerprints = fingerprints
        self._spill = spill
        self._succession = succession
        self._acceptor: Acceptor
        self._backlog: Backlog
        self._handover: Handover
        self._delivery: Delivery
        self._starting = self._retired = self._ended = self._done = False
        self._once = threading.Lock()
        self._one = threading.Lock()
        self._thread: threading.Thread | None = None

    def attach(self, acceptor: Acceptor, head: StoredFrame | None) -> None:
        """Says whose rows to commit, and what the writer's last frame is."""
        store, gate, progress, waiters = self._store, self.gate, self.progress, self._waiters
        backlog = Backlog(acceptor, self._fingerprints, progress, self._spill, head)
        attempts = Attempts(
            store=store, gate=gate, progress=progress, acceptor=acceptor, backlog=backlog
        )
        handover = Handover(
            store=store,
            gate=gate,
            acceptor=acceptor,
            backlog=backlog,
            waiters=waiters,
            progress=progress,
            succession=self._succession,
        )
        self._delivery = Delivery(
            acceptor=acceptor,
            backlog=backlog,
            attempts=attempts,
            handover=handover,
            waiters=waiters,
            progress=progress,
        )
        self._acceptor, self._backlog, self._handover = acceptor, backlog, handover

    @property
    def here(self) -> bool:
        """Whether this is the committing thread, which a finaliser may have interrupted."""
        return self._thread is threading.current_thread()

    @property
    def spilled(self) -> int:
        """How many events wait in the spill file."""
        return self._backlog.spilled

    @property
    def set_aside(self) -> int:
        """How many events were set aside because a slot was lost."""
        return 0 if self._succession is None else self._succession.set_aside

    def start(self) -> None:
        """Starts the thread unless it runs; may be repeated after an interruption.

        Raises:
            LogUnavailable: the interpreter starts no threads any more.
        """
        # A handler that interrupts this finds the flag set: the thread starts without it. A lock
        # would be left taken by one that raises between taking it and the try.
        if self.running or self._ended or self._starting:
            return
        self._starting = True
        try:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
            self.running = True
        except RuntimeError as problem:
            # Where a signal handler raises, threading may fail to let go of a lock and hide why.
            if problem.__context__ is not None:
                raise problem.__context__ from None
            raise LogUnavailable(f"the log's thread cannot be started: {problem}") from problem
        finally:
            self._starting = False

    def stop(self) -> None:
        """Asks the thread to commit what is pending and end; safe in finalisers."""
        self._waiters.stopping = True
        self.wake()

    def retire(self) -> None:
        """Like `stop`, for a log that was not closed: lets go of the store in the end, too."""
        self._retired = True
        self.stop()

    def join(self, timeout: float) -> bool:
        """Waits for the thread to end; past the timeout it stops retrying.

        Then it still waits for what it is at: with a spill file long enough for every store.
        """
        thread = self._thread
        if thread is None or not self.running:
            return True
        thread.join(timeout)
        if thread.is_alive():
            self._waiters.giving_up = True
            self.wake()
            thread.join(MAX_BACKOFF if self._spill is None else LAST_PATIENCE)
        return not thread.is_alive()

    def _run(self) -> None:
        if not self._one.acquire(blocking=False):  # starting it was interrupted, and repeated
            return
        try:
            self._work()
        except Exception as problem:  # noqa: BLE001 - it ends the log, and everybody is told
            writer = self._acceptor.writer
            _log.exception("the log of %s cannot go on; this is a defect of rat_fsm", writer)
            self._handover.end(LogUnavailable(f"the log cannot go on: {problem!r}"))
        finally:
            self._ended = True
            self._backlog.keep_rest()
            self._waiters.dismiss()
            self._done = True
            if self._retired:
                self._let_go()

    def let_go(self) -> None:
        """Gives the slot back and closes the store and the spill file.

        Where the thread still hangs in the store, it does so itself in the end: what is pending
        goes into the file before.
        """
        self._retired = True
        if self._done or not self.running:
            self._let_go()
        else:
            self._waiters.giving_up = True
            self.wake()

    def _let_go(self) -> None:
        if not self._once.acquire(blocking=False):
            return
        self._store.release(self._acceptor.writer)
        self._store.close()
        if self._spill is not None:
            self._spill.file.close()

    def _work(self) -> None:
        acceptor, waiters = self._acceptor, self._waiters
        while not waiters.giving_up:
            if self._backlog.waits:
                self._delivery.commit()
                if not waiters.stopping and not waiters:
                    waiters.pause(INTERVAL)
            elif waiters.stopping:
                return
            else:
                acceptor.sleeping = True
                # What was accepted before the flag was set has called nobody.
                if not acceptor.restless:
                    self._sleep()
                acceptor.sleeping = False

    def _sleep(self) -> None:
        """Waits for a call; now and then looks whether the slot is still this writer's."""
        leased = self._store if isinstance(self._store, SupportsSlots) else None
        called = self._waiters.sleep(None if leased is None else LEASE_INTERVAL)
        writer = self._acceptor.writer
        if not called and leased is not None and not leased.holds(writer):
            self._delivery.lose_slot(WriterFenced(f"the slot of {writer} was lost"))

    def when_durable(self, waiter: Waiter) -> None:
        """Answers somebody once an event is durable, and asks for a commit now."""
        self.start()
        self._waiters.put(waiter)
        if self._ended:
            self._waiters.dismiss()

    def flush(self, mark: Mark, timeout: float | None) -> Position | None:
        """Waits until an event is durable; answers with the position of the last that is.

        Must not be called on the committing thread, nor where the accepting half's lock is held:
        it would wait for itself.

        Raises:
            LogUnavailable: without a timeout, as soon as an attempt made since has failed; with
                one, when it passes while the store fails.
            OutcomeUnknown: the same, where nobody knows whether the last frame was stored.
            WriterFenced: somebody else has taken over this writer's chain.
            FlushTimeout: the store was merely slow.
        """
        if not mark.seq:
            return None
        if self.progress.has_settled(mark):
            answer = self.progress.answer_to(mark)
        else:
            answer = wait_for(mark, self.when_durable, self.progress, timeout)
        if isinstance(answer, Exception):
            raise answer
        return answer
