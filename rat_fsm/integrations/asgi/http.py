"""An HTTP request and its response, streamed or not."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from rat_fsm.integrations.asgi.boundary import is_boundary, tail_of
from rat_fsm.integrations.asgi.exchange import Exchange
from rat_fsm.integrations.serving.endings import APP_ERROR, CLIENT_GONE, COMPLETED, Ending
from rat_fsm.streaming.arguments import BODILESS
from rat_fsm.streaming.framing import HEARTBEAT, event_frame, retry_frame

if TYPE_CHECKING:
    from rat_fsm.integrations.asgi.middleware import StreamingMiddleware
    from rat_fsm.streaming.asgi import Message, Receive, Scope, Send

BODY: Final = "http.response.body"
START: Final = "http.response.start"
# Milliseconds until an EventSource comes back, spread so that not all come back at once.
RETRY: Final = (1_000, 5_000)


class HttpExchange(Exchange):
    """Passes messages on and takes notice of them; a stream becomes a connection.

    Attributes:
        sse: whether the response is an event stream.
        injectable: whether something may be put between its events: it is not encoded, has no
            declared length, and a body at all.
    """

    __slots__ = (
        "_complete",
        "_injecting",
        "_sized",
        "_started",
        "_tail",
        "_trailers",
        "_unrecorded",
        "injectable",
        "sse",
    )

    def __init__(
        self, hub: StreamingMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        super().__init__(hub, scope, receive, send)
        self.sse = False
        self.injectable = False
        self._started = False
        self._complete = False
        self._sized = False
        self._trailers = False
        self._unrecorded = False
        self._injecting: asyncio.Future[None] | None = None
        self._tail = b""

    @property
    def streaming(self) -> bool:
        """Whether it is an event stream that has begun; only these end without lying."""
        return self.sse and self._started and not self._sized

    @property
    def over(self) -> bool:
        """Whether the response is complete."""
        return self._complete

    def closes_with(self, code: int) -> None:
        """HTTP has no code for an end."""

    def disconnect(self) -> Message:
        """As if the client had gone."""
        return {"type": "http.disconnect"}

    def note(self, message: Message) -> None:
        """A client that leaves a complete response has only read it to its end."""
        if message["type"] == "http.disconnect" and not self._complete:
            self.gone = True

    def outcome(self) -> Ending:
        """A response that stays incomplete while its client is there is the application's fault."""
        if self._complete:
            return COMPLETED
        return CLIENT_GONE if self.gone else APP_ERROR

    async def send(self, message: Message) -> None:
        """The application's ``send``."""
        if message["type"] == BODY and self._started:
            await self._send_body(message)
        else:
            await self._send_other(message)

    async def _send_body(self, message: Message) -> None:
        more = message.get("more_body", False)
        if self.connection is None:
            if more and not self._sized and not self._unrecorded:
                self._unrecorded = not self.hub.register_late(self, "chunked")
        elif self.wire_ended or self._injecting is not None:
            await self._wait_for_injection()
            self.check_sendable()
        if not more and self.stopping is not None and not self._complete:
            message = self._with_farewell(message)
        body = message.get("body", b"")
        await self._passed(message)
        connection = self.connection
        if connection is not None:
            if body:
                self._count(body)
            if self.injectable:
                self._tail = tail_of(self._tail, body)
        if not more and not self._trailers:
            self._complete = True
        elif self.stopping is not None:
            await self._end_if_due()

    async def _passed(self, message: Message) -> None:
        """Sends, and knows meanwhile for how long the server has not taken it."""
        if self.connection is None:
            await self.server_send(message)
            return
        self.blocked_since = began = self.loop.time()
        try:
            await self.server_send(message)
        except OSError:
            self.gone = self.gone or not self._complete
            raise
        finally:
            self.blocked_since = 0.0
            self.last_sent = now = self.loop.time()
            if self.stalled:
                self.unstall(now - began)

    def _count(self, body: bytes) -> None:
        meter = self.connection.meter  # type: ignore[union-attr]  # the caller has looked
        self.last_move = self.last_sent
        first = not meter.bytes_sent
        meter.bytes_sent += len(body)
        meter.messages_sent += 1
        if first or self.hub.records_every_chunk:
            self.connection.settle()  # type: ignore[union-attr]  # likewise

    async def _end_if_due(self) -> None:
        """A stream that was told to end, and whose application goes on, ends at an event's end."""
        if self._injecting is None and self.between and self.loop.time() >= self.due:
            await self.end_wire()

    @property
    def between(self) -> bool:
        """Whether the body stands between two events, as far as that is known."""
        return not self.injectable or is_boundary(self._tail)

    async def _send_other(self, message: Message) -> None:
        self.check_sendable()
        kind = message["type"]
        if kind == START:
            self._begin(message)
        await self.server_send(message)
        if kind == START:
            self._started = True
            if self.injectable and self.connection is None:
                self._unrecorded = not self.hub.register_late(self, "sse")
            self.hub.response_started(self)
        elif kind == "http.response.pathsend" or (
            kind == "http.response.trailers" and not message.get("more_trailers", False)
        ):
            self._complete = True
        elif kind == BODY:
            self._complete = not message.get("more_body", False)

    def _begin(self, message: Message) -> None:
        self.code = message["status"]
        self._trailers = bool(message.get("trailers", False))
        encoded = False
        for name, value in message.get("headers", ()):
            if name == b"content-type":
                self.sse = value[:17].lower() == b"text/event-stream"
            elif name == b"content-length":
                self._sized = True
            elif name == b"content-encoding":
                encoded = value != b"identity"
        bodiless = self.scope["method"] == "HEAD" or self.code in BODILESS
        self.injectable = self.sse and not (encoded or self._sized or bodiless or self._trailers)

    async def end_wire(self) -> None:
        """Says goodbye between two events, where there is one, and ends the body."""
        if not self._started or self._complete or self.wire_ended or self.gone:
            return
        self.wire_ended = True
        await self._wait_for_injection()
        farewell = self._farewell() if self.injectable and is_boundary(self._tail) else b""
        message = {"type": BODY, "body": farewell, "more_body": False}
        await self._passed(message)
        if farewell and self.connection is not None:
            self._count(farewell)
        self._complete = True

    def _with_farewell(self, message: Message) -> Message:
        """The last message of a stream that was told to end, and that ends by itself."""
        body = message.get("body", b"")
        if not self.injectable or not is_boundary(tail_of(self._tail, body)):
            return message
        return {**message, "body": body + self._farewell()}

    def _farewell(self) -> bytes:
        if self.stopping is None or self.stopping.ended_by != "shutdown":
            return b""
        return retry_frame(random.randint(*RETRY)) + event_frame("drain", "{}")  # noqa: S311 - a spread

    async def refuse_late(self) -> None:
        """A client that has waited for an answer gets one."""
        if self._started:
            return
        await self.server_send(
            {
                "type": START,
                "status": 503,
                "headers": [(b"content-length", b"0"), (b"connection", b"close")],
            }
        )
        await self.server_send({"type": BODY, "body": b"", "more_body": False})
        self.code, self._started, self._complete = 503, True, True

    async def beat(self) -> None:
        """Sends a comment between two events, so that client and proxies see a sign of life."""
        if not self.injectable or self.blocked_since or self._injecting is not None:
            return
        if self.wire_ended or self._complete or not is_boundary(self._tail):
            return
        self._injecting = self.loop.create_future()
        try:
            await self._passed({"type": BODY, "body": HEARTBEAT, "more_body": True})
            if self.connection is not None:
                self.connection.meter.bytes_sent += len(HEARTBEAT)
        finally:
            self._injecting.set_result(None)
            self._injecting = None

    async def _wait_for_injection(self) -> None:
        """Sends do not overlap: the application's waits for ours."""
        if self._injecting is not None:
            await asyncio.wait((self._injecting,))
