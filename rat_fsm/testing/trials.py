"""One run of a coroutine in virtual time, cancelled somewhere or shuffled, and what came of it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.errors import Deadlock, InvalidArgumentType
from rat_fsm.runtime.arguments import check_positive
from rat_fsm.testing.clock import VirtualClock
from rat_fsm.testing.stepping import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rat_fsm.testing.loop import VirtualLoop

# Real seconds: what these runs wait for outside should be there at once.
PATIENCE: Final = 1.0
ROUNDS: Final = 20_000


@attrs.frozen
class Trial:
    """What is tried, the same way in each run.

    Attributes:
        work: makes the coroutine.
        invariant: asked after each run.
        setup: makes what both are called with from the run's clock, None for nothing.
        settle: virtual seconds that everything has to end after a cancellation, or after the work.
    """

    work: Callable[..., Coroutine[Any, Any, Any]]
    invariant: Callable[..., Any]
    setup: Callable[[VirtualClock], Any] | None
    settle: float

    def __attrs_post_init__(self) -> None:
        check_positive(self.settle, "settle", zero=True)
        _check_callable(self.work, "coro_factory")
        _check_callable(self.invariant, "invariant")
        if self.setup is not None:
            _check_callable(self.setup, "setup")


@attrs.define(eq=False)
class Run:
    """One of them.

    Attributes:
        moments: at how many moments it could have been cancelled.
        place: where it stood when it was, None where it was not.
        problems: what is wrong with how it ended.
        error: the exception behind the first of them.
        stuck: whether it came to a standstill, which takes real time to find out.
    """

    trial: Trial
    cancel_at: int | None = None
    seed: int | None = None
    moments: int = 0
    place: str | None = None
    problems: list[str] = attrs.field(factory=list)
    error: BaseException | None = None
    stuck: bool = False
    _task: asyncio.Task[Any] | None = attrs.field(default=None, init=False)
    _loop: VirtualLoop = attrs.field(init=False)
    _woken: asyncio.Future[None] = attrs.field(init=False)

    def play(self) -> Run:
        """Runs it, on a clock and a loop of its own."""
        clock = VirtualClock()
        try:
            with asyncio.Runner(loop_factory=lambda: self._make_loop(clock)) as runner:
                runner.run(self._main(clock))
        except Deadlock as deadlock:
            self.stuck = True
            self._blame(str(deadlock), deadlock)
        return self

    def _make_loop(self, clock: VirtualClock) -> VirtualLoop:
        self._loop = loop = clock.loop_factory(patience=PATIENCE, rounds=ROUNDS)
        loop.on_moment = self._moment
        loop.set_exception_handler(self._uncaught)
        return loop

    async def _main(self, clock: VirtualClock) -> None:
        setup = self.trial.setup
        subject = () if setup is None else (await _answer(setup(clock)),)
        others = asyncio.all_tasks()
        self._loop.shuffle(self.seed)  # not before: what is drawn is the work's alone
        self._woken = self._loop.create_future()
        self._task = self._loop.create_task(_coroutine(self.trial.work(*subject)))
        self._task.add_done_callback(self._wake)
        await self._end(self._task)
        await self._check_leaks(asyncio.all_tasks() - others)
        await self._check_invariant(*subject)

    def _moment(self) -> bool:
        """The work could be cancelled now."""
        task = self._task
        if task is None or task.done() or self.place is not None:
            return False
        self.moments += 1
        if self.moments != self.cancel_at:
            return False
        self.place = place_of(task.get_coro())
        self._wake()
        return task.cancel()

    def _wake(self, _task: Any = None) -> None:
        if not self._woken.done():
            self._woken.set_result(None)

    async def _end(self, task: asyncio.Task[Any]) -> None:
        """Until the work is over, and not much longer once it was cancelled."""
        await self._woken
        await asyncio.wait({task}, timeout=self.trial.settle)
        if not task.done():
            self._blame(f"cancelled, it has not ended {self.trial.settle:g} s later")
        elif not task.cancelled():
            self._judge(task.exception())

    def _judge(self, error: BaseException | None) -> None:
        if error is not None:
            self._blame(f"it raises {_named(error)}", error)
        elif self.place is not None:
            self._blame("the cancellation is swallowed: it goes on to its end")

    async def _check_leaks(self, tasks: set[asyncio.Task[Any]]) -> None:
        """Tasks that the work has left behind may end by themselves."""
        left = tasks - {self._task}
        if left:
            _, left = await asyncio.wait(left, timeout=self.trial.settle)
        for task in left:
            self._blame(f"a task is left behind, at {place_of(task.get_coro())}")

    async def _check_invariant(self, *subject: Any) -> None:
        try:
            holds = await _answer(self.trial.invariant(*subject))
        except Exception as error:  # noqa: BLE001 - whatever it raises, it does not hold
            self._blame(f"the invariant does not hold: {_named(error)}", error)
        else:
            if holds is False:
                self._blame("the invariant does not hold")

    def _uncaught(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        more = f": {_named(error)}" if error is not None else ""
        self._blame(f"{context['message']}{more}", error)

    def _blame(self, problem: str, error: BaseException | None = None) -> None:
        self.problems.append(problem)
        self.error = self.error or error


def _check_callable(value: object, what: str) -> None:
    if not callable(value):
        raise InvalidArgumentType(f"{what} must be callable, not {type(value).__name__}")


def _coroutine(made: Any) -> Coroutine[Any, Any, Any]:
    if not asyncio.iscoroutine(made):
        raise InvalidArgumentType(
            f"coro_factory must answer with a coroutine, not {type(made).__name__}"
        )
    return made


async def _answer(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
