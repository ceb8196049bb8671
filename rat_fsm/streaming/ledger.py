"""Where a response books what it sent and how it ended: the connection it was registered for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

if TYPE_CHECKING:
    from rat_fsm.streaming.asgi import Scope

# Where an adapter that wraps the application leaves the connection it serves.
SCOPE_KEY: Final = "rat_fsm.connection"
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


@attrs.frozen(eq=False)
class ServedBook:
    """The book of a request that an adapter serves: it counts by itself, and asks how it ended."""

    scope: Scope

    def record_activity(
        self,
        connection_id: str,  # noqa: ARG002 - the scope knows the connection
        bytes_sent: int,  # noqa: ARG002 - the adapter has counted it
        messages_sent: int = 1,  # noqa: ARG002 - likewise
        /,
    ) -> bool:
        """It is counted already."""
        return True

    def close_connection(self, connection_id: str, /, *, reason: str, ended_by: str) -> bool:  # noqa: ARG002 - as above
        """Says how the stream ended, where the adapter cannot know better."""
        connection = self.scope.get(SCOPE_KEY)
        if connection is not None:
            connection.conclude(Ending(reason, ended_by))
        return connection is not None


def told_to_end(scope: Scope) -> bool:
    """Whether an adapter has asked the connection of this request to end."""
    connection: Any = scope.get(SCOPE_KEY)
    return connection is not None and connection.ending is not None


@attrs.define(eq=False)
class Ledger:
    """Books for the bound connection, or for nobody.

    A book that fails is logged and does not cut the client's stream.
    """

    _bound: tuple[ConnectionBook, str] | None = None

    def bind(self, book: ConnectionBook, connection_id: str) -> None:
        """Book there from now on."""
        self._bound = (book, connection_id)

    def bind_served(self, scope: Scope) -> None:
        """Book for the connection of a request that an adapter serves, unless bound already."""
        if self._bound is None:
            self._bound = (ServedBook(scope), "")

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
