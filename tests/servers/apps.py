"""The application that the servers run: plain ASGI and Starlette handlers, and their log."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from rat_fsm import ConnectionManager, EventLog
from rat_fsm.integrations.asgi import StreamingMiddleware
from tests.servers.raw import BLOCK, TICK, RawApp, parameter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

LOG: Final = Path(os.environ["RAT_FSM_TEST_LOG"])
OPTIONS: Final = json.loads(os.environ["RAT_FSM_TEST_OPTIONS"])
EXCLUDED: Final = ("/state", "/kick", "/page")

log = EventLog.open(LOG)
manager = ConnectionManager(100_000, log=log)
raw = RawApp()


async def _busy() -> AsyncIterator[str]:
    for number in itertools.count():
        yield f"data: {number}\n\n"
        await asyncio.sleep(TICK)


async def _idle() -> AsyncIterator[str]:
    yield "data: only\n\n"
    await asyncio.Event().wait()


async def busy(_request: Request) -> Response:
    """Ten events a second."""
    return StreamingResponse(_busy(), media_type="text/event-stream")


async def idle(_request: Request) -> Response:
    """One event, then nothing."""
    return StreamingResponse(_idle(), media_type="text/event-stream")


async def download(request: Request) -> Response:
    """A file of known size, in so many seconds."""
    count = int(parameter(request.scope, "blocks", 50))
    pause = parameter(request.scope, "seconds", 1.0) / count

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield BLOCK
            await asyncio.sleep(pause)

    return StreamingResponse(blocks(), headers={"content-length": str(count * len(BLOCK))})


async def short(_request: Request) -> Response:
    """No stream at all."""
    return JSONResponse({"short": True})


async def echo(websocket: WebSocket) -> None:
    """Sends back what comes."""
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


async def chatter(websocket: WebSocket) -> None:
    """Ten messages a second, and never asks whether somebody listens."""
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        for number in itertools.count():
            await websocket.send_text(str(number))
            await asyncio.sleep(TICK)


async def state(_request: Request) -> Response:
    """What this worker holds, with its log flushed so that a replay can be compared."""
    await asyncio.to_thread(log.flush, 10)
    return JSONResponse(
        {
            "pid": os.getpid(),
            "writer": log.writer,
            "stats": manager.get_stats(),
            "slots": app._service.gate.claimed,
            "tasks": len(asyncio.all_tasks()),
            "fds": len(os.listdir("/dev/fd")),  # noqa: PTH208 - of a kernel that keeps it in memory
        }
    )


async def kick(request: Request) -> Response:
    """Ends the connections of a path, and keeps their clients out where the query says so."""
    path, stay_out = request.query_params["path"], "stay_out" in request.query_params
    ids = [
        info.connection_id
        for info in manager.get_all_connections()
        if info.metadata["path"] == path
    ]
    return JSONResponse({name: manager.kick(name, stay_out=stay_out) for name in ids})


async def page(_request: Request) -> Response:
    """An empty page for a browser, whose scripts a test brings along."""
    return Response("<!doctype html><title>page</title>", media_type="text/html")


@contextlib.asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Closes the log at the end, as an application does, and writes down what was live."""
    yield
    log.close()
    words = {"writer": log.writer, "entered": raw.entered, "left": raw.left}
    words["stats"] = manager.get_stats()
    LOG.with_name(f"last-{log.writer}.json").write_text(json.dumps(words))


starlette: Final = Starlette(
    routes=[
        Route("/state", state),
        Route("/kick", kick),
        Route("/page", page),
        Route("/starlette/busy/{label}", busy),
        Route("/starlette/idle/{label}", idle),
        Route("/starlette/download/{label}", download),
        Route("/starlette/short/{label}", short),
        WebSocketRoute("/starlette/echo/{label}", echo),
        WebSocketRoute("/starlette/chatter/{label}", chatter),
    ],
    lifespan=lifespan,
)


async def both(scope: Any, receive: Any, send: Any) -> None:
    """Plain handlers below ``/raw``, everything else is Starlette's."""
    is_raw = scope["type"] != "lifespan" and scope["path"].startswith("/raw/")
    await (raw if is_raw else starlette)(scope, receive, send)


def _on_drain(scope: Any) -> str | None:
    return "finish" if "/finish/" in scope["path"] else None


app = StreamingMiddleware(
    both,
    manager,
    max_per_client=100_000,
    client_key=lambda scope: scope["client"][0],
    exclude=EXCLUDED,
    on_drain=_on_drain,
    **OPTIONS,
)
