"""Alerts from statistics, and the process's own components."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest

import rat_fsm
from rat_fsm import ConnectionManager, HealthMonitor
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.testing import VirtualClock


def test_thresholds_raise_alerts_as_data_and_as_warnings(caplog: Any) -> None:
    """Usage, error rate and response time, each with its value and threshold."""
    clock = VirtualClock()
    manager = ConnectionManager(10, clock=clock)
    for number in range(9):
        manager.register_connection(str(number), "x")
    manager.record_error("0", TimeoutError())
    clock.advance(8)
    manager.record_activity("1", 1)
    with caplog.at_level(logging.INFO, "rat_fsm"):
        report = HealthMonitor(manager=manager).check_health()
    assert [(alert.name, alert.value, alert.threshold) for alert in report.alerts] == [
        ("max_connections", 90.0, 80.0),
        ("error_rate", pytest.approx(1 / 9), 0.1),
        ("avg_response_time", 8.0, 5.0),
    ]
    assert not report.healthy
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [w.getMessage() for w in warnings] == [alert.message for alert in report.alerts]


def test_a_quiet_server_is_healthy() -> None:
    """And thresholds can be moved."""
    manager = ConnectionManager(10, clock=VirtualClock())
    assert HealthMonitor({"max_connections": 0}, manager=manager).check_health().healthy
    manager.register_connection("a", "x")
    assert not HealthMonitor({"max_connections": 5}, manager=manager).check_health().healthy


def test_thresholds_are_checked() -> None:
    """A misspelt one would never raise an alert."""
    with pytest.raises(InvalidArgument, match="max_connections"):
        HealthMonitor({"max_conections": 5})
    with pytest.raises(InvalidArgumentType):
        HealthMonitor({"error_rate": "high"})  # type: ignore[dict-item]


def test_the_defaults_start_afresh_after_a_shutdown() -> None:
    """The guide's functions share one manager until it is shut down."""
    rat_fsm.shutdown_streaming_system()
    ended: list[str] = []
    connection_id = rat_fsm.generate_connection_id("sse")
    assert rat_fsm.register_streaming_connection(
        connection_id, "10.0.0.1", object, metadata={"type": "sse"}
    )
    assert not rat_fsm.register_streaming_connection(connection_id, "10.0.0.1")
    assert rat_fsm.record_activity(connection_id, 10, 1)
    assert rat_fsm.record_error(connection_id, ConnectionResetError("gone"))
    assert rat_fsm.should_retry(connection_id, ConnectionResetError("gone"))
    assert rat_fsm.get_default_error_recovery().retry_counts.get(connection_id, 0) == 1
    assert [info.error_count for info in rat_fsm.get_all_connections()] == [1]
    assert rat_fsm.get_streaming_stats()["active_connections"] == 1
    assert HealthMonitor().check_health().stats["total_errors"] == 1
    rat_fsm.get_default_stream_monitor().start_monitoring(connection_id, object, ended.append)
    first = rat_fsm.get_default_connection_manager()
    assert rat_fsm.unregister_streaming_connection(connection_id)
    rat_fsm.shutdown_streaming_system()
    rat_fsm.shutdown_streaming_system()
    assert first.closed
    assert rat_fsm.get_default_connection_manager() is not first
    assert rat_fsm.get_streaming_stats()["total_connections"] == 0
    rat_fsm.shutdown_streaming_system()


def test_a_forked_child_has_defaults_of_its_own() -> None:
    """The parent's mean nothing there."""
    rat_fsm.register_streaming_connection("parent", "x")
    child = os.fork()
    if child == 0:
        mine = rat_fsm.get_streaming_stats()["total_connections"]
        os._exit(mine + 10 * rat_fsm.register_streaming_connection("child", "x"))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 10
    assert rat_fsm.get_streaming_stats()["total_connections"] == 1
    rat_fsm.shutdown_streaming_system()
