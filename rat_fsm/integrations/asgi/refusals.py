"""Tells a client that it is not let in, in the words of its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.streaming.arguments import BODILESS
from rat_fsm.streaming.http_response import HttpResponse

if TYPE_CHECKING:
    from rat_fsm.integrations.asgi.exchange import Exchange
    from rat_fsm.integrations.serving.gate import Refusal
    from rat_fsm.streaming.asgi import Send

TRY_AGAIN_LATER: Final = 1013


async def refuse(refusal: Refusal, exchange: Exchange) -> None:
    """Answers instead of the application."""
    scope, receive, send = exchange.scope, exchange.server_receive, exchange.server_send
    response = HttpResponse(refusal.status, refusal.text)
    for name, value in refusal.headers:
        response.set_header(name, value)
    if scope["type"] == "http":
        await response(scope, receive, send)
        return
    await receive()  # websocket.connect
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await _deny(response, send)
    else:  # a close before the accept is a 403
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})


async def _deny(response: HttpResponse, send: Send) -> None:
    # A WebSocket client takes any status but 101 for a no; 204 would promise it a stream's end.
    status = 403 if response.status in BODILESS else response.status
    await send(
        {
            "type": "websocket.http.response.start",
            "status": status,
            "headers": response.headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": response.body})
