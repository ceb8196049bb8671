"""The response of an event stream, as any thread of the application sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.streaming.arguments import (
    BODILESS,
    encoded,
    final_status,
    header,
    seconds,
    whole_number,
)
from rat_fsm.streaming.framing import comment_frame, event_frame, retry_frame
from rat_fsm.streaming.ledger import ConnectionBook, Ending, Ledger
from rat_fsm.streaming.outbox import Outbox, Parcel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.streaming.asgi import Receive, Scope, Send

# A stream is new for each reader, and nginx would otherwise hold events back. The charset is for
# clients that take text without one for Latin-1.
DEFAULT_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


@attrs.define(eq=False)
class SSEResponse:
    """An event stream that is its own ASGI application: return it, and send into it.

    Make it with `create_sse_response`. Every ``send_`` method may be called from any thread, from
    the loop, from a signal handler, and before the response has started. None of them blocks.
    They answer True when the event is queued, and False when nothing was: because the stream is
    closed, the client is gone, or the queue is full at the moment (``is_closed`` tells them
    apart). Delivery needs an asyncio server.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    _outbox: Outbox
    _ledger: Ledger
    _preamble: bytes
    _heartbeat: float | None

    def send_event(
        self,
        event: str | None,
        data: str,
        *,
        id: str | None = None,
    ) -> bool:
        """Queue one event; ``event=None`` is what browsers call ``message``.

        Args:
            event: its type, one line.
            data: its text; line ends of any kind arrive as newlines.
            id: what the client will send as ``Last-Event-ID``; ``""`` clears it.

        Raises:
            InvalidArgument: a line break or NUL in ``event`` or ``id``, or lone surrogates.
            InvalidArgumentType: anything that is not text: ``json.dumps`` it first.
        """
        return self._outbox.put(Parcel(event_frame(event, data, id), 1))

    def send_data(self, data: str) -> bool:
        """Queue an event without a type."""
        return self.send_event(None, data)

    def send_comment(self, text: str) -> bool:
        """Queue lines that clients ignore; they count as bytes, not as a message."""
        return self._outbox.put(Parcel(comment_frame(text), 0))

    def close(self) -> None:
        """Take no more events; the stream ends once those queued are delivered. Idempotent."""
        self._outbox.close()

    @property
    def is_closed(self) -> bool:
        """Whether every further event would be refused; queued ones may still be on their way."""
        return self._outbox.closed

    @property
    def delivering(self) -> bool:
        """Whether it is being served; how that ends is reported to its connection."""
        return self._outbox.delivering

    @property
    def ending(self) -> Ending | None:
        """Why the stream is over and at whose hand, None until all is delivered or given up."""
        return self._outbox.ending

    def bind_connection(self, manager: ConnectionBook, connection_id: str) -> None:
        """Book bytes, messages and the end of this stream for a connection, from now on.

        Bytes are those the server accepted, which is not yet what a client has read. A stream
        that is over already is reported at once.
        """
        self._ledger.bind(manager, connection_id)
        if (ending := self._outbox.ending) is not None:
            self._ledger.report(ending)

    def unbind_connection(self) -> None:
        """Book nowhere: the id may belong to another stream before this one is delivered."""
        self._ledger.unbind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a HEAD request gets the headers and ends the stream.

        Raises:
            Refused: it serves, or has served, another request.
        """
        # Here and not above: asyncio costs 40 ms to import.
        from rat_fsm.streaming.delivery import Delivery

        self._ledger.bind_served(scope)
        start = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        delivery = Delivery(
            self._outbox, self._ledger, send, start, self._preamble, self._heartbeat, scope
        )
        await delivery.run(receive, with_body=scope["method"] != "HEAD")


def create_sse_response(
    *,
    retry: int | None = None,
    heartbeat: float | None = None,
    max_queue: int = 1000,
    stall_after: float = 15.0,
    headers: Mapping[str, str] | None = None,
    status: int = 200,
) -> SSEResponse:
    """An event stream to return from a handler and to send events into.

    Args:
        retry: milliseconds a client shall wait before it reconnects, as in the format's field.
        heartbeat: seconds of silence after which a comment is sent, None for never. Where a
            server cannot tell that a client is gone, only a write finds out.
        max_queue: events that may wait for the client; one more is refused, none is dropped.
        stall_after: seconds without movement after which a full queue, or one that was closed
            and is not empty, ends the stream as stalled. ASGI cannot abort the transport: the
            server keeps the socket until the client reads or leaves.
        headers: added to ours, or in their place.
        status: of the HTTP response.

    Raises:
        InvalidArgument: a value out of range, or a header HTTP cannot carry.
        InvalidArgumentType: a value of the wrong type.
    """
    ledger = Ledger()
    outbox = Outbox(
        whole_number("max_queue", max_queue, 1), seconds("stall_after", stall_after), ledger.report
    )
    return SSEResponse(
        status=_status_with_body(status),
        headers=encoded(DEFAULT_HEADERS | _checked(headers)),
        outbox=outbox,
        ledger=ledger,
        preamble=b"" if retry is None else retry_frame(whole_number("retry", retry, 0)),
        heartbeat=None if heartbeat is None else seconds("heartbeat", heartbeat),
    )


def _checked(headers: Mapping[str, str] | None) -> dict[str, str]:
    try:
        return dict(header(name, value) for name, value in (headers or {}).items())
    except AttributeError:
        msg = f"headers must be a mapping, not {type(headers).__name__}"
        raise InvalidArgumentType(msg) from None


def _status_with_body(value: int) -> int:
    status = final_status(value)
    if status in BODILESS:
        msg = f"a response of status {status} has no body to stream; HttpResponse({status}) says it"
        raise InvalidArgument(msg)
    return status
