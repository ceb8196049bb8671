"""What the streams of a lifecycle did in a log: ways taken, states entered, times spent in them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.codec import no_collection, open_body
from rat_fsm.errors import InvalidArgument
from rat_fsm.events import Position, to_micros
from rat_fsm.projections.definitions import UNDEFINED
from rat_fsm.replay.counting import Counting
from rat_fsm.replay.quantiles import Sketch
from rat_fsm.replay.sources import check_within, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rat_fsm.codec import Body
    from rat_fsm.replay.counting import Edge, Way
    from rat_fsm.replay.sources import LogSource, Moment
    from rat_fsm.stores.port import Store, StoredFrame
    from rat_fsm.table import Lifecycle

SECOND: Final = 1_000_000
_OFFSET: Final = itemgetter(0)


@attrs.frozen
class Stays:
    """What happened in one state.

    Attributes:
        entered: how often a stream came into it from another.
        now: how many streams stand in it at the end, 0 for a final state.
        median: how long a stay took, of all that ended; seconds, within half a percent, None
            where none has ended.
        p90: what nine of ten stays did not exceed, likewise.
    """

    entered: int
    now: int
    median: float | None
    p90: float | None


@attrs.frozen
class Traffic:
    """What the streams of one lifecycle did; can be drawn like the lifecycle itself.

    It has the states and edges of the definition that was asked for, and those that only another
    definition has under which some of the streams were written, where they were used.

    Attributes:
        states: state → what happened in it.
        edges: (tag, source, destination) → how often it was taken, 0 where never.
        begun: how many streams began.
        ended: how many came into a final state.
        open: how many had begun and not ended at the end.
        illegal: events that the definition they were written under has no way for.
        unknown: events that it does not name.
    """

    name: str
    initial: str
    states: Mapping[str, Stays]
    final: frozenset[str]
    edges: Mapping[Edge, int]
    begun: int
    ended: int
    open: int
    illegal: int
    unknown: int

    def rows(self) -> list[Edge]:
        """Every edge: (tag, source, destination)."""
        return list(self.edges)


def traffic(
    source: LogSource,
    lifecycle: Lifecycle | str = "connection",
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    writer: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Traffic:
    """Counts what the streams of a lifecycle did in a log, in one pass over it.

    Each event is judged by the definition it was written under. What happened before ``since``
    is read too, so that the state of every stream is known then; a stay counts when it ends.

    Args:
        source: a URL or path, a store, or a log.
        lifecycle: a lifecycle, or the name of one whose definition is in the log; where there
            are several, the last that was in force.
        since: the first event to count, a position or an aware datetime, inclusive.
        until: the last event to count, inclusive.
        writer: count the streams of this writer only.
        progress: is told the position of each frame that was read.

    Raises:
        InvalidArgument: nothing was written under a lifecycle of this name or by this writer,
            or the log has no such position, or a datetime has no time zone.
        InvalidArgumentType: a moment is neither, or ``source`` is no log.
        HistoryEvicted: a bounded memory log no longer holds the beginning.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    with opened(source) as store:
        begin = None if since is None else check_within(store, since)
        end = None if until is None else check_within(store, until)
        _check_writer(store, writer)
        counting = Counting(store, lifecycle)
        for stored in store.read(0, writer):
            if isinstance(end, Position) and stored.position > end.frame:
                break
            with no_collection():
                body = open_body(stored)
                counting.take(stored.frame, body, *_within(stored, body, begin, end))
            if progress is not None:
                progress(stored.position)
    return _result(counting, lifecycle)


def _check_writer(store: Store, writer: str | None) -> None:
    known = sorted(store.heads())
    if writer is not None and writer not in known:
        raise InvalidArgument(f"no writer {writer} wrote here, but {_listed(known)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none at all"


def _within(
    stored: StoredFrame, body: Body, begin: Moment | None, end: Moment | None
) -> tuple[int, int]:
    """The first row of a frame to count, and the first after the last."""
    first, stop = 0, len(body.events)
    if isinstance(begin, Position):
        first = begin.offset if stored.position == begin.frame else 0
        first = stop if stored.position < begin.frame else first
    elif begin is not None:
        first = bisect_left(body.events, to_micros(begin) - stored.frame.first_at, key=_OFFSET)
    if isinstance(end, Position):
        stop = end.offset + 1 if stored.position == end.frame else stop
    elif end is not None:
        stop = bisect_right(body.events, to_micros(end) - stored.frame.first_at, key=_OFFSET)
    return first, stop


def _result(counting: Counting, lifecycle: Lifecycle | str) -> Traffic:
    table, ways = counting.table, counting.ways()
    if table is UNDEFINED:
        known = _listed(counting.names())
        raise InvalidArgument(f"nothing is written under a lifecycle {lifecycle}, but {known}")
    edges = {**dict.fromkeys(table.rows(), 0), **counting.taken()}
    ends = (state for _, source, dest in edges for state in (source, dest))
    found = dict.fromkeys([*table.states, *ends])
    now = Counter(counting.open_states())
    stays = {
        state: _stays(state, counting.stays.get(state, Sketch()), ways, now[state])
        for state in found
        if state != table.initial
    }
    return Traffic(
        table.name,
        table.initial,
        stays,
        table.final | {way.dest for way in ways if way.count and way.ends and way.dest},
        edges,
        begun=sum(way.count for way in ways if way.source is None and way.moves),
        ended=sum(way.count for way in ways if way.ends and way.moves),
        open=now.total(),
        illegal=counting.illegal,
        unknown=counting.unknown,
    )


def _stays(state: str, durations: Sketch, ways: Iterable[Way], now: int) -> Stays:
    entered = sum(way.count for way in ways if way.moves and way.dest == state)
    return Stays(entered, now, _seconds(durations, 0.5), _seconds(durations, 0.9))


def _seconds(durations: Sketch, share: float) -> float | None:
    found = durations.quantile(share)
    return None if found is None else found / SECOND
