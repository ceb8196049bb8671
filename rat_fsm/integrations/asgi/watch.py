"""Looks after open connections on the loop that serves them: one timer for all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.integrations.serving.endings import IDLE, LIFETIME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.integrations.asgi.exchange import Exchange

LONGEST: Final = 1.0
SHORTEST: Final = 0.02
# A limit is noticed at most this part of itself late.
PART: Final = 0.2


@attrs.define(eq=False)
class Watch:
    """Finds clients that take nothing, connections that are idle or old, and streams to keep alive.

    All in seconds; None does without. It also listens for clients that leave where the
    application does not.
    """

    members: Iterable[Exchange]
    stall_after: float
    idle_timeout: float | None
    max_lifetime: float | None
    heartbeat: float | None
    _timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _beats: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        limits = (self.stall_after, self.idle_timeout, self.max_lifetime, self.heartbeat)
        shortest = min(limit for limit in limits if limit is not None)
        return min(LONGEST, max(SHORTEST, shortest * PART))

    def wake(self) -> None:
        """There is a connection to look after."""
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self.interval, self._look)

    def _look(self) -> None:
        self._timer = None
        open_ones = [member for member in self.members if member.connection is not None]
        now = asyncio.get_running_loop().time()
        for exchange in open_ones:
            self._look_at(exchange, now)
        if open_ones:
            self.wake()

    def _look_at(self, exchange: Exchange, now: float) -> None:
        if exchange.over or exchange.stopping is not None:
            return
        if exchange.blocked_since:
            if now - exchange.blocked_since >= self.stall_after:
                exchange.stall()
            return
        exchange.listen()
        if exchange.heard:
            exchange.heard = False
            exchange.show_life()
        if self.max_lifetime is not None and now - exchange.began >= self.max_lifetime:
            exchange.finish(LIFETIME)
        elif self.idle_timeout is not None and now - exchange.last_move >= self.idle_timeout:
            exchange.finish(IDLE)
        elif self.heartbeat is not None and now - exchange.last_sent >= self.heartbeat:
            self._beat(exchange)

    def _beat(self, exchange: Exchange) -> None:
        beat = asyncio.get_running_loop().create_task(exchange.beat())
        self._beats.add(beat)
        beat.add_done_callback(self._beaten)

    def _beaten(self, beat: asyncio.Task[None]) -> None:
        self._beats.discard(beat)
        if not beat.cancelled():
            beat.exception()  # a client that has gone; the application hears of it as well
