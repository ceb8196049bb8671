"""Commits accepted events: one thread a log turns what is pending into frames and stores them.

It takes the whole pending list at a time, at most every `INTERVAL`, so that many events share
one sync to disk (group commit). A store that fails is never trusted: it is reopened and asked
for its head before the same frame is tried again.

While it fails, what is accepted goes into a local file if the log has one (`rat_fsm.log.spilling`).
Where the slot itself is lost, the log goes on under another (`rat_fsm.log.succession`), or ends.

Whoever wants something of the thread puts it into a queue; nobody shares a lock with it but the
one of the accepting half. `queue.SimpleQueue.put` is C code that may interrupt itself, so that
signal handlers and finalisers may call at any moment.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.errors import (
    FlushTimeout,
    LogUnavailable,
    OutcomeUnknown,
    RatFsmError,
    WriterFenced,
)
from rat_fsm.events import Position, StoreRestored
from rat_fsm.lifecycles import NODE
from rat_fsm.log.chain import Chain
from rat_fsm.log.observing import looks
from rat_fsm.stores.port import GENESIS, SupportsSlots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@attrs.define
class Progress:
    """How far the store has come; written by the committing thread only.

    Attributes:
        durable: the sequence number of the last durable event.
        position: where that event is.
        oldest_at: the time of the oldest event of the batch being committed, 0 where none is.
        retries: how often the store has been asked again after a failure.
        error: what the store said last while it failed.
        failing_since: when it began to (of `time.monotonic`), 0 while it works.
        unknown: whether a frame may have been stored that the store could not be asked for.
    """

    durable: int = 0
    position: Position | None = None
    oldest_at: int = 0
    retries: int = 0
    error: Exception | None = None
    failing_since: float = 0.0
    unknown: bool = False


@attrs.define(eq=False)
class Waiter:
    """Somebody who waits for an event to be durable.

    Attributes:
        mark: up to where everything must be.
        answer: called once on the committing thread, with a position or with what went wrong.
        patient: whether it waits on while the store fails.
        gone: whether it has stopped waiting.
    """

    mark: Mark
    answer: Callable[[Position | Exception], None]
    patient: bool
    gone: bool = False


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
        # How far each slot had come when it was lost.
        self._former: list[tuple[int, Position | None]] = []
        self._calls: queue.SimpleQueue[Waiter | None] = queue.SimpleQueue()
        self.wake: Callable[[], None] = functools.partial(self._calls.put, None)
        self._starting = False
        self._one = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiters: list[Waiter] = []
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
            for waiter in self._waiters:
                self._resolve(waiter)
            self._dismiss()
            if self._retired:
                self._store.release(self._writer)
                self._store.close()

    def _work(self) -> None:
        acceptor = self._acceptor
        while acceptor is not None and not self._giving_up:
            if acceptor.restless or self._holds_spilled():
                self.commit()
                if not self._stopping and not self._waiters:
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
        if not (self._succession and isinstance(self._store, SupportsSlots)):
            self._hear(self._calls.get())
            return
        try:
            self._hear(self._calls.get(timeout=LEASE_INTERVAL))
        except queue.Empty:
            if not self._store.holds(self._writer):
                self._hand_over(WriterFenced(f"the slot of {self._writer} was lost"))

    def _pause(self, seconds: float) -> bool:
        """Waits so that more events share a commit; whether somebody is in a hurry."""
        deadline = time.monotonic() + seconds
        stopping = self._stopping
        while self._stopping == stopping and not self._giving_up:
            try:
                call = self._calls.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return False
            if self._hear(call):
                return True
        return True

    def _hear(self, call: Waiter | None) -> bool:
        """Takes note of a call; whether it is one that waits."""
        if call is None:
            return False
        if self._is_settled(call.mark):
            self._resolve(call)
            return False
        self._waiters.append(call)
        return True

    def _listen(self) -> None:
        """Takes note of every call that is there."""
        while True:
            try:
                self._hear(self._calls.get_nowait())
            except queue.Empty:
                return

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
            _log.error(
                "a call that a signal handler or finaliser made was refused", exc_info=refused.pop()
            )

    def _deliver(self, frame: Frame) -> bool:
        """Stores a frame; False where it was given up or the slot is lost."""
        self._current = frame
        self.progress.oldest_at = frame.first_at
        position = self._store_frame(frame)
        if position is None:
            return False
        self._current, self._stored = None, frame.hash
        for look in self._looks:
            look(frame)
        last = frame.first + frame.count - 1
        self._advance(last, Position(position, frame.count - 1))
        return True

    def _store_frame(self, frame: Frame) -> int | None:
        """Stores a frame, however long it takes; None where it was given up or fenced."""
        backoff = FIRST_BACKOFF
        while not self._giving_up:
            self._listen()
            try:
                position = self._attempt(frame)
            except WriterFenced as problem:
                self._hand_over(problem)
                return None
            if position is not None:
                return position
            self._fail()
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

    def _fill(self, spill: Spill) -> None:
        """Puts everything that is accepted and not stored into the file, if it takes it."""
        if spill.is_open():
            spill.keep(self._unstored(spill.last))

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
            except WriterFenced:
                raise
            except Exception as problem:  # noqa: BLE001 - whatever a store raises, settle it
                return self._settle(frame, problem)
            self._note(None, unknown=False)
            return position

    def _settle(self, frame: Frame, problem: Exception | None) -> int | None:
        """After a failed append: reopens the store and reads whether the frame is there."""
        try:
            self._store.reopen()
            head = self._store.head(self._writer)
        except Exception as unreachable:  # noqa: BLE001 - whatever it is, the outcome is unknown
            self._note(unreachable, unknown=True)
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
        self._answer()

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
            except OSError as unreachable:
                self.progress.error = unreachable
                self._fail()
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
        old, begin = self._chain, succession.begin(self._writer, writer, model, aside)
        with acceptor.lock:
            left = acceptor.succeed(writer, model, begin)
            self._former.append((self.progress.durable, self.progress.position))
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
        self._listen()
        self._answer()

    def _is_settled(self, mark: Mark) -> bool:
        """Whether everything up to a mark is durable, or never will be."""
        # Read in this order: another thread asks, too, and a new slot's numbers are not the old's.
        durable = self.progress.durable
        return mark.generation < len(self._former) or mark.seq <= durable

    def _answer(self) -> None:
        """Answers those whose events are durable."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if self._is_settled(waiter.mark):
                self._resolve(waiter)
            else:
                self._waiters.append(waiter)

    def _fail(self) -> None:
        """Answers the impatient, who waited already when the attempt began that has failed."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.patient:
                self._resolve(waiter)
            elif not waiter.gone:
                self._waiters.append(waiter)

    def _resolve(self, waiter: Waiter) -> None:
        waiter.answer(self._answer_to(waiter.mark))

    def _answer_to(self, mark: Mark) -> Position | Exception:
        """Where the last durable event is, where everything up to a mark is; else why not."""
        durable, position = self.progress.durable, self.progress.position
        lost = mark.generation < len(self._former)
        if lost:
            durable, position = self._former[mark.generation]
        if mark.seq <= durable and position is not None:
            return position
        if lost:
            missing = mark.seq - durable
            return WriterFenced(f"{missing} events were set aside: their writer lost its slot")
        return self.failure(mark.seq)

    def _dismiss(self) -> None:
        """Answers everybody who has called a thread that has ended."""
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            if call is not None:
                self._resolve(call)

    def when_durable(self, waiter: Waiter) -> None:
        """Answers somebody once an event is durable, and asks for a commit now."""
        self.start()
        self._calls.put(waiter)
        if self._ended:
            self._dismiss()

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
        settled = self._is_settled(mark)
        answer = self._answer_to(mark) if settled else self._wait_for(mark, timeout)
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
            return self._answer_to(mark)
        finally:
            waiter.gone = True

    def failure(self, seq: int) -> Exception:
        """Why an event is not durable."""
        missing, error = seq - self.progress.durable, self.progress.error
        if error is None:
            return FlushTimeout(f"{missing} events are not durable yet; they are still pending")
        if isinstance(error, WriterFenced):
            return WriterFenced(*error.args)
        cls = OutcomeUnknown if self.progress.unknown else LogUnavailable
        kept = "" if self._spill is None else f"; they are kept in {self._spill.file.path}"
        return cls(f"{missing} events wait for a store that fails: {error}{kept}")
