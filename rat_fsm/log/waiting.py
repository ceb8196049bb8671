"""Those who wait for events to be durable, and whatever else is wanted of the committing thread.

Whoever wants something of the committing thread puts it into a queue; nobody shares a lock with
it but the one of the accepting half. `queue.SimpleQueue.put` is C code that may interrupt itself,
so that signal handlers and finalisers may call at any moment.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import time
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rat_fsm.events import Position
    from rat_fsm.log.accept import Mark
    from rat_fsm.log.progress import Progress

FIRST_BACKOFF: Final = 0.05
MAX_BACKOFF: Final = 5.0


def backoffs() -> Iterator[float]:
    """How many seconds to wait before a store is asked once more, each time."""
    seconds = FIRST_BACKOFF
    while True:
        yield seconds
        seconds = min(MAX_BACKOFF, 2 * seconds)


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
        stopping: whether the committing thread is to end once nothing is pending. Whoever sets
            this or the next one wakes it.
        giving_up: whether it is to end as soon as it can.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._calls: queue.SimpleQueue[Waiter | None] = queue.SimpleQueue()
        self._waiting: list[Waiter] = []
        self.put = self._calls.put
        self.wake: Callable[[], None] = functools.partial(self._calls.put, None)
        self.stopping = self.giving_up = False

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

    def pause(self, seconds: float, *, failing: bool = False) -> bool:
        """Waits so that more events share a commit; whether somebody is in a hurry.

        While the store is ``failing``, those are not who wait on anyway.
        """
        deadline, stopping = time.monotonic() + seconds, self.stopping
        while not self.giving_up and self.stopping is stopping:
            try:
                call = self._calls.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return False
            if self._hear(call) and not (failing and call is not None and call.patient):
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
        for waiter in self._left():
            self._resolve(waiter)
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            if call is not None:
                self._resolve(call)

    def _left(self) -> Iterator[Waiter]:
        """Takes those who wait one by one; another thread may do so, too."""
        with contextlib.suppress(IndexError):
            while True:
                yield self._waiting.pop()
