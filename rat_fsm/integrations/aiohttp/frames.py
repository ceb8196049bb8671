"""A WebSocket's frames: counted on their way out, and its end, whoever began it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from aiohttp import WSMsgType

from rat_fsm.integrations.serving.endings import (
    APP_ERROR,
    CLIENT_GONE,
    COMPLETED,
    INTERNAL_ERROR,
    NO_FRAME,
    REASONS,
    Ending,
    client_left,
)
from rat_fsm.integrations.serving.hooks import hook

if TYPE_CHECKING:
    from aiohttp import web

    from rat_fsm.integrations.aiohttp.exchange import Exchange

NORMAL: Final = 1000
# Opcodes from here on are control frames, RFC 6455, section 5.2.
CONTROL: Final = 0x8
# Seconds for what a client that has gone left unread; it is all there already.
LEFT_BEHIND: Final = 1.0
# Seconds that a client at least has to answer a close frame.
ANSWER: Final = 0.1
_DATA: Final = frozenset({WSMsgType.TEXT, WSMsgType.BINARY})


class FrameWire:
    """A WebSocket from its handshake on.

    Its response's methods are the only ones that send frames, and are seen there. aiohttp
    receives only while its handler does: what a client says last to one that never receives is
    read at the end.

    Attributes:
        response: the WebSocket.
    """

    def __init__(self, exchange: Exchange, response: web.WebSocketResponse) -> None:
        self.response = response
        self._exchange = exchange
        self._receiver: asyncio.Task[Any] | None = None
        self._closed_with: int | None = None  # by the application
        self._left: tuple[Ending, int] | None = None
        self._receive, self._close = response.receive, response.close
        hook(
            response,
            send_str=self._counted(response.send_str),
            send_bytes=self._counted(response.send_bytes),
            send_frame=self._framed(response.send_frame),
            receive=self.receive,
            close=self.close,
        )

    @property
    def polite(self) -> bool:
        """Whether a close frame can be sent."""
        return self.response.prepared and not self.response.closed

    @property
    def over(self) -> bool:
        """Whether the application has closed it."""
        return self._closed_with is not None

    @property
    def between(self) -> bool:
        """A WebSocket's messages are whole."""
        return True

    def begin(self) -> None:
        """The handshake is answered."""

    def _counted(self, send: Any) -> Any:
        async def send_counted(data: Any, *arguments: Any, **options: Any) -> None:
            with self._exchange.sending():
                try:
                    await send(data, *arguments, **options)
                except ConnectionError:
                    self._exchange.lost()
                    raise
            self._exchange.count(_size(data))

        return send_counted

    def _framed(self, send: Any) -> Any:
        counted = self._counted(send)

        async def send_frame(message: bytes, opcode: WSMsgType, *more: Any, **options: Any) -> None:
            method = counted if opcode < CONTROL else send
            await method(message, opcode, *more, **options)

        return send_frame

    async def receive(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - aiohttp's own
        """The response's ``receive``."""
        self._receiver = asyncio.current_task()
        try:
            message = await self._receive(timeout)
        finally:
            self._receiver = None
        self._exchange.last_move = self._exchange.loop.time()
        if message.type in _DATA:
            self._exchange.heard = True
        else:
            self._exchange.told = True
            self._note(message)
        return message

    def _note(self, message: Any) -> None:
        if self.over or self._exchange.stopping is not None:
            return
        if message.type is WSMsgType.CLOSE:
            self._left = client_left(message.data or None)  # 0 where the frame had no code
        elif message.type is WSMsgType.ERROR and self._left is None:
            # It has broken the protocol; aiohttp has closed with a code that says how.
            self._left = CLIENT_GONE, self.response.close_code or NO_FRAME

    async def close(self, *, code: int = NORMAL, **options: Any) -> Any:
        """The response's ``close``; aiohttp calls it as well, while it receives."""
        ours = self._exchange.stopping is not None or self._exchange.is_gone()
        theirs = asyncio.current_task() is self._receiver or self._left is not None
        if not (ours or theirs or self.response.closed):
            self._closed_with = int(code)
        return await self._close(code=code, **options)

    async def hear_out(self) -> None:
        """Looks for the close frame of a client that has gone, past what was left unread."""
        if self.response.closed or self._left is not None or not self._exchange.is_gone():
            return
        with contextlib.suppress(RuntimeError, TimeoutError):  # somebody else still receives
            while (await self.receive(LEFT_BEHIND)).type in _DATA:
                pass

    def outcome(self) -> tuple[Ending, int]:
        """How it ended, and its code."""
        if self._left is not None:
            return self._left
        if self._closed_with is not None:
            ending = APP_ERROR if self._closed_with == INTERNAL_ERROR else COMPLETED
            return ending, self._closed_with
        return client_left(self.response.close_code)

    async def end(self, _ending: Ending, code: int) -> None:
        """Sends the close frame, and waits for its answer as long as the response says.

        A server that shuts down drops all that comes in, unread: then it is enough that the
        frame is out. aiohttp closes the transport behind it.
        """
        closing = asyncio.ensure_future(
            self._close(code=code, message=REASONS.get(code, "").encode())
        )
        while not closing.done():
            await asyncio.wait({closing}, timeout=ANSWER)
            if self._exchange.host.deaf and not self._exchange.unsent:
                closing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await closing

    async def beat(self) -> None:
        """Aiohttp pings by itself, where the application wants it."""


def _size(data: Any) -> int:
    if isinstance(data, str):
        return len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))
    return data.nbytes if isinstance(data, memoryview) else len(data)
