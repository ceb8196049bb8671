"""Those who wait for events to be durable, how far the store has come, and what they are told.

Whoever wants something of the committing thread puts it into a queue; nobody shares a lock with
it but the one of the accepting half. `queue.SimpleQueue.put` is C code that may interrupt itself,
so that signal handlers and finalisers may call at any moment.
"""

from __future__ import annotations

import functools
import queue
import time
from typing import TYPE_CHECKING

import attrs

from rat_fsm.errors import FlushTimeout, LogUnavailable, OutcomeUnknown, WriterFenced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rat_fsm.events import Position
    from rat_fsm.log.accept import Mark


@attrs.define
class Progress:
    """How far the store has come; written by the committing thread only.

    Attributes:
        durable: the sequence number of the last durable event.
        position: where that event is.
        oldest_at: the time of the oldest event that was taken and is neither stored nor in the
            spill file, 0 where there is none.
        retries: how often the store has been asked again after a failure.
        error: what the store said last while it failed.
        failing_since: when it began to (of `time.monotonic`), 0 while it works.
        unknown: whether a frame may have been stored that the store could not be asked for.
        former: how far each slot had come when it was lost, the first one first.
        spill: the file where what is not stored is kept, None where there is none.
    """

    durable: int = 0
    position: Position | None = None
    oldest_at: int = 0
    retries: int = 0
    error: Exception | None = None
    failing_since: float = 0.0
    unknown: bool = False
    former: list[tuple[int, Position | None]] = attrs.field(factory=list)
    spill: Path | None = None

    def has_settled(self, mark: Mark) -> bool:
        """Whether everything up to a mark is durable, or never will be."""
        # Read in this order: another thread asks, too, and a new slot's numbers are not the old's.
        durable = self.durable
        return mark.generation < len(self.former) or mark.seq <= durable

    def answer_to(self, mark: Mark) -> Position | Exception:
        """Where the last durable event is, where everything up to a mark is; else why not."""
        durable, position = self.durable, self.position
        lost = mark.generation < len(self.former)
        if lost:
            durable, position = self.former[mark.generation]
        if mark.seq <= durable and position is not None:
            return position
        if lost:
            missing = mark.seq - durable
            return WriterFenced(f"{missing} events were set aside: their writer lost its slot")
        return self._failure(mark.seq - durable)

    def _failure(self, missing: int) -> Exception:
        if self.error is None:
            return FlushTimeout(f"{missing} events are not durable yet; they are still pending")
        if isinstance(self.error, WriterFenced):
            return WriterFenced(*self.error.args)
        cls = OutcomeUnknown if self.unknown else LogUnavailable
        kept = "" if self.spill is None else f"; they are kept in {self.spill}"
        return cls(f"{missing} events wait for a store that fails: {self.error}{kept}")


@attrs.define(eq=False)
class Waiter:
    """Somebody who waits for events to be durable.

    Attributes:
        mark: up to where.
        answer: called once on the committing thread, with a position or with what went wrong.
        patient: whether it waits on while the store fails.
        gone: whether it has stopped waiting.
    """

    mark: Mark
    answer: Callable[[Position | Exception], None]
    patient: bool
    gone: bool = False


class Waiters:
    """Everybody who waits; all but `put` and `wake` is the committing thread's.

    Attributes:
        wake: asks for a commit soon; C code, safe in signal handlers and finalisers.
        put: likewise, with somebody who waits.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._calls: queue.SimpleQueue[Waiter | None] = queue.SimpleQueue()
        self._waiting: list[Waiter] = []
        self.put = self._calls.put
        self.wake: Callable[[], None] = functools.partial(self._calls.put, None)

    def __bool__(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def sleep(self, timeout: float | None) -> bool:
        """Waits for a call, so long at most; whether one came."""
        try:
            self._hear(self._calls.get(timeout=timeout))
        except queue.Empty:
            return False
        return True

    def pause(self, seconds: float, is_over: Callable[[], bool]) -> bool:
        """Waits so that more events share a commit; whether somebody is in a hurry."""
        deadline = time.monotonic() + seconds
        while not is_over():
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
        if self._progress.has_settled(call.mark):
            self._resolve(call)
            return False
        self._waiting.append(call)
        return True

    def listen(self) -> None:
        """Takes note of every call that is there."""
        while True:
            try:
                self._hear(self._calls.get_nowait())
            except queue.Empty:
                return

    def answer(self) -> None:
        """Answers those whose events are durable, or never will be."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if self._progress.has_settled(waiter.mark):
                self._resolve(waiter)
            else:
                self._waiting.append(waiter)

    def fail(self) -> None:
        """Answers the impatient, who waited already when the attempt began that has failed."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.patient:
                self._resolve(waiter)
            elif not waiter.gone:
                self._waiting.append(waiter)

    def _resolve(self, waiter: Waiter) -> None:
        waiter.answer(self._progress.answer_to(waiter.mark))

    def dismiss(self) -> None:
        """Answers everybody: the committing thread has ended. Any thread may call it then."""
        while self._waiting:
            self._resolve(self._waiting.pop())
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            if call is not None:
                self._resolve(call)
