"""Rows of a frame as they stand in it, where an event for each of them would cost too much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rat_fsm.codec import Decoded, Reader
    from rat_fsm.events import Recorded, Stream

    Row = Sequence[Any]
    Key = tuple[str, str, str, int]  # writer, lifecycle, id and born


def is_activity(reader: Reader, row: Row) -> bool:
    """Whether this is an activity as today's rat_fsm writes it: bytes and messages, no more."""
    return (
        reader.hot
        and len(row) == 5  # noqa: PLR2004 - offset, stream, type, bytes, messages
        and row[3].__class__ is int
        and row[4].__class__ is int
    )


def keys_of(decoded: Decoded) -> list[Key]:
    """What tells each stream that a frame names from all others of the log."""
    writer = decoded.stored.frame.writer
    return [(writer, lifecycle, name, born) for lifecycle, name, born, _ in decoded.streams]


def recorded_at(decoded: Decoded, offset: int) -> Recorded:
    """The event of one row in its envelope."""
    wanted = decoded.rows[offset]
    return next(decoded.recorded(lambda row: row is wanted))


def events_of(decoded: Decoded, rows: Sequence[Row], stream: Stream) -> Iterator[Recorded]:
    """The events of one stream among the first rows of a frame."""
    writer, _, born = stream.born.rpartition(":")
    key = (writer, stream.lifecycle, stream.id, int(born))
    numbers = {number for number, other in enumerate(keys_of(decoded)) if other == key}
    return attrs.evolve(decoded, rows=rows).recorded(lambda row: row[1] in numbers)
