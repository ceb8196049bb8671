"""One served connection: what its handler may ask of it, and its entries in the log."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol

from rat_fsm.integrations.serving.endings import SHUTDOWN, Ending, close_code_for
from rat_fsm.runtime.arguments import MAX_ROUTE
from rat_fsm.runtime.escaping import escape

if TYPE_CHECKING:
    from rat_fsm.runtime.manager import ConnectionManager
    from rat_fsm.runtime.metering import Meter, Meters

_log: Final = logging.getLogger("rat_fsm")
_access: Final = logging.getLogger("rat_fsm.access")


class Transport(Protocol):
    """What an adapter can do about the connection it serves; called on any thread."""

    @property
    def code(self) -> int | None:
        """The HTTP status once the response has begun, the close code of a WebSocket."""

    def stop(self, ending: Ending, code: int) -> None:
        """End it politely, soon: the client shall see a clean end."""

    def keep_out(self) -> None:
        """Turn this client away at its next attempt."""


class Connection:
    """One connection, from its registration to its end.

    Handlers get it from `current_connection` and may ask for its id, `end` it, or record an
    error; the adapter does the rest.

    Attributes:
        id: its id in the log.
        kind: sse, websocket, chunked, or what the application calls it.
        remote_addr: the client's address as it is recorded.
        route: the template of the route that serves it, empty until that is known.
        manager: whose connection it is.
        ending: why it was told to end, None while it goes on.
        conclusion: how it ended in the view of a response that knows more than its adapter.
        delivering: whether it is being served; how that ends is recorded when it ends.
    """

    def __init__(
        self, manager: ConnectionManager, meters: Meters, connection_id: str, kind: str
    ) -> None:
        self.manager = manager
        self.id = connection_id
        self.kind = kind
        self.remote_addr = ""
        self.route = ""
        self.delivering = True
        self.meter: Meter = meters.attach(connection_id)
        self.opened_at = time.monotonic()
        self._meters = meters
        self._transport: Transport | None = None
        self.ending: Ending | None = None
        self.conclusion: Ending | None = None

    def serve(self, transport: Transport) -> None:
        """Says who can end it; one that was ended meanwhile is told at once."""
        self._transport = transport
        if self.ending is not None:
            transport.stop(self.ending, close_code_for(self.ending.ended_by))

    def bind_connection(self, manager: ConnectionManager, connection_id: str) -> None:
        """What the manager calls when it has accepted the registration."""
        info = manager.get_connection_info(connection_id)
        self.remote_addr = "" if info is None else info.remote_addr

    def unbind_connection(self) -> None:
        """The manager has let go: the end is in the log already."""

    def finish(self, reason: str, ended_by: str) -> None:
        """Ends it politely; what the manager calls when it has recorded why."""
        self._stop(Ending(reason, ended_by))

    def close(self) -> None:
        """Ends it politely; what the manager calls when it has recorded the end already."""
        self._stop(SHUTDOWN if self.manager.closed else Ending("normal", "server"))

    def end(self, reason: str = "normal", *, ended_by: str = "app") -> bool:
        """Ends it politely, from any thread: the client sees a clean end.

        Args:
            reason: a slug, recorded.
            ended_by: at whose hand: app, server, limit, admin, ….

        Returns:
            False where it has ended already.
        """
        return self.manager.finish_connection(self.id, reason=reason, ended_by=ended_by)

    def code_for(self, ended_by: str) -> int | None:
        """What its end at this hand is recorded with."""
        if self.kind == "websocket":
            return close_code_for(ended_by)
        return None if self._transport is None else self._transport.code

    def conclude(self, ending: Ending) -> None:
        """Says how it ended, for where the adapter sees only that it did."""
        self.conclusion = ending

    def record_error(self, error: BaseException | str) -> bool:
        """Records an error of this connection, classified."""
        return self.manager.record_error(self.id, error)

    def keep_out(self) -> None:
        """Has its client turned away at the next attempt."""
        if self._transport is not None:
            self._transport.keep_out()

    def _stop(self, ending: Ending) -> None:
        self.ending = ending
        if self._transport is not None:
            self._transport.stop(ending, close_code_for(ending.ended_by))

    def activated(self, route: str) -> None:
        """The handshake is done."""
        self.route = route[:MAX_ROUTE]
        self.manager.activate_connection(self.id, route=self.route)

    def settle(self) -> None:
        """Records what was sent up to now."""
        self._meters.settle(self.id)

    def ended(self, ending: Ending, code: int | None) -> None:
        """Records the end, once, without waiting for anything, and writes the access line.

        Where an end was begun already, such as by a kick, its reason stays.
        """
        if not self.delivering:
            return
        self.delivering = False
        record = self.manager.log.read_model.record("connection", self.id)
        reason = getattr(record, "reason", None) or ending.reason
        try:
            self.manager.close_connection(
                self.id, reason=ending.reason, ended_by=ending.ended_by, code=code
            )
        finally:
            self._meters.detach(self.id)
        self._write_access_line(reason, code)

    def _write_access_line(self, reason: str, code: int | None) -> None:
        if not _access.isEnabledFor(logging.INFO):
            return
        _access.info(
            "%s %s %s %s %.3fs bytes=%d messages=%d reason=%s code=%s",
            *(escape(part) or "-" for part in (self.remote_addr, self.kind, self.route, self.id)),
            time.monotonic() - self.opened_at,
            self.meter.bytes_sent,
            self.meter.messages_sent,
            escape(reason),
            "-" if code is None else code,
            extra={"connection_id": self.id},
        )


class Bearer(Protocol):
    """Who serves the current request: it has a connection, or may have one later."""

    @property
    def connection(self) -> Connection | None:
        """The connection, None while it is not known whether the request is one."""


CURRENT: Final[ContextVar[Bearer | None]] = ContextVar("rat_fsm_connection", default=None)


def current_connection() -> Connection | None:
    """The connection that this task or callback serves, None outside one.

    A response that turns out to be a stream is a connection from its start on, so a handler
    that runs before it gets None, and the generator behind it the connection.
    """
    bearer = CURRENT.get()
    return None if bearer is None else bearer.connection


class ConnectionFilter(logging.Filter):
    """Adds ``connection_id`` to every log record, ``-`` outside a connection.

    Put it on a handler: ``handler.addFilter(ConnectionFilter())``, and use
    ``%(connection_id)s`` in its format.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Never drops a record."""
        if not hasattr(record, "connection_id"):
            connection = current_connection()
            record.connection_id = "-" if connection is None else escape(connection.id)
        return True
