"""An aiohttp application with handlers good and bad, chosen by the path, and a server for it."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from rat_fsm.integrations.aiohttp import CONNECTION, StreamRecorder, current_connection
from tests.integrations.hosting import Hosted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TICK: Final = 0.02
BLOCK: Final = b"x" * (1 << 16)
routes: Final = web.RouteTableDef()


async def begin(request: web.Request) -> web.StreamResponse:
    """An event stream."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    return response


@routes.get("/busy/{label}")
async def busy(request: web.Request) -> web.StreamResponse:
    """Events without end."""
    response = await begin(request)
    for number in itertools.count():
        await response.write(f"data: {number}\n\n".encode())
        await asyncio.sleep(TICK)
    return response


@routes.get("/idle/{label}")
async def idle(request: web.Request) -> web.StreamResponse:
    """One event, then nothing."""
    response = await begin(request)
    await response.write(b"data: only\n\n")
    await asyncio.Event().wait()
    return response


@routes.get("/midway/{label}")
async def midway(request: web.Request) -> web.StreamResponse:
    """An event in two parts, for ever."""
    response = await begin(request)
    while True:
        await response.write(b"data: half ")
        await asyncio.sleep(TICK)
        await response.write(b"and half\n\n")


@routes.get("/finish/{label}")
async def finish(request: web.Request) -> web.StreamResponse:
    """A stream that ends by itself."""
    response = await begin(request)
    for number in range(int(request.query.get("events", 3))):
        await response.write(f"data: {number}\n\n".encode())
        await asyncio.sleep(TICK)
    return response


@routes.get("/firehose/{label}")
async def firehose(request: web.Request) -> web.StreamResponse:
    """As much as the client takes."""
    response = await begin(request)
    while True:
        await response.write(b"data: " + BLOCK + b"\n\n")


@routes.get("/chunked/{label}")
async def chunked(request: web.Request) -> web.StreamResponse:
    """A body without a length, as long as the query says."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(int(request.query.get("blocks", 3))):
            yield BLOCK
            await asyncio.sleep(TICK)

    return web.Response(body=body())


@routes.get("/short/{label}")
async def short(_request: web.Request) -> web.StreamResponse:
    """No stream at all."""
    return web.json_response({"connection": current_connection() is not None})


@routes.get("/fails-before/{label}")
async def fails_before(_request: web.Request) -> web.StreamResponse:
    """Raises before its response."""
    raise LookupError("no such stream")


@routes.get("/fails-midway/{label}")
async def fails_midway(request: web.Request) -> web.StreamResponse:
    """Raises within its response."""
    response = await begin(request)
    await response.write(b"data: first\n\n")
    raise LookupError("the stream broke")


@routes.get("/missing/{label}")
async def missing(_request: web.Request) -> web.StreamResponse:
    """Answers by an exception."""
    raise web.HTTPNotFound


@routes.get("/cancels/{label}")
async def cancels(request: web.Request) -> web.StreamResponse:
    """Is cancelled within its response."""
    response = await begin(request)
    await response.write(b"data: first\n\n")
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    return response


async def accept(request: web.Request) -> web.WebSocketResponse:
    """A WebSocket."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    return socket


@routes.get("/echo/{label}")
async def echo(request: web.Request) -> web.StreamResponse:
    """Sends back what comes."""
    socket = await accept(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


@routes.get("/strict/{label}")
async def strict(request: web.Request) -> web.StreamResponse:
    """Receives text, and does not look for the end."""
    socket = await accept(request)
    while True:
        await socket.send_str(await socket.receive_str())


@routes.get("/chatter/{label}")
async def chatter(request: web.Request) -> web.StreamResponse:
    """Messages without end, and never asks whether somebody listens."""
    socket = await accept(request)
    for number in itertools.count():
        await socket.send_bytes(str(number).encode())
        await asyncio.sleep(TICK)
    return socket


@routes.get("/asleep/{label}")
async def asleep(request: web.Request) -> web.StreamResponse:
    """Neither sends nor receives."""
    socket = await accept(request)
    await asyncio.Event().wait()
    return socket


@routes.get("/flood/{label}")
async def flood(request: web.Request) -> web.StreamResponse:
    """As many messages as the client takes."""
    socket = await accept(request)
    while True:
        await socket.send_bytes(BLOCK)


@routes.get("/says-goodbye/{label}")
async def says_goodbye(request: web.Request) -> web.StreamResponse:
    """Closes it, with the code in the query, or by returning."""
    socket = await accept(request)
    if "code" in request.query:
        await socket.close(code=int(request.query["code"]))
    return socket


@routes.get("/pauses/{label}")
async def pauses(request: web.Request) -> web.StreamResponse:
    """A message, and after some turns of the loop the end."""
    socket = await accept(request)
    await socket.send_str("only")
    for _ in range(5):
        await asyncio.sleep(0)
    return socket


@routes.get("/breaks/{label}")
async def breaks(request: web.Request) -> web.StreamResponse:
    """Raises."""
    await accept(request)
    raise LookupError("the socket broke")


@routes.get("/knows/{label}")
async def knows(request: web.Request) -> web.StreamResponse:
    """Says which connection it serves."""
    response = await begin(request)
    connection = current_connection()
    assert connection is not None
    assert request[CONNECTION] is connection
    await response.write(f"data: {connection.id} {connection.route}\n\n".encode())
    return response


class Aiohttp(Hosted):
    """An application with the routes above."""

    def __init__(
        self,
        *,
        manager: dict[str, Any] | None = None,
        runner: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**manager or {})
        self.runner = runner or {}
        self.app = web.Application()
        self.app.add_routes(routes)
        self.recorder = StreamRecorder(self.app, self.manager, **options)

    async def serve(self, stopping: asyncio.Event) -> None:
        """Until then."""
        runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=5, **self.runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.listens_on(runner.addresses[0][1])
        await stopping.wait()
        await runner.cleanup()
