"""The connections that are open now, and what is known of each."""

from __future__ import annotations

import enum
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ErrorRecorded,
    Registered,
    Stalled,
    Unstalled,
    to_datetime,
)
from rat_fsm.projections.stats import MAX_REASONS

if TYPE_CHECKING:
    import datetime

    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.record import ConnectionRecord
    from rat_fsm.projections.stats import Totals

Folds = dict[type, Callable[[Any, Any, int, Any], None]]


class ConnectionState(enum.Enum):
    """The states of the connection lifecycle."""

    CONNECTING = "connecting"
    ACTIVE = "active"
    RETRYING = "retrying"
    CLOSING = "closing"
    CLOSED = "closed"


@attrs.frozen
class ConnectionInfo:
    """What is known of one connection at one moment; a copy that never changes.

    Attributes:
        created_at: when it was registered, aware UTC.
        last_activity: when it last sent something, or was registered, aware UTC.
        retry_count: retries since the last reset; ``total_retries`` in its whole life.
        route: the template of the route that serves it, empty where none is known.
        committed: whether a byte has gone downstream.
        stalled: whether the client has stopped taking data.
        draining: whether the server is shutting down.
    """

    connection_id: str
    remote_addr: str
    kind: str
    metadata: dict[str, Any]
    state: ConnectionState
    created_at: datetime.datetime
    last_activity: datetime.datetime
    bytes_sent: int
    messages_sent: int
    error_count: int
    retry_count: int
    total_retries: int
    committed: bool
    stalled: bool
    draining: bool
    route: str


def record_activity(
    totals: Totals, record: ConnectionRecord, at: int, sent: int, messages: int
) -> None:
    """Folds the payload of a legal ActivityRecorded: the hot fold, live and in replay alike.

    The caller counts the version up right after, in a straight line.
    """
    record.bytes_sent += sent
    record.messages_sent += messages
    record.last_activity = at
    totals.bytes_sent += sent
    totals.messages_sent += messages


def _activity(totals: Totals, record: ConnectionRecord, at: int, event: ActivityRecorded) -> None:
    record_activity(totals, record, at, event.bytes_sent, event.messages_sent)


def _registered(totals: Totals, record: ConnectionRecord, at: int, event: Registered) -> None:
    totals.registered += 1
    totals.open += 1
    if totals.open > totals.peak:  # noqa: PLR1730 - max() is a call, see StreamRecord
        totals.peak = totals.open
    if event.continues:
        totals.continued += 1
    record.remote_addr = event.remote_addr
    record.kind = event.kind
    record.metadata = event.metadata or None
    record.continues = event.continues
    record.created_at = at
    record.last_activity = at


def _activated(totals: Totals, record: ConnectionRecord, at: int, event: Activated) -> None:
    if not record.activated and not record.continues:
        totals.activations += 1
        totals.response_time += at - record.created_at
    record.route = event.route
    record.activated = True


def _erred(totals: Totals, record: ConnectionRecord, _at: int, _event: ErrorRecorded) -> None:
    totals.errors += 1
    if not record.errors:
        totals.erring += 1
    record.errors += 1


def _stalled(totals: Totals, record: ConnectionRecord, _at: int, _event: Stalled) -> None:
    if not record.stalled:
        totals.stalled += 1
    record.stalled = True


def _unstalled(totals: Totals, record: ConnectionRecord, _at: int, _event: Unstalled) -> None:
    if record.stalled:
        totals.stalled -= 1
    record.stalled = False


def _closing(totals: Totals, record: ConnectionRecord, _at: int, event: Closing) -> None:
    if record.stalled:
        totals.stalled -= 1
    record.reason = event.reason
    record.stalled = False


def _closed(totals: Totals, record: ConnectionRecord, _at: int, event: Closed) -> None:
    counts = totals.closed_by_reason
    room = event.reason in counts or len(counts) < MAX_REASONS
    reason = event.reason if room else "other"
    count = counts.get(reason, 0)
    counts[reason] = count + 1
    totals.closed += 1
    totals.open -= 1
    if record.errors:
        totals.erring -= 1
    record.retries = 0
    record.delay = None


CONNECTION_FOLDS: Folds = {
    Registered: _registered,
    Activated: _activated,
    ActivityRecorded: _activity,
    ErrorRecorded: _erred,
    Stalled: _stalled,
    Unstalled: _unstalled,
    Closing: _closing,
    Closed: _closed,
}


def _copied(value: Any) -> Any:
    """A copy of plain JSON, all the way down: what is in the model is not to be changed."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


class Connections(Mapping[str, ConnectionInfo]):
    """A read-only mapping of open connections, id → `ConnectionInfo`.

    Where several writers have the same id open, it holds the one registered last while that
    lasts; `infos` has them all.
    """

    def __init__(self, model: ReadModel) -> None:
        self._model = model

    def __getitem__(self, connection_id: str) -> ConnectionInfo:
        """A copy of what is known of one open connection.

        Raises:
            KeyError: no open connection has this id.
        """
        record = self._model.record("connection", connection_id)
        if record is None:
            raise KeyError(connection_id)
        return self._info(record)

    def __iter__(self) -> Iterator[str]:
        """The ids, over a copy, so that connections may come and go meanwhile."""
        return iter(list(self._model.ids("connection")))

    def __len__(self) -> int:
        """How many ids are open."""
        return len(self._model.ids("connection"))

    def items(self) -> ItemsView[str, ConnectionInfo]:
        """Ids and infos, over a copy."""
        return self._copy().items()

    def values(self) -> ValuesView[ConnectionInfo]:
        """Infos, over a copy."""
        return self._copy().values()

    def _copy(self) -> dict[str, ConnectionInfo]:
        records = list(self._model.ids("connection").values())
        return {record.id: self._info(record) for record in records}

    def infos(self) -> list[ConnectionInfo]:
        """A copy of what is known of every open connection."""
        return [self._info(record) for record in self._model.open_records()]

    def _info(self, record: Any) -> ConnectionInfo:
        return ConnectionInfo(
            connection_id=record.id,
            remote_addr=record.remote_addr,
            kind=record.kind,
            metadata=_copied(record.metadata or {}),
            state=ConnectionState(record.state),
            created_at=to_datetime(record.created_at),
            last_activity=to_datetime(record.last_activity),
            bytes_sent=record.bytes_sent,
            messages_sent=record.messages_sent,
            error_count=record.errors,
            retry_count=record.retries,
            total_retries=record.total_retries,
            committed=record.bytes_sent > 0,
            stalled=record.stalled,
            draining=self._model.draining,
            route=record.route,
        )
