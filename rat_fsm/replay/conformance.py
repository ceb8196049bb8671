"""Judges every stream of a log by the definition that was recorded with it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.codec import decode, no_collection
from rat_fsm.events import UnknownEvent
from rat_fsm.projections.definitions import UNDEFINED
from rat_fsm.replay.prefix import prefix_of
from rat_fsm.replay.rows import is_activity, keys_of, recorded_at
from rat_fsm.replay.sources import new_model, opened
from rat_fsm.replay.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rat_fsm.codec import Decoded, Reader
    from rat_fsm.events import Recorded
    from rat_fsm.projections.definitions import Table
    from rat_fsm.replay.rows import Key
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.stores.port import Store, StoredFrame
    from rat_fsm.table import Lifecycle

LISTED: Final = 20
ENDED: Final = ""


@attrs.frozen
class Finding:
    """An event that its stream could not take, or that cannot be read.

    Attributes:
        state: where the stream stood, and stayed; empty where it had ended.
        problem: why the event cannot be read; empty where it is only illegal.
        legal: the tags that the stream could have taken, sorted.
    """

    recorded: Recorded
    state: str
    problem: str
    legal: tuple[str, ...]


@attrs.frozen
class Conformance:
    """How the streams of a log fare under the definitions that were recorded with them.

    Attributes:
        events: how many events the log holds, ``streams`` how many streams.
        illegal: how many events the table had no way for.
        unknown: how many events could not be read.
        findings: the first of both.
        undefined: lifecycle → how many streams nobody can judge, since the log has no definition.
    """

    events: int
    streams: int
    illegal: int
    unknown: int
    findings: tuple[Finding, ...]
    undefined: Mapping[str, int]

    @property
    def sound(self) -> bool:
        """Whether every event that can be judged is legal."""
        return not (self.illegal or self.unknown)


def check(
    source: LogSource,
    *,
    lifecycles: Iterable[Lifecycle] | None = None,
    limit: int = LISTED,
    progress: Callable[[int], object] | None = None,
) -> Conformance:
    """Judges every stream of a log by the definition that it was written under.

    No code is needed for that: definitions are in the log. What events hold is read where their
    classes are known, too. Memory is bounded by the streams that are open.

    Args:
        source: a URL or path, a store, or a log.
        lifecycles: whose events are read; CONNECTION and NODE by default.
        limit: how many findings to list; all are counted.
        progress: called with the position of each frame that was looked at.

    Raises:
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    with opened(source) as store:
        judge = _Judge(store, lifecycles, limit)
        for stored in prefix_of(store, None).frames():
            with no_collection():
                judge.take(stored)
            if progress is not None:
                progress(stored.position)
        return judge.verdict()


class _Judge:
    """Follows every open stream through its table.

    A stream's state is None where nobody can tell it, and empty once it has ended.
    """

    def __init__(self, store: Store, lifecycles: Iterable[Lifecycle] | None, limit: int) -> None:
        self._tables = Tables(store)
        self._model = new_model(lifecycles)
        self._limit = limit
        self._states: dict[Key, str] = {}
        self._undefined: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._findings: list[Finding] = []

    def take(self, stored: StoredFrame) -> None:
        """Judges the events of the next frame."""
        decoded = decode(stored, self._model)
        known = self._tables.by_name(stored.frame.fingerprints)
        tables = [known.get(lifecycle, UNDEFINED) for lifecycle, _, _, _ in decoded.streams]
        states = list(map(self._begin, keys_of(decoded), decoded.streams, tables))
        for offset, row in enumerate(decoded.rows):
            state = states[row[1]]
            if state is not None:
                states[row[1]] = self._follow(decoded, offset, state, tables[row[1]])
        self._counts["events"] += stored.frame.count
        for key, state, table in zip(keys_of(decoded), states, tables, strict=True):
            self._leave(key, state, table)

    def _begin(self, key: Key, stream: tuple[str, str, int, int], table: Table) -> str | None:
        """The state that a stream is in before a frame."""
        lifecycle, _, _, base = stream
        self._counts["streams"] += base == 0
        if table is UNDEFINED:
            self._undefined[lifecycle] += base == 0
            return None
        ended = None if lifecycle in self._undefined else ENDED
        return self._states.get(key, table.initial if base == 0 else ended)

    def _follow(self, decoded: Decoded, offset: int, state: str, table: Table) -> str:
        """The state after an event."""
        row = decoded.rows[offset]
        reader = decoded.readers[row[2]]
        after = table.moves.get((reader.tag, state))
        if after is not None and (is_activity(reader, row) or not _unreadable(reader, row)):
            return after
        problem = _unreadable(reader, row) if _names(table, reader.tag) else "unknown tag"
        self._counts["unknown" if problem else "illegal"] += 1
        if len(self._findings) < self._limit:
            recorded = recorded_at(decoded, offset)
            self._findings.append(Finding(recorded, state, problem, legal_in(table, state)))
        return state

    def _leave(self, key: Key, state: str | None, table: Table) -> None:
        """Keeps the state that a stream is in after a frame, unless it has ended."""
        if state and state not in table.final:
            self._states[key] = state
        else:
            self._states.pop(key, None)

    def verdict(self) -> Conformance:
        """What was found."""
        return Conformance(
            events=self._counts["events"],
            streams=self._counts["streams"],
            illegal=self._counts["illegal"],
            unknown=self._counts["unknown"],
            findings=tuple(self._findings),
            undefined=dict(self._undefined),
        )


def legal_in(table: Table, state: str) -> tuple[str, ...]:
    """The tags of the events that a stream in a state can take, sorted."""
    return tuple(sorted(tag for tag, source in table.moves if source == state))


def _names(table: Table, tag: str) -> bool:
    return any(tag == named for named, _ in table.moves)


def _unreadable(reader: Reader, row: Sequence[Any]) -> str:
    """Why an event cannot be read, where its class is known."""
    if reader.kind is None:
        return ""
    event = reader.read(row[3:])
    return event.problem if isinstance(event, UnknownEvent) else ""
