"""How a connection ends whose stream is still being delivered."""

from __future__ import annotations

import asyncio
from typing import Any

from rat_fsm import ConnectionManager, GracefulShutdown, StreamMonitor
from rat_fsm.events import Closed, Closing
from rat_fsm.streaming import create_sse_response


class Wire:
    """A server whose client reads when told to."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.arrived = asyncio.Event()
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Any) -> None:
        await self.reading.wait()
        self.body += message.get("body", b"")
        if self.body:
            self.arrived.set()

    def serve(self, response: Any) -> asyncio.Task[None]:
        scope = {"type": "http", "method": "GET"}
        return asyncio.create_task(response(scope, self.receive, self.send))


def endings(manager: ConnectionManager) -> list[Any]:
    """Why and with which totals connections ended."""
    manager.log.flush()
    return [r.event for r in manager.log.read() if isinstance(r.event, Closing | Closed)]


def test_a_stream_that_is_not_served_is_closed_at_once() -> None:
    """Nobody will deliver what was sent."""
    manager, response = ConnectionManager(), create_sse_response()
    manager.register_connection("a", "x", response)
    response.send_data("never read")
    assert manager.unregister_connection("a")
    assert response.is_closed
    assert manager.get_stats()["active_connections"] == 0
    manager.shutdown()


def test_a_stream_that_is_served_is_closing_until_all_is_delivered() -> None:
    """The totals are complete and the reason is the one given first."""

    async def run() -> bytes:
        wire, response = Wire(), create_sse_response()
        manager.register_connection("a", "x", response)
        serving = wire.serve(response)
        for _ in range(10):
            assert response.send_data("hello")
        await asyncio.sleep(0)
        assert manager.unregister_connection("a")
        info = manager.get_connection_info("a")
        assert info is not None
        assert info.state.value == "closing"
        assert not manager.is_connection_alive("a")
        assert not manager.register_connection("a", "x")
        wire.reading.set()
        await serving
        return wire.body

    manager = ConnectionManager()
    body = asyncio.run(run())
    closing, closed = endings(manager)
    assert body.count(b"hello") == 10
    assert (closing.reason, closing.ended_by) == ("normal", "app")
    assert (closed.reason, closed.bytes_sent, closed.messages_sent) == ("normal", len(body), 10)
    manager.shutdown()


def test_a_drain_on_an_event_loop_ends_streams_as_shutdown() -> None:
    """Also one that had nothing left to send."""

    async def run() -> Any:
        wire, response = Wire(), create_sse_response()
        wire.reading.set()
        manager.register_connection("a", "x", response)
        serving = wire.serve(response)
        response.send_data("hello")
        await wire.arrived.wait()
        shutdown = GracefulShutdown(manager, StreamMonitor(manager), timeout=5.0)
        assert not shutdown.initiate_shutdown().complete
        await serving
        return await shutdown.drain()

    manager = ConnectionManager()
    report = asyncio.run(run())
    assert (report.ended, report.forced, report.not_closed) == (1, 0, ())
    closed = manager.log.read_model.totals.closed_by_reason
    assert closed == {"shutdown": 1}


def test_the_first_activity_changes_the_state_also_where_activity_is_gathered() -> None:
    """How long it took to become active does not depend on the interval."""
    manager = ConnectionManager(activity_interval=60.0)
    manager.register_connection("a", "x")
    manager.record_activity("a", 100)
    manager.record_activity("a", 100)
    info = manager.get_connection_info("a")
    assert info is not None
    assert (info.state.value, info.bytes_sent) == ("active", 100)
    manager.shutdown()
    assert manager.log.read_model.totals.bytes_sent == 200
