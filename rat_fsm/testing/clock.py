"""A clock that moves when it is told to: a thirty-second drain takes microseconds."""

from __future__ import annotations

import contextlib
import datetime
import heapq
import itertools
import math
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rat_fsm.errors import InvalidArgument, Refused
from rat_fsm.events import to_micros
from rat_fsm.runtime.arguments import check_limit, check_positive
from rat_fsm.runtime.scheduler import run_job
from rat_fsm.testing.sleepers import Sleepers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from rat_fsm.testing.loop import VirtualLoop

    Job = Callable[[], None]

T = TypeVar("T")

DEFAULT_START: Final = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
PATIENCE: Final = 5.0
MOST_ROUNDS: Final = 100_000  # a scenario takes a thousand; these take a second or two
_SWEEP: Final = 1_000
# In microseconds: as much as asyncio takes for nothing when it looks what is due.
_NOISE: Final = 1e-3


class VirtualTimer:
    """A job on a virtual clock."""

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job

    def cancel(self) -> None:
        """The job will not start any more. Idempotent."""
        self.job = None


class VirtualClock:
    """Time for tests. Jobs and callbacks run on the thread that moves it, in order of time.

    One thread drives it; others may ask for the time and schedule. It also drives event loops:
    `run` runs a coroutine in which a sleep of an hour takes no time, and `loop_factory` makes
    such a loop for `asyncio.Runner` or a test framework. While a loop runs it moves the clock, for
    ``asyncio.sleep`` and for what was scheduled here alike, whenever nothing can go on without.

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
        self._holders = 0
        self._loop: VirtualLoop | None = None
        self.sleepers = Sleepers()

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

    @property
    def has_jobs(self) -> bool:
        """Whether a job waits for its time."""
        with self._lock:
            return any(timer.job is not None for _, _, timer in self._heap)

    def run_due(self) -> None:
        """Runs what is due now."""
        self.advance(0)

    def step(self, seconds: float | None) -> bool:
        """Moves to the next job and runs it, or by ``seconds`` where none is due so soon.

        Returns:
            Whether there was a job.
        """
        target = None if seconds is None else self._after(seconds)
        ran = self._run_next(target)
        if not ran and target is not None:
            self._elapsed = max(self._elapsed, target)
        return ran

    def _after(self, seconds: float) -> int:
        """The first microsecond at which so much has passed, but for what floats add to it."""
        due = (self.monotonic() + seconds) * 1_000_000
        return max(math.ceil(due - _NOISE), self._elapsed + 1)

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Moves the clock from job to job until an event is set or ``timeout`` has passed.

        Without a timeout it gives up when no job is left that could set the event. On a thread
        beside a running loop of this clock it sleeps instead, and the loop moves the clock.
        """
        target = None if timeout is None else self._elapsed + round(timeout * 1_000_000)
        while (loop := self._loop) is not None and not loop.runs_here():
            if self._sleep(loop, event, target):
                return event.is_set()
        return self._drive(event, target)

    def _drive(self, event: threading.Event, target: int | None) -> bool:
        while not event.is_set():
            if not self._run_next(target):
                break
        if not event.is_set() and target is not None:
            self._elapsed = max(self._elapsed, target)
        return event.is_set()

    def _sleep(self, loop: VirtualLoop, event: threading.Event, target: int | None) -> bool:
        """Waits for the loop to move the clock; False where it was closed before."""
        with self.sleepers.asleep(event) as sleeper:
            if target is None:
                loop.nudge()
                return sleeper.wait()
            timer = self.schedule((target - self._elapsed) / 1_000_000, sleeper.wake)
            loop.nudge()
            try:
                return sleeper.wait()
            finally:
                timer.cancel()

    def loop_factory(
        self, *, seed: int | None = None, patience: float = PATIENCE, rounds: int = MOST_ROUNDS
    ) -> VirtualLoop:
        """Makes an event loop whose time is this clock's, as for ``asyncio.Runner``.

        Sleeps and timeouts take no time: when every task waits, the clock jumps to what is due
        next. Threads of ``run_in_executor`` hold it still until they are done or wait on the clock
        themselves. While sockets, pipes or subprocesses are open, each jump waits a moment of
        real time for them; what their other end sends later than that may be taken for late.

        Args:
            seed: shuffles the order in which tasks that could go on do, the same way each time;
                None keeps asyncio's order.
            patience: real seconds that something outside the loop has to go on: a thread that
                works, or, where nothing is left to jump to, any thread or socket at all.
            rounds: how many rounds the loop may take before it is said to go round for ever.

        Raises:
            Deadlock: out of the loop's ``run_`` methods, instead of a test that never ends.
            InvalidArgument, InvalidArgumentType: a patience or a number of rounds below zero, or
                none.
        """
        from rat_fsm.testing.loop import VirtualLoop  # asyncio costs 40 ms

        return VirtualLoop(
            self,
            seed=seed,
            patience=check_positive(patience, "patience", zero=True),
            rounds=check_limit(rounds, "rounds"),
        )

    def run(self, main: Coroutine[Any, Any, T], *, seed: int | None = None) -> T:
        """Runs a coroutine on a loop of its own, as ``asyncio.run`` does, in this clock's time.

        Example::

            import asyncio
            from rat_fsm.testing import VirtualClock

            clock = VirtualClock()
            clock.run(asyncio.sleep(3600))
            assert clock.monotonic() == 3600.0

        Raises:
            Deadlock: everything waits, and nothing can wake it.
        """
        import asyncio

        with asyncio.Runner(loop_factory=lambda: self.loop_factory(seed=seed)) as runner:
            return runner.run(main)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the clock of a running loop still: inside, something real is waited for.

        Such as the disk: ``with clock.hold(): await log.append_async(…)``. At most for the loop's
        patience, in real seconds.
        """
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    @property
    def held(self) -> bool:
        """Whether it is held still."""
        return self._holders > 0

    @contextlib.contextmanager
    def driven_by(self, loop: VirtualLoop) -> Iterator[None]:
        """While a loop runs.

        Raises:
            Refused: another loop of this clock is running.
        """
        if self._loop is not None:
            raise Refused(
                "another loop of this clock is running: one drives it", cause="clock_is_driven"
            )
        self._loop = loop
        try:
            yield
        finally:
            self._loop = None

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
