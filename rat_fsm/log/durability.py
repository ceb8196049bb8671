"""Waits until an event is durable: on a thread of its own, or on an event loop without blocking."""

from __future__ import annotations

import contextlib
import queue
import sys
from typing import TYPE_CHECKING, Any

from rat_fsm.log.waiting import Waiter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rat_fsm.events import Position
    from rat_fsm.log.accept import Mark
    from rat_fsm.log.progress import Progress

    Ask = Callable[[Waiter], None]


def in_event_loop() -> bool:
    """Whether this thread runs an event loop; if asyncio was never imported, none does."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001


def wait_for(
    mark: Mark, ask: Ask, progress: Progress, timeout: float | None
) -> Position | Exception:
    """Blocks until everything up to a mark is durable or never will be, or the time is over.

    Args:
        mark: up to where.
        ask: puts somebody among those who wait.
        progress: what is answered when the time is over.
        timeout: seconds; None also ends at the first failure of the store.
    """
    reply: queue.SimpleQueue[Position | Exception] = queue.SimpleQueue()
    waiter = Waiter(mark, reply.put, patient=timeout is not None)
    ask(waiter)
    try:
        return reply.get(timeout=timeout)
    except queue.Empty:
        return progress.answer_to(mark)
    finally:
        waiter.gone = True


async def wait_on_loop(mark: Mark, ask: Ask, loop: asyncio.AbstractEventLoop) -> Position:
    """Waits until everything up to a mark is durable, however long the store fails.

    Raises:
        WriterFenced, LogUnavailable: the log ended before.
    """
    done: asyncio.Future[Position] = loop.create_future()
    waiter = Waiter(mark, lambda answer: _call_soon(loop, _resolve, done, answer), patient=True)
    ask(waiter)
    try:
        return await done
    finally:
        waiter.gone = True


def _call_soon(loop: asyncio.AbstractEventLoop, *call: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed; nobody waits any more
        loop.call_soon_threadsafe(*call)


def _resolve(done: asyncio.Future[Position], answer: Position | Exception) -> None:
    if done.done():  # it was cancelled
        return
    if isinstance(answer, Exception):
        done.set_exception(answer)
    else:
        done.set_result(answer)
