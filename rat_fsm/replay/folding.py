"""Reads a log again, event by event or folded, whole or up to a position or an instant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rat_fsm.codec import add_states, decode, judged_by, no_collection
from rat_fsm.errors import InvalidArgumentType
from rat_fsm.events import Position, Recorded, Started, to_micros
from rat_fsm.log.eventlog import EventLog
from rat_fsm.log.subscription import read_recorded
from rat_fsm.projections.model import ReadModel
from rat_fsm.replay.sources import check_moment, known_lifecycles
from rat_fsm.stores import open_store
from rat_fsm.stores.port import Store

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator, Mapping, Sequence

    from rat_fsm.codec import Decoded
    from rat_fsm.table import EventType, Lifecycle

    Source = str | Path | Store | EventLog | Iterable[Recorded]
    Until = Position | datetime.datetime


def replay(
    source: Source,
    until: Until | None = None,
    *,
    writer: str | None = None,
    lifecycles: Iterable[Lifecycle] | None = None,
) -> ReadModel:
    """The read model of a log, as of its end or of an earlier moment.

    Args:
        source: a URL or path, a store, a log (its own writer's durable events), or recorded
            events in the order of their log.
        until: the last event to fold: a position, or an aware datetime, both inclusive.
        writer: fold the events of this writer only; all by default.
        lifecycles: how events are read; CONNECTION and NODE, or the log's, by default.

    Raises:
        InvalidArgument: ``until`` is a datetime without a time zone.
        InvalidArgumentType: ``until`` or ``source`` is something else.
        HistoryEvicted: a bounded memory log no longer holds the beginning.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    if until is not None:
        check_moment(until)
    if isinstance(source, EventLog):
        known = source.read_model.lifecycles.values() if lifecycles is None else lifecycles
        return _replay_store(source.store, until, writer or source.writer, known)
    model_of = known_lifecycles(lifecycles)
    if isinstance(source, (str, Path)):
        store = open_store(source)
        try:
            return _replay_store(store, until, writer, model_of)
        finally:
            store.close()
    if isinstance(source, Store):
        return _replay_store(source, until, writer, model_of)
    if not isinstance(source, Iterable):
        raise InvalidArgumentType(
            "source must be a URL, a path, a store, a log or recorded events, "
            f"not {type(source).__name__}"
        )
    return _replay_recorded(source, until, writer, model_of)


def read_events(
    url: str | Path,
    after: Position | None = None,
    *,
    lifecycles: Iterable[Lifecycle] | None = None,
) -> Iterator[Recorded]:
    """Every event of the log at a URL after a position, of all writers, in order.

    Opens it for reading only: it creates, claims and recovers nothing, and a server may be
    writing it.

    Args:
        url: a URL or path.
        after: where to begin; at the beginning by default.
        lifecycles: how events are read; CONNECTION and NODE by default.

    Raises:
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    with contextlib.closing(open_store(url)) as store:
        yield from read_recorded(store, ReadModel(known_lifecycles(lifecycles)), after)


def _replay_store(
    store: Store, until: Until | None, writer: str | None, lifecycles: Iterable[Lifecycle]
) -> ReadModel:
    model = ReadModel(lifecycles)
    for stored in store.read(0, writer):
        if isinstance(until, Position) and stored.position > until.frame:
            break
        with no_collection():
            decoded = decode(stored, model)
            decoded.fold_into(model, None if until is None else rows_until(decoded, until))
    return model


def rows_until(decoded: Decoded, until: Until) -> Sequence[Sequence[Any]]:
    """The first rows of a frame: times never decrease within a writer's frame."""
    if isinstance(until, Position):
        whole = decoded.stored.position < until.frame
        return decoded.rows if whole else decoded.rows[: until.offset + 1]
    offset = to_micros(until) - decoded.stored.frame.first_at
    return list(takewhile(lambda row: row[0] <= offset, decoded.rows))


def _replay_recorded(
    source: Iterable[Recorded],
    until: Until | None,
    writer: str | None,
    lifecycles: Iterable[Lifecycle],
) -> ReadModel:
    fold = _RecordedFold(ReadModel(lifecycles))
    for recorded in source:
        if not isinstance(recorded, Recorded):
            raise InvalidArgumentType(f"{recorded!r} is no recorded event")
        if (writer is None or recorded.writer == writer) and _within(recorded, until):
            fold.take(recorded)
    return fold.model


class _RecordedFold:
    """Folds recorded events into a read model as if they stood in frames of their own.

    Each writer is judged by the definitions that its last run recorded.
    """

    def __init__(self, model: ReadModel) -> None:
        self.model = model
        self._current = {k.tag: k for lc in model.lifecycles.values() for k in lc.events}
        self._kinds: dict[str, Mapping[str, EventType]] = {}

    def take(self, recorded: Recorded) -> None:
        """Folds the next event."""
        if isinstance(recorded.event, Started):
            self._begin(recorded.writer, recorded.event)
        kind = self._kinds.get(recorded.writer, self._current).get(recorded.type)
        self.model.apply(recorded, kind)

    def _begin(self, writer: str, started: Started) -> None:
        kinds, old_states = judged_by(started.lifecycles, self.model, self._current)
        self._kinds[writer] = kinds
        add_states(self.model, old_states)


def _within(recorded: Recorded, until: Until | None) -> bool:
    if until is None:
        return True
    if isinstance(until, Position):
        return recorded.position is not None and recorded.position <= until
    return recorded.micros <= to_micros(until)
