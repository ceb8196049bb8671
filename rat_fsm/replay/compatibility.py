"""Judges stored streams by a changed lifecycle: which of them would no longer be legal, and why."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.codec import decode, no_collection
from rat_fsm.errors import InvalidArgumentType
from rat_fsm.events import Position, Stream, UnknownEvent
from rat_fsm.projections.definitions import UNDEFINED, read_table
from rat_fsm.replay.prefix import prefix_of
from rat_fsm.replay.rows import is_activity, keys_of
from rat_fsm.replay.sources import new_model, opened
from rat_fsm.replay.tables import Tables
from rat_fsm.table import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rat_fsm.codec import Decoded, Reader
    from rat_fsm.projections.definitions import Table
    from rat_fsm.replay.rows import Key, Row
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.stores.port import Store, StoredFrame
    from rat_fsm.table import EventType

TRANSITION_REMOVED: Final = "transition_removed"
EVENT_REMOVED: Final = "event_removed"
STATE_REMOVED: Final = "state_removed"
FIELD_REMOVED: Final = "field_removed"
NEWER_SCHEMA: Final = "newer_schema"
UNREADABLE: Final = "unreadable"


@attrs.frozen
class Cause:
    """What of a lifecycle has changed so that stored streams contradict it.

    Attributes:
        kind: transition_removed, event_removed, state_removed, field_removed, newer_schema (than
            the changed lifecycle can read) or unreadable (no upcaster or class makes it an event).
        lifecycle: its name.
        what: the thing, such as ``connection.closing from active``.
    """

    kind: str
    lifecycle: str
    what: str

    @property
    def sentence(self) -> str:
        """It in words."""
        return _SENTENCES[self.kind].format(self.what)


_SENTENCES: Final = {
    TRANSITION_REMOVED: "transition {} removed",
    EVENT_REMOVED: "event {} removed",
    STATE_REMOVED: "state {} removed, where open streams stand",
    FIELD_REMOVED: "field {} removed",
    NEWER_SCHEMA: "{} is newer than what can be read",
    UNREADABLE: "{} can no longer be read",
}


@attrs.frozen
class Break:
    """A cause, and the streams that it concerns.

    Attributes:
        streams: how many there are.
        stream: the first of them, at ``position`` and at ``micros`` (microseconds).
        detail: what reading it came to, where it cannot be read.
    """

    cause: Cause
    streams: int
    stream: Stream
    position: Position
    micros: int
    detail: str = ""


@attrs.frozen
class Compatibility:
    """How the streams of a log would fare under changed lifecycles.

    Attributes:
        streams: lifecycle → how many streams of it the log holds.
        breaks: each cause once, what concerns most streams first.
    """

    streams: Mapping[str, int]
    breaks: tuple[Break, ...]

    @property
    def sound(self) -> bool:
        """Whether every stream would be legal."""
        return not self.breaks


def check_against(
    source: LogSource,
    *lifecycles: Lifecycle,
    progress: Callable[[int], object] | None = None,
) -> Compatibility:
    """Judges the streams of a log by changed definitions of their lifecycles.

    Each stream is led through the changed table from its first event on, and each payload is read
    with the changed classes and upcasters. Where a step has become illegal the stream goes on as
    it was recorded, so that one removal does not hide another; what was illegal when it was
    recorded is left out, see `rat_fsm.replay.conformance.check`. Open streams must also stand in
    a state that still exists: they would be stuck there. Memory is bounded by the open streams.

    Args:
        source: a URL or path, a store, or a log.
        lifecycles: the changed definitions.
        progress: called with the position of each frame that was looked at.

    Raises:
        InvalidArgumentType: one of them is no lifecycle.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    for lifecycle in lifecycles:
        if not isinstance(lifecycle, Lifecycle):
            raise InvalidArgumentType(f"{lifecycle!r:.200} is no Lifecycle")
    with opened(source) as store:
        judge = _Judge(store, lifecycles)
        for stored in prefix_of(store, None).frames():
            with no_collection():
                judge.take(stored)
            if progress is not None:
                progress(stored.position)
        return judge.verdict()


@attrs.define
class _Walk:
    """Where an open stream stands, as recorded (None where no definition is) and as changed.

    Attributes:
        entered: where and when it came into the recorded state, None before the first.
        causes: what it was found to contradict.
    """

    stream: Stream
    recorded: str | None
    changed: str
    entered: tuple[Position, int] | None = None
    causes: set[Cause] = attrs.field(factory=set)


class _Judge:
    """Leads every open stream through its recorded table and the changed one."""

    def __init__(self, store: Store, lifecycles: Sequence[Lifecycle]) -> None:
        self._tables = Tables(store)
        self._model = new_model(lifecycles)
        self._lifecycles = {lifecycle.name: lifecycle for lifecycle in lifecycles}
        self._kinds = {kind.tag: kind for lifecycle in lifecycles for kind in lifecycle.events}
        self._walks: dict[Key, _Walk] = {}
        self._streams: Counter[str] = Counter(dict.fromkeys(self._lifecycles, 0))
        self._breaks: dict[Cause, Break] = {}

    def take(self, stored: StoredFrame) -> None:
        """Judges the events of the next frame."""
        decoded = decode(stored, self._model)
        tables = self._tables_of(decoded)
        walks = list(map(self._begin, keys_of(decoded), decoded.streams, tables))
        for offset, row in enumerate(decoded.rows):
            walk = walks[row[1]]
            if walk is not None:
                self._follow(decoded, offset, walk, tables[row[1]])
        for key, walk, table in zip(keys_of(decoded), walks, tables, strict=True):
            if walk is not None:
                self._leave(key, walk, table)

    def _tables_of(self, decoded: Decoded) -> list[Table]:
        """The recorded table of each stream of a frame; the changed one may be the same."""
        fingerprints = decoded.stored.frame.fingerprints
        known = dict(self._tables.by_name(fingerprints))
        for name, lifecycle in self._lifecycles.items():
            if lifecycle.fingerprint in fingerprints:
                known.setdefault(name, read_table(lifecycle.definition))
        return [known.get(lifecycle, UNDEFINED) for lifecycle, _, _, _ in decoded.streams]

    def _begin(self, key: Key, stream: tuple[str, str, int, int], table: Table) -> _Walk | None:
        """Where a stream stands before a frame, None where it has ended or is of others."""
        name, stream_id, born, base = stream
        lifecycle = self._lifecycles.get(name)
        if lifecycle is None or base:
            return self._walks.get(key)
        self._streams[name] += 1
        initial = None if table is UNDEFINED else table.initial
        return _Walk(Stream(name, stream_id, f"{key[0]}:{born}"), initial, lifecycle.initial)

    def _leave(self, key: Key, walk: _Walk, table: Table) -> None:
        """Keeps where a stream stands after a frame, unless it has ended."""
        ended = (
            walk.changed in self._lifecycles[walk.stream.lifecycle].final
            if walk.recorded is None
            else walk.recorded in table.final
        )
        if ended:
            self._walks.pop(key, None)
        else:
            self._walks[key] = walk

    def _follow(self, decoded: Decoded, offset: int, walk: _Walk, table: Table) -> None:
        """Leads a stream past an event."""
        row = decoded.rows[offset]
        reader = decoded.readers[row[2]]
        after = None if walk.recorded is None else table.moves.get((reader.tag, walk.recorded))
        if after is None and walk.recorded is not None:
            return  # it was illegal then
        kind = self._kinds.get(reader.tag)
        if kind is None or kind.lifecycle != walk.stream.lifecycle:
            self._blame(walk, EVENT_REMOVED, reader.tag, _place(decoded, offset))
            dest = None
        else:
            dest = kind.moves.get(walk.changed)
            if dest is None:
                what = f"{reader.tag} from {walk.changed}"
                self._blame(walk, TRANSITION_REMOVED, what, _place(decoded, offset))
            if not is_activity(reader, row):
                for cause, what, detail in _payload_problems(reader, row, kind):
                    self._blame(walk, cause, what, _place(decoded, offset), detail)
        if dest is None and after in self._lifecycles[walk.stream.lifecycle].states:
            dest = after
        walk.changed = walk.changed if dest is None else dest
        if after != walk.recorded:
            walk.recorded, walk.entered = after, _place(decoded, offset)

    def _blame(
        self, walk: _Walk, kind: str, what: str, place: tuple[Position, int], detail: str = ""
    ) -> None:
        """Counts a stream for a cause, once."""
        cause = Cause(kind, walk.stream.lifecycle, what)
        if cause in walk.causes:
            return
        walk.causes.add(cause)
        found = self._breaks.get(cause)
        self._breaks[cause] = (
            Break(cause, 1, walk.stream, *place, detail)
            if found is None
            else attrs.evolve(found, streams=found.streams + 1)
        )

    def verdict(self) -> Compatibility:
        """What was found, of open streams too."""
        for walk in self._walks.values():
            states = self._lifecycles[walk.stream.lifecycle].states
            if walk.entered is not None and walk.recorded not in states:
                self._blame(walk, STATE_REMOVED, str(walk.recorded), walk.entered)
        breaks = sorted(self._breaks.values(), key=lambda one: -one.streams)
        return Compatibility(dict(self._streams), tuple(breaks))


def _place(decoded: Decoded, offset: int) -> tuple[Position, int]:
    """Where an event stands, and when it was recorded."""
    frame = decoded.stored.frame
    return Position(decoded.stored.position, offset), frame.first_at + decoded.rows[offset][0]


def _payload_problems(reader: Reader, row: Row, kind: EventType) -> Iterator[tuple[str, str, str]]:
    """What of a payload the changed class has no place for, or cannot be made of."""
    schema = f"{reader.tag} of schema {reader.version}"
    if reader.version > kind.version:
        yield NEWER_SCHEMA, schema, ""
        return
    if reader.version == kind.version:
        for name in reader.fields:
            if name not in kind.fields:
                yield FIELD_REMOVED, f"{name} of {reader.tag}", ""
    event = reader.read(row[3:])
    if isinstance(event, UnknownEvent):
        yield UNREADABLE, schema, event.problem.removeprefix("unreadable: ")
