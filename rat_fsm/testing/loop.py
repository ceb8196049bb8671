"""An event loop in virtual time: what waits for a time has it as soon as nothing else can go on."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

from rat_fsm.errors import Deadlock
from rat_fsm.testing.selecting import JumpingSelector
from rat_fsm.testing.stepping import Stepped, place_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from rat_fsm.testing.clock import VirtualClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# By how many rounds a task lets others overtake it at most, each time it could go on. That it is
# the same all the time makes some tasks slow: what happens within one step of theirs is a lot.
_PACES: Final = (0, 0, 1, 2, 4, 8)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time is that of a virtual clock; `VirtualClock.loop_factory` makes it.

    Attributes:
        clock: the clock it moves, such as for ``ConnectionManager(clock=…)``.
        on_moment: called wherever a task could be cancelled: when one has come to wait, and
            before each round; answers whether it has done something.
    """

    def __init__(
        self, clock: VirtualClock, *, seed: int | None, patience: float, rounds: int
    ) -> None:
        self.clock = clock
        self.on_moment: Callable[[], bool] = _nothing
        self._looked = False
        self._errands = 0
        self._workers: set[int] = set()
        self._thread: int | None = None
        self.shuffle(seed)
        super().__init__(JumpingSelector(self, patience=patience, rounds=rounds))
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        """Virtual seconds since the clock's start."""
        return self.clock.monotonic()

    def runs_here(self) -> bool:
        """Whether this is the thread it runs on."""
        return self._thread == threading.get_ident()

    def run_forever(self) -> None:
        """Runs until it is stopped, and moves the clock meanwhile."""
        with self.clock.driven_by(self):
            self._thread = threading.get_ident()
            try:
                super().run_forever()
            finally:
                self._thread = None

    def close(self) -> None:
        """Ends it; threads that waited for it to move the clock move it themselves."""
        super().close()
        self.clock.sleepers.orphan()

    def nudge(self) -> None:
        """Has it look again, from any thread."""
        try:
            self.call_soon_threadsafe(_nothing)
        except RuntimeError:  # it has been closed meanwhile, and knows this sleeper or orphans it
            self.clock.sleepers.orphan()

    # What goes on outside.

    @property
    def busy(self) -> bool:
        """Whether something real is waited for: a thread of ours that does not wait itself."""
        sleepers = self.clock.sleepers
        about_to = sleepers.wake_those_set()
        return about_to or self.clock.held or self._errands > sleepers.count(self._workers)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """As ever; the clock stands still meanwhile."""

        def work() -> T:
            self._workers.add(threading.get_ident())
            try:
                return func(*args)
            finally:
                self._workers.discard(threading.get_ident())

        future = super().run_in_executor(executor, work)
        self._errands += 1
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _future: Any) -> None:
        self._errands -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - since 3.12; it is real time, and joining threads has no other
        """As ever, and it takes no virtual time."""
        self._errands += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._errands -= 1

    # Tasks.

    def _make_task(self, _loop: Any, coroutine: Any, **options: Any) -> Any:
        if asyncio.iscoroutine(coroutine):
            coroutine = Stepped(coroutine, self._suspended, self._pace())
        return asyncio.Task(coroutine, loop=self, **options)

    def _suspended(self) -> None:
        self._looked = True
        self.on_moment()

    def begin_round(self, *, idle: bool) -> bool:
        """A moment too, unless nothing has happened since the last; answers as that does."""
        looked, self._looked = self._looked, False
        return not (idle and looked) and self.on_moment()

    def shuffle(self, seed: int | None) -> None:
        """Draws the order in which tasks go on from now on; None is asyncio's own."""
        self._random = None if seed is None else random.Random(seed)  # noqa: S311 - chance, not secrecy

    def _pace(self) -> Callable[[], int]:
        """What draws how long a new task is put off."""
        chance = self._random
        if chance is None:
            return int
        pace = chance.choice(_PACES)
        return lambda: chance.randint(0, pace)

    def deadlock(self, why: str) -> Deadlock:
        """Says that, and where every task waits."""
        tasks = sorted(asyncio.all_tasks(self), key=asyncio.Task.get_name)
        places = [f"{task.get_name()} waits at {place_of(task.get_coro())}" for task in tasks]
        return Deadlock(why, places)


def _nothing() -> bool:
    """Only wakes the loop."""
    return False
