"""The lifespan of an application, with a drain before its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rat_fsm.integrations.asgi.middleware import StreamingMiddleware
    from rat_fsm.streaming.asgi import Message, Receive, Scope, Send


class Lifespan:
    """Passes the lifespan on; one that the application does not know is completed for it."""

    def __init__(self, hub: StreamingMiddleware, receive: Receive, send: Send) -> None:
        self._hub = hub
        self._receive = receive
        self._send = send
        self._scope: Scope = {}
        self._asked = False  # whether the application takes part
        self._shutting_down = False

    async def run(self, scope: Scope) -> None:
        """Until the server has ended."""
        self._scope = scope
        try:
            await self._hub.app(scope, self.receive, self.send)
        except Exception:
            if self._asked:
                raise
        if not self._asked:
            await self._stand_in()

    async def receive(self) -> Message:
        """The application's ``receive``: its shutdown comes when nothing is served any more."""
        self._asked = True
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            self._shutting_down = True
            await self._hub.shut_down()
        return message

    async def send(self, message: Message) -> None:
        """The application's ``send``."""
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._hub.start_up(self._scope)
        await self._send(message)
        if kind in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
            self._hub.ended()

    async def _stand_in(self) -> None:
        """The application knows no lifespan: it has nothing to start, and nothing to stop."""
        while (await self.receive())["type"] != "lifespan.shutdown":
            await self.send({"type": "lifespan.startup.complete"})
        await self.send({"type": "lifespan.shutdown.complete"})
