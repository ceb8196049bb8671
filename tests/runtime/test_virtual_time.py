"""Manager, monitor and shutdown beside coroutines, in one virtual time, and cancelled anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest

from rat_fsm import (
    ConnectionManager,
    ErrorRecovery,
    GracefulShutdown,
    ShutdownReport,
    StreamMonitor,
    replay,
)
from rat_fsm.events import Registered
from rat_fsm.testing import VirtualClock, cancel_anywhere, in_any_order


@attrs.define(eq=False)
class Stream:
    """A stream that can be closed."""

    closed: bool = False

    def close(self) -> None:
        self.closed = True


@attrs.define(eq=False)
class Server:
    """Everything a server has, on one clock.

    Attributes:
        ended: whose disconnect callbacks have run.
        streams: what it serves.
    """

    clock: VirtualClock
    manager: ConnectionManager = attrs.field(init=False)
    monitor: StreamMonitor = attrs.field(init=False)
    recovery: ErrorRecovery = attrs.field(init=False)
    shutdown: GracefulShutdown = attrs.field(init=False)
    ended: list[str] = attrs.field(factory=list)
    streams: dict[str, Stream] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.manager = ConnectionManager(2, clock=self.clock, activity_interval=0.5)
        self.monitor = StreamMonitor(self.manager)
        self.recovery = ErrorRecovery(log=self.manager.log)
        self.shutdown = GracefulShutdown(self.manager, self.monitor, timeout=30.0)

    async def tell(self, connection_id: str) -> None:
        """A disconnect callback that takes its time."""
        await asyncio.sleep(0.1)
        self.ended.append(connection_id)

    async def serve(self, connection_id: str) -> None:
        """Serves a client for some seconds, as a handler does."""
        manager = self.manager
        if not manager.register_connection(connection_id, "x"):
            return
        stream = self.streams[connection_id] = Stream()
        self.monitor.start_monitoring(connection_id, stream, self.tell)
        try:
            for _ in range(3):
                manager.record_activity(connection_id, 10)
                await asyncio.sleep(1)
            manager.record_error(connection_id, ConnectionError("upstream"))
            if self.recovery.should_retry(connection_id, ConnectionError("upstream")):
                await asyncio.sleep(self.recovery.get_retry_delay(connection_id))
            manager.record_activity(connection_id, 10)
        finally:
            manager.unregister_connection(connection_id)

    def check(self) -> None:
        """What holds whenever nobody is served."""
        manager = self.manager
        manager.flush_activity()
        manager.log.flush()
        assert manager.get_all_connections() == []
        assert replay(manager.log) == manager.log.read_model
        begun = [e.stream.id for e in manager.log.read() if isinstance(e.event, Registered)]
        assert sorted(self.ended) == sorted(begun)
        assert manager.get_stats()["total_bytes_sent"] % 10 == 0


def test_a_handler_that_is_cancelled_anywhere() -> None:
    """Its connection ends, its callback runs, and what it sent is counted."""
    places = cancel_anywhere(lambda server: server.serve("a"), setup=Server, invariant=Server.check)
    assert len(set(places)) > 2


@pytest.mark.slow
def test_two_handlers_beside_a_shutdown_that_are_cancelled_anywhere() -> None:
    """Nobody is left, however far the shutdown had come."""

    async def serve(server: Server) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve("a"))
            group.create_task(server.serve("b"))
            await asyncio.sleep(1.5)
            group.create_task(server.shutdown.drain())

    async def is_shut_down(server: Server) -> None:
        report = await server.shutdown.drain()
        assert report.complete
        assert server.manager.closed

    assert cancel_anywhere(serve, setup=Server, invariant=is_shut_down)


def test_handlers_in_any_order() -> None:
    """Whoever overtakes whom: the limit holds, and every connection ends once."""

    async def serve(server: Server) -> None:
        await asyncio.gather(*(server.serve(name) for name in "abca"))

    def check(server: Server) -> None:
        server.check()
        assert server.manager.get_stats()["peak_connections"] <= 2

    in_any_order(serve, setup=Server, invariant=check, orders=30)


def shut_down_at(second: float, *names: str) -> tuple[ShutdownReport, Server]:
    """Shuts a server down while it serves these clients."""
    clock = VirtualClock()
    server = Server(clock)

    async def main() -> ShutdownReport:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(server.serve(name))
            await asyncio.sleep(second)
            report = await server.shutdown.drain()
        await asyncio.sleep(1)  # for callbacks
        return report

    return clock.run(main()), server


def test_a_drain_waits_for_handlers_that_sleep() -> None:
    """The thread that waits and the coroutines that end see the same seconds pass."""
    report, server = shut_down_at(1.5, "a", "b")
    assert report == ShutdownReport(2, 2, 0, (), report.duration, complete=True)
    assert 1.5 <= report.duration < 10.0  # three seconds of work, and a retry at most
    assert sorted(server.ended) == ["a", "b"]


def test_a_drain_forces_handlers_that_do_not_end() -> None:
    """Thirty seconds later to the poll, which takes no time."""
    clock = VirtualClock()
    server = Server(clock)
    stream = Stream()

    async def main() -> ShutdownReport:
        server.manager.register_connection("a", "x", stream)
        return await server.shutdown.drain()

    report = clock.run(main())
    assert (report.total, report.ended, report.forced) == (1, 0, 1)
    assert 30.0 <= report.duration < 30.1
    assert stream.closed


def test_a_monitor_looks_while_coroutines_sleep() -> None:
    """A stream that was closed is noticed at the next look, and its callback runs on the loop."""
    clock = VirtualClock()
    server = Server(clock)
    stream = Stream()

    async def main() -> None:
        server.manager.register_connection("a", "x", stream)
        server.monitor.start_monitoring("a", stream, server.tell)
        await asyncio.sleep(5.5)
        stream.close()
        await asyncio.sleep(0.45)
        assert server.manager.is_connection_alive("a")
        await asyncio.sleep(0.2)
        assert server.ended == ["a"]

    clock.run(main())
    server.check()


@pytest.mark.parametrize("seed", [None, *range(10)])
def test_a_drain_that_is_cancelled_goes_on(seed: int | None) -> None:
    """Who waits for it next gets its report."""
    clock = VirtualClock()
    server = Server(clock)

    async def main() -> Any:
        serving = asyncio.create_task(server.serve("a"))
        await asyncio.sleep(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await server.shutdown.drain()
        report = await server.shutdown.drain()
        await serving
        return report

    report = clock.run(main(), seed=seed)
    assert (report.total, report.ended, report.complete) == (1, 1, True)
