"""The body of a response on its way out: counted, and ended from here where that must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rat_fsm.errors import StreamClosed
from rat_fsm.integrations.serving.boundary import farewell, is_boundary, tail_of
from rat_fsm.integrations.serving.hooks import hook
from rat_fsm.streaming.arguments import BODILESS
from rat_fsm.streaming.framing import HEARTBEAT

if TYPE_CHECKING:
    from aiohttp import web

    from rat_fsm.integrations.aiohttp.exchange import Exchange
    from rat_fsm.integrations.serving.endings import Ending


class StreamEnded(StreamClosed, ConnectionResetError):
    """The server has ended this response; raised as aiohttp does where a client has gone."""


class StreamWire:
    """Whatever is no WebSocket.

    aiohttp makes one writer for each request, which carries every way to send a body: what a
    handler writes, payloads, files unless the system sends them. It is seen there.

    Attributes:
        response: what is sent.
        over: whether it is complete.
    """

    def __init__(
        self, exchange: Exchange, request: web.Request, response: web.StreamResponse
    ) -> None:
        self.response = response
        self.over = False
        self._exchange = exchange
        headers = response.headers
        self._bodiless = request.method == "HEAD" or response.status in BODILESS
        self._sized = "content-length" in headers
        self._sse = response.content_type == "text/event-stream"
        plain = headers.get("content-encoding", "identity") == "identity"
        self._injectable = self._sse and plain and not self._sized and not self._bodiless
        self._begun = False
        self._ended_here = False
        self._unrecorded = False
        self._tail = b""
        writer: Any = request.writer
        self._write, self._write_eof = writer.write, writer.write_eof
        hook(writer, write=self.write, write_eof=self.write_eof)

    @property
    def polite(self) -> bool:
        """Only an event stream ends without lying, as no client takes its end for completeness."""
        return self._sse and self._begun and not self._sized

    @property
    def between(self) -> bool:
        """Whether the body stands between two events, as far as that is known."""
        return not self._injectable or is_boundary(self._tail)

    def begin(self) -> None:
        """The headers are written."""
        self._begun = True
        if self._injectable and self._exchange.connection is None:
            self._unrecorded = not self._exchange.host.register_late(self._exchange, "sse")

    async def write(self, chunk: Any, **options: Any) -> None:
        """The writer's ``write``: a part of the body."""
        if self._ended_here:
            self._exchange.told = True
            raise StreamEnded("the server has ended this response; nothing more can be written")
        if self._exchange.connection is None:
            self._record_late()
        size = chunk.nbytes if isinstance(chunk, memoryview) else len(chunk)
        await self._pass_on(self._write, chunk, size, **options)
        self._exchange.end_if_due()

    def _record_late(self) -> None:
        """It is a stream: there is a first part, and nobody has said how much comes."""
        if not (self._sized or self._bodiless or self._unrecorded):
            host = self._exchange.host
            self._unrecorded = not host.register_late(self._exchange, "chunked")
            host.activate(self._exchange)

    async def write_eof(self, chunk: Any = b"") -> None:
        """The writer's ``write_eof``: the end of the body, with its last or only part."""
        if self._ended_here:
            return
        if self._exchange.stopping is not None:  # a handler that ends by itself when it is told to
            chunk = bytes(chunk) + self._last_words(chunk)
        await self._pass_on(self._write_eof, chunk, len(chunk))
        self.over = True

    async def _pass_on(self, method: Any, chunk: Any, size: int, **options: Any) -> None:
        with self._exchange.sending():
            try:
                await method(chunk, **options)
            except ConnectionError:
                self._exchange.lost()
                raise
        if size:
            self._exchange.count(size)
            if self._injectable:
                self._tail = tail_of(self._tail, bytes(chunk[-4:]))

    def seal(self) -> None:
        """Lets nothing out any more but the end."""
        self._ended_here = True

    async def end(self, _ending: Ending, _code: int) -> None:
        """Says goodbye between two events, where there is one, and ends the body."""
        if self.over:
            return
        last = self._last_words()
        await self._pass_on(self._write_eof, last, len(last))

    def _last_words(self, chunk: bytes = b"") -> bytes:
        stopping = self._exchange.stopping
        restarts = stopping is not None and stopping.ended_by == "shutdown"
        if restarts and self._injectable and is_boundary(tail_of(self._tail, chunk)):
            return farewell()
        return b""

    async def beat(self) -> None:
        """Sends a comment between two events, so that client and proxies see a sign of life."""
        ended = self._ended_here or self.over
        if self._injectable and self._begun and self.between and not ended:
            await self._pass_on(self._write, HEARTBEAT, 0)
            self._exchange.count(len(HEARTBEAT), messages=0)
