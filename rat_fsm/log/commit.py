"""Commits accepted events: one thread a log turns what is pending into frames and stores them.

It takes the whole pending list at a time, at most every `INTERVAL`, so that many events share
one sync to disk (group commit). A store that fails is never trusted: it is reopened and asked
for its head before the same frame is tried again.

While it fails, what is accepted goes into a local file if the log has one (`rat_fsm.log.spilling`).
Where the slot itself is lost, the log goes on under another (`rat_fsm.log.succession`), or ends.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import (
    LogUnavailable,
    RatFsmError,
    WriterFenced,
)
from rat_fsm.events import Position, StoreRestored
from rat_fsm.lifecycles import NODE
from rat_fsm.log.chain import Chain
from rat_fsm.log.observing import looks
from rat_fsm.log.waiting import Progress, Waiter, Waiters
from rat_fsm.stores.port import GENESIS, SupportsSlots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.log.accept import Acceptor, Mark
    from rat_fsm.log.observing import Look
    from rat_fsm.log.spilling import Spill
    from rat_fsm.log.succession import Aside, Succession
    from rat_fsm.stores.port import Frame, Store, StoredFrame

INTERVAL: Final = 0.010
FIRST_BACKOFF: Final = 0.05
MAX_BACKOFF: Final = 5.0
SPILL_INTERVAL: Final = 0.25
LEASE_INTERVAL: Final = 1.0
DROP_EVERY: Final = 64
MAX_ERROR: Final = 512
_log = logging.getLogger("rat_fsm")


class Committer:
    """The committing half of a log, for one writer.

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
        waiters: who waits for it to come further.
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
        self.progress = Progress(spill=None if spill is None else spill.file.path)
        self.waiters = Waiters(self.progress)
        self.wake = self.waiters.wake
        self.gate = threading.Lock()
        self.running = False
        self._store = store
        self._writer = writer
        self._fingerprints = fingerprints
        self._spill = spill
        self._acceptor: Acceptor | None = None
        self._begin(writer, None)
        self._succession = succession
        # What is being stored, and what is to be sealed after it.
        self._current: Frame | None = None
        self._rest: Iterator[Frame] = iter(())
        self._starting = False
        self._one = threading.Lock()
        self._thread: threading.Thread | None = None
        self._looks: list[Look] = []
        self._stopping = self._giving_up = self._retired = self._ended = False

    def attach(self, acceptor: Acceptor, head: StoredFrame | None) -> None:
        """Says whose rows to commit, and what the writer's last frame is."""
        self._acceptor = acceptor
        self._looks = looks(self._writer, acceptor.model)
        self._begin(self._writer, head)

    @property
    def head(self) -> bytes:
        """The hash of the writer's last frame that is stored."""
        return self._stored

    @property
    def here(self) -> bool:
        """Whether this is the committing thread, which a finaliser may have interrupted."""
        return self._thread is threading.current_thread()

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
            self._thread = threading.Thread(
                target=self._run, name=f"rat-fsm-log-{self._writer}", daemon=True
            )
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
        self._stopping = True
        self.wake()

    def retire(self) -> None:
        """Like `stop`, for a log that was not closed: lets go of the store in the end, too."""
        self._retired = True
        self.stop()

    def join(self, timeout: float) -> bool:
        """Waits for the thread to end; past the timeout it stops retrying."""
        thread = self._thread
        if thread is None or not self.running:
            return True
        thread.join(timeout)
        if thread.is_alive():
            self._giving_up = True
            self.wake()
            thread.join(MAX_BACKOFF)
        return not thread.is_alive()

    def _run(self) -> None:
        if not self._one.acquire(blocking=False):  # starting it was interrupted, and repeated
            return
        try:
            self._work()
        except Exception as problem:  # noqa: BLE001 - it ends the log, and everybody is told
            _log.exception("the log of %s cannot go on; this is a defect of rat_fsm", self._writer)
            self._break(LogUnavailable(f"the log cannot go on: {problem!r}"))
        finally:
            self._ended = True
            self._keep_rest()
            self.waiters.dismiss()
            if self._retired:
                self._store.release(self._writer)
                self._store.close()
                if self._spill is not None:
                    self._spill.file.close()

    def _work(self) -> None:
        acceptor = self._acceptor
        while acceptor is not None and not self._giving_up:
            if acceptor.restless or self._holds_spilled():
                self.commit()
                if not self._stopping and not self.waiters:
                    self._pause(INTERVAL)
            elif self._stopping:
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
        called = self.waiters.sleep(None if leased is None else LEASE_INTERVAL)
        if not called and leased is not None and not leased.holds(self._writer):
            self._hand_over(WriterFenced(f"the slot of {self._writer} was lost"))

    def _pause(self, seconds: float) -> bool:
        """Waits so that more events share a commit; whether somebody is in a hurry."""
        stopping = self._stopping
        return self.waiters.pause(
            seconds, lambda: self._giving_up or self._stopping is not stopping
        )

    def commit(self) -> None:
        """Commits what is pending now, on this thread."""
        if self._acceptor is None:
            return
        self._deliver_spilled()
        if self._giving_up:
            return
        pending = self._acceptor.pending
        if pending:
            self.progress.oldest_at = pending[0]
        self._rest = self._chain.frames(*self._acceptor.take())
        self._say_refusals()
        if not all(self._deliver(frame) for frame in self._rest):
            return
        self.progress.oldest_at = 0
        self._deliver_spilled()

    def _holds_spilled(self) -> bool:
        return self._spill is not None and self._spill.events > 0

    def _deliver_spilled(self) -> None:
        """Stores what was kept in the file, in order, while more may come into it."""
        spill, delivered = self._spill, 0
        while spill is not None and spill.events and not self._giving_up:
            frame = spill.next_after(self.progress.durable)
            if frame is not None:
                self._deliver(frame)
                delivered += 1
            if frame is None or not delivered % DROP_EVERY:
                spill.drop(self._writer, self.progress.durable)
            if self._acceptor is not None and self._acceptor.crowded:
                self._fill(spill)

    def _say_refusals(self) -> None:
        refused = self._acceptor.refused if self._acceptor is not None else []
        while refused:
            _log.error("a call that nobody waited for was refused", exc_info=refused.pop())

    def _deliver(self, frame: Frame) -> bool:
        """Stores a frame; False where it was given up or the slot is lost."""
        self._current = frame
        self.progress.oldest_at = 0 if self._is_kept(frame) else frame.first_at
        position = self._store_frame(frame)
        if position is None:
            return False
        self._current, self._stored = None, frame.hash
        for look in self._looks:
            look(frame)
        last = frame.first + frame.count - 1
        if self._spill is not None and self._spill.events and last >= self._spill.last:
            self._spill.drop(self._writer, last)  # before anybody hears that all is stored
        self._advance(last, Position(position, frame.count - 1))
        return True

    def _store_frame(self, frame: Frame) -> int | None:
        """Stores a frame, however long it takes; None where it was given up or fenced."""
        backoff = FIRST_BACKOFF
        while not self._giving_up:
            self.waiters.listen()
            try:
                position = self._attempt(frame)
            except WriterFenced as problem:
                self._hand_over(problem)
                return None
            if position is not None:
                return position
            self.waiters.fail()
            if not self._giving_up:
                self._wait(backoff)
                backoff = min(MAX_BACKOFF, 2 * backoff)
                self.progress.retries += 1
        return None

    def _wait(self, seconds: float) -> None:
        """Waits before the store is asked again; what is accepted meanwhile goes into the file."""
        if self._spill is None:
            self._pause(seconds)
            return
        deadline = time.monotonic() + seconds
        hurried = False
        while not hurried and (left := deadline - time.monotonic()) > 0 and not self._giving_up:
            self._fill(self._spill)
            hurried = self._pause(min(left, SPILL_INTERVAL))

    def _is_kept(self, frame: Frame) -> bool:
        """Whether a frame is in the file, so that a kill does not lose it."""
        spill = self._spill
        return spill is not None and spill.error is None and frame.first <= spill.last

    def _fill(self, spill: Spill) -> None:
        """Puts everything that is accepted and not stored into the file, if it takes it."""
        if spill.is_open():
            spill.keep(self._unstored(spill.last))
        if spill.error is None:
            self.progress.oldest_at = 0

    def _unstored(self, kept: int) -> Iterator[Frame]:
        """Every frame, stored or to be, that holds events after one; it takes what is pending."""
        if self._current is not None and self._current.first > kept:
            yield self._current
        yield from self._rest
        if self._acceptor is not None:
            self._rest = self._chain.frames(*self._acceptor.take())
            yield from self._rest

    def _keep_rest(self) -> None:
        """For the next opening, in the end."""
        if self._spill is not None:
            try:
                self._fill(self._spill)
                self._spill.drop(self._writer, self.progress.durable)
            except (OSError, RatFsmError) as problem:
                _log.error("what was not stored of %s is lost: %s", self._writer, problem)

    def _attempt(self, frame: Frame) -> int | None:
        with self.gate:
            if self.progress.unknown:
                position = self._settle(frame, self.progress.error)
                if position is not None or self.progress.unknown:
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
            WriterFenced: it is not there.
        """
        last = self.progress.position
        try:
            stored = next(self._store.read(last.frame if last else 0, self._writer), None)
        except OSError as unreachable:
            self._note(unreachable, unknown=True)
            return None
        if stored is None or stored.frame.hash != frame.hash:
            raise problem
        self._note(None, unknown=False)
        return stored.position

    def _settle(self, frame: Frame, problem: Exception | None) -> int | None:
        """After a failed append: reopens the store and reads whether the frame is there."""
        try:
            self._store.reopen()
            head = self._store.head(self._writer)
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
        before, since = self.progress.error, self.progress.failing_since
        if error is not None and before is None:
            _log.warning("the log's store fails and is retried: %s", error)
            self.progress.failing_since = time.monotonic()
        self.progress.error = error
        self.progress.unknown = unknown
        if error is None and before is not None:
            _log.warning("the log's store works again after %d retries", self.progress.retries)
            self._record_outage(before, time.monotonic() - since)

    def _record_outage(self, error: Exception, seconds: float) -> None:
        """Says in the run how long the store was away; nobody could have been told before."""
        acceptor, spilled = self._acceptor, 0 if self._spill is None else self._spill.events
        if acceptor is None or acceptor.run is None:
            return
        event = StoreRestored(str(error)[:MAX_ERROR], seconds, self.progress.retries, spilled)
        try:
            acceptor.transact(NODE, acceptor.run, lambda *_: (event,), reserved=True)
        except RatFsmError as problem:
            _log.warning("an outage of the store could not be recorded: %s", problem)

    def _hand_over(self, problem: WriterFenced) -> None:
        """The slot is somebody else's: goes on under another one, or ends."""
        acceptor, succession = self._acceptor, self._succession
        if acceptor is None or succession is None:
            self._break(problem)
            return
        if acceptor.refusal is not None or not succession.moves:
            self._break(problem)
            self._set_aside(succession).close()
            return
        _log.error("writer %s has lost its slot: %s", self._writer, problem)
        self.progress.error, self.progress.unknown = problem, False
        aside = self._set_aside(succession)
        try:
            self._look_for_slot(acceptor, succession, aside)
        finally:
            succession.set_aside += aside.events
            aside.close()
        self.waiters.answer()

    def _set_aside(self, succession: Succession) -> Aside:
        """Moves everything that is accepted and not stored into a file of its own."""
        aside, kept = succession.aside_for(self._writer), 0
        if self._spill is not None:
            aside.keep(f for f in self._spill.frames() if f.first > self.progress.durable)
            kept = self._spill.last
            self._spill.clear()
        aside.keep(self._unstored(kept))
        self._current = None
        return aside

    def _look_for_slot(self, acceptor: Acceptor, succession: Succession, aside: Aside) -> None:
        backoff = FIRST_BACKOFF
        while not self._giving_up:
            try:
                with self.gate:
                    self._take_slot(acceptor, succession, aside)
            except (OSError, WriterFenced) as unreachable:
                self.progress.error = unreachable
                self.waiters.fail()
                self._pause(backoff)
                backoff = min(MAX_BACKOFF, 2 * backoff)
            except RatFsmError as unusable:
                self._break(unusable)
            else:
                _log.warning("the log goes on as writer %s", self._writer)
                self.progress.error = None
                return

    def _take_slot(self, acceptor: Acceptor, succession: Succession, aside: Aside) -> None:
        """Claims a slot, and begins there again what is open."""
        self._store.release(self._writer)
        self._store.reopen()
        writer = self._store.claim(None)
        try:
            model = succession.fold(self._store, writer)
            head = self._store.head(writer)
        except BaseException:
            self._store.release(writer)
            raise
        old, durable = self._chain, self.progress.durable
        begin = succession.begin(self._writer, durable, writer, model, aside)
        with acceptor.lock:
            left = acceptor.succeed(writer, model, begin)
            self.progress.former.append((durable, self.progress.position))
            self._begin(writer, head)
        aside.keep(old.frames(*left))
        self._looks = looks(writer, acceptor.model)

    def _begin(self, writer: str, head: StoredFrame | None) -> None:
        """Goes on after a writer's last frame."""
        self._writer = writer
        self._stored = GENESIS if head is None else head.frame.hash
        self._chain = Chain(writer, self._fingerprints, self._stored)
        last = None if head is None else Position(head.position, head.frame.count - 1)
        durable = 0 if head is None else head.frame.first + head.frame.count - 1
        self.progress.durable, self.progress.position = durable, last
        if self._spill is not None:
            self._spill.last = durable

    def _break(self, problem: Exception) -> None:
        """Ends the log: what is pending can not be stored by this writer any more."""
        _log.error("the log of %s has stopped: %s", self._writer, problem)
        if self._acceptor is not None:
            self._acceptor.stop(problem)
        self._giving_up = True
        self.progress.error, self.progress.unknown = problem, False

    def _advance(self, durable: int, position: Position) -> None:
        self.progress.position = position
        self.progress.durable = durable
        self.waiters.listen()
        self.waiters.answer()

    def when_durable(self, waiter: Waiter) -> None:
        """Answers somebody once an event is durable, and asks for a commit now."""
        self.start()
        self.waiters.put(waiter)
        if self._ended:
            self.waiters.dismiss()

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
        settled = self.progress.has_settled(mark)
        answer = self.progress.answer_to(mark) if settled else self._wait_for(mark, timeout)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _wait_for(self, mark: Mark, timeout: float | None) -> Position | Exception:
        reply: queue.SimpleQueue[Position | Exception] = queue.SimpleQueue()
        waiter = Waiter(mark, reply.put, patient=timeout is not None)
        self.when_durable(waiter)
        try:
            return reply.get(timeout=timeout)
        except queue.Empty:
            return self.progress.answer_to(mark)
        finally:
            waiter.gone = True
