"""The one place where time comes from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from rat_fsm.runtime.scheduler import THREADS

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    Job = Callable[[], None]


class Handle(Protocol):
    """A job that has been scheduled."""

    def cancel(self) -> None:
        """The job will not start any more. Idempotent."""


class Clock(Protocol):
    """Time, waiting, and running things later. `rat_fsm.testing.VirtualClock` is another one."""

    def now(self) -> int:
        """The time in microseconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds that never go backwards, from an arbitrary start."""

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Waits until an event is set, at most ``timeout`` seconds; answers whether it is."""

    def schedule(self, delay: float, job: Job) -> Handle:
        """Runs a short job once, ``delay`` seconds from now. Jobs hold their owners weakly."""

    def call(self, job: Job) -> None:
        """Runs a user's callback soon, where it delays no scheduled job."""


class SystemClock:
    """The system's time, and the two threads of this process."""

    def now(self) -> int:
        """The time in microseconds since the epoch."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Waits until an event is set, at most ``timeout`` seconds."""
        return event.wait(timeout)

    def schedule(self, delay: float, job: Job) -> Handle:
        """Runs a job once, on the scheduler thread."""
        return THREADS.scheduler.schedule(delay, job)

    def call(self, job: Job) -> None:
        """Runs a job soon, on the callback thread."""
        THREADS.callbacks.put(job)


SYSTEM_CLOCK: Final = SystemClock()
