"""One request being served: what its application receives, and how it is made to end.

An application learns that it should end in the ways it would learn that its client has gone:
`receive` answers with a disconnect, `send` raises an OSError. One that does neither is cancelled.

Law: nothing here runs in a task of its own while the application receives for itself. A wrapper
that waits in another task loses what an application asks for in a cancelled scope, as Starlette's
``request.is_disconnected()`` does. A receive that waits is interrupted instead, as
``asyncio.timeout`` interrupts what it guards.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import StreamClosed
from rat_fsm.integrations.serving.connection import CURRENT
from rat_fsm.integrations.serving.endings import (
    APP_ERROR,
    CANCELLED,
    FORCED,
    SHUTDOWN,
    Ending,
)

if TYPE_CHECKING:
    from collections.abc import Hashable

    from rat_fsm.integrations.asgi.middleware import StreamingMiddleware
    from rat_fsm.integrations.serving.connection import Connection
    from rat_fsm.streaming.asgi import Message, Receive, Scope, Send

# Seconds that an application has to end by itself before its response is ended for it. Long
# enough for a handler that is awake, short enough for a drain within half a second.
GRACE: Final = 0.2
# How often a stream that stands in the middle of an event is waited for.
ATTEMPTS: Final = 5
# What frameworks raise in a handler whose client has gone.
_DISCONNECTS: Final = frozenset({"ClientDisconnect", "WebSocketDisconnect", "ClientDisconnected"})


class ResponseCut(StreamClosed):
    """The deadline passed: the server drops the connection, so that nothing looks complete."""


class Exchange(ABC):
    """One call of the application, from the server's to its end."""

    __slots__ = (
        "__weakref__",
        "_cancels",
        "_ender",
        "_held",
        "_listener",
        "_receivers",
        "before",
        "began",
        "blocked_since",
        "code",
        "connection",
        "cutting",
        "due",
        "error",
        "gone",
        "heard",
        "hub",
        "identity",
        "key",
        "last_move",
        "last_sent",
        "loop",
        "scope",
        "server_receive",
        "server_send",
        "stalled",
        "stopping",
        "task",
        "told",
        "wire_ended",
    )

    def __init__(
        self, hub: StreamingMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.hub = hub
        self.scope = scope
        self.server_receive = receive
        self.server_send = send
        # What routers change, as it came: they look for a route below these.
        self.before = scope.get("path", ""), scope.get("root_path", ""), scope.get("app")
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.task: asyncio.Task[Any] | None = asyncio.current_task()
        self.connection: Connection | None = None
        self.identity: Hashable = None
        self.key: str | None = None
        self.code: int | None = None
        self.error: BaseException | None = None
        self.stopping: Ending | None = None
        self.blocked_since = 0.0  # when the send that waits began, 0 where none waits
        self.began = 0.0
        self.last_move = 0.0  # when data last went either way
        self.last_sent = 0.0  # when anything was last sent, a heartbeat included
        self.due = 0.0
        self.stalled = False
        self.cutting = False
        self.gone = False
        self.heard = False  # whether the client has sent something since it was last asked
        self.told = False
        self.wire_ended = False
        self._cancels = 0
        self._ender: asyncio.Task[None] | None = None
        self._receivers: dict[asyncio.Task[Any], bool] = {}
        self._held: deque[Message] = deque()
        self._listener: asyncio.Task[None] | None = None

    # What the kinds of exchanges differ in.

    @property
    @abstractmethod
    def streaming(self) -> bool:
        """Whether it can be ended politely: it streams, and its end does not lie."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether the server has, or will have, nothing more to send for it."""

    @property
    @abstractmethod
    def between(self) -> bool:
        """Whether it stands between two messages."""

    @abstractmethod
    def disconnect(self) -> Message:
        """What `receive` answers once it should end."""

    @abstractmethod
    async def end_wire(self) -> None:
        """Completes the response as if the application had."""

    @abstractmethod
    async def refuse_late(self) -> None:
        """Answers for an application that was cut before it began to."""

    @abstractmethod
    def note(self, message: Message) -> None:
        """Takes notice of a message from the client."""

    @abstractmethod
    def outcome(self) -> Ending:
        """How it ended, where nobody ended it and nothing was raised."""

    # Running.

    async def run(self) -> None:
        """Calls the application, and records the end whatever comes of it."""
        token = CURRENT.set(self)
        self.hub.members.add(self)
        try:
            await self._call()
        except BaseException as error:
            self.error = self.error or error
            raise
        finally:
            # No await in here: while a server cancels, any await may be the last.
            self.hub.leave(self)
            CURRENT.reset(token)
            if self._listener is not None:
                self._listener.cancel()
            if self.connection is not None:
                self._record_end(self.connection)

    async def _call(self) -> None:
        try:
            await self.hub.app(self.scope, self.receive, self.send)
        except asyncio.CancelledError as error:
            if not self._was_ours():
                raise
            self.error = error if self.cutting else None
        except Exception as error:
            if self.stopping is None or not _is_goodbye(error):
                self.error = error
                if self.stopping is not None and not self.cutting:
                    await self.end_wire()
                raise
        if self.cutting:
            await self._end_cut()
        elif self.stopping is not None:
            await self.end_wire()

    async def _end_cut(self) -> None:
        if self.over:
            return
        self.error = self.error or ResponseCut("cut")
        await self.refuse_late()
        raise ResponseCut("the server is restarting and the deadline has passed: cut off here")

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

    def cancel(self) -> None:
        """Cancels the application."""
        if self.task is not None and not self.task.done():
            self._cancels += 1
            self.task.cancel()

    def _record_end(self, connection: Connection) -> None:
        if self.error is not None and self._is_failure():
            connection.record_error(self.error)
        connection.ended(self._ending(), self.code)

    def _is_failure(self) -> bool:
        return (
            isinstance(self.error, Exception)
            and not isinstance(self.error, StreamClosed)
            and not ((self.gone or self.stopping is not None) and _is_goodbye(self.error))
        )

    def _ending(self) -> Ending:
        if self.cutting:
            return FORCED
        if self.stopping is not None:
            abandoned = self.stalled or isinstance(self.error, asyncio.CancelledError)
            return FORCED if abandoned and self.hub.draining else self.stopping
        if self.over or self.gone:
            return self.outcome()
        if self.connection is not None and self.connection.conclusion is not None:
            return self.connection.conclusion
        if self.error is None:
            return self.outcome()
        if isinstance(self.error, Exception):
            return APP_ERROR
        return FORCED if self.hub.draining else CANCELLED

    # Ending.

    def stop(self, ending: Ending, code: int) -> None:
        """Ends it politely; from any thread."""
        try:
            self.loop.call_soon_threadsafe(self._stop, ending, code)
        except RuntimeError:  # the loop is closed, and the exchange with it
            return

    def _stop(self, ending: Ending, code: int) -> None:
        if self.stopping is not None or self.cutting or self.over or self.gone:
            return
        if not self.streaming:
            if not self.hub.draining:
                self.cut()  # whoever kicks a download wants it gone
            return
        self.stopping = ending
        self.closes_with(code)
        self._interrupt()
        self.due = self.loop.time() + GRACE
        self.loop.call_at(self.due, self._stop_waiting, 1)

    @abstractmethod
    def closes_with(self, code: int) -> None:
        """Takes the code a WebSocket is closed with."""

    def drain(self) -> None:
        """Ends politely what should not wait for the deadline."""
        if self.connection is not None and self.streaming and self.hub.closes_at_drain(self):
            self._stop(SHUTDOWN, 1012)

    def _interrupt(self) -> None:
        for task in self._receivers:
            if not self._receivers[task]:
                self._receivers[task] = True
                task.cancel()

    def _stop_waiting(self, attempt: int) -> None:
        """The application had its time: what is still open is ended from here."""
        if self.task is None or self.task.done() or self.blocked_since:
            return  # a send that waits for its client ends it when it is through
        if not self.over and not self.wire_ended:
            if self.between or attempt >= ATTEMPTS:
                self._ender = self.loop.create_task(self.end_wire())
            self.loop.call_later(GRACE, self._stop_waiting, attempt + 1)
        elif not self.told:  # it neither receives nor sends: there is no other way to tell it
            self.told = True
            self.cancel()

    def cut(self) -> None:
        """Ends it by force; a send that waits for its client cannot be taken back."""
        if self.blocked_since:
            self.stall()
            return
        self.cutting = True
        self.cancel()

    def stall(self) -> None:
        """Records that the client takes nothing, once."""
        if self.connection is not None and not self.stalled:
            self.stalled = True
            waited = self.loop.time() - self.blocked_since
            self.connection.settle()
            self.connection.manager.record_stall(self.connection.id, round(waited, 3))

    def unstall(self, waited: float) -> None:
        """Records that the client takes data again."""
        if self.connection is not None:
            self.stalled = False
            self.connection.manager.record_unstall(self.connection.id, round(waited, 3))

    def finish(self, ending: Ending) -> None:
        """Ends it politely because a limit of the middleware was reached."""
        if self.connection is not None:
            self.connection.end(ending.reason, ended_by=ending.ended_by)

    def show_life(self) -> None:
        """The client has sent something: its connection is not stale."""
        if self.connection is not None:
            self.connection.manager.mark_healthy(self.connection.id)

    def keep_out(self) -> None:
        """Turns this client away at its next attempt."""
        self.hub.keep_out(self)

    # Receiving.

    async def receive(self) -> Message:
        """The application's ``receive``."""
        while True:
            if self.stopping is not None and self.streaming:
                self.told = True
                return self.disconnect()
            if self._held:
                return self._held.popleft()
            message = await self._next()
            if message is not None:
                return message

    async def _next(self) -> Message | None:
        """What the server says next; None where to look again."""
        task = asyncio.current_task()
        if task is None:  # an event loop without tasks: it cannot be interrupted
            return self._noted(await self.server_receive())
        before = task.cancelling()
        self._receivers[task] = False
        try:
            if self._listener is not None and not self._listener.done():
                await asyncio.wait((self._listener,))
                return None
            return self._noted(await self.server_receive())
        except asyncio.CancelledError:
            if self._receivers[task] and task.uncancel() <= before:
                return None
            raise
        finally:
            del self._receivers[task]

    def _noted(self, message: Message) -> Message:
        self.note(message)
        return message

    def listen(self) -> None:
        """Notices that the client leaves where the application does not look.

        What comes in is held for the application, at most one message that carries data.
        """
        if self._listener is None and not self._receivers and not self._held and not self.gone:
            self._listener = self.loop.create_task(self._listen())
            self._listener.add_done_callback(_look_at)

    async def _listen(self) -> None:
        while not self.gone:
            message = await self.server_receive()
            self._held.append(message)
            self.note(message)
            if message["type"] in {"websocket.receive", "http.request"} and not _is_empty(message):
                self._listener = None
                return

    # Sending.

    @abstractmethod
    async def beat(self) -> None:
        """Sends a sign of life, where the protocol has one for servers to send."""

    @abstractmethod
    async def send(self, message: Message) -> None:
        """The application's ``send``."""

    def check_sendable(self) -> None:
        """Refuses what comes after the end.

        Raises:
            StreamClosed: the response was ended from here.
        """
        if self.wire_ended:
            self.told = True
            raise StreamClosed("the server has ended this response; nothing more can be sent")


def _look_at(listener: asyncio.Task[None]) -> None:
    """A server that raises says it again to the application, when that receives."""
    if not listener.cancelled():
        listener.exception()


def _is_empty(message: Message) -> bool:
    return (
        message["type"] == "http.request"
        and not message.get("body")
        and not message.get("more_body", False)
    )


def _is_goodbye(error: BaseException | None) -> bool:
    """Whether an application only says that its client has gone, as it was told."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, StreamClosed) or type(error).__name__ in _DISCONNECTS:
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(map(_is_goodbye, error.exceptions))
        error = error.__cause__
    return False
