"""A recorded server: SQLite log, health checks, graceful shutdown, and a replay at the end.

    python examples/enhanced_streaming_demo.py --port 8000 --log events.db
    curl -N http://127.0.0.1:8000/tokens        # an endless stream; stop the server with Ctrl-C
    curl    http://127.0.0.1:8000/health

Needs the extra `server`: pip install 'rat-fsm[server]'.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import attrs
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from rat_fsm import (
    ConnectionManager,
    EventLog,
    GracefulShutdown,
    HealthMonitor,
    StreamMonitor,
    generate_connection_id,
    replay,
)
from rat_fsm.streaming import HttpResponse, create_sse_response

if TYPE_CHECKING:
    from starlette.requests import Request


class RecordedServer:
    """Everything about its connections is an event in one file."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.manager = ConnectionManager(max_connections=100, log=log, activity_interval=0.5)
        self.monitor = StreamMonitor(self.manager)
        self.health = HealthMonitor({"max_connections": 80}, manager=self.manager)
        self.shutdown = GracefulShutdown(self.manager, self.monitor, timeout=5.0)
        self.tasks: set[asyncio.Task[None]] = set()
        self.app = Starlette(
            routes=[Route("/tokens", self.tokens), Route("/health", self.check_health)]
        )

    async def tokens(self, request: Request) -> Any:
        """A stream that ends when the client leaves or the server drains."""
        connection_id = generate_connection_id("tokens")
        remote_addr = request.client.host if request.client else "unknown"
        response = create_sse_response(retry=1000, heartbeat=15.0)
        if not self.manager.register_connection(
            connection_id, remote_addr, response, {"type": "sse"}
        ):
            return HttpResponse(503, "Too many connections")
        self.monitor.start_monitoring(connection_id, response)
        task = asyncio.create_task(self.send(response))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return response

    async def send(self, response: Any) -> None:
        for number in itertools.count():
            if self.manager.draining:
                response.send_event("drain", json.dumps({"reason": "restart"}))
                break
            if response.is_closed:
                break
            response.send_event("token", json.dumps({"number": number}))
            await asyncio.sleep(0.05)
        response.close()  # what is queued is delivered first; then the connection is closed

    async def check_health(self, _request: Request) -> JSONResponse:
        report = self.health.check_health()
        alerts = [attrs.asdict(alert) for alert in report.alerts]
        ready = self.log.health.ready and not self.manager.draining
        return JSONResponse({"ready": ready, "alerts": alerts, "stats": report.stats})


async def serve(recorded: RecordedServer, listener: socket.socket) -> None:
    """Serves until SIGINT or SIGTERM, drains, and only then stops the server."""
    server = uvicorn.Server(uvicorn.Config(recorded.app, log_level="warning"))
    # The server would take the signals for itself; ours must drain first.
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await stop.wait()
    print("draining", flush=True)
    report = await recorded.shutdown.drain()
    print(f"drained: {report.ended} ended, {report.forced} forced", flush=True)
    server.should_exit = True
    await serving


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--log", default="events.db")
    arguments = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", arguments.port))
    with EventLog.open(arguments.log) as log:
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        asyncio.run(serve(RecordedServer(log), listener))
    stats = log.read_model.stats.as_dict()
    for name in ("total_connections", "total_messages_sent", "total_bytes_sent"):
        print(f"{name}: {stats[name]}")
    print(f"closed: {stats['closed_by_reason']}")
    same = replay(arguments.log, writer=log.writer) == log.read_model
    print(f"the replay {'equals' if same else 'DIFFERS FROM'} what was live")


if __name__ == "__main__":
    main()
