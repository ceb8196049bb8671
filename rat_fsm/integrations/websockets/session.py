"""One WebSocket of the websockets library, from its handshake to the end of its handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from rat_fsm.errors import StreamClosed
from rat_fsm.integrations.serving.endings import (
    APP_ERROR,
    CLIENT_GONE,
    COMPLETED,
    INTERNAL_ERROR,
    NO_FRAME,
    REASONS,
    SHUTDOWN,
    Ending,
    client_left,
)
from rat_fsm.integrations.serving.hooks import hook
from rat_fsm.integrations.serving.recorder import address_of
from rat_fsm.integrations.serving.served import Served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.server import ServerConnection

    from rat_fsm.integrations.serving.recorder import Recorder

NORMAL: Final = 1000
SWITCHING_PROTOCOLS: Final = 101


class Session(Served):
    """Sees what a handler does by standing before its connection's methods, on that object.

    What is sent is counted at the Sans-I/O protocol below, where every way to send comes by:
    whole messages, fragments and ``broadcast``.
    """

    def __init__(self, host: Recorder, socket: ServerConnection) -> None:
        about = {"path": path_of(socket), "http_version": "1.1"}
        super().__init__(host, socket, about, address_of(socket.remote_address))
        self._socket = socket
        self._protocol = socket.protocol
        self._closed_with: int | None = None  # by the application
        self._restarted = False  # closed by the end of its server
        self._latency = socket.latency
        self._served = False
        self._send, self._recv, self._close = socket.send, socket.recv, socket.close
        self._recv_streaming, self._wait_closed = socket.recv_streaming, socket.wait_closed

    def attach(self) -> None:
        """The handshake is done, and the handler is about to begin."""
        self._served = True
        hook(
            self._socket,
            send=self.send,
            recv=self.recv,
            recv_streaming=self.recv_streaming,
            close=self.close,
            wait_closed=self.wait_closed,
        )
        protocol = self._protocol
        hook(
            protocol,
            **{
                name: self._counted(getattr(protocol, name))
                for name in ("send_text", "send_binary", "send_continuation")
            },
        )
        self.host.activate(self)

    def abandon(self) -> None:
        """The library is done with it; where that was cancelled it has left the transport open."""
        self.leave()
        if not self._socket.transport.is_closing():
            self._socket.transport.abort()

    def _counted(self, send: Any) -> Any:
        def send_counted(data: Any, fin: bool = True) -> None:  # noqa: FBT001, FBT002 - websockets' own
            send(data, fin)
            self.count(data.nbytes if isinstance(data, memoryview) else len(data), int(fin))

        return send_counted

    async def send(self, message: Any, **options: Any) -> None:
        """The connection's ``send``."""
        with self.sending():
            try:
                await self._send(message, **options)
            except ConnectionClosed:
                self.told = True
                raise

    async def recv(self, *arguments: Any, **options: Any) -> Any:
        """The connection's ``recv``, which iterating calls as well."""
        try:
            message = await self._recv(*arguments, **options)
        except ConnectionClosed:
            self.told = True
            raise
        self._hear()
        return message

    async def recv_streaming(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        """The connection's ``recv_streaming``."""
        try:
            async for fragment in self._recv_streaming(*arguments, **options):
                self._hear()
                yield fragment
        except ConnectionClosed:
            self.told = True
            raise

    async def wait_closed(self) -> None:
        """The connection's ``wait_closed``."""
        await self._wait_closed()
        self.told = True

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """The connection's ``close``; its server calls it as well, when that is closed."""
        if self._protocol.state is State.OPEN and self.stopping is None:
            if self._socket.server.is_serving():
                self._closed_with = int(code)
            else:
                self._restarted = True
        await self._close(code, reason)

    def _hear(self) -> None:
        self.heard = True
        self.last_move = self.loop.time()

    def listen(self) -> None:
        """Takes a pong for a sign of life, and notices that the client has left."""
        if self._socket.latency != self._latency:
            self._latency = self._socket.latency
            self.heard = True
        super().listen()

    @property
    def route(self) -> str:
        """The path; the library knows no routes that it would tell."""
        return str(self.about["path"])

    @property
    def polite(self) -> bool:
        """Whether a close frame can be sent."""
        return self._protocol.state is State.OPEN

    @property
    def over(self) -> bool:
        """Whether the application has closed it."""
        return self._closed_with is not None

    @property
    def between(self) -> bool:
        """A close frame waits for no message."""
        return True

    def is_gone(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._protocol.state in {State.CLOSING, State.CLOSED}

    def is_goodbye(self, error: Exception) -> bool:
        """What the library raises in handlers whose client has left."""
        return isinstance(error, ConnectionClosed | StreamClosed)

    def outcome(self) -> Ending:
        """How it ended, where nobody ended it from here and nothing was raised; sets the code."""
        if not self._served:
            return self._handshake_outcome()
        received, sent = self._protocol.close_rcvd, self._protocol.close_sent
        if received is not None and (sent is None or self._protocol.close_rcvd_then_sent):
            ending, self.code = client_left(received.code)
        elif self._closed_with is not None:
            self.code = self._closed_with
            ending = APP_ERROR if self.code == INTERNAL_ERROR else COMPLETED
        elif self._restarted and sent is not None:
            ending, self.code = SHUTDOWN, sent.code
        elif self.gone:
            # A close frame that nobody asked for is the library's: its pings went unanswered
            # (1011), or the client has broken the protocol.
            broken = sent is not None and sent.code != INTERNAL_ERROR
            ending, self.code = CLIENT_GONE, sent.code if broken and sent else NO_FRAME
        else:  # the handler has returned, and the library closes for it
            ending, self.code = COMPLETED, NORMAL
        return ending

    def _handshake_outcome(self) -> Ending:
        response = self._socket.response
        if response is None or response.status_code == SWITCHING_PROTOCOLS:
            self.code = NO_FRAME
            return CLIENT_GONE
        self.code = response.status_code
        return COMPLETED

    def seal(self) -> None:
        """A close frame may follow any message."""

    async def end_wire(self, _ending: Ending, code: int) -> None:
        """Sends the close frame, and waits for its answer as long as the server says."""
        self.code = code
        await self._close(code, REASONS.get(code, ""))

    def abort(self) -> None:
        """Drops the transport, with what its client has not taken."""
        self.code = NO_FRAME
        self._socket.transport.abort()

    async def hear_out(self) -> None:
        """The library reads by itself."""

    async def beat(self) -> None:
        """The library pings by itself."""


def path_of(socket: ServerConnection) -> str:
    """The path of a request, without its query."""
    return "" if socket.request is None else socket.request.path.partition("?")[0]
