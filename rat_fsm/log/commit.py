"""Commits accepted events: one thread a log turns what is pending into frames and stores them.

It takes the whole pending list at a time, at most every `INTERVAL`, so that many events share
one sync to disk (group commit). A store that fails is never trusted: it is reopened and asked
for its head before the same frame is tried again.

Whoever wants something of the thread puts it into a queue; nobody shares a lock with it but the
one of the accepting half. `queue.SimpleQueue.put` is C code that may interrupt itself, so that
signal handlers and finalisers may call at any moment.
"""

from __future__ import annotations

import functools
import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.codec import MAX_BODY, MAX_EVENTS, WIDTH, encode_body, seal, split
from rat_fsm.errors import FlushTimeout, LogUnavailable, OutcomeUnknown, WriterFenced
from rat_fsm.events import Position
from rat_fsm.log.observing import looks
from rat_fsm.stores.port import GENESIS

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.codec import Rows
    from rat_fsm.log.accept import Acceptor
    from rat_fsm.log.observing import Look
    from rat_fsm.stores.port import Frame, Store, StoredFrame

INTERVAL: Final = 0.010
FIRST_BACKOFF: Final = 0.05
MAX_BACKOFF: Final = 5.0
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
        unknown: whether a frame may have been stored that the store could not be asked for.
    """

    durable: int = 0
    position: Position | None = None
    oldest_at: int = 0
    retries: int = 0
    error: Exception | None = None
    unknown: bool = False


@attrs.define(eq=False)
class Waiter:
    """Somebody who waits for an event to be durable.

    Attributes:
        seq: the event's sequence number.
        answer: called once on the committing thread, with a position or with what went wrong.
        patient: whether it waits on while the store fails.
        gone: whether it has stopped waiting.
    """

    seq: int
    answer: Callable[[Position | Exception], None]
    patient: bool
    gone: bool = False


class Committer:
    """The committing half of a log, for one writer.

    Attributes:
        wake: asks for a commit soon; C code, safe in signal handlers and finalisers.
        gate: held while the store is written to, so that a fork can wait for a quiet moment.
        progress: how far the store has come.
        running: whether the thread has started.
    """

    def __init__(self, store: Store, writer: str, fingerprints: tuple[str, ...]) -> None:
        self.progress = Progress()
        self.gate = threading.Lock()
        self.running = False
        self._store = store
        self._writer = writer
        self._fingerprints = fingerprints
        self._acceptor: Acceptor | None = None
        self._prev = GENESIS
        self._most = MAX_EVENTS
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
        self.progress.durable = acceptor.taken
        if head is not None:
            self._prev = head.frame.hash
            self.progress.position = Position(head.position, head.frame.count - 1)

    @property
    def head(self) -> bytes:
        """The hash of the writer's last frame."""
        return self._prev

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
            for waiter in self._waiters:
                self._resolve(waiter)
            self._dismiss()
            if self._retired:
                self._store.release(self._writer)
                self._store.close()

    def _work(self) -> None:
        acceptor = self._acceptor
        while acceptor is not None and not self._giving_up:
            if acceptor.restless:
                self.commit()
                if not self._stopping and not self._waiters:
                    self._pause(INTERVAL)
            elif self._stopping:
                return
            else:
                acceptor.sleeping = True
                # What was accepted before the flag was set has called nobody.
                if not acceptor.restless:
                    self._hear(self._calls.get())
                acceptor.sleeping = False

    def _pause(self, seconds: float) -> None:
        """Waits so that more events share a commit, unless somebody is in a hurry."""
        deadline = time.monotonic() + seconds
        stopping = self._stopping
        while self._stopping == stopping and not self._giving_up:
            try:
                call = self._calls.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            if self._hear(call):
                return

    def _hear(self, call: Waiter | None) -> bool:
        """Takes note of a call; whether it is one that waits."""
        if call is None:
            return False
        if call.seq <= self.progress.durable:
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
        pending = self._acceptor.pending
        if pending:
            self.progress.oldest_at = pending[0]
        first, rows = self._acceptor.take()
        self._say_refusals()
        start = 0
        while start < len(rows) and not self._giving_up:
            some = rows[start : start + WIDTH * (MAX_EVENTS + 1)]
            start += WIDTH * self._commit_some(first + start // WIDTH, some)
            self.progress.oldest_at = 0 if start == len(rows) else rows[start]

    def _say_refusals(self) -> None:
        refused = self._acceptor.refused if self._acceptor is not None else []
        while refused:
            _log.error(
                "a call that a signal handler or finaliser made was refused", exc_info=refused.pop()
            )

    def _commit_some(self, first: int, rows: Rows) -> int:
        """Makes one frame of the first rows, as many as fit, and stores it."""
        size = split(rows, self._most)
        body, counts = encode_body(rows[: WIDTH * size])
        while len(body) > MAX_BODY:
            if size == 1 or self._most == 1:
                raise ValueError(f"a transaction takes {len(body)} bytes, at most {MAX_BODY}")
            self._most = max(1, min(size, self._most) // 2)
            size = split(rows, self._most)
            body, counts = encode_body(rows[: WIDTH * size])
        # Where events are large, the next frame does not begin at the largest size again.
        self._most = min(MAX_EVENTS, 2 * self._most)
        frame = seal(
            writer=self._writer,
            first=first,
            count=size,
            first_at=rows[0],
            last_at=rows[WIDTH * (size - 1)],
            body=body,
            fingerprints=self._fingerprints,
            salt=os.urandom(16),
            prev=self._prev,
        )
        position = self._store_frame(frame)
        if position is not None:
            self._prev = frame.hash
            for record, count in counts.items():
                record.written += count
            for look in self._looks:
                look(frame)
            self._advance(first + size - 1, Position(position, size - 1))
        return size

    def _store_frame(self, frame: Frame) -> int | None:
        """Stores a frame, however long it takes; None where it was given up or fenced."""
        backoff = FIRST_BACKOFF
        while not self._giving_up:
            self._listen()
            position = self._attempt(frame)
            if position is not None:
                return position
            self._fail()
            if not self._giving_up:
                self._pause(backoff)
                backoff = min(MAX_BACKOFF, 2 * backoff)
                self.progress.retries += 1
        return None

    def _attempt(self, frame: Frame) -> int | None:
        with self.gate:
            if self.progress.unknown:
                position = self._settle(frame, self.progress.error)
                if position is not None or self.progress.unknown:
                    return position
            try:
                position = self._store.append(frame)
            except WriterFenced as problem:
                self._break(problem)
                return None
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
        if error is not None and self.progress.error is None:
            _log.warning("the log's store fails and is retried: %s", error)
        if error is None and self.progress.error is not None:
            _log.warning("the log's store works again after %d retries", self.progress.retries)
        self.progress.error = error
        self.progress.unknown = unknown

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

    def _answer(self) -> None:
        """Answers those whose events are durable."""
        durable = self.progress.durable
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.seq <= durable:
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
        durable, position = waiter.seq <= self.progress.durable, self.progress.position
        waiter.answer(position if durable and position else self.failure(waiter.seq))

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

    def flush(self, seq: int, timeout: float | None) -> Position | None:
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
        if seq <= self.progress.durable:
            return self.progress.position
        reply: queue.SimpleQueue[Position | Exception] = queue.SimpleQueue()
        waiter = Waiter(seq, reply.put, patient=timeout is not None)
        self.when_durable(waiter)
        try:
            answer = reply.get(timeout=timeout)
        except queue.Empty:
            raise self.failure(seq) from None
        finally:
            waiter.gone = True
        if isinstance(answer, Exception):
            raise answer
        return answer

    def failure(self, seq: int) -> Exception:
        """Why an event is not durable."""
        missing, error = seq - self.progress.durable, self.progress.error
        if error is None:
            return FlushTimeout(f"{missing} events are not durable yet; they are still pending")
        if isinstance(error, WriterFenced):
            return WriterFenced(*error.args)
        cls = OutcomeUnknown if self.progress.unknown else LogUnavailable
        return cls(f"{missing} events wait for a store that fails: {error}")
