"""The server of the demo: Server-Sent Events, relayed from an upstream that may break."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from rat_fsm import generate_connection_id
from rat_fsm.streaming import create_sse_response

if TYPE_CHECKING:
    from starlette.requests import Request

    from rat_fsm import ConnectionManager, ErrorRecovery, StreamMonitor
    from rat_fsm.streaming import SSEResponse

STALL_AFTER: Final = 1.0
MAX_QUEUE: Final = 16
PADDING: Final = 256 * 1024


class DemoApp:
    """An ASGI application whose ``/events`` relays words as events.

    Query: ``count`` words, ``flaky`` (the chance that the upstream breaks at each), ``large`` to
    pad every event, so that a client that does not read fills the socket soon.
    """

    def __init__(
        self,
        manager: ConnectionManager,
        monitor: StreamMonitor,
        recovery: ErrorRecovery,
        upstream_port: int,
    ) -> None:
        self._manager = manager
        self._monitor = monitor
        self._recovery = recovery
        self._upstream_port = upstream_port
        self._tasks: set[asyncio.Task[None]] = set()
        self.asgi = Starlette(routes=[Route("/events", self.events)])

    async def events(self, request: Request) -> Any:
        """Registers the connection, starts its feed and returns its stream."""
        connection_id = generate_connection_id("sse")
        response = create_sse_response(retry=500, max_queue=MAX_QUEUE, stall_after=STALL_AFTER)
        address = request.client.host if request.client else "unknown"
        metadata = {"type": "sse", "client": request.headers.get("x-client", "?")}
        if not self._manager.register_connection(connection_id, address, response, metadata):
            return PlainTextResponse("Too many connections", 503, {"Retry-After": "1"})
        self._monitor.start_monitoring(connection_id, response)
        task = asyncio.create_task(self._feed(connection_id, response, request.query_params))
        self._tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._tasks.discard)
        return response

    async def _feed(self, connection_id: str, response: SSEResponse, query: Any) -> None:
        """Relays words until they are all sent, the client is gone, or retries are used up."""
        count, sent = int(query.get("count", "20")), 0
        flaky, padding = query.get("flaky", "0"), "." * (PADDING if "large" in query else 0)
        while sent < count and not response.is_closed:
            try:
                sent += await self._relay(response, count - sent, flaky, padding)
                self._recovery.reset_retry_count(connection_id)
                break
            except OSError as error:
                self._manager.record_error(connection_id, error)
                if not self._recovery.should_retry(connection_id, error):
                    self._manager.close_connection(
                        connection_id, reason="retries_exhausted", ended_by="app"
                    )
                    return
                await asyncio.sleep(self._recovery.get_retry_delay(connection_id))
                flaky = str(float(flaky) / 2)
        response.close()  # what is queued is delivered, then the connection ends as completed

    async def _relay(self, response: SSEResponse, count: int, flaky: str, padding: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        try:
            writer.write(f"{count} {flaky}\n".encode())
            return await self._copy(reader, response, count, padding)
        finally:
            writer.close()

    async def _copy(
        self, reader: asyncio.StreamReader, response: SSEResponse, count: int, padding: str
    ) -> int:
        for number in range(count):
            word = (await reader.readline()).decode().strip()
            if not word:
                raise ConnectionResetError("connection reset by the upstream")
            data = json.dumps({"number": number, "word": word, "padding": padding})
            while not response.send_event("word", data):
                if response.is_closed:
                    return number
                await asyncio.sleep(0.05)  # the queue is full: the client may still catch up
            if self._manager.draining:
                response.send_event("drain", json.dumps({"reason": "shutdown"}))
                return number + 1
        return count
