"""An HTTP request and its response, streamed or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from rat_fsm.integrations.asgi.exchange import Exchange
from rat_fsm.integrations.serving.boundary import farewell, is_boundary, tail_of
from rat_fsm.integrations.serving.endings import APP_ERROR, CLIENT_GONE, COMPLETED, Ending
from rat_fsm.streaming.arguments import BODILESS
from rat_fsm.streaming.framing import HEARTBEAT

if TYPE_CHECKING:
    from rat_fsm.integrations.asgi.middleware import StreamingMiddleware
    from rat_fsm.streaming.asgi import Message, Receive, Scope, Send

BODY: Final = "http.response.body"
START: Final = "http.response.start"


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
        self, host: StreamingMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        super().__init__(host, scope, receive, send)
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
    def polite(self) -> bool:
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
        if message["type"] != BODY or not self._started:
            await self._send_other(message)
            return
        more = message.get("more_body", False)
        if self.wire_ended or self.refusing or self._injecting is not None:
            await self._wait_for_injection()
            self.check_sendable()
        if self.connection is None or not more:
            message = self._prepared(message, more=more)
        await self._passed(message)
        if self.connection is not None:
            self._count(message.get("body", b""))
        if not more and not self._trailers:
            self._complete = True
        elif self.stopping is not None:
            await self._end_if_due()

    def _prepared(self, message: Message, *, more: bool) -> Message:
        """What is sent: the last message of a stream that was told to end says goodbye."""
        if self.connection is None:
            if more and not self._sized and not self._unrecorded:
                self._register_late("chunked")
        elif not more and self.stopping is not None and not self._complete:
            return self._with_farewell(message)
        return message

    def _register_late(self, kind: str) -> None:
        """It turns out to be a stream."""
        if self.host.register_late(self, kind):
            self.host.activate(self)
        else:
            self._unrecorded = True

    async def _passed(self, message: Message) -> None:
        """Sends, and knows meanwhile for how long the server has not taken it."""
        if self.connection is None:
            await self.server_send(message)
            return
        self.blocked_since = began = self.loop.time()
        try:
            await self.server_send(message)
        except OSError as error:
            self.lost = error
            self.gone = self.gone or not self._complete
            raise
        finally:
            self.blocked_since = 0.0
            self.last_sent = now = self.loop.time()
            if self.stalled:
                self.unstall(now - began)

    def _count(self, body: bytes) -> None:
        if not body:
            return
        meter = self.connection.meter  # type: ignore[union-attr]  # the caller has looked
        self.last_move = self.last_sent
        first = not meter.bytes_sent
        meter.bytes_sent += len(body)
        meter.messages_sent += 1
        if self.injectable:
            self._tail = tail_of(self._tail, body)
        if first or self.host.records_every_message:
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
            message = self._last_on_its_connection(message)
        await self.server_send(message)
        if kind == START:
            self._started = True
            if self.injectable and self.connection is None:
                self._register_late("sse")
            self.host.activate(self)
        elif kind == "http.response.pathsend" or (
            kind == "http.response.trailers" and not message.get("more_trailers", False)
        ):
            self._complete = True
        elif kind == BODY:
            self._complete = not message.get("more_body", False)

    def _last_on_its_connection(self, message: Message) -> Message:
        """Says in a drain that the client shall ask elsewhere next.

        Servers say so themselves once they have been told, and uvicorn is told after the drain.
        """
        if not self.host.telling or not self.scope.get("http_version", "").startswith("1"):
            return message
        headers = list(message.get("headers", ()))
        if any(name.lower() == b"connection" for name, _ in headers):
            return message
        return {**message, "headers": [*headers, (b"connection", b"close")]}

    def _begin(self, message: Message) -> None:
        self.code = message["status"]
        self._trailers = bool(message.get("trailers", False))
        encoded = False
        for written, value in message.get("headers", ()):
            name = written.lower()  # as servers do
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
        last = self._farewell() if self.injectable and is_boundary(self._tail) else b""
        message = {"type": BODY, "body": last, "more_body": False}
        await self._passed(message)
        if last and self.connection is not None:
            self._count(last)
        self._complete = True

    def _with_farewell(self, message: Message) -> Message:
        """The last message of a stream that was told to end, and that ends by itself."""
        body = message.get("body", b"")
        if not self.injectable or not is_boundary(tail_of(self._tail, body)):
            return message
        return {**message, "body": bytes(body) + self._farewell()}

    def _farewell(self) -> bytes:
        if self.stopping is None or self.stopping.ended_by != "shutdown":
            return b""
        return farewell()

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

    def is_forgotten(self) -> bool:
        """No server is known to forget a body that it has begun to take."""
        return False

    def give_up(self) -> None:
        """Nothing has to be said for that."""

    async def beat(self) -> None:
        """Sends a comment between two events, so that client and proxies see a sign of life."""
        if not self.injectable or self.blocked_since or self._injecting is not None:
            return
        if not self._started or self.wire_ended or self._complete or not is_boundary(self._tail):
            return
        self._injecting = self.loop.create_future()
        try:
            # Not counted: a comment is nothing that the application has sent.
            await self._passed({"type": BODY, "body": HEARTBEAT, "more_body": True})
        finally:
            self._injecting.set_result(None)
            self._injecting = None

    async def _wait_for_injection(self) -> None:
        """Sends do not overlap: the application's waits for ours."""
        if self._injecting is not None:
            await asyncio.wait((self._injecting,))
