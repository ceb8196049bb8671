"""A clock that moves when it is told to: a thirty-second drain takes microseconds."""

from __future__ import annotations

import datetime
import heapq
import itertools
import math
import threading
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import to_micros
from rat_fsm.runtime.scheduler import run_job

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[[], None]

DEFAULT_START: Final = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_SWEEP: Final = 1_000


class VirtualTimer:
    """A job on a virtual clock."""

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job

    def cancel(self) -> None:
        """The job will not start any more. Idempotent."""
        self.job = None


class VirtualClock:
    """Time for tests. Jobs and callbacks run on the thread that moves it, in order of time.

    One thread drives it; others may ask for the time and schedule.

    Args:
        start: an aware datetime, or microseconds since the epoch.
    """

    def __init__(self, start: datetime.datetime | int = DEFAULT_START) -> None:
        self._start = start if isinstance(start, int) else to_micros(start)
        self._elapsed = 0
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._heap: list[tuple[int, int, VirtualTimer]] = []
        self._sweep_at = _SWEEP

    def now(self) -> int:
        """The virtual time in microseconds since the epoch."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Virtual seconds since the start."""
        return self._elapsed / 1_000_000

    def schedule(self, delay: float, job: Job) -> VirtualTimer:
        """Runs a job when the clock has moved ``delay`` seconds."""
        timer = VirtualTimer(job)
        due = self._elapsed + max(0, round(delay * 1_000_000))
        with self._lock:
            if len(self._heap) >= self._sweep_at:
                self._sweep()
            heapq.heappush(self._heap, (due, next(self._numbers), timer))
        return timer

    def call(self, job: Job) -> None:
        """Runs a job at once."""
        run_job(job)

    def advance(self, seconds: float) -> None:
        """Moves the clock, stopping at each job on the way to run it at its time.

        Raises:
            InvalidArgument: ``seconds`` is negative or not finite.
        """
        if seconds < 0:
            raise InvalidArgument(f"a clock does not go back by {-seconds} seconds")
        if not math.isfinite(seconds):
            raise InvalidArgument(f"a clock does not go forward by {seconds} seconds")
        target = self._elapsed + round(seconds * 1_000_000)
        while self._run_next(target):
            pass
        self._elapsed = max(self._elapsed, target)

    def run_due(self) -> None:
        """Runs what is due now."""
        self.advance(0)

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Moves the clock from job to job until an event is set or ``timeout`` has passed.

        Without a timeout it gives up when no job is left that could set the event.
        """
        target = None if timeout is None else self._elapsed + round(timeout * 1_000_000)
        while not event.is_set():
            if not self._run_next(target):
                break
        if not event.is_set() and target is not None:
            self._elapsed = max(self._elapsed, target)
        return event.is_set()

    def _sweep(self) -> None:
        """Lets go of cancelled timers; doubling the bound keeps this cheap however many live."""
        self._heap = [entry for entry in self._heap if entry[2].job is not None]
        heapq.heapify(self._heap)
        self._sweep_at = max(_SWEEP, 2 * len(self._heap))

    def _run_next(self, target: int | None) -> bool:
        """Runs the next job that is due by ``target``; answers whether there was one."""
        with self._lock:
            while self._heap and self._heap[0][2].job is None:
                heapq.heappop(self._heap)
            if not self._heap or (target is not None and self._heap[0][0] > target):
                return False
            due, _, timer = heapq.heappop(self._heap)
        self._elapsed = max(self._elapsed, due)
        job, timer.job = timer.job, None
        if job is not None:
            run_job(job)
        return True
