"""What an application receives: what its server says, and that it should end.

Law: nothing here runs in a task of its own while the application receives for itself. A wrapper
that waits in another task loses what an application asks for in a cancelled scope, as Starlette's
``request.is_disconnected()`` does. A receive that waits is interrupted instead, as
``asyncio.timeout`` interrupts what it guards.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

from rat_fsm.integrations.asgi.routes import route_of
from rat_fsm.integrations.asgi.scopes import about, client_of
from rat_fsm.integrations.serving.member import Member, look_at

if TYPE_CHECKING:
    from rat_fsm.integrations.asgi.middleware import StreamingMiddleware
    from rat_fsm.streaming.asgi import Message, Receive, Scope, Send


class Receiving(Member):
    """One call of the application, as far as its ``receive`` goes."""

    __slots__ = (
        "_held",
        "_listener",
        "_receivers",
        "before",
        "deserted",
        "scope",
        "server_receive",
        "server_send",
    )

    host: StreamingMiddleware

    def __init__(
        self, host: StreamingMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        super().__init__(host)
        self.scope = scope
        self.server_receive = receive
        self.server_send = send
        # What routers change, as it came: they look for a route below these.
        self.before = scope.get("path", ""), scope.get("root_path", ""), scope.get("app")
        self.deserted = False  # its client is gone, and the application did not receive that
        self._receivers: dict[asyncio.Task[Any], bool] = {}
        self._held: deque[Message] = deque()
        self._listener: asyncio.Task[None] | None = None

    @property
    def subject(self) -> Scope:
        """What the application's own functions get to see."""
        return self.scope

    @property
    def address(self) -> str:
        """The client's."""
        return client_of(self.scope)

    @property
    def about(self) -> dict[str, Any]:
        """What is recorded of it."""
        return about(self.scope)

    @property
    def route(self) -> str:
        """The template of the route that serves it, empty where none is known."""
        return route_of(self.host.app, self.before, self.scope)

    @abstractmethod
    def disconnect(self) -> Message:
        """What `receive` answers once it should end."""

    @abstractmethod
    def note(self, message: Message) -> None:
        """Takes notice of a message from the client."""

    @abstractmethod
    def desert(self) -> None:
        """Its client has left, and the application did not look."""

    async def receive(self) -> Message:
        """The application's ``receive``."""
        while True:
            if self.stopping is not None and self.polite:
                self.told = True
                return self.disconnect()
            if self._held:
                self.told = self.told or self.deserted
                return self._held.popleft()
            if self.gone and self.scope["type"] == "http":  # not every server says it twice
                return self.disconnect()
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
            self._listener.add_done_callback(look_at)

    async def _listen(self) -> None:
        while True:
            message = await self.server_receive()
            self._held.append(message)
            self.note(message)
            if not _is_empty(message):
                break
        if not message["type"].endswith("disconnect"):
            self._listener = None
        elif not self.over:  # a complete response hears only its own end, from some for ever
            self.deserted = True
            self.desert()

    def interrupt(self) -> None:
        """Has every receive that waits look again."""
        for task, interrupted in self._receivers.items():
            if not interrupted:
                self._receivers[task] = True
                task.cancel()

    def stop_listening(self) -> None:
        """The call is over."""
        if self._listener is not None:
            self._listener.cancel()


def _is_empty(message: Message) -> bool:
    return (
        message["type"] == "http.request"
        and not message.get("body")
        and not message.get("more_body", False)
    )
