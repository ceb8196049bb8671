"""The process's own manager, monitor and recovery, made at first use, and functions over them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.runtime.monitor import StreamMonitor
from rat_fsm.runtime.recovery import ErrorRecovery

if TYPE_CHECKING:
    from rat_fsm.projections.connections import ConnectionInfo
    from rat_fsm.runtime.callbacks import Callback


@attrs.frozen
class _Defaults:
    manager: ConnectionManager
    monitor: StreamMonitor
    recovery: ErrorRecovery


_lock = threading.RLock()
_current: _Defaults | None = None


def _defaults() -> _Defaults:
    global _current  # noqa: PLW0603 - the guide's defaults belong to the process
    with _lock:
        if _current is None or _current.manager.closed:
            manager = ConnectionManager()
            _current = _Defaults(manager, StreamMonitor(manager), ErrorRecovery(log=manager.log))
        return _current


def _start_afresh() -> None:
    """In a forked child the parent's defaults mean nothing."""
    global _current, _lock
    _current, _lock = None, threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


def get_default_connection_manager() -> ConnectionManager:
    """The process's connection manager, with a log in memory."""
    return _defaults().manager


def get_default_stream_monitor() -> StreamMonitor:
    """The monitor of the process's connection manager."""
    return _defaults().monitor


def get_default_error_recovery() -> ErrorRecovery:
    """The recovery that records on the log of the process's connection manager."""
    return _defaults().recovery


def register_streaming_connection(
    connection_id: str,
    remote_addr: str,
    connection_ref: Any = None,
    metadata: dict[str, Any] | None = None,
    on_disconnect: Callback | None = None,
) -> bool:
    """Registers a connection with the default manager and watches its stream.

    Args:
        connection_id: 1 to 512 characters.
        remote_addr: the client's address.
        connection_ref: its stream, such as an SSE response.
        metadata: plain JSON.
        on_disconnect: called once with the id, however the connection ends.

    Returns:
        False where the connection was refused.
    """
    defaults = _defaults()
    if not defaults.manager.register_connection(
        connection_id, remote_addr, connection_ref, metadata
    ):
        return False
    if connection_ref is not None or on_disconnect is not None:
        defaults.monitor.start_monitoring(connection_id, connection_ref, on_disconnect)
    return True


def unregister_streaming_connection(connection_id: str) -> bool:
    """Ends a connection of the default manager; its callback runs."""
    return _defaults().manager.unregister_connection(connection_id)


def get_streaming_stats() -> dict[str, Any]:
    """The statistics of the default manager."""
    return _defaults().manager.get_stats()


def get_all_connections() -> list[ConnectionInfo]:
    """Every open connection of the default manager."""
    return _defaults().manager.get_all_connections()


def record_activity(connection_id: str, bytes_sent: int, messages_sent: int = 1) -> bool:
    """Counts what a connection of the default manager has sent since the last call."""
    return _defaults().manager.record_activity(connection_id, bytes_sent, messages_sent)


def record_error(connection_id: str, error: BaseException | str) -> bool:
    """Records an error of a connection of the default manager."""
    return _defaults().manager.record_error(connection_id, error)


def should_retry(connection_id: str, error: BaseException | str) -> bool:
    """Decides about a retry of a connection of the default manager."""
    return _defaults().recovery.should_retry(connection_id, error)


def generate_connection_id(prefix: str = "conn") -> str:
    """A new id that no other process will make: the prefix and 128 random bits."""
    return f"{prefix}_{os.urandom(16).hex()}"


def shutdown_streaming_system() -> None:
    """Ends what the defaults own; the next use starts afresh. Does nothing if nothing was used."""
    global _current
    with _lock:
        defaults, _current = _current, None
    if defaults is not None:
        defaults.monitor.shutdown()
        defaults.manager.shutdown()
