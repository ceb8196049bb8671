"""The flight recorder for streaming connections.

Each connection is an explicit finite-state machine, every change is an event in an append-only,
tamper-evident log, and everything else is a pure fold over that log.
"""

from rat_fsm.errors import RatFsmError
from rat_fsm.events import Position, Recorded
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.policy import RetryPolicy, classify_error
from rat_fsm.projections.connections import ConnectionInfo, ConnectionState
from rat_fsm.projections.model import ReadModel
from rat_fsm.projections.protocol import Projection
from rat_fsm.replay import ClusterView, follow, read_events, replay
from rat_fsm.runtime.defaults import (
    generate_connection_id,
    get_all_connections,
    get_default_connection_manager,
    get_default_error_recovery,
    get_default_stream_monitor,
    get_streaming_stats,
    record_activity,
    record_error,
    register_streaming_connection,
    should_retry,
    shutdown_streaming_system,
    unregister_streaming_connection,
)
from rat_fsm.runtime.health import HealthMonitor, HealthReport
from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.runtime.monitor import StreamMonitor
from rat_fsm.runtime.recovery import ErrorRecovery
from rat_fsm.runtime.shutdown import GracefulShutdown, ShutdownReport
from rat_fsm.stores import open_store
from rat_fsm.table import Lifecycle

__all__ = [
    "CONNECTION",
    "NODE",
    "ClusterView",
    "ConnectionInfo",
    "ConnectionManager",
    "ConnectionState",
    "ErrorRecovery",
    "EventLog",
    "GracefulShutdown",
    "HealthMonitor",
    "HealthReport",
    "Lifecycle",
    "Position",
    "Projection",
    "RatFsmError",
    "ReadModel",
    "Recorded",
    "RetryPolicy",
    "ShutdownReport",
    "StreamMonitor",
    "classify_error",
    "follow",
    "generate_connection_id",
    "get_all_connections",
    "get_default_connection_manager",
    "get_default_error_recovery",
    "get_default_stream_monitor",
    "get_streaming_stats",
    "open_store",
    "read_events",
    "record_activity",
    "record_error",
    "register_streaming_connection",
    "replay",
    "should_retry",
    "shutdown_streaming_system",
    "unregister_streaming_connection",
]
