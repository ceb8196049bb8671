"""The application of `apps`, with streams of one message a second and a look at its memory."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.servers import apps
from tests.servers.raw import HANDLERS, end, event, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

SECOND: Final = 1.0
NEWS: Final = "x" * 100
BRIEFS: Final = 3


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def news(_scope: Any, receive: Any, send: Any) -> None:
    """Goes on until the client is gone."""
    await start(send)
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        while not gone.done():
            await send(event(NEWS))
            await asyncio.wait({gone}, timeout=SECOND)
    finally:
        gone.cancel()


async def heedless_news(_scope: Any, _receive: Any, send: Any) -> None:
    """Never asks whether somebody listens."""
    await start(send)
    while True:
        await send(event(NEWS))
        await asyncio.sleep(SECOND)


async def briefs(_scope: Any, _receive: Any, send: Any) -> None:
    """Ends by itself."""
    await start(send)
    for _ in range(BRIEFS):
        await send(event(NEWS))
        await asyncio.sleep(SECOND)
    await end(send)


async def _news() -> AsyncIterator[str]:
    while True:
        yield f"data: {NEWS}\n\n"
        await asyncio.sleep(SECOND)


async def starlette_news(_request: Request) -> Response:
    """Goes on until Starlette notices."""
    return StreamingResponse(_news(), media_type="text/event-stream")


HANDLERS.update({"news": news, "heedless-news": heedless_news, "briefs": briefs})
apps.starlette.router.routes.append(Route("/starlette/news/{label}", starlette_news))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The application; what asks for its memory goes past the middleware."""
    if scope["type"] == "http" and scope["path"] == "/memory":
        gc.collect()
        await start(send, [(b"content-type", b"application/json")])
        await send({"type": "http.response.body", "body": json.dumps(_resident()).encode()})
    else:
        await apps.app(scope, receive, send)


def _resident() -> int:
    """Resident memory in KiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])
