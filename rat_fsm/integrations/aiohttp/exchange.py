"""One request of an aiohttp application: its handler runs in here, its response goes out in here.

aiohttp sends what a handler returns after the last middleware has returned it. Here it is sent
within the middleware, so that its end is known; aiohttp then finds that nothing is left to send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import WSMessageTypeError, web

from rat_fsm.errors import StreamClosed
from rat_fsm.integrations.aiohttp.frames import FrameWire
from rat_fsm.integrations.aiohttp.stream import StreamWire
from rat_fsm.integrations.serving.endings import APP_ERROR, CLIENT_GONE, COMPLETED, NO_FRAME, Ending
from rat_fsm.integrations.serving.hooks import hook
from rat_fsm.integrations.serving.recorder import address_of
from rat_fsm.integrations.serving.served import Served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from multidict import CIMultiDict

    from rat_fsm.integrations.aiohttp.recorder import StreamRecorder


class Exchange(Served):
    """Its wire is what it sends on, None before a response has been prepared."""

    host: StreamRecorder

    def __init__(self, host: StreamRecorder, request: web.Request) -> None:
        version = request.version
        about = {
            "method": request.method,
            "path": request.path,
            "http_version": f"{version.major}.{version.minor}",
        }
        super().__init__(host, request, about, address_of(request.remote))
        self.wire: FrameWire | StreamWire | None = None
        self._request = request
        self._transport = request.transport
        self._answered = False  # by an HTTPException, which aiohttp sends later

    async def serve(
        self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answers the request; what it returns is sent already, or needs no looking after."""

        async def work() -> web.StreamResponse:
            try:
                response = await handler(self._request)
            except web.HTTPException as answer:
                if self.wire is None:
                    self._answered, self.code = True, answer.status
                raise
            await self._deliver(response)
            return response

        response = await self.run(work)
        if response is not None:
            return response
        if self.wire is not None:
            return self.wire.response
        response = web.Response(status=503)  # cut while its client was waiting for an answer
        response.force_close()
        return response

    async def _deliver(self, response: Any) -> None:
        if not isinstance(response, web.StreamResponse):
            return  # aiohttp complains about it
        try:
            await response.prepare(self._request)
            await self.hear_out()
            await response.write_eof()
        except ConnectionError:
            self.lost()  # aiohttp will find out as well, and knows what to do

    def prepare(self, response: web.StreamResponse) -> None:
        """Attaches to what is about to be sent; the first response of a request is its only one."""
        if self.done or self.wire is not None:
            return
        self.code = response.status
        if isinstance(response, web.WebSocketResponse):
            self.code = None
            self.wire = FrameWire(self, response)
        else:
            self.wire = StreamWire(self, self._request, response)
        self._hook_headers(self.wire)

    def _hook_headers(self, wire: FrameWire | StreamWire) -> None:
        writer = self._request.writer
        write_headers = writer.write_headers

        async def begin(status_line: str, headers: CIMultiDict[str]) -> None:
            await write_headers(status_line, headers)
            wire.begin()
            self.host.activate(self)

        hook(writer, write_headers=begin)

    @property
    def route(self) -> str:
        """The template, with those of the applications above it."""
        resource = self._request.match_info.route.resource
        return "" if resource is None else resource.canonical

    @property
    def polite(self) -> bool:
        """Whether its client can be told of an end that does not lie."""
        return self.wire is not None and self.wire.polite

    @property
    def over(self) -> bool:
        """Whether the application has ended it."""
        return self._answered or (self.wire is not None and self.wire.over)

    @property
    def between(self) -> bool:
        """Whether it stands between two messages."""
        return self.wire is None or self.wire.between

    @property
    def unsent(self) -> bool:
        """Whether something waits for the client to take it."""
        transport = self._transport
        return (
            transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() > 0
        )

    def is_gone(self) -> bool:
        """Whether the client has left, as far as the transport knows."""
        return self._transport is None or self._transport.is_closing()

    def is_goodbye(self, error: Exception) -> bool:
        """What aiohttp raises in handlers whose client has left, or they raise to answer."""
        if isinstance(error, web.HTTPException):
            return self._answered
        return isinstance(error, ConnectionError | WSMessageTypeError | StreamClosed)

    def outcome(self) -> Ending:
        """How it ended, where nobody ended it from here and nothing was raised; sets the code."""
        if isinstance(self.wire, FrameWire):
            ending, self.code = self.wire.outcome()
            return ending
        if self.over:
            return COMPLETED
        return CLIENT_GONE if self.gone else APP_ERROR

    def seal(self) -> None:
        """Lets no part of a body out any more."""
        if isinstance(self.wire, StreamWire):
            self.wire.seal()

    async def end_wire(self, ending: Ending, code: int) -> None:
        """Tells the client the end."""
        if isinstance(self.wire, FrameWire):
            self.code = code
        if self.wire is not None:
            await self.wire.end(ending, code)

    def abort(self) -> None:
        """Drops the transport; a client that still waits for an answer gets one instead."""
        if self.wire is None or self._transport is None:
            return
        if isinstance(self.wire, FrameWire):
            self.code = NO_FRAME
        self._transport.abort()

    async def hear_out(self) -> None:
        """Looks for the close frame of a client that has gone."""
        if isinstance(self.wire, FrameWire):
            await self.wire.hear_out()

    async def beat(self) -> None:
        """Sends a comment to an event stream."""
        if isinstance(self.wire, StreamWire):
            await self.wire.beat()
