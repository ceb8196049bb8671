"""What a virtual event loop does when nothing is ready: waits for what is real, or moves time."""

from __future__ import annotations

import selectors
import threading
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rat_fsm.testing.loop import VirtualLoop

# Real seconds before each jump while something is open that the world can write to. What this
# process sends itself is there at once; this is for a machine that is busy.
LULL: Final = 0.02
POLL: Final = 0.005
# Jobs in a row that wake no task: a monitor that looks every second has looked for hours by then.
MOST_JOBS: Final = 10_000


class JumpingSelector(selectors.DefaultSelector):
    """Jumps over the time that a loop would sleep."""

    def __init__(self, loop: VirtualLoop, *, patience: float, rounds: int) -> None:
        super().__init__()
        self._loop = loop
        self._patience = patience
        self._most_rounds = rounds
        self._rounds = 0
        self._jobs = 0

    def select(self, timeout: float | None = None) -> Any:
        """What is ready, once something is or time has passed."""
        self._count_round()
        idle = timeout is None or timeout > 0
        acted = self._loop.begin_round(idle=idle)
        ready = super().select(0)
        if ready or acted or not idle:
            self._jobs = 0
            return ready
        return self._wait(timeout) or self._jump(timeout)

    def _count_round(self) -> None:
        self._rounds += 1
        if self._rounds > self._most_rounds:
            self._rounds = 0  # what ends the loop needs some, too
            raise self._loop.deadlock(
                f"after {self._most_rounds} rounds of the loop it is not over; "
                "loop_factory(rounds=…) allows more"
            )

    def _wait(self, timeout: float | None) -> Any:
        """What becomes ready of what is real, within the patience that it deserves."""
        deadline = time.monotonic() + self._patience_for(timeout)
        while (left := deadline - time.monotonic()) > 0:
            was_busy = self._loop.busy
            ready = super().select(min(POLL, left))
            if ready or (was_busy and not self._loop.busy):
                return ready
        return []

    def _patience_for(self, timeout: float | None) -> float:
        if self._loop.busy:
            return self._patience
        open_to_the_world = len(self.get_map()) > 1  # the loop's own wake-up call is one
        if timeout is not None or self._loop.clock.has_jobs:
            return LULL if open_to_the_world else 0.0
        return self._patience if open_to_the_world or threading.active_count() > 1 else 0.0

    def _jump(self, timeout: float | None) -> Any:
        if timeout is None:
            self._jobs += 1
        if self._jobs > MOST_JOBS or not (self._loop.clock.step(timeout) or timeout is not None):
            self._jobs = 0
            raise self._loop.deadlock("every task waits, and nothing is left that could wake one")
        return super().select(0)
