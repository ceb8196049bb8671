"""A server for the row ``server``: ``python -m benchmarks.served RATE [LOG]``; it says its port.

Every request is answered with an event stream of so many events a second, except that ``/cpu`` is
answered with the CPU time that the process has had. With a log, the middleware is around it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    App = Callable[[Any, Any, Any], Awaitable[None]]

HOST: Final = "127.0.0.1"
BACKLOG: Final = 2048
BODY: Final = "http.response.body"
EVENT: Final = b"data: " + b"x" * 200 + b"\n\n"


def streaming(rate: float) -> App:
    """The application that is measured; it never asks whether its client is there."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError("it has no lifespan")
        loop = asyncio.get_running_loop()
        await _start(send, b"text/event-stream")
        due = loop.time()
        while True:
            await send({"type": BODY, "body": EVENT, "more_body": True})
            due += 1 / rate
            await asyncio.sleep(due - loop.time())

    return app


async def _start(send: Any, content_type: bytes) -> None:
    headers = [(b"content-type", content_type)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


def telling(app: App) -> App:
    """Answers ``/cpu`` before the application, and whatever is around that, hears of it."""

    async def around(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path") != "/cpu":
            await app(scope, receive, send)
            return
        await _start(send, b"text/plain")
        await send({"type": BODY, "body": str(time.process_time()).encode()})

    return around


def recorded(app: App, url: str) -> App:
    """The same with the middleware around it; without it, nothing of rat_fsm is imported."""
    from rat_fsm import ConnectionManager, EventLog
    from rat_fsm.integrations.asgi import StreamingMiddleware

    return StreamingMiddleware(app, ConnectionManager(None, log=EventLog.open(url)))


def main(rate: str, url: str = "") -> None:
    """Serves until it is killed."""
    app = streaming(float(rate))
    wrapped = recorded(app, url) if url else app
    config = uvicorn.Config(telling(wrapped), log_level="critical", timeout_graceful_shutdown=10)
    with socket.create_server((HOST, 0), backlog=BACKLOG) as listener:
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
