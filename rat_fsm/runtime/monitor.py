"""The stream monitor: finds streams that ended without telling anybody."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from rat_fsm.runtime import references
from rat_fsm.runtime.arguments import check_positive
from rat_fsm.runtime.scheduler import weak

if TYPE_CHECKING:
    from rat_fsm.runtime.callbacks import Callback
    from rat_fsm.runtime.manager import ConnectionManager

_log = logging.getLogger("rat_fsm")


class StreamMonitor:
    """Checks streams at an interval, all of them on the one scheduler thread of the process.

    A stream is over when its object is gone or says so (``is_closed`` or ``closed``, a value or
    a method). Its connection is ended then; a stream that is well keeps its connection from
    becoming stale, and makes a connecting one active.

    Args:
        connection_manager: whose connections are watched.
        check_interval: seconds between checks.
    """

    def __init__(self, connection_manager: ConnectionManager, check_interval: float = 1.0) -> None:
        self.connection_manager = connection_manager
        self.check_interval = check_positive(check_interval, "check_interval")
        self._streams: dict[str, Any] = {}
        self._scheduled = False
        self._closed = False

    def start_monitoring(
        self, connection_id: str, stream_ref: Any, on_disconnect: Callback | None = None
    ) -> bool:
        """Watches a stream and calls back once when its connection ends, however it ends.

        Args:
            connection_id: an open connection.
            stream_ref: its stream, held weakly where that can be; None to only call back.
            on_disconnect: called with the id on a thread of its own; a coroutine function is
                run on the event loop that calls this.

        Returns:
            False where no open connection has this id, or after `shutdown`.

        Raises:
            InvalidArgument, InvalidArgumentType: the callback cannot be called.
        """
        manager = self.connection_manager
        if self._closed or manager.get_connection_info(connection_id) is None:
            return False
        if on_disconnect is not None and not manager.on_close(connection_id, on_disconnect):
            return False
        if stream_ref is not None:
            self._streams[connection_id] = references.hold(stream_ref)
            manager.end_with(connection_id, stream_ref)
        self._schedule()
        return True

    def stop_monitoring(self, connection_id: str) -> None:
        """Neither watches nor calls back any more; does nothing for an unknown id."""
        self._streams.pop(connection_id, None)
        self.connection_manager.forget_callback(connection_id)

    def is_monitoring(self, connection_id: str) -> bool:
        """Whether this connection's stream is watched."""
        return connection_id in self._streams

    def _schedule(self) -> None:
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self.connection_manager.clock.schedule(self.check_interval, weak(self._check_all))

    def _check_all(self) -> None:
        self._scheduled = False
        for connection_id, held in list(self._streams.items()):
            try:
                self._check(connection_id, held)
            except Exception:  # noqa: BLE001 - one bad stream must not hide the others
                _log.exception("checking the stream of %r failed", connection_id)
        if self._streams:
            self._schedule()

    def _check(self, connection_id: str, held: Any) -> None:
        manager, stream = self.connection_manager, references.resolve(held)
        lost = ("reference_lost", "app")
        ending = lost if stream is None else references.ending_of(stream)
        if ending is None and manager.mark_healthy(connection_id):
            return
        self._streams.pop(connection_id, None)
        if ending is not None:
            reason, ended_by = ending
            manager.close_connection(connection_id, reason=reason, ended_by=ended_by)

    def shutdown(self) -> None:
        """Watches nothing any more; callbacks stay until the manager ends their connections."""
        self._closed = True
        self._streams.clear()
