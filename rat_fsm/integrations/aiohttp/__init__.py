"""Records every stream of an aiohttp application: event streams, WebSockets, chunked responses."""

from rat_fsm.integrations.aiohttp.recorder import CONNECTION, StreamRecorder
from rat_fsm.integrations.serving.connection import (
    Connection,
    ConnectionFilter,
    current_connection,
)

__all__ = ["CONNECTION", "Connection", "ConnectionFilter", "StreamRecorder", "current_connection"]
