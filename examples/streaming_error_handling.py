"""Streams with error handling, first with the ready-made functions, then with the components.

    python examples/streaming_error_handling.py --port 8000
    curl -N http://127.0.0.1:8000/sse
    curl -N http://127.0.0.1:8000/sse-recovery
    curl    http://127.0.0.1:8000/stats

Needs the extra `server`: pip install 'rat-fsm[server]'.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from rat_fsm import (
    ConnectionManager,
    ErrorRecovery,
    StreamMonitor,
    generate_connection_id,
    get_streaming_stats,
    register_streaming_connection,
    shutdown_streaming_system,
    unregister_streaming_connection,
)
from rat_fsm.streaming import HttpResponse, create_sse_response

if TYPE_CHECKING:
    from starlette.requests import Request

# An event loop keeps only weak references to its tasks.
tasks: set[asyncio.Task[None]] = set()


def start(coroutine: Any) -> None:
    """Runs a coroutine beside the response; the handler must be `async def` for that."""
    task = asyncio.create_task(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def sse(request: Request) -> Any:
    """The short way: one call registers, monitors and calls back."""
    connection_id = generate_connection_id("sse")
    remote_addr = request.client.host if request.client else "unknown"
    sse_response = create_sse_response()
    success = register_streaming_connection(
        connection_id,
        remote_addr,
        sse_response,
        metadata={"type": "sse", "user_agent": request.headers.get("user-agent", "")},
        on_disconnect=lambda cid: print(f"{cid} disconnected", flush=True),
    )
    if not success:
        return too_many_connections()

    async def send_data() -> None:
        try:
            for i in range(10):
                if not sse_response.send_event("data", json.dumps({"counter": i})):
                    break  # the client is gone
                await asyncio.sleep(0.1)
        finally:
            unregister_streaming_connection(connection_id)

    start(send_data())
    return sse_response


ITEMS = 12


class FlakySource:
    """Something we read from that fails at its third and seventh item."""

    def __init__(self) -> None:
        self.calls = 0

    def read(self) -> dict[str, Any]:
        self.calls += 1
        if self.calls in {3, 7}:
            raise ConnectionResetError("connection reset by the source")
        return {"call": self.calls, "timestamp": datetime.now(UTC).isoformat()}


class AdvancedStreamingServer:
    """The long way: components of one's own, and retries."""

    def __init__(self) -> None:
        self.connection_manager = ConnectionManager(max_connections=2, cleanup_interval=30)
        self.stream_monitor = StreamMonitor(self.connection_manager, check_interval=1.0)
        self.error_recovery = ErrorRecovery(
            max_retries=3, base_delay=0.1, max_delay=30.0, log=self.connection_manager.log
        )

    async def handle(self, request: Request) -> Any:
        connection_id = generate_connection_id("recovery")
        remote_addr = request.client.host if request.client else "unknown"
        sse_response = create_sse_response()
        if not self.connection_manager.register_connection(
            connection_id, remote_addr, sse_response, {"type": "sse_with_recovery"}
        ):
            return too_many_connections()
        self.stream_monitor.start_monitoring(
            connection_id, sse_response, on_disconnect=self.handle_disconnect
        )
        start(self.send_with_recovery(connection_id, sse_response))
        return sse_response

    async def send_with_recovery(self, connection_id: str, sse_response: Any) -> None:
        source = FlakySource()
        while self.connection_manager.is_connection_alive(connection_id):
            try:
                while source.calls < ITEMS and not sse_response.is_closed:
                    sse_response.send_event("data", json.dumps(source.read()))
                    await asyncio.sleep(0.05)
                self.error_recovery.reset_retry_count(connection_id)
                break
            except ConnectionError as error:
                self.connection_manager.record_error(connection_id, error)
                if not self.error_recovery.should_retry(connection_id, error):
                    break
                delay = self.error_recovery.get_retry_delay(connection_id)
                print(f"{connection_id} tries again in {delay:.1f} s", flush=True)
                await asyncio.sleep(delay)
        self.connection_manager.unregister_connection(connection_id)

    def handle_disconnect(self, connection_id: str) -> None:
        print(f"{connection_id} disconnected", flush=True)

    def shutdown(self) -> None:
        self.stream_monitor.shutdown()
        self.connection_manager.shutdown()


def too_many_connections() -> HttpResponse:
    response = HttpResponse()
    response.set_status(503)
    response.set_body("Too many connections")
    return response


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    port = parser.parse_args().port
    server = AdvancedStreamingServer()

    async def stats(_request: Request) -> JSONResponse:
        recovery = server.connection_manager.get_stats()
        return JSONResponse({"sse": get_streaming_stats(), "recovery": recovery})

    app = Starlette(
        routes=[
            Route("/sse", sse),
            Route("/sse-recovery", server.handle),
            Route("/stats", stats),
        ]
    )
    listener = socket.create_server(("127.0.0.1", port))
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        server.shutdown()
        shutdown_streaming_system()


if __name__ == "__main__":
    main()
