"""The two threads of a process: one runs timed jobs for everybody, one runs users' callbacks.

Handing a job over is one `SimpleQueue.put`, which a signal handler or finaliser may do at any
moment, even while it interrupts another put. Only the scheduler thread touches the heap.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import queue
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[[], None]

_log = logging.getLogger("rat_fsm")
_SWEEP: Final = 1_000


class Timer:
    """A job that will run once, unless it is cancelled."""

    __slots__ = ("_scheduler", "due", "job")

    def __init__(self, due: float, job: Job, scheduler: Scheduler) -> None:
        self.due = due
        self.job: Job | None = job
        self._scheduler = scheduler

    def cancel(self) -> None:
        """The job will not start any more. Idempotent."""
        if self.job is not None:
            self.job = None
            self._scheduler.cancelled()


class Scheduler:
    """Runs jobs at their time, in order, on one thread that sleeps in between."""

    def __init__(self, name: str) -> None:
        self._worker = Worker(name, self._run)
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._cancelled = 0

    def schedule(self, delay: float, job: Job) -> Timer:
        """Runs a job once, ``delay`` seconds from now."""
        timer = Timer(time.monotonic() + max(0.0, delay), job, self)
        self._worker.put(timer)
        return timer

    def cancelled(self) -> None:
        """A timer was cancelled; now and then the heap is swept of them."""
        self._cancelled += 1
        if self._cancelled >= _SWEEP:  # not ==: two threads at once may count past it
            self._cancelled = 0
            self._worker.put(None)

    def _run(self, inbox: queue.SimpleQueue[Timer | None]) -> None:
        process = os.getpid()
        while os.getpid() == process:  # a job may fork: the rest is not for its child
            self._receive(inbox)
            self._run_next()

    def _receive(self, inbox: queue.SimpleQueue[Timer | None]) -> None:
        """Waits for a new timer or the next due one, then takes all that came: any may be first."""
        try:
            self._take(inbox.get(timeout=self._patience()))
            for _ in range(inbox.qsize()):
                self._take(inbox.get_nowait())
        except queue.Empty:
            return

    def _patience(self) -> float | None:
        """Seconds until the next timer is due, None where there is none."""
        if not self._heap:
            return None
        return min(max(0.0, self._heap[0][0] - time.monotonic()), threading.TIMEOUT_MAX)

    def _take(self, timer: Timer | None) -> None:
        if timer is None:
            self._heap = [entry for entry in self._heap if entry[2].job is not None]
            heapq.heapify(self._heap)
        elif timer.job is not None:
            heapq.heappush(self._heap, (timer.due, next(self._numbers), timer))

    def _run_next(self) -> None:
        """Runs the next timer if it is due; afterwards nothing here keeps its job alive."""
        if self._heap and self._heap[0][0] <= time.monotonic():
            _, _, timer = heapq.heappop(self._heap)
            job, timer.job = timer.job, None
            if job is not None:
                _run_guarded(job)


class Worker:
    """A daemon thread with an inbox, started at the first use and anew in a forked child."""

    def __init__(self, name: str, run: Callable[[queue.SimpleQueue[Any]], None]) -> None:
        self._name = name
        self._run = run
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._running = threading.Lock()
        self._started = False

    def put(self, item: Any) -> None:
        """Hands something to the thread."""
        self._inbox.put(item)
        if not self._started:
            self._started = True
            try:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            except BaseException:  # no thread could be had, or Ctrl-C came before it was known
                self._started = False
                raise

    def _work(self) -> None:
        """The thread; where one runs already, because its starter was interrupted, it ends."""
        if self._running.acquire(blocking=False):
            self._run(self._inbox)


def run_job(job: Job) -> None:
    """Runs a job; one that raises is logged and hurts nobody else."""
    try:
        job()
    except Exception:  # noqa: BLE001 - a job hurts nobody but itself
        _log.exception("a scheduled job failed")


def _run_guarded(job: Job) -> None:
    """Runs a job on a thread that everybody shares: not even SystemExit ends it."""
    try:
        run_job(job)
    except BaseException:  # noqa: BLE001 - others wait for this thread
        _log.exception("a scheduled job tried to end its thread")


def _run_callbacks(inbox: queue.SimpleQueue[Job]) -> None:
    process = os.getpid()
    while os.getpid() == process:  # as above
        _run_guarded(inbox.get())


class Threads:
    """The scheduler and the callback thread of this process."""

    def __init__(self) -> None:
        self.scheduler = Scheduler("rat-fsm-scheduler")
        self.callbacks = Worker("rat-fsm-callbacks", _run_callbacks)


THREADS: Final = Threads()


def weak(method: Callable[[], object]) -> Job:
    """A job for a bound method that does not keep its object alive, and then does nothing."""
    held = weakref.WeakMethod(method)

    def job() -> None:
        alive = held()
        if alive is not None:
            alive()

    return job


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=THREADS.__init__)  # type: ignore[misc]  # a child starts afresh
