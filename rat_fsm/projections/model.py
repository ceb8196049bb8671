"""The read model: everything that is folded from a log, live and in replay by the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from rat_fsm.events import Observed, UnknownEvent
from rat_fsm.projections.connections import CONNECTION_FOLDS, Connections, Folds, record_activity
from rat_fsm.projections.drain import DRAINING, NODE_FOLDS, Drain, drain_of
from rat_fsm.projections.observed import OBSERVED_FOLDS, continues
from rat_fsm.projections.record import (
    ConnectionRecord,
    NodeRecord,
    StreamRecord,
    dump_record,
    load_record,
    record_class,
)
from rat_fsm.projections.retry import RETRY_FOLDS, Retries
from rat_fsm.projections.stats import Stats, Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rat_fsm.events import Recorded
    from rat_fsm.table import EventType, Lifecycle

FOLD_VERSION: Final = 3
# By lifecycle: a user's own may use the same event classes and has other records.
_FOLDS: Final[Mapping[str, Folds]] = {
    "connection": {**CONNECTION_FOLDS, **RETRY_FOLDS, **OBSERVED_FOLDS},
    "node": NODE_FOLDS,
}


class ReadModel:
    """What a log says, as of some moment.

    Equal to another read model that has folded the same events; how far each has read
    (`cursor`: writer → sequence number) does not count.

    Attributes:
        totals: the running totals behind the statistics.
        cursor: how far it has read, writer → sequence number of the last event.
        last_at: when each writer last recorded something, microseconds.
    """

    def __init__(self, lifecycles: Iterable[Lifecycle]) -> None:
        self.lifecycles: Mapping[str, Lifecycle] = {lc.name: lc for lc in lifecycles}
        self.totals = Totals()
        self.totals.states = {
            name: dict.fromkeys((lc.initial, *lc.states), 0) for name, lc in self.lifecycles.items()
        }
        self.totals.states.setdefault("connection", {})
        self.cursor: dict[str, int] = {}
        self.last_at: dict[str, int] = {}
        self._ids: dict[str, dict[str, StreamRecord]] = {name: {} for name in self.lifecycles}
        self._streams: dict[str, dict[int, StreamRecord]] = {}
        self._node: NodeRecord | None = None
        self._by_tag = {kind.tag: kind for lc in self.lifecycles.values() for kind in lc.events}

    __hash__ = None  # type: ignore[assignment]  # a model changes

    def __eq__(self, other: object) -> bool:
        """Whether both have folded the same events."""
        if not isinstance(other, ReadModel):
            return NotImplemented
        return self._facts() == other._facts()

    def _facts(self) -> tuple[Any, ...]:
        records = {
            writer: {born: dump_record(record) for born, record in streams.items()}
            for writer, streams in self._streams.items()
            if streams
        }
        node = None if self._node is None else dump_record(self._node)
        return records, node, self.totals.dump()

    # Views are made when asked for: a model that held them would be garbage only a collector finds.
    @property
    def connections(self) -> Connections:
        """Id → `ConnectionInfo` of open connections."""
        return Connections(self)

    @property
    def stats(self) -> Stats:
        """Totals since the start of the log."""
        return Stats(self)

    @property
    def retry(self) -> Retries:
        """Id → retry count."""
        return Retries(self)

    @property
    def open_connections(self) -> int:
        """How many connections are registered and not closed."""
        return self.totals.open

    @property
    def limits(self) -> Mapping[str, Any]:
        """What the run that began last was started with."""
        return {} if self._node is None else self._node.limits

    @property
    def drain(self) -> Drain:
        """How far the shutdown of the run that began last has come."""
        return drain_of(self._node, self.totals.open, self.totals.stalled)

    @property
    def draining(self) -> bool:
        """Whether new connections are turned away."""
        return self._node is not None and self._node.state in DRAINING

    def record(self, lifecycle: str, stream_id: str) -> StreamRecord | None:
        """The record of a stream that is open, or whose lifecycle keeps the ended ones."""
        return self._ids[lifecycle].get(stream_id)

    def ids(self, lifecycle: str) -> dict[str, Any]:
        """The live index behind `record`, to be read only: id → record."""
        return self._ids[lifecycle]

    def records(self, writer: str) -> list[StreamRecord]:
        """The records of one writer's streams, in the order they began."""
        return list(self._streams.get(writer, {}).values())

    def open_records(self) -> list[ConnectionRecord]:
        """The records of open connections, over all writers."""
        return [
            record
            for streams in list(self._streams.values())
            for record in list(streams.values())
            if isinstance(record, ConnectionRecord)
        ]

    def new_record(self, lifecycle: Lifecycle, stream_id: str, writer: str) -> StreamRecord:
        """A record of a stream that has no event yet; folding the first adds it."""
        cls = record_class(lifecycle)
        streams = self._streams.get(writer)
        if streams is None:
            self._streams[writer] = {}
        return cls(lifecycle.name, stream_id, writer, lifecycle.initial)

    def fold(self, record: StreamRecord, kind: EventType, seq: int, at: int, event: Any) -> None:
        """Folds one event of any kind; an illegal one keeps the state and is counted.

        After the call of the handler there is no further call, see `rat_fsm.projections.record`.
        """
        lifecycle = self.lifecycles[record.lifecycle]
        ids, streams = self._ids[record.lifecycle], self._streams[record.writer]
        state, states = record.state, self.totals.states[record.lifecycle]
        destination = kind.moves.get(state)
        if destination is None or (kind.cls is Observed and not continues(record, event)):
            self.totals.illegal += 1
            record.version += 1
            return
        ended = destination in lifecycle.final and lifecycle.reusable_ids
        current = not record.born or ids.get(record.id) is record
        handler = _FOLDS.get(record.lifecycle, OBSERVED_FOLDS).get(kind.cls)
        if handler is not None:
            handler(self.totals, record, at, event)
        record.version += 1
        record.state = destination
        if not record.born:
            record.born = seq
            ids[record.id] = record
            streams[seq] = record
            states[destination] += 1
            if record.lifecycle == "node" and not ended:  # a request to others is no run
                self._node = record  # type: ignore[assignment]  # a cast would be a call
        else:
            states[state] -= 1
            states[destination] += 1
        if ended:
            del streams[record.born]
            if current:
                del ids[record.id]

    def fold_unknown(self, record: StreamRecord | None) -> None:
        """Counts an event that this process does not know or cannot read."""
        self.totals.unknown += 1
        if record is not None:
            record.version += 1

    def fold_rows(
        self,
        records: Sequence[StreamRecord | None],
        readers: Sequence[Any],
        seq: int,
        base: int,
        rows: Iterable[Sequence[Any]],
    ) -> None:
        """Folds rows as frames hold them: time offset, stream, type, payload.

        Args:
            records: what the row's stream index stands for; None for an unknown lifecycle.
            readers: what its type index stands for: an object with ``kind`` (None if unknown),
                ``hot`` and ``read(payload)``.
            seq: the sequence number of the first row.
            base: the time that offsets count from, microseconds.
            rows: the rows, in order.
        """
        totals = self.totals
        hot = [reader.hot for reader in readers]
        for number, row in enumerate(rows, seq):
            if hot[row[2]] and len(row) == 5:  # noqa: PLR2004 - offset, stream, type, bytes, messages
                offset, stream, _, sent, messages = row
                record: Any = records[stream]
                if (
                    sent.__class__ is int
                    and messages.__class__ is int
                    and record is not None
                    and (record.state == "active" or record.state == "closing")  # noqa: PLR1714 - a set costs more
                ):
                    record_activity(totals, record, base + offset, sent, messages)
                    record.version += 1
                    continue
            self._fold_row(records[row[1]], readers[row[2]], number, base + row[0], row[3:])

    def _fold_row(
        self, record: StreamRecord | None, reader: Any, seq: int, at: int, payload: Sequence[Any]
    ) -> None:
        event = reader.read(payload)
        if record is None or isinstance(event, UnknownEvent):
            self.fold_unknown(record)
        else:
            self.fold(record, reader.kind, seq, at, event)

    def known(self, writer: str) -> Mapping[int, StreamRecord]:
        """A writer's records by the number of their first event, ready to be folded into."""
        return self._streams.get(writer, {})

    def resolve(
        self, writer: str, lifecycle: str, stream_id: str, born: int
    ) -> StreamRecord | None:
        """The record of a stream that a frame names, a new one where it begins there."""
        known = self.lifecycles.get(lifecycle)
        if known is None:
            return None
        record = self._streams.get(writer, {}).get(born)
        return self.new_record(known, stream_id, writer) if record is None else record

    def apply(self, recorded: Recorded, kind: EventType | None = None) -> None:
        """Folds one recorded event; the order must be that of the log.

        Args:
            recorded: the event in its envelope.
            kind: how the writer's definition of the lifecycle knows it; as today's by default.
        """
        stream, kind = recorded.stream, kind or self._by_tag.get(recorded.type)
        born = int(stream.born.rpartition(":")[2])
        record = self.resolve(recorded.writer, stream.lifecycle, stream.id, born)
        if record is None or kind is None or isinstance(recorded.event, UnknownEvent):
            self.fold_unknown(record)
        else:
            self.fold(record, kind, recorded.seq, recorded.micros, recorded.event)
        self.cursor[recorded.writer] = recorded.seq
        self.last_at[recorded.writer] = recorded.micros

    def become(self, other: ReadModel) -> None:
        """Takes over what another model of the same lifecycles has folded, which is used up.

        Whoever holds this one, or its `ids`, sees the other's streams from now on.
        """
        self.totals.load(other.totals.dump())
        self.cursor, self.last_at = other.cursor, other.last_at
        self._streams, self._node = other._streams, other._node
        for name, ids in self._ids.items():
            ids.update(other.ids(name))
            for gone in ids.keys() - other.ids(name).keys():
                del ids[gone]

    def dump(self) -> dict[str, Any]:
        """Everything it knows, as plain JSON values, for a snapshot."""
        return {
            "records": [
                dump_record(record)
                for streams in self._streams.values()
                for record in streams.values()
            ],
            "totals": self.totals.dump(),
            "cursor": self.cursor,
            "last_at": self.last_at,
            "node": None if self._node is None else dump_record(self._node),
            "hidden": [
                (record.writer, record.born)
                for streams in self._streams.values()
                for record in streams.values()
                if self._ids[record.lifecycle].get(record.id) is not record
            ],
        }

    def load(self, data: Mapping[str, Any]) -> None:
        """Takes over what `dump` gave, of a model with the same lifecycles.

        What is ``hidden`` was open when another stream with its id began; older dumps have none.
        """
        hidden = {(writer, born) for writer, born in data.get("hidden", ())}
        self.totals.load(data["totals"])
        self.cursor, self.last_at = dict(data["cursor"]), dict(data["last_at"])
        if data["node"] is not None:
            self._node = cast("NodeRecord", load_record(data["node"]))
        for plain in data["records"]:
            record = load_record(plain)
            if self._node is not None and plain == data["node"]:
                record = self._node
            if (record.writer, record.born) not in hidden:
                self._ids[record.lifecycle][record.id] = record
            self._streams.setdefault(record.writer, {})[record.born] = record
