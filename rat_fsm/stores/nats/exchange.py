"""A question that is on its way to the servers, and how long its answer is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.msg import Msg

REQUEST_TIMEOUT: Final = 3.5


class Leaderless(OSError):
    """Nobody listens where a leader would: the others are about to elect one."""


@attrs.define(eq=False)
class Exchange:
    """A question that is not answered yet.

    Attributes:
        subject: where it went.
        take: called with each message that comes; sets ``done`` in the end.
        done: the answer.
        patience: how many seconds to wait for the first message, and after each for the next.
    """

    subject: str
    take: Callable[[Msg], None]
    done: asyncio.Future[Any]
    patience: float = REQUEST_TIMEOUT
    _limit: asyncio.Timeout | None = attrs.field(default=None, init=False)

    async def wait(self) -> None:
        """Until it is done.

        Raises:
            TimeoutError: no message came for too long.
        """
        try:
            async with asyncio.timeout(self.patience) as self._limit:
                await self.done
        except TimeoutError:
            raise TimeoutError(f"no answer in {self.patience} s") from None

    def hear(self, message: Msg) -> None:
        """Takes a message, unless it comes too late."""
        limit = self._limit
        if self.done.done() or (limit is not None and limit.expired()):
            return
        self.take(message)
        if limit is not None and not self.done.done():
            limit.reschedule(asyncio.get_running_loop().time() + self.patience)

    def fail(self, problem: Exception) -> None:
        """Ends it without an answer."""
        if not self.done.done():
            self.done.set_exception(problem)
