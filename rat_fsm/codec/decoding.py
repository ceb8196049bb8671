"""Frame bytes to events: nothing that a body holds raises anything but `DamagedFrame`."""

from __future__ import annotations

import contextlib
import gc
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from rat_fsm.codec.frames import check_format, check_limits
from rat_fsm.codec.judging import add_states, judged_by
from rat_fsm.errors import DamagedFrame
from rat_fsm.events import ActivityRecorded, Position, Recorded, Started, Stream, UnknownEvent
from rat_fsm.table import fingerprint_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rat_fsm.codec.judging import OldStates
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.record import StreamRecord
    from rat_fsm.stores.port import Frame, StoredFrame
    from rat_fsm.table import EventType


class Body(msgspec.Struct):
    """A frame's body, decoded."""

    types: list[tuple[str, int, list[str]]]
    streams: list[tuple[str, str, int, int]]
    events: list[list[Any]]


_decoder = msgspec.json.Decoder(Body)


@attrs.frozen(eq=False)
class Reader:
    """Reads the payloads of one type of one frame.

    Attributes:
        kind: the event type, None where this process does not know the tag.
        hot: whether payloads are (bytes, messages) of today's ActivityRecorded.
    """

    tag: str
    version: int
    fields: tuple[str, ...]
    kind: EventType | None
    hot: bool

    def read(self, payload: Sequence[Any]) -> Any:
        """The event, lifted to today's schema; `UnknownEvent` where that cannot be done."""
        data = dict(zip(self.fields, payload, strict=False))
        if self.kind is None:
            return UnknownEvent(self.tag, self.version, data, "unknown tag")
        if self.version > self.kind.version:
            return UnknownEvent(self.tag, self.version, data, "newer schema version")
        if len(payload) != len(self.fields):
            problem = f"unreadable: {len(payload)} values for {len(self.fields)} fields"
            return UnknownEvent(self.tag, self.version, data, problem)
        try:
            return self._lift(self.kind, dict(data))
        except Exception as problem:  # noqa: BLE001 - whatever is in a log must fold
            return UnknownEvent(self.tag, self.version, data, f"unreadable: {problem}")

    def _lift(self, kind: EventType, data: dict[str, Any]) -> Any:
        for version in range(self.version, kind.version):
            data = kind.upcasters[version](data)
        return msgspec.convert(data, kind.cls)


@attrs.frozen(eq=False)
class Decoded:
    """A frame with its body decoded; rows as in the body.

    ``old_states`` are, by lifecycle, the states of other definitions that it is judged by.
    """

    stored: StoredFrame
    readers: tuple[Reader, ...]
    streams: Sequence[tuple[str, str, int, int]]
    rows: Sequence[Sequence[Any]]
    old_states: OldStates = ()

    def recorded(self, pick: Callable[[Sequence[Any]], bool] | None = None) -> Iterator[Recorded]:
        """The frame's events in their envelopes, or those whose row is picked."""
        frame = self.stored.frame
        streams = [
            Stream(lifecycle, name, f"{frame.writer}:{born}")
            for lifecycle, name, born, _ in self.streams
        ]
        versions = [base for _, _, _, base in self.streams]
        for offset, row in enumerate(self.rows):
            number, reader = row[1], self.readers[row[2]]
            versions[number] += 1
            if pick is not None and not pick(row):
                continue
            yield Recorded(
                position=Position(self.stored.position, offset),
                micros=frame.first_at + row[0],
                stream=streams[number],
                version=versions[number],
                writer=frame.writer,
                seq=frame.first + offset,
                type=reader.tag,
                event=reader.read(row[3:]),
            )

    def fold_into(self, model: ReadModel, rows: Sequence[Sequence[Any]] | None = None) -> None:
        """Folds all rows, or the first of them that are given, into a read model."""
        frame = self.stored.frame
        rows = self.rows if rows is None else rows
        if not rows:
            return
        add_states(model, self.old_states)
        records = self._records(model, rows)
        try:
            model.fold_rows(records, self.readers, frame.first, frame.first_at, rows)
        except (LookupError, TypeError, ValueError, AttributeError) as problem:
            raise DamagedFrame(
                f"its rows do not fit its header: {problem}", position=self.stored.position
            ) from problem
        model.cursor[frame.writer] = frame.first + len(rows) - 1
        model.last_at[frame.writer] = frame.first_at + rows[-1][0]

    def _records(
        self, model: ReadModel, rows: Sequence[Sequence[Any]]
    ) -> list[StreamRecord | None]:
        """What the streams of rows stand for; most are known, and found without a call for each."""
        known = model.known(self.stored.frame.writer)
        records = [known.get(born) for _, _, born, _ in self.streams]
        used = {row[1] for row in rows} if len(rows) < len(self.rows) else range(len(records))
        for number in used:
            record, stream = records[number], self.streams[number]
            if record is None or record.id != stream[1] or record.lifecycle != stream[0]:
                records[number] = self._resolve(model, *stream)
        return records

    def _resolve(
        self, model: ReadModel, lifecycle: str, name: str, born: int, _base: int
    ) -> StreamRecord | None:
        record = model.resolve(self.stored.frame.writer, lifecycle, name, born)
        if record is not None and (record.lifecycle, record.id) != (lifecycle, name):
            raise DamagedFrame(
                f"it calls the stream that began at {born} {lifecycle}/{name}, "
                f"which was {record.lifecycle}/{record.id}",
                position=self.stored.position,
            )
        return record


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Puts the collection of garbage off while one frame is decoded and folded.

    Ten thousand rows are ten thousand lists without a cycle among them; walking them again and
    again took a third of a replay.
    """
    paused = gc.isenabled()
    if paused:
        gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def decode(stored: StoredFrame, model: ReadModel) -> Decoded:
    """Decodes a frame for a read model, whose lifecycles say how events are read.

    A frame written under another definition of a lifecycle is read with the table that was
    recorded when its writer started.

    Raises:
        UnsupportedFormat: a newer rat_fsm wrote it.
        DamagedFrame: it exceeds a limit, is no JSON of this shape, or contradicts its header.
    """
    body = open_body(stored)
    kinds, old_states = _kinds(stored.frame.fingerprints, body, model)
    readers = tuple(_reader(kinds, *described) for described in body.types)
    return Decoded(stored, readers, body.streams, body.events, old_states)


def open_body(stored: StoredFrame) -> Body:
    """The decoded body of a frame, every row with a time, a stream and a type that exist.

    Raises:
        UnsupportedFormat, DamagedFrame: see `decode`.
    """
    frame, position = stored.frame, stored.position
    check_format(frame, position)
    check_limits(frame, position)
    try:
        body = _decoder.decode(frame.body)
    except (ValueError, RecursionError) as problem:
        raise DamagedFrame(f"its body cannot be read: {problem}", position=position) from problem
    try:
        _check_rows(frame, body)
    except (LookupError, TypeError, ValueError) as problem:
        raise DamagedFrame(f"its rows do not fit its header: {problem}", position=position) from (
            problem
        )
    return body


def _check_rows(frame: Frame, body: Body) -> None:
    """Checks whole columns at a time, which costs a fraction of looking at every row."""
    rows = body.events
    if len(rows) != frame.count:
        raise ValueError(f"it holds {len(rows)} events, its header says {frame.count}")
    times = [row[0] for row in rows]
    if type(sum(times)) is not int or times != sorted(times):
        raise ValueError("its times are no ascending integers")
    if times[0] != 0 or times[-1] != frame.last_at - frame.first_at:
        raise ValueError("its times are not those of its header")
    for column, described in ((1, body.streams), (2, body.types)):
        numbers = set(map(itemgetter(column), rows))
        if {type(number) for number in numbers} != {int}:
            raise TypeError("an index is no integer")
        if min(numbers) < 0 or max(numbers) >= len(described):
            raise LookupError("an index is out of range")


def _reader(
    kinds: Mapping[str, EventType], tag: str, version: int, fields: Sequence[str]
) -> Reader:
    kind = kinds.get(tag)
    hot = (
        kind is not None
        and kind.cls is ActivityRecorded
        and version == kind.version
        and tuple(fields) == kind.fields
        and set(kind.moves.items()) >= {("active", "active"), ("closing", "closing")}
    )
    return Reader(tag, version, tuple(fields), kind, hot)


def _kinds(
    fingerprints: tuple[str, ...], body: Body, model: ReadModel
) -> tuple[Mapping[str, EventType], OldStates]:
    """Tag → event type, each lifecycle with the table in force when the frame was written."""
    kinds = {kind.tag: kind for lc in model.lifecycles.values() for kind in lc.events}
    current = {lc.fingerprint for lc in model.lifecycles.values()}
    missing = [fingerprint for fingerprint in fingerprints if fingerprint not in current]
    if not missing:
        return kinds, ()
    recorded = model.totals.definitions
    if not recorded.keys() >= set(missing):
        recorded = recorded | _definitions_in(body, kinds)
    return judged_by([recorded[name] for name in missing if name in recorded], model, kinds)


def _definitions_in(body: Body, kinds: Mapping[str, EventType]) -> dict[str, Any]:
    """The definitions that a run records in the frame that goes on with its first events."""
    readers = [_reader(kinds, *described) for described in body.types]
    started = [
        readers[row[2]].read(row[3:])
        for row in body.events
        if (kind := readers[row[2]].kind) is not None and kind.cls is Started
    ]
    return {
        fingerprint_of(definition): definition
        for event in started
        if isinstance(event, Started)
        for definition in event.lifecycles
    }
