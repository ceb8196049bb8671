"""Records every stream of an ASGI application, on any asyncio server: wrap the application."""

from rat_fsm.integrations.asgi.middleware import StreamingMiddleware
from rat_fsm.integrations.asgi.scopes import asks_for_events
from rat_fsm.integrations.serving.connection import (
    Connection,
    ConnectionFilter,
    current_connection,
)

__all__ = [
    "Connection",
    "ConnectionFilter",
    "StreamingMiddleware",
    "asks_for_events",
    "current_connection",
]
