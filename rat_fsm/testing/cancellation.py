"""Cancels a coroutine wherever it can be cancelled: a server does so at any of these places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from rat_fsm.runtime.arguments import check_limit
from rat_fsm.testing.trials import Run, Trial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from rat_fsm.testing.clock import VirtualClock

S = TypeVar("S")

MOST: Final = 2_000
SETTLE: Final = 60.0
SHOWN: Final = 10


@overload
def cancel_anywhere(
    coro_factory: Callable[[], Coroutine[Any, Any, Any]],
    *,
    invariant: Callable[[], Any] = ...,
    most: int = ...,
    settle: float = ...,
) -> tuple[str, ...]: ...
@overload
def cancel_anywhere(
    coro_factory: Callable[[S], Coroutine[Any, Any, Any]],
    *,
    setup: Callable[[VirtualClock], S | Awaitable[S]],
    invariant: Callable[[S], Any] = ...,
    most: int = ...,
    settle: float = ...,
) -> tuple[str, ...]: ...
def cancel_anywhere(
    coro_factory: Callable[..., Coroutine[Any, Any, Any]],
    *,
    setup: Callable[[VirtualClock], Any] | None = None,
    invariant: Callable[..., Any] = lambda *_: None,
    most: int = MOST,
    settle: float = SETTLE,
) -> tuple[str, ...]:
    """Runs a coroutine again and again, and cancels it at each moment at which it waits, in turn.

    Each run has a clock and a loop of its own, in virtual time. It is first run uncancelled. Then
    run after run it is cancelled one moment later: before its first line, wherever it has come to
    wait, and between any two steps of other tasks while it waits.

    Example::

        import asyncio
        from rat_fsm.testing import cancel_anywhere

        class Pool:
            def __init__(self, clock):
                self.taken = 0

        async def query(pool):
            pool.taken += 1
            try:
                await asyncio.sleep(1)  # the database
            finally:
                pool.taken -= 1

        cancel_anywhere(query, setup=Pool, invariant=lambda pool: pool.taken == 0)

    Args:
        coro_factory: makes the coroutine, on the running loop.
        setup: makes what the other two are called with, such as a manager on the run's clock;
            anew for each run, on the running loop. It may be a coroutine function. Without it
            they are called with nothing.
        invariant: what must be so after each run: it raises, or answers False, where it is not. It
            may be a coroutine function.
        most: how many moments there may be.
        settle: virtual seconds that it has to end once cancelled, and after that the tasks which
            it has begun, such as shielded ones.

    Returns:
        For each moment where it stood, as ``file:line in function: source``.

    Raises:
        AssertionError: the invariant is broken; the cancellation is swallowed, turned into another
            error, or not obeyed within ``settle``; a task is left behind; an exception reaches
            nobody; everything waits for ever; or there are more moments than ``most``. It says
            where the coroutine stood when it was cancelled.
        InvalidArgument, InvalidArgumentType: an argument that could never be right.
    """
    trial = Trial(coro_factory, invariant, setup, settle)
    _check_uncancelled(Run(trial, cancel_at=check_limit(most, "most") + 1).play(), most)
    places: list[str] = []
    broken: list[Run] = []
    while (run := Run(trial, cancel_at=len(places) + 1).play()).place is not None:
        places.append(run.place)
        if run.problems:
            broken.append(run)
        if run.stuck or len(broken) >= SHOWN:
            break
    if broken:
        raise AssertionError(_told(broken, len(places))) from broken[0].error
    return tuple(places)


def _check_uncancelled(run: Run, most: int) -> None:
    if run.place is not None:
        raise AssertionError(
            f"it can be cancelled at more than {most} moments, and was not over then, at "
            f"{run.place}; give it less to do, or allow more: most="
        )
    if run.problems:
        raise AssertionError(
            "\n  ".join(["even when it is not cancelled:", *run.problems])
        ) from run.error


def _told(broken: Sequence[Run], tried: int) -> str:
    """Where it broke and how; moments that look alike once."""
    lines = dict.fromkeys(
        f"{run.place}\n    {problem}" for run in broken for problem in run.problems
    )
    head = f"cancelled at {tried} moments in turn, it goes wrong at {len(broken)}; where it stood:"
    return "\n  ".join([head, *lines])
