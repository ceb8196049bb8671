"""Events to bytes: what may be stored, frame bodies, and envelopes as lines of JSON."""

from __future__ import annotations

import math
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import msgspec

from rat_fsm.codec.frames import MAX_DEPTH, MAX_EVENTS, too_deep
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import UnknownEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rat_fsm.events import Recorded
    from rat_fsm.table import EventType, Lifecycle

# Rows stand flat in a list, WIDTH items each: (micros, record, kind, bytes, messages) for an
# activity and (micros, record, kind, payload tuple, continues) for every other event. A tuple for
# each would be one more object that every collection of garbage walks, a quarter of all the time.
Rows: TypeAlias = "list[Any]"
WIDTH: Final = 5

MAX_EVENT: Final = 256 * 1024
MAX_INTEGER: Final = 2**63 - 1  # SQLite, PostgreSQL and most readers of JSON end there

_encode = msgspec.json.Encoder().encode


def payload_of(kind: EventType, event: Any) -> tuple[Any, ...]:
    """The payload of an event as it will be read back; nothing else is ever folded.

    Raises:
        InvalidArgument: it is too large, or holds NaN, an infinity, an integer of more than 64
            bits or a lone surrogate.
        InvalidArgumentType: it holds something that is no JSON and that its class cannot read
            back from JSON either.
    """
    values = [getattr(event, name) for name in kind.fields]
    try:
        encoded = _encode(values)
        plain = msgspec.json.decode(encoded)
    except (ValueError, OverflowError) as problem:
        raise InvalidArgument(f"{kind.tag} cannot be stored: {problem}") from problem
    except (TypeError, NotImplementedError, RecursionError) as problem:
        raise InvalidArgumentType(f"{kind.tag} cannot be stored: {problem}") from problem
    if len(encoded) > MAX_EVENT:
        raise InvalidArgument(f"{kind.tag} takes {len(encoded)} bytes, at most {MAX_EVENT}")
    if too_deep(encoded, MAX_DEPTH - 2):
        raise InvalidArgument(f"{kind.tag} is nested deeper than {MAX_DEPTH - 2}")
    if not (_is_plain(kind, values) or _reads_back(kind, values, plain)):
        raise InvalidArgumentType(f"{kind.tag} holds what JSON cannot give back: {event!r:.200}")
    return tuple(plain)


def _is_plain(kind: EventType, value: Any) -> bool:
    """Whether a value is JSON as it stands.

    Raises:
        InvalidArgument: it has a number that JSON, or a reader of it, cannot express.
    """
    cls = value.__class__
    if cls is str or cls is bool or value is None:
        return True
    if cls is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise InvalidArgument(f"{kind.tag} holds {value}, which needs more than 64 bits")
        return True
    if cls is float:
        if not math.isfinite(value):
            raise InvalidArgument(f"{kind.tag} holds {value}, which JSON cannot express")
        return True
    if cls is dict:
        return all(key.__class__ is str and _is_plain(kind, value[key]) for key in value)
    return cls in {list, tuple} and all(_is_plain(kind, item) for item in value)


def _reads_back(kind: EventType, values: list[Any], plain: list[Any]) -> bool:
    """Whether a class whose fields are richer than JSON makes the same of its JSON."""
    again = event_of(kind, plain)
    return _is_plain(kind, plain) and [getattr(again, name) for name in kind.fields] == values


def event_of(kind: EventType, payload: Sequence[Any]) -> Any:
    """The event that a payload will be read back as.

    Raises:
        InvalidArgumentType: its values are not of the types that its class declares, or these
            are none that can be read back.
    """
    try:
        return msgspec.convert(dict(zip(kind.fields, payload, strict=True)), kind.cls)
    except (msgspec.ValidationError, TypeError, NameError) as problem:
        raise InvalidArgumentType(f"{kind.tag} cannot be read back: {problem}") from problem
    except KeyError as problem:  # so says msgspec that a field has no type
        raise InvalidArgumentType(
            f"{kind.tag} cannot be read back: its field {problem} has no type; give it one"
        ) from problem


class _Activity(msgspec.Struct, array_like=True, gc=False):
    """An activity as it stands in a body; no object for the garbage collector either."""

    offset: int
    stream: int
    kind: int
    bytes_sent: int
    messages_sent: int


class _Numbers(dict[Any, int]):
    """Gives each new key the next number."""

    def __missing__(self, key: Any) -> int:
        number = self[key] = len(self)
        return number


def encode_body(rows: Rows) -> tuple[bytes, Counter[Any]]:
    """The body for rows, and how many events of each stream record are in it.

    The records' ``written`` gives their base versions and is left as it is.
    """
    base = rows[0]
    counts: Counter[Any] = Counter(rows[1::WIDTH])
    streams = {record: number for number, record in enumerate(counts)}
    kinds = _Numbers()
    activities = (kind for _, _, kind, x, _ in each(rows) if x.__class__ is int)
    hot = next((kinds[kind] for kind in activities), 0)
    events = [
        _Activity(at - base, streams[record], hot, x, y)
        if x.__class__ is int
        else (at - base, streams[record], kinds[kind], *x)
        for at, record, kind, x, y in each(rows)
    ]
    body = {
        "types": [(kind.tag, kind.version, kind.fields) for kind in kinds],
        "streams": [(r.lifecycle, r.id, r.born, r.written) for r in streams],
        "events": events,
    }
    return _encode(body), counts


def each(rows: Rows) -> Iterator[tuple[int, Any, EventType, Any, Any]]:
    """One row after the other, as a tuple."""
    return zip(*[iter(rows)] * WIDTH, strict=True)


def split(rows: Rows, most: int = MAX_EVENTS) -> int:
    """How many rows the next frame takes: whole transactions, about ``most`` events.

    At least the first transaction, even where it is longer; that a frame can hold it is for
    those who accept it to see to.
    """
    count = len(rows) // WIDTH
    ends = (size for size in range(min(most, count), 0, -1) if _ends(rows, size))
    beyond = (size for size in range(most + 1, count + 1) if _ends(rows, size))
    return next(chain(ends, beyond))


def _ends(rows: Rows, size: int) -> bool:
    """Whether a transaction ends with the row before this one."""
    begin = WIDTH * size
    return begin == len(rows) or rows[begin + WIDTH - 1] is not True


def encode_recorded(recorded: Recorded) -> bytes:
    """The envelope of one event as a line of JSON, without the newline."""
    return _encode(
        {
            "position": None if recorded.position is None else str(recorded.position),
            "at": recorded.at.isoformat().replace("+00:00", "Z"),
            "stream": [recorded.stream.lifecycle, recorded.stream.id, recorded.stream.born],
            "version": recorded.version,
            "writer": recorded.writer,
            "seq": recorded.seq,
            "type": recorded.type,
            "data": _data(recorded.event),
        }
    )


def _data(event: Any) -> Any:
    if isinstance(event, UnknownEvent):
        return event.data
    return {field.name: getattr(event, field.name) for field in attrs.fields(type(event))}


def definitions(lifecycles: Mapping[str, Lifecycle]) -> list[dict[str, Any]]:
    """The definitions to record when a writer starts."""
    return [dict(lifecycle.definition) for lifecycle in lifecycles.values()]
