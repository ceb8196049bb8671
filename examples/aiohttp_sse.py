"""An aiohttp application whose streams are recorded, drained at SIGTERM, and replayed.

    python examples/aiohttp_sse.py --port 8000 --log events.db
    curl -N http://127.0.0.1:8000/ticks         # an event stream; stop the server with Ctrl-C
    curl    http://127.0.0.1:8000/status
    rat-fsm log events.db

Needs the extra `aiohttp`: pip install 'rat-fsm[aiohttp]'.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import socket

from aiohttp import web

from rat_fsm import ConnectionManager, EventLog, replay
from rat_fsm.integrations.aiohttp import StreamRecorder, current_connection


async def ticks(request: web.Request) -> web.StreamResponse:
    """An endless stream; nothing in it knows of clients that leave, or of restarts."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for number in itertools.count():
        await response.write(f"event: tick\ndata: {number}\n\n".encode())
        await asyncio.sleep(0.2)
    return response


async def chat(request: web.Request) -> web.StreamResponse:
    """A WebSocket that answers with who is asking."""
    websocket = web.WebSocketResponse(heartbeat=30)
    await websocket.prepare(request)
    connection = current_connection()
    async for message in websocket:
        await websocket.send_str(f"{connection.id if connection else 'nobody'}: {message.data}")
    return websocket


def application(manager: ConnectionManager) -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/ticks", ticks), web.get("/chat", chat)])
    recorder = StreamRecorder(
        app,
        manager,
        max_per_client=100,
        client_key=lambda request: request.remote,
        heartbeat=15.0,
        drain_timeout=10.0,
    )

    async def status(_request: web.Request) -> web.Response:
        return web.json_response(recorder.status(), status=200 if recorder.ready else 503)

    app.router.add_get("/status", status)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--log", default="events.db")
    arguments = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", arguments.port))
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    with EventLog.open(arguments.log) as log:
        app = application(ConnectionManager(max_connections=1000, log=log))
        web.run_app(app, sock=listener, print=None, shutdown_timeout=5)
    print(f"closed: {log.read_model.stats.as_dict()['closed_by_reason']}")
    same = replay(arguments.log, writer=log.writer) == log.read_model
    print(f"the replay {'equals' if same else 'DIFFERS FROM'} what was live")


if __name__ == "__main__":
    main()
