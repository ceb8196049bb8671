"""A thread with an event loop of its own, for callers that have none.

The client library is asyncio, the store port is not: callers of any thread wait for what they
give to the loop, each for so long and no longer.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rat_fsm.stores.nats.wire import client_class

if TYPE_CHECKING:
    from collections.abc import Coroutine

PATIENCE: Final = 5.0
_GRACE: Final = 1.0  # for a loop that is busy when the time is up
T = TypeVar("T")


class LinkClosed(OSError):
    """The link was closed meanwhile."""


class Looping:
    """Runs coroutines on a thread, which starts with the first: a forked child may need none."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()  # a finaliser may retire it inside
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T], patience: float = PATIENCE) -> T:
        """What a coroutine answers on the loop.

        Raises:
            OSError: the servers cannot be reached, or do not answer in time.
        """
        future = self._begin(work, patience)
        try:
            return future.result(patience + _GRACE)
        except TimeoutError as problem:
            future.cancel()
            raise TimeoutError(str(problem) or self.silence(patience)) from None
        except futures.CancelledError:
            raise LinkClosed("the connection was closed") from None

    def _begin(self, work: Coroutine[Any, Any, T], patience: float) -> futures.Future[T]:
        with self._starting:
            try:
                loop = self._started()
            except BaseException:
                work.close()  # nobody will await it
                raise
            return asyncio.run_coroutine_threadsafe(_bounded(work, patience), loop)

    def _started(self) -> asyncio.AbstractEventLoop:
        """The loop, whose thread is started when it is first needed."""
        if self._closed or self._thread is threading.current_thread():
            raise LinkClosed("the connection was closed")
        if self._loop is None:
            client_class()
            loop = asyncio.new_event_loop()
            work = functools.partial(_work, loop)
            thread = threading.Thread(target=work, name="rat-fsm-nats", daemon=True)
            try:
                thread.start()
            except BaseException:
                loop.close()
                raise
            self._loop, self._thread = loop, thread
        return self._loop

    def silence(self, patience: float) -> str:
        """What there is to say of work that took too long."""
        return f"no answer in {patience} s"

    async def end(self) -> None:
        """What is to be done on the loop before it ends."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends everything on the loop, and the thread."""
        self.retire()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(PATIENCE)

    def retire(self) -> None:
        """Like `close`, and does not wait: for finalisers."""
        with self._starting:
            loop, closed, self._closed = self._loop, self._closed, True
            if loop is not None and not closed:
                asyncio.run_coroutine_threadsafe(self._end(loop), loop)

    def leave(self) -> None:
        """For a forked child: what is under way there asks by another link."""
        self._starting = threading.RLock()  # a thread that is not here may hold the old one
        self._closed = True

    async def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            own = asyncio.current_task()
            others = [task for task in asyncio.all_tasks() if task is not own]
            await self.end()
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await loop.shutdown_default_executor()
        finally:
            loop.stop()


async def _bounded(work: Coroutine[Any, Any, T], patience: float) -> T:
    async with asyncio.timeout(patience):
        return await work


def _work(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
