"""Looks after open connections on the loop that serves them: one timer for all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from rat_fsm.integrations.serving.endings import IDLE, LIFETIME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.integrations.serving.connection import Connection
    from rat_fsm.integrations.serving.endings import Ending

LONGEST: Final = 1.0
SHORTEST: Final = 0.02
# A limit is noticed at most this part of itself late.
PART: Final = 0.2


class Watched(Protocol):
    """One that is being served, as far as it is looked after; moments are the loop's.

    Attributes:
        connection: None while it is none.
        over: whether the server has nothing more to send for it.
        stopping: why it has been told to end, None where it has not.
        blocked_since: when the send that waits began, 0 where none waits.
        heard: whether the client has sent something since it was last asked.
        began: when it became a connection.
        last_move: when data last went either way.
        last_sent: when anything was last sent, a heartbeat included.
    """

    connection: Connection | None
    stopping: Ending | None
    blocked_since: float
    heard: bool
    began: float
    last_move: float
    last_sent: float

    @property
    def over(self) -> bool: ...  # noqa: D102 - above

    def stall(self) -> None:
        """Its client takes nothing."""

    def listen(self) -> None:
        """Notice that the client has left, where the one who serves it does not look."""

    def show_life(self) -> None:
        """Its client was heard."""

    def finish(self, ending: Ending) -> None:
        """A limit was reached: end politely."""

    async def beat(self) -> None:
        """Send a sign of life, where the protocol has one for servers to send."""


@attrs.define(eq=False)
class Watch:
    """Finds clients that take nothing, connections that are idle or old, and streams to keep alive.

    All in seconds; None does without. It also listens for clients that leave where the
    application does not.
    """

    members: Iterable[Watched]
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
        for one in open_ones:
            self._look_at(one, now)
        if open_ones:
            self.wake()

    def _look_at(self, one: Watched, now: float) -> None:
        if one.over or one.stopping is not None:
            return
        if one.blocked_since:
            if now - one.blocked_since >= self.stall_after:
                one.stall()
            return
        one.listen()
        if one.heard:
            one.heard = False
            one.show_life()
        if self.max_lifetime is not None and now - one.began >= self.max_lifetime:
            one.finish(LIFETIME)
        elif self.idle_timeout is not None and now - one.last_move >= self.idle_timeout:
            one.finish(IDLE)
        elif self.heartbeat is not None and now - one.last_sent >= self.heartbeat:
            self._beat(one)

    def _beat(self, one: Watched) -> None:
        beat = asyncio.get_running_loop().create_task(one.beat())
        self._beats.add(beat)
        beat.add_done_callback(self._beaten)

    def _beaten(self, beat: asyncio.Task[None]) -> None:
        self._beats.discard(beat)
        if not beat.cancelled():
            beat.exception()  # a client that has gone; the application hears of it as well
