"""Applications in plain ASGI, good ones and bad ones."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

from tests.integrations.asgi.driver import SSE

if TYPE_CHECKING:
    from tests.integrations.asgi.driver import App

TICK: Final = 0.05
EVENT: Final = b"data: x\n\n"


async def start(send: Any, headers: Any = SSE, status: int = 200) -> None:
    """Begins a response."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def body(send: Any, data: bytes, *, more: bool = True) -> None:
    """Sends a part of it."""
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def accept(receive: Any, send: Any) -> None:
    """Accepts a WebSocket."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})


async def _gone(receive: Any) -> None:
    while (await receive())["type"] not in {"http.disconnect", "websocket.disconnect"}:
        pass


async def once(_scope: Any, _receive: Any, send: Any) -> None:
    """One event, and the end."""
    await start(send)
    await body(send, EVENT)
    await body(send, b"", more=False)


async def idle(_scope: Any, receive: Any, send: Any) -> None:
    """One event, then nothing until the client is gone."""
    await start(send)
    await body(send, EVENT)
    await _gone(receive)


async def busy(_scope: Any, _receive: Any, send: Any) -> None:
    """An event at each tick, and never asks whether somebody listens."""
    await start(send)
    while True:
        await body(send, EVENT)
        await asyncio.sleep(TICK)


async def listening(_scope: Any, receive: Any, send: Any) -> None:
    """An event at each tick, while another task waits for the client to leave."""
    await start(send)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        while not gone.done():
            await body(send, EVENT)
            await asyncio.wait({gone}, timeout=TICK)
    finally:
        gone.cancel()


async def mute(_scope: Any, _receive: Any, send: Any) -> None:
    """One event, then nothing, and never asks whether somebody listens."""
    await start(send)
    await body(send, EVENT)
    await asyncio.Event().wait()


async def download(_scope: Any, _receive: Any, send: Any) -> None:
    """Chunks without end, of no event stream."""
    await start(send, [(b"content-type", b"application/octet-stream")])
    while True:
        await body(send, b"x" * 100)
        await asyncio.sleep(TICK)


async def fails(_scope: Any, _receive: Any, send: Any) -> None:
    """Raises within its response."""
    await start(send)
    await body(send, EVENT)
    raise LookupError("the stream broke")


async def fails_first(_scope: Any, _receive: Any, _send: Any) -> None:
    """Raises before its response."""
    raise LookupError("no such stream")


async def stops_short(_scope: Any, _receive: Any, send: Any) -> None:
    """Returns within its response."""
    await start(send)
    await body(send, EVENT)


async def waits_first(_scope: Any, _receive: Any, _send: Any) -> None:
    """Has nothing to say."""
    await asyncio.Event().wait()


async def echo(_scope: Any, receive: Any, send: Any) -> None:
    """Sends back what comes."""
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def chatter(_scope: Any, receive: Any, send: Any) -> None:
    """A message at each tick, and never asks whether somebody listens."""
    await accept(receive, send)
    for number in itertools.count():
        await send({"type": "websocket.send", "text": str(number)})
        await asyncio.sleep(TICK)


async def asleep(_scope: Any, receive: Any, send: Any) -> None:
    """An accepted WebSocket whose handler neither sends nor receives."""
    await accept(receive, send)
    await asyncio.Event().wait()


async def breaks(_scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket whose handler raises."""
    await accept(receive, send)
    raise LookupError("the socket broke")


async def returns(_scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket whose handler ends without a close."""
    await accept(receive, send)


def closes(code: int) -> App:
    """A WebSocket that its handler closes."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close", "code": code, "reason": "done"})

    return app


async def denies(_scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket that its handler does not accept."""
    await receive()
    await send({"type": "websocket.close", "code": 4003})


async def denies_in_words(_scope: Any, receive: Any, send: Any) -> None:
    """The same with a response of its own."""
    await receive()
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"who are you?"})


async def short(_scope: Any, _receive: Any, send: Any) -> None:
    """No stream."""
    await start(send, [(b"content-length", b"2")])
    await body(send, b"ok", more=False)
