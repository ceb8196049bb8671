"""Where a response books what it sent and how it ended: the connection it was registered for."""

from __future__ import annotations

import logging
from typing import Final, Protocol

import attrs

logger: Final = logging.getLogger("rat_fsm")


class ConnectionBook(Protocol):
    """The two calls a response needs of a connection manager; both safe from any thread."""

    def record_activity(
        self, connection_id: str, bytes_sent: int, messages_sent: int = 1, /
    ) -> bool:
        """Add to what the connection has sent."""

    def close_connection(self, connection_id: str, /, *, reason: str, ended_by: str) -> bool:
        """End the connection; False when it is unknown or closed already."""


@attrs.frozen
class Ending:
    """Why a stream is over and at whose hand, in the words of ``connection.closing``."""

    reason: str
    ended_by: str


COMPLETED: Final = Ending("completed", "app")
CLIENT_GONE: Final = Ending("client_disconnect", "client")
STALLED: Final = Ending("stalled", "timeout")
CANCELLED: Final = Ending("cancelled", "server")
BROKEN: Final = Ending("app_error", "server")


@attrs.define(eq=False)
class Ledger:
    """Books for the bound connection, or for nobody.

    A book that fails is logged and does not cut the client's stream.
    """

    _bound: tuple[ConnectionBook, str] | None = None

    def bind(self, book: ConnectionBook, connection_id: str) -> None:
        """Book there from now on."""
        self._bound = (book, connection_id)

    def unbind(self) -> None:
        """Book nowhere from now on."""
        self._bound = None

    def account(self, bytes_sent: int, messages_sent: int) -> None:
        """Book what a server has accepted."""
        if (bound := self._bound) is None:
            return
        book, connection_id = bound
        try:
            book.record_activity(connection_id, bytes_sent, messages_sent)
        except Exception:
            logger.exception("activity of %s could not be recorded", connection_id)

    def report(self, ending: Ending) -> None:
        """Book the end."""
        if (bound := self._bound) is None:
            return
        book, connection_id = bound
        try:
            book.close_connection(connection_id, reason=ending.reason, ended_by=ending.ended_by)
        except Exception:
            logger.exception("the end of %s could not be recorded", connection_id)
