"""Runs the tasks of a program in other orders than they happen to run in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from rat_fsm.runtime.arguments import check_limit
from rat_fsm.testing.cancellation import SETTLE
from rat_fsm.testing.trials import Run, Trial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from rat_fsm.testing.clock import VirtualClock

S = TypeVar("S")

ORDERS: Final = 200


@overload
def in_any_order(
    coro_factory: Callable[[], Coroutine[Any, Any, Any]],
    *,
    invariant: Callable[[], Any] = ...,
    orders: int = ...,
    settle: float = ...,
) -> None: ...
@overload
def in_any_order(
    coro_factory: Callable[[S], Coroutine[Any, Any, Any]],
    *,
    setup: Callable[[VirtualClock], S | Awaitable[S]],
    invariant: Callable[[S], Any] = ...,
    orders: int = ...,
    settle: float = ...,
) -> None: ...
def in_any_order(
    coro_factory: Callable[..., Coroutine[Any, Any, Any]],
    *,
    setup: Callable[[VirtualClock], Any] | None = None,
    invariant: Callable[..., Any] = lambda *_: None,
    orders: int = ORDERS,
    settle: float = SETTLE,
) -> None:
    """Runs a coroutine again and again, each time letting its tasks go on in another order.

    What waits for nothing but its turn is overtaken by others now and then. That finds updates
    that are lost at an await, checks that no longer hold after it, and locks taken twice. The
    orders are drawn, and the same each time: one that breaks something is found again.

    Example::

        import asyncio
        from rat_fsm.testing import in_any_order

        class Counter:
            def __init__(self, clock):
                self.value, self.lock = 0, asyncio.Lock()

            async def count(self):
                async with self.lock:  # without it, an update is lost
                    value = self.value
                    await asyncio.sleep(0)
                    self.value = value + 1

        async def count_twice(counter):
            await asyncio.gather(counter.count(), counter.count())

        in_any_order(count_twice, setup=Counter, invariant=lambda counter: counter.value == 2)

    Args:
        coro_factory, setup, invariant, settle: as of `cancel_anywhere`.
        orders: how many to try.

    Raises:
        AssertionError: in some order the invariant is broken, the coroutine raises, a task is left
            behind, an exception reaches nobody, or everything waits for ever. It says which
            ``seed=`` of `VirtualClock.run` runs in that order.
        InvalidArgument, InvalidArgumentType: an argument that could never be right.
    """
    trial = Trial(coro_factory, invariant, setup, settle)
    for seed in (None, *range(check_limit(orders, "orders"))):
        run = Run(trial, seed=seed).play()
        if run.problems:
            order = "in asyncio's own order" if seed is None else f"in the order of seed={seed}"
            raise AssertionError("\n  ".join([f"{order}:", *run.problems])) from run.error
