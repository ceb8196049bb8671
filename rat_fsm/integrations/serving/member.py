"""What every adapter knows of one thing it serves: a connection, or a request that is none yet."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.integrations.serving.endings import SERVICE_RESTART, SHUTDOWN, Ending

if TYPE_CHECKING:
    from collections.abc import Hashable

    from rat_fsm.integrations.serving.connection import Connection
    from rat_fsm.integrations.serving.recorder import Recorder

# Seconds that a handler has to notice by itself that its connection was ended. Long enough for
# one that is awake, short enough for a drain within half a second.
GRACE: Final = 0.2
# How often a stream that stands in the middle of an event is waited for.
ATTEMPTS: Final = 5


class Member(ABC):
    """From the moment its client is let in to the handler's end, on one event loop.

    Attributes:
        connection: its connection, None while it is none.
        key: whose limit counts, None for nobody's.
        identity: what a client that shall stay out is known by.
        claimed: whether it holds a slot.
        code: the transport's own code of its end, as far as it is known.
        error: what its handler raised.
        stopping: why it was told to end, None while it goes on.
        blocked_since: when the send that waits now began, 0.0 where none waits; times are the
            loop's.
        began: when it was registered.
        last_move: when data last went either way.
        last_sent: when anything was last sent, a heartbeat included.
        heard: whether its client has sent something since that was last looked at.
        stalled: whether its client takes nothing.
        gone: whether its client has left.
        cutting: whether it is ended by force.
        told: whether its handler knows that it is over.
        wire_ended: whether its client was told the end from here.
    """

    __slots__ = (
        "__weakref__",
        "_cancels",
        "_ender",
        "began",
        "blocked_since",
        "claimed",
        "code",
        "connection",
        "cutting",
        "error",
        "gone",
        "heard",
        "host",
        "identity",
        "key",
        "last_move",
        "last_sent",
        "loop",
        "stalled",
        "stopping",
        "task",
        "told",
        "wire_ended",
    )

    def __init__(self, host: Recorder) -> None:
        self.host = host
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.task: asyncio.Task[Any] | None = asyncio.current_task()
        self.connection: Connection | None = None
        self.key: str | None = None
        self.identity: Hashable = None
        self.claimed = False
        self.code: int | None = None
        self.error: BaseException | None = None
        self.stopping: Ending | None = None
        self.blocked_since = 0.0
        self.began = 0.0
        self.last_move = 0.0
        self.last_sent = 0.0
        self.heard = False
        self.stalled = False
        self.gone = False
        self.cutting = False
        self.told = False
        self.wire_ended = False
        self._cancels = 0
        self._ender: asyncio.Task[None] | None = None

    # What the adapters differ in.

    @property
    @abstractmethod
    def subject(self) -> Any:
        """What the application's own functions get to see: a scope, a request, a connection."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The client's."""

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What is recorded of it, with its ``path``."""

    @property
    @abstractmethod
    def route(self) -> str:
        """The template of the route that serves it, as far as that is known."""

    @property
    @abstractmethod
    def polite(self) -> bool:
        """Whether its client can be told of an end that does not lie."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether the application has ended it."""

    @property
    @abstractmethod
    def between(self) -> bool:
        """Whether it stands between two messages."""

    @abstractmethod
    def outcome(self) -> Ending:
        """How it ended, where nobody ended it from here and nothing was raised."""

    @abstractmethod
    def cut(self) -> None:
        """Ends it by force, visibly; what cannot be cut is recorded as stalled and stays."""

    @abstractmethod
    def listen(self) -> None:
        """Notices that the client leaves where the handler does not look."""

    @abstractmethod
    async def beat(self) -> None:
        """Sends a sign of life, where the protocol has one for servers to send."""

    @abstractmethod
    def _stop(self, ending: Ending, code: int) -> None:
        """Ends it politely, soon, unless it is ending already."""

    # What they have in common.

    def stop(self, ending: Ending, code: int) -> None:
        """Ends it politely; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and all it served with it
            self.loop.call_soon_threadsafe(self._stop, ending, code)

    def drain(self) -> None:
        """Ends politely what should not wait for the deadline."""
        if self.connection is not None and self.polite and self.host.closes_at_drain(self):
            self._stop(SHUTDOWN, SERVICE_RESTART)

    def finish(self, ending: Ending) -> None:
        """Ends it politely because a limit was reached."""
        if self.connection is not None:
            self.connection.end(ending.reason, ended_by=ending.ended_by)

    def keep_out(self) -> None:
        """Turns its client away at the next attempt."""
        self.host.keep_out(self)

    def show_life(self) -> None:
        """The client was heard: its connection is not stale."""
        if self.connection is not None:
            self.connection.manager.mark_healthy(self.connection.id)

    def stall(self) -> None:
        """Records that the client takes nothing, once."""
        if self.stalled:
            return
        self.stalled = True
        if self.connection is not None:
            waited = self.loop.time() - self.blocked_since
            self.connection.settle()
            self.connection.manager.record_stall(self.connection.id, round(waited, 3))

    def unstall(self, waited: float) -> None:
        """Records that the client takes data again, after so many seconds."""
        self.stalled = False
        if self.connection is not None:
            self.connection.manager.record_unstall(self.connection.id, round(waited, 3))

    def cancel(self) -> None:
        """Cancels its handler."""
        self.told = True
        if self.task is not None and not self.task.done():
            self._cancels += 1
            self.task.cancel()

    def _was_ours(self) -> bool:
        """Takes back the cancellations of ours; False where somebody else cancels as well."""
        task, count = self.task, self._cancels
        self._cancels = 0
        if task is None or not count:
            return False
        remaining = 0
        for _ in range(count):
            remaining = task.uncancel()
        return remaining == 0


def look_at(task: asyncio.Task[None]) -> None:
    """What a server raises in a task of ours its handler hears as well, when it sends."""
    if not task.cancelled():
        task.exception()
