"""A WebSocket, from its handshake to its close."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from rat_fsm.integrations.asgi.exchange import Exchange
from rat_fsm.integrations.serving.endings import (
    APP_ERROR,
    COMPLETED,
    INTERNAL_ERROR,
    NO_FRAME,
    REASONS,
    SERVICE_RESTART,
    SHUTDOWN,
    Ending,
    client_left,
)

if TYPE_CHECKING:
    from rat_fsm.integrations.asgi.middleware import StreamingMiddleware
    from rat_fsm.streaming.asgi import Message, Receive, Scope, Send

NORMAL: Final = 1000
DENIED: Final = 403
# Seconds that a close frame may take where the client has taken everything so far. granian stops
# polling what its connections send once it has begun to end, so that one can wait for ever.
FAREWELL: Final = 0.3
FORGOTTEN: Final = 1.0


class SocketExchange(Exchange):
    """Passes messages on and takes notice of them."""

    __slots__ = ("_accepted", "_choked", "_closed", "_closes_with", "_left")

    def __init__(
        self, host: StreamingMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        super().__init__(host, scope, receive, send)
        self._accepted = False
        self._closed = False
        self._closes_with = SERVICE_RESTART
        self._left: Ending | None = None
        self._choked = False  # a send was taken back: its client may take nothing

    @property
    def polite(self) -> bool:
        """Whether it was accepted."""
        return self._accepted

    @property
    def over(self) -> bool:
        """Whether the application, or the middleware, has closed or denied it."""
        return self._closed

    @property
    def between(self) -> bool:
        """A WebSocket's messages are whole."""
        return True

    def closes_with(self, code: int) -> None:
        """Takes the code it is closed with."""
        self._closes_with = code

    def disconnect(self) -> Message:
        """As if the client had gone, with the code that it will get."""
        return {
            "type": "websocket.disconnect",
            "code": self._closes_with,
            "reason": REASONS.get(self._closes_with, ""),
        }

    def note(self, message: Message) -> None:
        """Takes notice of what the client sends, and of its end."""
        self.last_move = self.loop.time()
        if message["type"] == "websocket.receive":
            self.heard = True
        elif message["type"] == "websocket.disconnect" and not self._closed:
            self._client_left(message.get("code"))

    def _client_left(self, code: int | None) -> None:
        self.gone = True
        self._left, self.code = client_left(code)
        if self.host.draining and self.code in {NO_FRAME, SERVICE_RESTART}:
            self._left = SHUTDOWN  # a server that ends drops its WebSockets, or closes them itself

    def outcome(self) -> Ending:
        """A close by the application, or a client that has left."""
        if self._closed:
            return APP_ERROR if self.code == INTERNAL_ERROR else COMPLETED
        if self._left is not None:
            return self._left
        return COMPLETED if self.error is None else APP_ERROR

    async def send(self, message: Message) -> None:
        """The application's ``send``."""
        self.check_sendable()
        kind = message["type"]
        if kind == "websocket.close":
            self._close(message.get("code", NORMAL) if self._accepted else DENIED)
        elif kind == "websocket.http.response.start":
            self._close(message["status"])
        await self._passed(message)
        if kind == "websocket.send":
            self._count(message)
        elif kind == "websocket.accept":
            self._accepted = True
            self.host.activate(self)

    def _close(self, code: int) -> None:
        if not self._closed:
            self._closed, self.code = True, code

    async def _passed(self, message: Message) -> None:
        self.blocked_since = began = self.loop.time()
        try:
            await self.server_send(message)
        except asyncio.CancelledError:
            self._choked = True
            raise
        except OSError as error:
            self.lost = error
            if not self._closed and not self.gone:
                self._client_left(None)
            raise
        finally:
            self.blocked_since = 0.0
            self.last_sent = self.last_move = now = self.loop.time()
            if self.stalled:
                self.unstall(now - began)

    def _count(self, message: Message) -> None:
        connection = self.connection
        if connection is None:
            return
        text = message.get("text")
        size = len(message.get("bytes") or b"") if text is None else _size(text)
        meter = connection.meter
        first = not meter.bytes_sent
        meter.bytes_sent += size
        meter.messages_sent += 1
        if first or self.host.records_every_message:
            connection.settle()

    async def end_wire(self) -> None:
        """Sends the close frame, unless somebody has."""
        if not self._accepted or self._closed or self.gone or self.wire_ended:
            return
        self.wire_ended = True
        self._close(self._closes_with)
        close = {**self.disconnect(), "type": "websocket.close"}
        try:
            async with asyncio.timeout(None if self._choked else FAREWELL):
                await self._passed(close)
        except TimeoutError:  # its client takes data: it is the server that does nothing any more
            self.code = NO_FRAME

    def is_forgotten(self) -> bool:
        """Whether it began to wait in a drain and has for a second: see `FAREWELL`."""
        in_the_drain = self.blocked_since >= self.due - FORGOTTEN
        waited = self.loop.time() - self.blocked_since
        return self.host.draining and in_the_drain and waited >= FORGOTTEN

    def give_up(self) -> None:
        """Its server has dropped it, or will."""
        self._client_left(None)
        self.cancel()

    async def refuse_late(self) -> None:
        """Closes it, or turns it away, where the application was cut."""
        if self.gone or self._closed:
            return
        if self._accepted:
            await self.end_wire()
        else:
            self._close(DENIED)
            await self.server_send({"type": "websocket.close", "code": SERVICE_RESTART})

    async def beat(self) -> None:
        """A WebSocket has pings of its own, which its server sends."""


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
