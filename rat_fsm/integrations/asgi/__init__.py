"""Records every stream of an ASGI application, on any asyncio server: wrap the application."""

from rat_fsm.integrations.asgi.middleware import StreamingMiddleware
from rat_fsm.integrations.serving.connection import (
    Connection,
    ConnectionFilter,
    current_connection,
)

__all__ = ["Connection", "ConnectionFilter", "StreamingMiddleware", "current_connection"]
