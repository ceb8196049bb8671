"""Reads the events of one stream out of a frame, without those of a thousand others around them.

The index knows the stream's number in the frame and which events are its own. Their rows begin
with a time and that number, which is looked for in the bytes: a pattern can stand in other places
too, but where it is found as often as the index says, these are the rows. Wherever anything is
odd, the frame is decoded.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rat_fsm.codec import Decoded, Reader, decode
from rat_fsm.errors import StoreUnreadable
from rat_fsm.events import Position, Recorded, Stream
from rat_fsm.replay.index import LIFE, STREAM
from rat_fsm.replay.sources import new_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rat_fsm.projections.model import ReadModel
    from rat_fsm.replay.index import Directory, Index
    from rat_fsm.replay.tally import Tally
    from rat_fsm.stores.port import Store, StoredFrame
    from rat_fsm.table import Lifecycle

    Place = tuple[int, int, Sequence[Any]]  # offset in the frame, version in the stream, row


_NEAR: Final = 16  # frames apart that are read past rather than sought
_LONGEST_TIME: Final = 20
_HEADS: Final = 256
_EVENTS: Final = b',"events":['
_STREAMS: Final = b',"streams":['


class _Types(msgspec.Struct):
    """The beginning of a frame's body."""

    types: list[tuple[str, int, list[str]]]


_types_of: Final = msgspec.json.Decoder(_Types).decode
_rows_of: Final = msgspec.json.Decoder(list[list[Any]]).decode


class Picker:
    """Reads the events of ids with the help of an index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def events(
        self, stream_id: str, lifecycles: Iterable[Lifecycle] | None = None
    ) -> Iterator[tuple[tuple[str, ...], Recorded]]:
        """The events of every stream with an id, and the fingerprints each was written under."""
        lives = self._index.of(stream_id)
        picking = _Picking(lives, new_model(lifecycles))
        directories = (
            directory
            for first, last in _spans(lives)
            for directory in self._index.directories(first, last)
            if picking.wants(directory)
        )
        for directory, stored in _with_frames(self._index.store, directories):
            for recorded in picking.picked(directory, stored):
                yield stored.frame.fingerprints, recorded


class _Picking:
    """What is read of one id: all its lives, in the order of the log."""

    def __init__(self, lives: Sequence[Tally], model: ReadModel) -> None:
        self._lives = lives
        self._model = model
        known = model.lifecycles.values()
        self._kinds = {kind.tag: kind for lifecycle in known for kind in lifecycle.events}
        # Frames near each other mostly have the same types.
        self._readers_in = lru_cache(maxsize=_HEADS)(self._read_head)

    def wants(self, directory: Directory) -> bool:
        """Whether a frame has events of it, or may have."""
        return not directory.streams or any(
            places(directory.streams, tally.number, LIFE) for tally in self._lives
        )

    def picked(self, directory: Directory, stored: StoredFrame) -> Iterable[Recorded]:
        """Its events in a frame."""
        readers = self._readers_of(stored)
        picked: list[Recorded] = []
        for tally in self._lives:
            numbers = places(directory.streams, tally.number, LIFE)
            if numbers or not directory.streams:
                found = _read(directory, stored, tally, readers) if len(numbers) == 1 else None
                if found is None:
                    return pick(decode(stored, self._model), tally.id)
                picked.extend(found)
        return sorted(picked, key=lambda recorded: recorded.seq)

    def _readers_of(self, stored: StoredFrame) -> tuple[Reader, ...]:
        """How the events of a frame are read."""
        body = stored.frame.body
        return self._readers_in(body[: max(0, body.find(_STREAMS))] + b"}")

    def _read_head(self, head: bytes) -> tuple[Reader, ...]:
        try:
            types = _types_of(head).types
        except msgspec.MsgspecError:
            return ()  # so no row will have one of them, and the frame is decoded
        return tuple(
            Reader(tag, version, tuple(fields), self._kinds.get(tag), hot=False)
            for tag, version, fields in types
        )


def pick(decoded: Decoded, stream_id: str) -> Iterator[Recorded]:
    """The events of one id in a frame that is decoded already."""
    streams = {
        number: Stream(lifecycle, name, f"{decoded.stored.frame.writer}:{born}")
        for number, (lifecycle, name, born, _) in enumerate(decoded.streams)
        if name == stream_id
    }
    versions = {number: decoded.streams[number][3] for number in streams}
    for offset, row in enumerate(decoded.rows):
        if row[1] in streams:
            versions[row[1]] += 1
            place = offset, versions[row[1]], row
            yield _envelope(decoded.stored, streams[row[1]], place, decoded.readers)


def _read(
    directory: Directory, stored: StoredFrame, tally: Tally, readers: Sequence[Reader]
) -> list[Recorded] | None:
    """The events of a life in a frame; None where that cannot be said without decoding it."""
    (number,) = places(directory.streams, tally.number, LIFE)
    offsets = places(directory.rows, number, STREAM)
    version = _base_version(stored.frame.body, tally)
    rows = _rows(stored.frame.body, number)
    if version is None or len(rows) != len(offsets):
        return None
    if not all(_fits(row, number, len(readers)) for row in rows):
        return None
    stream = Stream(tally.lifecycle, tally.id, f"{tally.writer}:{tally.born}")
    return [
        _envelope(stored, stream, (offset, version + count, row), readers)
        for count, (offset, row) in enumerate(zip(offsets, rows, strict=True), 1)
    ]


def _fits(row: Sequence[Any], number: int, types: int) -> bool:
    """Whether a row is one of this stream, with a time and a type."""
    match row:
        case [int(), int(stream), int(kind), *_]:
            return stream == number and 0 <= kind < types
    return False


def _base_version(body: bytes, tally: Tally) -> int | None:
    """How many events a life had before a frame, as the frame says."""
    begin = msgspec.json.encode([tally.lifecycle, tally.id, tally.born])[:-1] + b","
    at = body.find(begin) + len(begin)
    digits = body[at : body.find(b"]", at)] if at >= len(begin) else b""
    return int(digits) if digits.isdigit() and len(digits) <= _LONGEST_TIME else None


def _rows(body: bytes, number: int) -> list[list[Any]]:
    """What looks like a row of a stream, decoded; none where it is no JSON.

    A row ends with the first bracket, unless there are lists in it or brackets in its strings:
    then it cannot be decoded.
    """
    needle, found = b",%d," % number, list[bytes]()
    begin = body.find(_EVENTS)
    at = body.find(needle, begin)
    while at >= 0:
        start = body.rfind(b"[", max(begin, at - _LONGEST_TIME), at)
        if start >= 0 and body[start + 1 : at].isdigit():
            found.append(body[start : body.find(b"]", at) + 1])
        at = body.find(needle, at + 1)
    try:
        return _rows_of(b"[" + b",".join(found) + b"]")
    except msgspec.MsgspecError:
        return []


def _envelope(
    stored: StoredFrame, stream: Stream, place: Place, readers: Sequence[Reader]
) -> Recorded:
    offset, version, row = place
    reader = readers[row[2]]
    return Recorded(
        position=Position(stored.position, offset),
        micros=stored.frame.first_at + row[0],
        stream=stream,
        version=version,
        writer=stored.frame.writer,
        seq=stored.frame.first + offset,
        type=reader.tag,
        event=reader.read(row[3:]),
    )


def places(numbers: bytes, wanted: int, width: int) -> list[int]:
    """Where a number stands among numbers of so many bytes each."""
    needle, found = wanted.to_bytes(width, sys.byteorder), list[int]()
    at = numbers.find(needle)
    while at >= 0:
        if at % width == 0:
            found.append(at // width)
        at = numbers.find(needle, at + 1)
    return found


def _spans(lives: Sequence[Tally]) -> list[tuple[int, int]]:
    """From which frame to which the lives last; those that overlap are one."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted((tally.first_frame, tally.last_frame) for tally in lives):
        if spans and first <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(last, spans[-1][1])
        else:
            spans.append((first, last))
    return spans


def _with_frames(
    store: Store, directories: Iterable[Directory]
) -> Iterator[tuple[Directory, StoredFrame]]:
    """The frames that are wanted, read in passing where they stand near each other."""
    frames: Iterator[StoredFrame] = iter(())
    at = -_NEAR
    for directory in directories:
        if directory.position - at > _NEAR:
            frames = store.read(directory.position - 1)
        for stored in frames:
            at = stored.position
            if at >= directory.position:
                break
        if at != directory.position:
            raise StoreUnreadable(f"{store.url} has no frame {directory.position} any more")
        yield directory, stored
