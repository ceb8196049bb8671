"""The guide's API: its examples, with `rat_engine` replaced by `rat_fsm`."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import textwrap
import weakref
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

import rat_fsm
from rat_fsm import error_handling
from rat_fsm.streaming import HttpResponse, create_sse_response
from tests.processes import untraced

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDE_NAMES = [
    "ConnectionInfo",
    "ConnectionManager",
    "ConnectionState",
    "ErrorRecovery",
    "GracefulShutdown",
    "StreamMonitor",
    "classify_error",
    "generate_connection_id",
    "get_all_connections",
    "get_default_connection_manager",
    "get_default_error_recovery",
    "get_default_stream_monitor",
    "get_streaming_stats",
    "record_activity",
    "record_error",
    "register_streaming_connection",
    "should_retry",
    "shutdown_streaming_system",
    "unregister_streaming_connection",
]


@pytest.fixture(autouse=True)
def _fresh_defaults() -> Iterator[None]:
    rat_fsm.shutdown_streaming_system()
    yield
    rat_fsm.shutdown_streaming_system()


@pytest.mark.parametrize("name", GUIDE_NAMES)
def test_every_name_of_the_guide_is_at_the_front_door_and_in_its_module(name: str) -> None:
    """`rat_fsm.X` and `rat_fsm.error_handling.X` are the same thing."""
    assert getattr(rat_fsm, name) is getattr(error_handling, name)
    assert name in rat_fsm.__all__


class Wire:
    """Drives an ASGI response as a server would, and keeps what it sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.leave = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def serve(self, response: Any) -> None:
        await response({"type": "http", "method": "GET"}, self.receive, self.send)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def test_quick_start() -> None:
    """Register with a callback, send ten events, unregister at the end."""
    disconnected: list[str] = []

    async def sse_handler() -> Any:
        connection_id = "sse_1"
        sse_response = create_sse_response()
        success = rat_fsm.register_streaming_connection(
            connection_id,
            "127.0.0.1",
            sse_response,
            metadata={"type": "sse", "user_agent": "browser"},
            on_disconnect=disconnected.append,
        )
        assert success

        async def send_data() -> None:
            try:
                for i in range(10):
                    data = {"counter": i, "message": f"数据 #{i}"}
                    if not sse_response.send_event("data", json.dumps(data)):
                        break
                    await asyncio.sleep(0)
            finally:
                rat_fsm.unregister_streaming_connection(connection_id)

        return sse_response, asyncio.create_task(send_data())

    async def run() -> bytes:
        response, task = await sse_handler()
        wire = Wire()
        await wire.serve(response)
        await task
        return wire.body

    body = asyncio.run(run())
    assert body.count(b"event: data\n") == 10
    stats = rat_fsm.get_streaming_stats()
    assert stats["active_connections"] == 0
    assert stats["total_messages_sent"] == 10
    assert stats["total_bytes_sent"] == len(body)
    manager = rat_fsm.get_default_connection_manager()
    manager.shutdown()
    assert manager.log.read_model.totals.callback_failures == 0


def test_http_response() -> None:
    """set_status and set_body, sent as any ASGI response."""
    response = HttpResponse()
    response.set_status(503)
    response.set_body("Too many connections")

    async def run() -> Wire:
        wire = Wire()
        await wire.serve(response)
        return wire

    wire = asyncio.run(run())
    assert wire.sent[0]["status"] == 503
    assert wire.body == b"Too many connections"


class AdvancedStreamingServer:
    """The guide's, with shorter pauses."""

    def __init__(self) -> None:
        self.connection_manager = rat_fsm.ConnectionManager(
            max_connections=100,
            cleanup_interval=30,
        )
        self.stream_monitor = rat_fsm.StreamMonitor(self.connection_manager, check_interval=1.0)
        self.error_recovery = rat_fsm.ErrorRecovery(max_retries=3, base_delay=0.01, max_delay=30.0)
        self.disconnected = asyncio.Event()

    def handle_sse_with_recovery(self, failures: int) -> Any:
        connection_id = "sse_with_recovery"
        metadata = {"type": "sse_with_recovery", "start_time": datetime.now().isoformat()}  # noqa: DTZ005 - the guide's
        assert self.connection_manager.register_connection(connection_id, "unknown", None, metadata)
        sse_response = create_sse_response()
        loop = asyncio.get_running_loop()
        self.stream_monitor.start_monitoring(
            connection_id,
            sse_response,
            on_disconnect=lambda _cid: loop.call_soon_threadsafe(self.disconnected.set),
        )

        async def send_data_with_recovery() -> None:
            retry_count, left = 0, failures
            while retry_count <= self.error_recovery.max_retries:
                try:
                    for i in range(20):
                        if not self.connection_manager.is_connection_alive(connection_id):
                            return
                        data = json.dumps({"counter": i})
                        if i == 2 and left:
                            left -= 1
                            raise OSError("发送失败: connection reset")  # noqa: TRY301 - the guide's
                        assert sse_response.send_event("data", data)
                        self.connection_manager.record_activity(connection_id, len(data), 1)
                    self.error_recovery.reset_retry_count(connection_id)
                    break
                except OSError as e:
                    self.connection_manager.record_error(connection_id, e)
                    if not self.error_recovery.should_retry(connection_id, e):
                        break
                    delay = self.error_recovery.get_retry_delay(connection_id)
                    assert delay == 0.01 * 2**retry_count
                    await asyncio.sleep(delay)
                    retry_count += 1
            self.connection_manager.unregister_connection(connection_id)

        return sse_response, asyncio.create_task(send_data_with_recovery())

    def get_stats(self) -> dict[str, Any]:
        return self.connection_manager.get_stats()

    def shutdown(self) -> None:
        self.stream_monitor.shutdown()
        self.connection_manager.shutdown()


@pytest.mark.parametrize(("failures", "messages"), [(0, 20), (2, 24), (9, 8)])
def test_advanced_usage(failures: int, messages: int) -> None:
    """Errors are retried with growing delays until it works or the retries are used up."""

    async def run() -> dict[str, Any]:
        server = AdvancedStreamingServer()
        response, task = server.handle_sse_with_recovery(failures)
        await asyncio.gather(Wire().serve(response), task)
        await asyncio.wait_for(server.disconnected.wait(), 10)
        stats = server.get_stats()
        server.shutdown()
        return stats

    stats = asyncio.run(run())
    assert stats["total_messages_sent"] == messages
    assert stats["total_errors"] == min(failures, 4)
    assert stats["closed_by_reason"] == {"normal": 1}


def test_statistics_and_connection_info() -> None:
    """The guide's keys and attributes."""
    rat_fsm.register_streaming_connection("a", "127.0.0.1")
    rat_fsm.record_activity("a", 100, 2)
    stats = rat_fsm.get_streaming_stats()
    assert (stats["active_connections"], stats["total_connections"]) == (1, 1)
    assert (stats["total_bytes_sent"], stats["total_messages_sent"]) == (100, 2)
    assert stats["max_connections"] == 1000
    assert stats["state_distribution"]["active"] == 1
    manager = rat_fsm.get_default_connection_manager()
    conn_info = manager.get_connection_info("a")
    assert conn_info is not None
    assert conn_info.state is rat_fsm.ConnectionState.ACTIVE
    assert conn_info.state.value == "active"
    assert conn_info.created_at <= conn_info.last_activity
    assert (conn_info.error_count, conn_info.bytes_sent, conn_info.messages_sent) == (0, 100, 2)
    assert manager.is_connection_alive("a")
    assert not manager.is_connection_alive("connection_id")
    assert manager.get_connection_info("connection_id") is None


def test_configuration_by_keyword() -> None:
    """Every option of the guide, by name."""
    manager = rat_fsm.ConnectionManager(max_connections=1000, cleanup_interval=30)
    monitor = rat_fsm.StreamMonitor(manager, check_interval=1.0)
    recovery = rat_fsm.ErrorRecovery(max_retries=3, base_delay=1.0, max_delay=30.0)
    shutdown = rat_fsm.GracefulShutdown(manager, monitor, timeout=30.0)
    assert (manager.max_connections, manager.cleanup_interval) == (1000, 30)
    assert monitor.check_interval == 1.0
    assert (recovery.max_retries, recovery.base_delay, recovery.max_delay) == (3, 1.0, 30.0)
    assert shutdown.timeout == 30.0
    shutdown.initiate_shutdown()


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, 200), (ConnectionError("connection reset"), "retry"), (ValueError("no"), 500)],
)
def test_best_practice_lifecycle(error: Exception | None, status: Any) -> None:
    """Register, work, record; on an error record it and ask whether to retry; always clean up."""

    def handle_streaming_request() -> Any:
        connection_id = rat_fsm.generate_connection_id()
        try:
            if not rat_fsm.register_streaming_connection(connection_id, "127.0.0.1", object()):
                return 503
            if error is not None:
                raise error  # noqa: TRY301 - likewise
            rat_fsm.record_activity(connection_id, 10, 1)
        except Exception as e:  # noqa: BLE001 - the guide's
            rat_fsm.record_error(connection_id, e)
            return "retry" if rat_fsm.should_retry(connection_id, e) else 500
        finally:
            rat_fsm.unregister_streaming_connection(connection_id)
        return 200

    assert handle_streaming_request() == status
    assert rat_fsm.get_streaming_stats()["active_connections"] == 0


@pytest.mark.parametrize(
    ("patterns", "answer"),
    [
        (
            [
                "connection reset",
                "broken pipe",
                "timeout",
                "network unreachable",
                "connection refused",
            ],
            ("network_error", True),
        ),
        (
            ["bad request", "unauthorized", "forbidden", "not found", "method not allowed"],
            ("client_error", False),
        ),
        (
            [
                "internal server error",
                "service unavailable",
                "gateway timeout",
                "temporary failure",
            ],
            ("server_error", True),
        ),
        (["something else"], ("unknown_error", False)),
    ],
)
def test_best_practice_classification(patterns: list[str], answer: tuple[str, bool]) -> None:
    """Untyped errors are classified as in the guide, in the order of its patterns."""
    recovery = rat_fsm.get_default_error_recovery()
    for pattern in patterns:
        expected = ("network_error", True) if "timeout" in pattern else answer
        assert rat_fsm.classify_error(Exception(f"Oh: {pattern.title()}!")) == expected
        assert recovery._is_recoverable_error(Exception(pattern)) == expected[1]


def test_best_practice_monitoring(caplog: Any) -> None:
    """The guide's own monitor works on our statistics, and ours raises the same alerts."""
    for number in range(3):
        rat_fsm.register_streaming_connection(str(number), "127.0.0.1")
    rat_fsm.record_error("0", TimeoutError("slow"))
    stats = rat_fsm.get_streaming_stats()
    assert stats["active_connections"] / stats["max_connections"] * 100 == pytest.approx(0.3)
    error_count = sum(1 for conn in rat_fsm.get_all_connections() if conn.error_count > 0)
    assert error_count / stats["total_connections"] == pytest.approx(1 / 3)
    thresholds = {"max_connections": 80, "error_rate": 0.1, "avg_response_time": 5.0}
    with caplog.at_level(logging.WARNING, "rat_fsm"):
        report = rat_fsm.HealthMonitor(thresholds).check_health()
    assert [alert.name for alert in report.alerts] == ["error_rate"]
    assert len(caplog.records) == 1


APPLICATION = """
import signal, sys, os, threading
from rat_fsm import *

class StreamingApplication:
    def __init__(self):
        self.is_shutting_down = False
        signal.signal(signal.SIGINT, self.signal_handler)
        signal.signal(signal.SIGTERM, self.signal_handler)

    def signal_handler(self, signum, frame):
        if self.is_shutting_down:
            sys.exit(1)
        self.is_shutting_down = True
        self.graceful_shutdown()

    def graceful_shutdown(self):
        shutdown_handler = GracefulShutdown(
            get_default_connection_manager(), get_default_stream_monitor(), timeout=0.2)
        report = shutdown_handler.initiate_shutdown()
        shutdown_streaming_system()
        print(report.total, report.forced)
        sys.exit(0)

app = StreamingApplication()
register_streaming_connection("a", "127.0.0.1", object)
threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), signal.SIGTERM)).start()
while True:
    record_activity("a", 1, 1)
"""


@pytest.mark.parametrize("delay", [0.05, 0.0501, 0.0503, 0.0507, 0.0511])
def test_best_practice_graceful_shutdown(delay: float) -> None:
    """A signal handler that shuts down and exits, wherever in the recording it comes."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(APPLICATION), str(delay)],
        env=untraced(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout in {"1 1\n", "1 0\n", "0 0\n"}


def test_troubleshooting() -> None:
    """Limits, cleaning up by hand, and asking the recovery what it thinks."""
    assert rat_fsm.ConnectionManager(max_connections=2000).max_connections == 2000
    manager = rat_fsm.ConnectionManager(cleanup_interval=10)
    manager._cleanup_stale_connections()
    recovery = rat_fsm.get_default_error_recovery()
    rat_fsm.register_streaming_connection("a", "127.0.0.1")
    rat_fsm.should_retry("a", Exception("broken pipe"))
    assert recovery._is_recoverable_error(Exception("broken pipe"))
    assert recovery.retry_counts.get("a", 0) == 1
    assert recovery.retry_counts.get("b", 0) == 0
    assert recovery.max_retries == 3


def test_debugging_error_statistics() -> None:
    """Iterating over ``manager.connections``."""
    manager = rat_fsm.get_default_connection_manager()
    for name in "ab":
        rat_fsm.register_streaming_connection(name, "127.0.0.1")
    rat_fsm.record_error("a", Exception("timeout"))
    error_counts = {
        conn_id: conn_info.error_count
        for conn_id, conn_info in manager.connections.items()
        if conn_info.error_count > 0
    }
    assert error_counts == {"a": 1}


def test_memory_tuning_subclass() -> None:
    """A subclass with the guide's four positional parameters works everywhere."""

    class OptimizedConnectionManager(rat_fsm.ConnectionManager):
        def register_connection(  # type: ignore[override]
            self, connection_id: str, remote_addr: str, connection_ref: Any, metadata: Any
        ) -> bool:
            if connection_ref is not None:
                self.connection_refs[connection_id] = weakref.ref(connection_ref)
            return super().register_connection(connection_id, remote_addr, None, metadata)

    manager = OptimizedConnectionManager(max_connections=1, cleanup_interval=60)
    monitor = rat_fsm.StreamMonitor(manager, check_interval=2.0)
    stream, other = create_sse_response(), create_sse_response()
    assert manager.register_connection("a", "127.0.0.1", stream, {})
    assert not manager.register_connection("a", "127.0.0.1", other, {})
    assert not manager.register_connection("b", "127.0.0.1", other, {})
    assert manager.reference("a") is stream
    assert manager.connection_refs.keys() == {"a"}
    assert monitor.start_monitoring("a", stream)
    assert manager.unregister_connection("a")
    assert stream.is_closed
    manager.shutdown()
