"""The guide's module: what `rat_engine/error_handling.py` held, under the same names."""

from rat_fsm.policy import classify_error
from rat_fsm.projections.connections import ConnectionInfo, ConnectionState
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
from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.runtime.monitor import StreamMonitor
from rat_fsm.runtime.recovery import ErrorRecovery
from rat_fsm.runtime.shutdown import GracefulShutdown

__all__ = [
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
