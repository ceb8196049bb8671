"""Records every connection of a server of the websockets library."""

from rat_fsm.integrations.serving.connection import (
    Connection,
    ConnectionFilter,
    current_connection,
)
from rat_fsm.integrations.websockets.recorder import SocketRecorder

__all__ = ["Connection", "ConnectionFilter", "SocketRecorder", "current_connection"]
