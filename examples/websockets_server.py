"""A WebSocket server whose connections are recorded, drained at SIGTERM, and replayed.

    python examples/websockets_server.py --port 8000 --log events.db
    websockets ws://127.0.0.1:8000/ticks        # comes with the library; stop with Ctrl-C
    rat-fsm log events.db

Needs the extra `websockets`: pip install 'rat-fsm[websockets]'.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

from rat_fsm import ConnectionManager, EventLog, replay
from rat_fsm.integrations.websockets import SocketRecorder, current_connection

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response


async def handle(websocket: ServerConnection) -> None:
    """Ticks for those who ask for them, answers for the rest."""
    if websocket.request is not None and websocket.request.path == "/ticks":
        for number in itertools.count():
            await websocket.send(f"tick {number}")
            await asyncio.sleep(0.2)
    connection = current_connection()
    async for message in websocket:
        await websocket.send(f"{connection.id if connection else 'nobody'}: {message!s}")


async def serve(manager: ConnectionManager, port: int) -> None:
    """Until SIGTERM, Ctrl-C or ``rat-fsm drain``; leaving ``recorder.serve`` drains as well."""

    def answer(websocket: ServerConnection, request: Request) -> Response | None:
        """Probes speak plain HTTP."""
        if request.path != "/ready":
            return None
        return websocket.respond(200 if recorder.ready else 503, f"{recorder.status()['phase']}\n")

    recorder = SocketRecorder(
        handle,
        manager,
        process_request=answer,
        max_per_client=100,
        client_key=lambda websocket: str(websocket.remote_address[0]),
        drain_timeout=10.0,
    )
    async with recorder.serve("127.0.0.1", port) as server:
        (listener,) = server.sockets
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        report = await recorder.drained()
        print(f"drained: {report.ended} ended, {report.forced} forced", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--log", default="events.db")
    arguments = parser.parse_args()
    with EventLog.open(arguments.log) as log, contextlib.suppress(KeyboardInterrupt):
        manager = ConnectionManager(max_connections=1000, log=log)
        asyncio.run(serve(manager, arguments.port))
    print(f"closed: {log.read_model.stats.as_dict()['closed_by_reason']}")
    same = replay(arguments.log, writer=log.writer) == log.read_model
    print(f"the replay {'equals' if same else 'DIFFERS FROM'} what was live")


if __name__ == "__main__":
    main()
