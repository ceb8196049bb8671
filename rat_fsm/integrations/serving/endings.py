"""Why served connections end, in the words of ``connection.closing``, whatever server it was."""

from __future__ import annotations

from typing import Final

from rat_fsm.streaming.ledger import CANCELLED, CLIENT_GONE, COMPLETED, Ending

__all__ = [
    "APP_ERROR",
    "CANCELLED",
    "CLIENT_CLOSE",
    "CLIENT_GONE",
    "COMPLETED",
    "FORCED",
    "IDLE",
    "LIFETIME",
    "SHUTDOWN",
    "Ending",
    "client_left",
    "close_code_for",
]

APP_ERROR: Final = Ending("app_error", "app")
CLIENT_CLOSE: Final = Ending("client_close", "client")
FORCED: Final = Ending("forced", "shutdown")
IDLE: Final = Ending("idle_timeout", "timeout")
LIFETIME: Final = Ending("limit", "limit")
SHUTDOWN: Final = Ending("shutdown", "shutdown")

# RFC 6455, section 7.4.1, and the IANA registry of close codes.
NO_FRAME: Final = 1006
GOING_AWAY: Final = 1001
POLICY: Final = 1008
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
# uvicorn reports 1005 where the connection broke without a close frame, hypercorn and daphne 1006,
# granian 1005: neither code says more than that no usable frame was seen.
_NO_USABLE_FRAME: Final = frozenset({1005, NO_FRAME})
REASONS: Final = {
    GOING_AWAY: "going away",
    POLICY: "policy",
    SERVICE_RESTART: "service restart",
}
_CODES: Final = {"shutdown": SERVICE_RESTART, "admin": POLICY}


def close_code_for(ended_by: str) -> int:
    """The code a WebSocket is closed with when the server ends it at this hand."""
    return _CODES.get(ended_by, GOING_AWAY)


def client_left(code: int | None) -> tuple[Ending, int]:
    """How a WebSocket ended whose server reports this close code of its client."""
    if code is None or code in _NO_USABLE_FRAME:
        return CLIENT_GONE, NO_FRAME
    return CLIENT_CLOSE, code
