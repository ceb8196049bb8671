"""The connection manager: each connection a recorded state machine, within a limit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.core import (
    Activate,
    Activity,
    BeginClose,
    Close,
    Register,
    ReportError,
    Stall,
    Unstall,
)
from rat_fsm.core import decide as core_decide
from rat_fsm.errors import (
    InvalidArgument,
    InvalidArgumentType,
    LogClosed,
    LogUnavailable,
    Refused,
)
from rat_fsm.log.eventlog import EventLog
from rat_fsm.log.ids import check_id
from rat_fsm.policy import classify_error, describe_error
from rat_fsm.runtime.accumulator import Accumulator
from rat_fsm.runtime.arguments import (
    MAX_ADDRESS,
    MAX_COUNT,
    MAX_KIND,
    MAX_ROUTE,
    check_count,
    check_limit,
    check_metadata,
    check_positive,
    check_text,
)
from rat_fsm.runtime.belongings import Belongings
from rat_fsm.runtime.callbacks import failure_recorder
from rat_fsm.runtime.clock import SYSTEM_CLOCK
from rat_fsm.runtime.privacy import address_keeper
from rat_fsm.runtime.refusals import Refusals
from rat_fsm.runtime.scheduler import weak

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.projections.connections import ConnectionInfo
    from rat_fsm.projections.record import ConnectionRecord
    from rat_fsm.runtime.callbacks import Callback
    from rat_fsm.runtime.clock import Clock

DEFAULT_KIND: Final = "stream"
_ALIVE: Final = frozenset({"connecting", "active", "retrying"})
_log = logging.getLogger("rat_fsm")


class ConnectionManager:
    """Registers connections, counts what they do and ends them; all of it on a log.

    Any method may be called from any thread, from a coroutine or a callback, and from a signal
    handler. None waits for I/O. Methods about one connection answer False where no open
    connection has that id. What could never be right raises: a negative count, a wrong type,
    metadata that is no JSON.

    Call `shutdown` when done.

    Args:
        max_connections: how many connections may be open at once, in this process; None does
            not limit them.
        cleanup_interval: seconds between searches for stale and lost connections.
        log: where to record; by default a log in memory of its own.
        stale_after: a connection without activity or healthy check for so many seconds is
            ended; None ends none for that.
        activity_interval: 0 records every `record_activity`; a positive number of seconds
            gathers what each connection sends and records the sums that often.
        clock: the source of time; the log's by default.
        redact: a pure function from event to event, applied to every event of a connection
            before it is accepted.
        remote_addr: what to keep of addresses: full, truncated, hmac or none.

    Attributes:
        log: where it records.
        clock: the source of time.
        max_connections: the limit.
        connection_refs: connection id → a callable that answers with its object (a weak
            reference where that can be). Subclasses may set entries before registering.
        closed: whether it was shut down.
    """

    def __init__(
        self,
        max_connections: int | None = 1000,
        cleanup_interval: float = 30,
        *,
        log: EventLog | None = None,
        stale_after: float | None = 300.0,
        activity_interval: float = 0.0,
        clock: Clock | None = None,
        redact: Callable[[Any], Any] | None = None,
        remote_addr: str = "full",
    ) -> None:
        self.max_connections = (
            None if max_connections is None else check_limit(max_connections, "max_connections")
        )
        self.cleanup_interval = check_positive(cleanup_interval, "cleanup_interval")
        self.stale_after = (
            None if stale_after is None else check_positive(stale_after, "stale_after")
        )
        interval = check_positive(activity_interval, "activity_interval", zero=True)
        self._keep_address = address_keeper(remote_addr)
        self._redact = redact
        self._owns_log = log is None
        self.log = EventLog(clock=clock) if log is None else log
        self.clock: Clock = clock or self.log.clock or SYSTEM_CLOCK  # type: ignore[assignment]
        self.closed = False
        self._belongings = Belongings(self.clock, failure_recorder(self.log))
        self.connection_refs = self._belongings.held
        self._refusals = Refusals(self.log, self.clock)
        self._accumulator = Accumulator(self.log, self.clock, interval)
        self._gathers = interval > 0
        self._open = self.log.read_model.ids("connection")
        self._record = self.log.record_activity
        self.log.begin(limits={"max_connections": self.max_connections})
        self._cleanup = self.clock.schedule(self.cleanup_interval, weak(self._clean_up))

    def register_connection(
        self,
        connection_id: str,
        remote_addr: str,
        connection_ref: Any = None,
        metadata: dict[str, Any] | None = None,
        *,
        kind: str | None = None,
        admitted: bool = False,
    ) -> bool:
        """Lets a connection in.

        Args:
            connection_id: 1 to 512 characters without control characters; may be used again
                once its connection has ended.
            remote_addr: the client's address.
            connection_ref: the object behind it; held weakly where possible.
            metadata: plain JSON, at most 16 KiB.
            kind: what it is (sse, websocket, chunked, llm …); ``metadata["type"]`` by default.
            admitted: it is being served already, so neither the limit nor a drain refuses it.

        Returns:
            False, counted with its cause, at the limit, for the id of an open connection, while
            draining, when the log cannot take it, and after `shutdown`.

        Raises:
            InvalidArgument, InvalidArgumentType: a value that could never be right.
        """
        check_id(connection_id, "connection_id")
        plain = check_metadata(metadata)
        request = Register(
            self._keep_address(check_text(remote_addr, "remote_addr", MAX_ADDRESS)),
            self._kind_of(kind, plain),
            plain,
            self.max_connections,
            admitted,
        )
        cause = (
            "unavailable" if self.closed or self.log.inside else self._try(connection_id, request)
        )
        if cause is not None:
            _log.debug("connection %r was refused: %s", connection_id, cause)
            self._belongings.restore(connection_id)
            self.count_refusal(cause)
            return False
        self._belongings.adopt(connection_id, connection_ref, self)
        return True

    def _kind_of(self, kind: str | None, metadata: Mapping[str, Any]) -> str:
        if kind is not None:
            return check_text(kind, "kind", MAX_KIND)
        told = metadata.get("type")
        return told if isinstance(told, str) and 0 < len(told) <= MAX_KIND else DEFAULT_KIND

    def _try(self, connection_id: str, request: object) -> str | None:
        """Transacts; answers with the cause of a refusal, None where it was accepted."""
        try:
            self._transact(connection_id, request)
        except Refused as refusal:
            return refusal.cause
        except (LogUnavailable, LogClosed):
            return "log_unavailable"
        return None

    def _transact(self, connection_id: str, request: object, *, reserved: bool = False) -> None:
        redact = self._redact

        def decide(stream: Any, model: Any) -> Any:
            events = core_decide(request, stream, model)
            return events if redact is None else tuple(map(redact, events))

        self.log.transact("connection", connection_id, decide, reserved=reserved)

    def count_refusal(self, cause: str) -> None:
        """A client was turned away, by this manager or before it was asked: an event says why."""
        if not self.closed and not self.log.inside:
            self._refusals.count(cause)

    def end_with(self, connection_id: str, stream: Any) -> None:
        """Closes a stream that knows connections when this one ends, unless it has an object."""
        self._belongings.end_with(connection_id, stream)

    def unregister_connection(self, connection_id: str) -> bool:
        """Ends a connection whose work is done, see `finish_connection`."""
        return self.finish_connection(connection_id, reason="normal", ended_by="app")

    def finish_connection(
        self, connection_id: str, *, reason: str, ended_by: str, code: int | None = None
    ) -> bool:
        """Ends a connection once what was sent has been delivered.

        One whose stream is being served is closing until then, so that its totals are complete.
        Any other is closed at once.
        """
        if not self._is_served(connection_id):
            return self.close_connection(connection_id, reason=reason, ended_by=ended_by, code=code)
        code_for = getattr(self.reference(connection_id), "code_for", None)
        if code is None and code_for is not None:
            code = code_for(ended_by)
        if not self._request(connection_id, BeginClose(reason, ended_by, code), reserved=True):
            return False
        self._belongings.finish(connection_id, reason, ended_by)
        return True

    def kick(self, connection_id: str, *, reason: str = "kicked", stay_out: bool = False) -> bool:
        """Ends one connection because an operator wants it to end.

        Args:
            connection_id: an open connection.
            reason: recorded with its end.
            stay_out: turn its client away at the next attempt, too, in this process: an
                EventSource gets status 204, which ends its reconnecting.

        Raises:
            InvalidArgument: ``stay_out`` for a connection whose server does not admit it again
                through an adapter of rat_fsm.
        """
        stream = self.reference(connection_id)
        keep_out = getattr(stream, "keep_out", None)
        if stay_out and connection_id in self._open:
            if keep_out is None:
                raise InvalidArgument(
                    "stay_out works for connections that an adapter such as StreamingMiddleware "
                    f"admits; {connection_id!r} was registered by hand"
                )
            keep_out()
        return self.finish_connection(connection_id, reason=reason, ended_by="admin")

    def close_connection(
        self, connection_id: str, *, reason: str, ended_by: str, code: int | None = None
    ) -> bool:
        """Ends a connection: records why, at whose hand and with which code of its transport.

        Its callbacks run, and an object that was bound to it is closed.
        """
        request = Close(reason, ended_by, self.clock.now(), code)
        if not self._request(connection_id, request, reserved=True):
            return False
        self._belongings.let_go(connection_id)
        return True

    def _request(self, connection_id: str, request: object, *, reserved: bool = False) -> bool:
        try:
            self._transact(connection_id, request, reserved=reserved)
        except (Refused, LogUnavailable, LogClosed) as refusal:
            _log.debug("%s of %r: %s", type(request).__name__, connection_id, refusal)
            return False
        return True

    def record_activity(self, connection_id: str, bytes_sent: int, messages_sent: int = 1) -> bool:
        """Counts what a connection has sent since the last call.

        A connecting connection becomes active by it, a retrying one has recovered.

        Args:
            connection_id: whose activity.
            bytes_sent: bytes handed to the transport.
            messages_sent: messages in them.

        Raises:
            InvalidArgument: a count is negative.
            InvalidArgumentType: a count is no integer.
        """
        if (
            bytes_sent.__class__ is int
            and messages_sent.__class__ is int
            and 0 <= bytes_sent <= MAX_COUNT
            and 0 <= messages_sent <= MAX_COUNT
            and not self._gathers
        ):
            record = self._open.get(connection_id)
            if record is not None and self._record(record, bytes_sent, messages_sent):
                return True
        return self._record_slowly(connection_id, bytes_sent, messages_sent)

    def _record_slowly(self, connection_id: str, bytes_sent: int, messages_sent: int) -> bool:
        sent = check_count(bytes_sent, "bytes_sent")
        messages = check_count(messages_sent, "messages_sent")
        if (self._gathers and self._is_active(connection_id)) or self.log.under_pressure:
            return not self.closed and self._accumulator.add(connection_id, sent, messages)
        return self._request(connection_id, Activity(sent, messages))

    def _is_active(self, connection_id: str) -> bool:
        """Whether activity is only more of it; the first changes what may be decided."""
        record = self._open.get(connection_id)
        return record is not None and record.state == "active" and record.bytes_sent > 0

    def record_error(self, connection_id: str, error: BaseException | str) -> bool:
        """Records an error of a connection, classified by `classify_error`.

        Raises:
            InvalidArgumentType: it is neither an exception nor a string.
        """
        if not isinstance(error, (BaseException, str)):
            raise InvalidArgumentType(
                f"error must be an exception or a string, not {type(error).__name__}"
            )
        name, message = describe_error(error)
        return self._request(connection_id, ReportError(name, message, *classify_error(error)))

    def activate_connection(self, connection_id: str, *, route: str = "") -> bool:
        """Says that the handshake is done, and the template of the route that serves it."""
        return self._request(connection_id, Activate(check_text(route, "route", MAX_ROUTE)))

    def record_stall(self, connection_id: str, waited: float) -> bool:
        """Says that the client has taken nothing for ``waited`` seconds."""
        return self._request(connection_id, Stall(waited))

    def record_unstall(self, connection_id: str, waited: float) -> bool:
        """Says that the client takes data again, after ``waited`` seconds."""
        return self._request(connection_id, Unstall(waited))

    def mark_healthy(self, connection_id: str) -> bool:
        """Says that a check found the connection working: it is not stale for now."""
        record = self._open.get(connection_id)
        if record is None:
            return False
        self._belongings.found_healthy(connection_id, self.clock.now())
        return record.state != "connecting" or self.activate_connection(connection_id)

    def on_close(self, connection_id: str, callback: Callback) -> bool:
        """Calls ``callback(connection_id)`` once, however the connection ends.

        It runs on a thread of its own; a coroutine function runs on the event loop that
        registers it.

        Returns:
            False, and nothing is called, where no open connection has this id.

        Raises:
            InvalidArgument, InvalidArgumentType: it cannot be called.
        """
        checked = self._belongings.check(callback)
        if connection_id not in self._open:
            return False
        self._belongings.call_when_ended(connection_id, checked)
        if connection_id not in self._open:  # it ended meanwhile; whoever comes first calls
            self._belongings.let_go(connection_id)
        return True

    def forget_callback(self, connection_id: str) -> None:
        """Calls nothing when this connection ends."""
        self._belongings.forget_callbacks(connection_id)

    def reference(self, connection_id: str) -> Any:
        """The object behind a connection, None where there is none (any more)."""
        return self._belongings.reference(connection_id)

    def is_connection_alive(self, connection_id: str) -> bool:
        """Whether the connection is open, is not closing, and its object still exists."""
        record = self._open.get(connection_id)
        if record is None or record.state not in _ALIVE:
            return False
        return not self._belongings.is_gone(connection_id)

    def get_connection_info(self, connection_id: str) -> ConnectionInfo | None:
        """A frozen copy of what is known of an open connection, None where there is none."""
        with self.log.reading() as model:
            return model.connections.get(connection_id)

    def get_all_connections(self) -> list[ConnectionInfo]:
        """A frozen copy of what is known of every open connection."""
        with self.log.reading() as model:
            return model.connections.infos()

    @property
    def draining(self) -> bool:
        """Whether a shutdown has begun: what can end soon should."""
        return self.log.read_model.draining

    @property
    def connections(self) -> Mapping[str, ConnectionInfo]:
        """Open connections, id → info: a read-only view that may be iterated at any time."""
        return self.log.read_model.connections

    def get_stats(self) -> dict[str, Any]:
        """The statistics of `Stats.as_dict`, at a cost that does not grow with connections."""
        with self.log.reading() as model:
            return {**model.stats.as_dict(), "max_connections": self.max_connections}

    def _clean_up(self) -> None:
        if self.closed:
            return
        try:
            self._cleanup_stale_connections()
        finally:
            self._cleanup = self.clock.schedule(self.cleanup_interval, weak(self._clean_up))

    def _cleanup_stale_connections(self) -> int:
        """Ends connections that are stale or whose object is gone; answers with how many."""
        patience = self.stale_after
        oldest = -1 if patience is None else self.clock.now() - round(patience * 1_000_000)
        with self.log.reading() as model:
            records = model.open_records()
        ended = 0
        for record in records:
            seen = max(record.last_activity, self._belongings.healthy_at(record.id))
            if self._belongings.is_gone(record.id):
                ended += self.close_connection(record.id, reason="reference_lost", ended_by="app")
            elif seen <= oldest and not self._is_finishing(record):
                ended += self.finish_connection(record.id, reason="stale", ended_by="timeout")
        self._sweep()
        return ended

    def _is_finishing(self, record: ConnectionRecord) -> bool:
        """Whether it has been told to end, and will report that it did."""
        return record.state == "closing" and self._is_served(record.id)

    def _is_served(self, connection_id: str) -> bool:
        return bool(getattr(self.reference(connection_id), "delivering", False))

    def _sweep(self) -> None:
        """Lets go of what belongs to connections that others ended, through the log."""
        for connection_id in self._belongings.ids():
            if connection_id not in self._open:
                self._belongings.let_go(connection_id)

    def flush_activity(self) -> None:
        """Records what has been gathered so far: activity, and clients that were turned away."""
        self._accumulator.flush()
        self._refusals.flush()

    def shutdown(self, report: Mapping[str, Any] | None = None) -> None:
        """Ends every connection and, if the log is its own, closes it. Idempotent.

        In a signal handler that interrupted the log it answers at once, and the end follows.

        Args:
            report: what to record with the end of the run, when its log is closed.

        Raises:
            LogUnavailable, FlushTimeout: its own log could not make everything durable.
        """
        if self.log.inside:  # a signal handler: what it interrupted must leave first
            self.clock.schedule(0.0, weak(self.shutdown))
            return
        if self.closed:
            return
        self.closed = True
        self._cleanup.cancel()
        self.flush_activity()
        with self.log.reading() as model:
            records = model.open_records()
        for record in records:
            self.close_connection(record.id, reason="shutdown", ended_by="shutdown")
        self._sweep()
        if self._owns_log:
            self.log.close(report)
        elif report is not None:
            self.log.keep_report(report)
