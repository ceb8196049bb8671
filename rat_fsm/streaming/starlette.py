"""For frameworks that ask whether a returned object is a Starlette ``Response``, as FastAPI does.

Starlette's own routing calls whatever a handler returned and needs none of this. Importing this
module imports Starlette.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from rat_fsm.streaming.asgi import ASGIResponse


class StarletteResponse(Response):
    """A Starlette response around one of ours: ``return StarletteResponse(sse_response)``.

    Headers that the framework adds, such as cookies, are sent, and background tasks run after it.
    """

    def __init__(self, response: ASGIResponse) -> None:
        super().__init__(status_code=response.status)
        self.raw_headers = response.headers
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the wrapped response with the status and headers as they are now."""

        async def send_ours(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "status": self.status_code, "headers": self.raw_headers}
            await send(message)

        await self._response(scope, receive, send_ours)
        if self.background is not None:
            await self.background()
