"""A whole response for the cases in which there is no stream, such as a refused connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rat_fsm.errors import InvalidArgumentType
from rat_fsm.streaming.arguments import BODILESS, encoded, final_status, header, utf8

if TYPE_CHECKING:
    from rat_fsm.streaming.asgi import Receive, Scope, Send


class HttpResponse:
    """A status, headers and a body, sent as an ASGI application.

    Plain UTF-8 text unless ``set_header("content-type", …)`` says otherwise. The setters check
    what they are given and may be called until it is returned.
    """

    def __init__(self, status: int = 200, body: str | bytes = b"") -> None:
        self._headers = {"content-type": "text/plain; charset=utf-8"}
        self.set_status(status)
        self.set_body(body)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._status

    @property
    def body(self) -> bytes:
        """The body, text encoded as UTF-8."""
        return self._body

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What will be sent: content-length is the body's unless the status allows none."""
        if self._status in BODILESS:
            return encoded(self._headers)
        return encoded({"content-length": str(len(self._body))} | self._headers)

    def set_status(self, status: int) -> None:
        """Answer with this status, 200 to 599."""
        self._status = final_status(status)

    def set_body(self, body: str | bytes) -> None:
        """Answer with this text or these bytes."""
        self._body = _encoded(body)

    def set_header(self, name: str, value: str) -> None:
        """Set a header, in place of one of the same name."""
        self._headers.update([header(name, value)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Send the response; HEAD, 204 and 304 go without a body."""
        silent = scope["method"] == "HEAD" or self._status in BODILESS
        await send({"type": "http.response.start", "status": self._status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"" if silent else self._body})


def _encoded(body: object) -> bytes:
    if isinstance(body, str):
        return utf8(body)
    if isinstance(body, bytes):
        return body
    msg = f"body must be str or bytes, not {type(body).__name__}: json.dumps it first"
    raise InvalidArgumentType(msg)
