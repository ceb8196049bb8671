"""Ordinary applications of Starlette, FastAPI and sse-starlette, and a spy on what they see.

Run as ``python -m tests.integrations.asgi.compatible_apps PORT with|without`` it serves them until
it gets a signal, and says what the spy has noted when its lifespan ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from fastapi import FastAPI
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from rat_fsm.integrations.asgi import StreamingMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from tests.integrations.asgi.driver import App

SOURCE: Final = Path(__file__)
TICK: Final = 0.01
LONG: Final = 100
JOURNALS: Final[dict[str, list[str]]] = defaultdict(list)


class Spy:
    """Stands before an application and notes what it is told, and how it ends."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        journal = scope["journal"] = JOURNALS[_label(scope)]
        try:
            await self.app(scope, _noting(receive, journal), send)
        except asyncio.CancelledError:
            journal.append("cancelled")
            raise
        except BaseException as error:
            journal.append(f"raised {type(error).__name__}")
            raise
        else:
            journal.append("returned")


def _label(scope: Any) -> str:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    return headers.get(b"x-label", b"").decode()


def _noting(receive: Any, journal: list[str]) -> Any:
    async def noting() -> Any:
        message = await receive()
        said = " ".join(str(message[key]) for key in ("code", "text", "bytes") if message.get(key))
        line = f"{message['type']} {said}".strip()
        if journal[-1:] != [line]:  # how a body is cut is chance
            journal.append(line)
        return message

    return noting


async def _chunks(scope: Any, count: int, chunk: bytes) -> AsyncIterator[bytes]:
    try:
        for _ in range(count):
            yield chunk
            await asyncio.sleep(TICK)
    finally:
        scope["journal"].append("generator ended")


def _count(request: Request) -> int:
    return int(request.query_params.get("count", "3"))


async def plain(_request: Request) -> Response:
    """A short answer."""
    return JSONResponse({"hello": "world"})


async def slow(request: Request) -> Response:
    """A short answer after a while."""
    await asyncio.sleep(_count(request) * TICK)
    return JSONResponse({"hello": "world"})


async def empty(request: Request) -> Response:
    """No body at all."""
    return Response(status_code=request.path_params["status"])


async def state(request: Request) -> Response:
    """What the lifespan has shared."""
    return JSONResponse({"number": request.state.number})


async def text(request: Request) -> Response:
    """A stream that is no event stream."""
    return StreamingResponse(_chunks(request.scope, _count(request), b"text\n" * 10))


async def sized(request: Request) -> Response:
    """A stream of known length."""
    count = _count(request)
    headers = {"content-length": str(count * 50)}
    return StreamingResponse(_chunks(request.scope, count, b"text\n" * 10), headers=headers)


async def sse(request: Request) -> Response:
    """An event stream of Starlette's."""
    chunks = _chunks(request.scope, _count(request), b"data: x\n\n")
    return StreamingResponse(chunks, media_type="text/event-stream")


async def views(request: Request) -> Response:
    """An event stream of memoryviews."""

    async def cut() -> AsyncIterator[memoryview]:
        async for chunk in _chunks(request.scope, _count(request), b"data: x\n\n"):
            yield memoryview(chunk)

    return StreamingResponse(cut(), media_type="text/event-stream")


async def sse_starlette(request: Request) -> Response:
    """An event stream of sse-starlette's."""

    async def events() -> AsyncIterator[dict[str, str]]:
        async for _ in _chunks(request.scope, _count(request), b""):
            yield {"event": "tick", "data": "x"}

    return EventSourceResponse(events())


async def job(request: Request) -> Response:
    """A short answer, and work after it."""
    return JSONResponse({}, background=BackgroundTask(_work, request.scope, _count(request)))


async def stream_with_job(request: Request) -> Response:
    """A stream, and work after it."""
    return StreamingResponse(
        _chunks(request.scope, _count(request), b"data: x\n\n"),
        media_type="text/event-stream",
        background=BackgroundTask(_work, request.scope, 3),
    )


async def _work(scope: Any, count: int) -> None:
    await asyncio.sleep(count * TICK)
    scope["journal"].append("worked")


async def file(_request: Request) -> Response:
    """A file."""
    return FileResponse(SOURCE)


async def upload(request: Request) -> Response:
    """Reads a body as it comes."""
    digest = hashlib.sha256()
    async for chunk in request.stream():
        digest.update(chunk)
    return PlainTextResponse(digest.hexdigest())


async def careless(_request: Request) -> Response:
    """Does not read the body."""
    return PlainTextResponse("no, thanks", status_code=413)


async def polls(request: Request) -> Response:
    """Asks again and again whether the client is there."""

    async def events() -> AsyncIterator[bytes]:
        for _ in range(_count(request)):
            if await request.is_disconnected():
                request.scope["journal"].append("saw it go")
                return
            yield b"data: x\n\n"
            await asyncio.sleep(TICK)

    return Raw(events())


class Raw(Response):
    """A stream whose response listens to nobody."""

    def __init__(self, chunks: AsyncIterator[bytes], length: int | None = None) -> None:
        super().__init__(media_type="text/plain" if length else "text/event-stream")
        del self.headers["content-length"]
        if length:
            self.headers["content-length"] = str(length)
        self._chunks = chunks

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        scope["journal"].append("sent all")


async def heedless(request: Request) -> Response:
    """A stream that goes on whether anybody is there or not."""
    return Raw(_chunks(request.scope, _count(request), b"data: x\n\n"))


async def heedless_file(request: Request) -> Response:
    """The same of known length, which is no stream."""
    count = _count(request)
    return Raw(_chunks(request.scope, count, b"text\n" * 2), count * 10)


async def fails_before(_request: Request) -> Response:
    """Raises before its response."""
    raise LookupError("before")


async def fails_after(request: Request) -> Response:
    """Raises within its response."""

    async def events() -> AsyncIterator[bytes]:
        yield b"data: x\n\n"
        raise LookupError(request.url.path)

    return StreamingResponse(events(), media_type="text/event-stream")


async def unfinished(_scope: Any, _receive: Any, send: Any) -> None:
    """Returns within its response."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def silent(_scope: Any, _receive: Any, _send: Any) -> None:
    """Returns without a response."""


async def out_of_order(_scope: Any, _receive: Any, send: Any) -> None:
    """Sends a body before its start."""
    await send({"type": "http.response.body", "body": b"x"})


async def echo(websocket: WebSocket) -> None:
    """Sends back what comes."""
    protocols = websocket.scope["subprotocols"]
    await websocket.accept(protocols[0] if protocols else None, headers=[(b"x-own", b"1")])
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        await websocket.send({**message, "type": "websocket.send"})
        if message.get("text") == "raise":
            raise LookupError("told to")
        if message.get("text") == "close":
            await websocket.close(4000, "told to")
            return


async def chat(websocket: WebSocket) -> None:
    """Starlette's usual loop, which raises when the client goes."""
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message)
    websocket.scope["journal"].append("left the loop")


async def denies(websocket: WebSocket) -> None:
    """Closes before it accepts."""
    await websocket.close(4003)


async def denies_in_words(websocket: WebSocket) -> None:
    """Answers the handshake with a response of its own."""
    response = PlainTextResponse("who?", status_code=401, headers={"x-own": "1"})
    await websocket.send_denial_response(response)


async def fails_first(_websocket: WebSocket) -> None:
    """Raises before it accepts."""
    raise LookupError("before")


async def _pass(request: Request, call_next: Callable[[Request], Any]) -> Response:
    response: Response = await call_next(request)
    response.headers["x-passed"] = "1"
    return response


def fastapi_application() -> FastAPI:
    """FastAPI's routes, with its own event streams where it has some."""
    app = FastAPI()

    @app.get("/item/{number}")
    async def item(number: int) -> dict[str, int]:
        return {"number": number}

    with contextlib.suppress(ImportError):  # since 0.135
        from fastapi import sse

        @app.get("/sse", response_class=sse.EventSourceResponse)
        async def events(count: int = 3) -> AsyncIterator[dict[str, int]]:
            for number in range(count):
                yield {"number": number}
                await asyncio.sleep(TICK)

    return app


@contextlib.asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[dict[str, int]]:
    """Shares something with requests."""
    yield {"number": 7}
    if __name__ == "__main__":
        print(json.dumps(JOURNALS), flush=True)  # noqa: T201 - its parent reads it


ENDPOINTS: Final = (
    *(plain, slow, state, text, sized, sse, views, sse_starlette, job, stream_with_job, file),
    *(upload, careless, polls, heedless, heedless_file, fails_before, fails_after),
)
SOCKETS: Final = (echo, chat, denies, denies_in_words, fails_first)
RAW: Final = (unfinished, silent, out_of_order)


def routes() -> list[Any]:
    """All of them."""
    streams = [Route(f"/{e.__name__}", e) for e in (plain, text, sse, fails_before, fails_after)]
    passing = Starlette(routes=streams, middleware=[Middleware(BaseHTTPMiddleware, _pass)])
    zipping = Starlette(routes=streams, middleware=[Middleware(GZipMiddleware, minimum_size=10)])
    return [
        *(Route(f"/{e.__name__}", e, methods=["GET", "POST"]) for e in ENDPOINTS),
        *(WebSocketRoute(f"/{e.__name__}", e) for e in SOCKETS),
        *(Mount(f"/{e.__name__}", app=e) for e in RAW),
        Route("/empty/{status:int}", empty),
        Mount("/passing", app=passing),
        Mount("/zipping", app=zipping),
        Mount("/static", app=StaticFiles(directory=SOURCE.parent)),
        Mount("/fastapi", app=fastapi_application()),
    ]


def application(way: str, *, with_middleware: bool) -> App:
    """The application, behind the middleware or not.

    Args:
        way: wrapped by it, or having it added.
        with_middleware: whether there is one.
    """
    if way == "added":
        ours = [Middleware(StreamingMiddleware)] if with_middleware else []
        return Starlette(routes=routes(), lifespan=lifespan, middleware=[*ours, Middleware(Spy)])
    spied = Spy(Starlette(routes=routes(), lifespan=lifespan))
    return StreamingMiddleware(spied) if with_middleware else spied


def main(port: str, choice: str) -> None:
    """Serves until a signal comes."""
    app: Any = application("wrapped", with_middleware=choice == "with")
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), log_level="critical", timeout_graceful_shutdown=10
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
