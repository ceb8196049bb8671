"""Handlers that speak plain ASGI, good ones and bad ones, chosen by the path."""

from __future__ import annotations

import asyncio
import itertools
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[Any, Any, Any], Awaitable[None]]

SSE: Final = [(b"content-type", b"text/event-stream")]
TICK: Final = 0.1
BLOCK: Final = b"x" * (1 << 16)
FINISHES_AFTER: Final = 1.0


def event(text: str) -> dict[str, Any]:
    """An SSE event as a message."""
    return body(f"data: {text}\n\n".encode())


def body(data: bytes) -> dict[str, Any]:
    """A part of a response, not the last."""
    return {"type": "http.response.body", "body": data, "more_body": True}


async def start(send: Any, headers: Any = SSE) -> None:
    """Begins a response."""
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})


async def end(send: Any) -> None:
    """Ends a response."""
    await send({"type": "http.response.body", "body": b""})


def parameter(scope: Any, name: str, default: float) -> float:
    """A number from the query."""
    query = urllib.parse.parse_qs(scope["query_string"].decode())
    return float(query.get(name, [str(default)])[0])


async def _gone(receive: Any) -> None:
    while (await receive())["type"] not in {"http.disconnect", "websocket.disconnect"}:
        pass


async def busy(_scope: Any, receive: Any, send: Any) -> None:
    """Ten events a second, until the client is gone."""
    await start(send)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        for number in itertools.count():
            await send(event(str(number)))
            await asyncio.wait({gone}, timeout=TICK)
            if gone.done():
                return
    finally:
        gone.cancel()


async def heedless(_scope: Any, _receive: Any, send: Any) -> None:
    """Ten events a second, and never asks whether somebody listens."""
    await start(send)
    for number in itertools.count():
        await send(event(str(number)))
        await asyncio.sleep(TICK)


async def idle(_scope: Any, receive: Any, send: Any) -> None:
    """One event, then nothing until the client is gone."""
    await start(send)
    await send(event("only"))
    await _gone(receive)


async def mute(_scope: Any, _receive: Any, send: Any) -> None:
    """One event, then nothing, and never asks whether somebody listens."""
    await start(send)
    await send(event("only"))
    await asyncio.Event().wait()


async def finish(scope: Any, _receive: Any, send: Any) -> None:
    """A stream that ends by itself; a drain lets it."""
    await start(send)
    count = round(parameter(scope, "seconds", FINISHES_AFTER) / TICK)
    for number in range(count):
        await send(event(str(number)))
        await asyncio.sleep(TICK)
    await send(event("last"))
    await end(send)


async def firehose(_scope: Any, _receive: Any, send: Any) -> None:
    """As much as the client takes."""
    await start(send)
    while True:
        await send(event(BLOCK.decode()))
        await asyncio.sleep(0)  # sends need not wait, above all not for a client that has gone


async def download(scope: Any, _receive: Any, send: Any) -> None:
    """A file of known size, in so many seconds."""
    count = _blocks(scope)
    await start(send, [(b"content-length", str(count * len(BLOCK)).encode())])
    await _send_blocks(scope, send, count)


async def chunked(scope: Any, _receive: Any, send: Any) -> None:
    """The same without saying its size."""
    await start(send, [(b"content-type", b"application/octet-stream")])
    await _send_blocks(scope, send, _blocks(scope))


def _blocks(scope: Any) -> int:
    return int(parameter(scope, "blocks", 50))


async def _send_blocks(scope: Any, send: Any, count: int) -> None:
    pause = parameter(scope, "seconds", 1.0) / count
    for _ in range(count):
        await send(body(BLOCK))
        await asyncio.sleep(pause)
    await end(send)


async def fails_before(_scope: Any, _receive: Any, _send: Any) -> None:
    """Raises before the response began."""
    raise LookupError("no such stream")


async def fails_midway(_scope: Any, _receive: Any, send: Any) -> None:
    """Raises within the response."""
    await start(send)
    await send(event("first"))
    raise LookupError("the stream broke")


async def cancels(_scope: Any, _receive: Any, send: Any) -> None:
    """Is cancelled within the response, as by a task group of its own."""
    await start(send)
    await send(event("first"))
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def echo(_scope: Any, receive: Any, send: Any) -> None:
    """Sends back what comes."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def chatter(_scope: Any, receive: Any, send: Any) -> None:
    """Ten messages a second, and never asks whether somebody listens."""
    await receive()
    await send({"type": "websocket.accept"})
    for number in itertools.count():
        await send({"type": "websocket.send", "text": str(number)})
        await asyncio.sleep(TICK)


async def asleep(_scope: Any, receive: Any, send: Any) -> None:
    """An accepted WebSocket whose handler neither sends nor receives."""
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.Event().wait()


async def says_goodbye(_scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket that the application closes."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4000, "reason": "done"})


async def breaks(_scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket whose handler raises."""
    await receive()
    await send({"type": "websocket.accept"})
    raise LookupError("the socket broke")


HANDLERS: Final[dict[str, Handler]] = {
    "asleep": asleep,
    "breaks": breaks,
    "busy": busy,
    "cancels": cancels,
    "chatter": chatter,
    "chunked": chunked,
    "download": download,
    "echo": echo,
    "fails-before": fails_before,
    "fails-midway": fails_midway,
    "finish": finish,
    "firehose": firehose,
    "heedless": heedless,
    "idle": idle,
    "mute": mute,
    "says-goodbye": says_goodbye,
}


class RawApp:
    """Calls the handler that the path names: ``/raw/<handler>/<label>``.

    Attributes:
        entered: how many handlers were called.
        left: how many of them have come to their ``finally``.
    """

    def __init__(self) -> None:
        self.entered = 0
        self.left = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.entered += 1
        try:
            await HANDLERS[scope["path"].split("/")[2]](scope, receive, send)
        finally:
            self.left += 1
