"""Finds every life of an id in a log, and folds each into steps: states, times, bytes so far.

A short log is searched; in a long one the index knows where to look.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.errors import DamagedFrame, StreamNotFound
from rat_fsm.events import (
    ActivityRecorded,
    Closing,
    ErrorRecorded,
    Position,
    Recorded,
    RetryRefused,
    RetryScheduled,
    Stream,
)
from rat_fsm.replay.indexing import kept_index
from rat_fsm.replay.naming import near_misses
from rat_fsm.replay.picking import Picker
from rat_fsm.replay.scan import Scan
from rat_fsm.replay.sources import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from rat_fsm.projections.definitions import Table
    from rat_fsm.replay.index import Index, Progress
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle


_DECISIONS = (RetryScheduled, RetryRefused)


@attrs.define
class Step:
    """One event of a life, or a run of activities told as one.

    Attributes:
        position: of the event, or of the first of a run.
        micros: when it happened; ``until`` is when the last of a run did.
        before: the state it met; ``after`` is the state it led to.
        legal: whether the table has a way for it.
        waited: how long the stream had been in ``before``, microseconds.
        sent: the bytes of the life so far.
        count: how many events it stands for.
    """

    position: Position | None
    micros: int
    type: str
    event: Any
    before: str
    after: str
    legal: bool
    waited: int
    sent: int
    until: int
    count: int = 1


@attrs.define
class Life:
    """What happened in one life of an id; an illegal event is a step, and counts for nothing else.

    Attributes:
        policy: how errors are retried, as the run that it began in recorded it; empty where
            nothing was decided, or each decision says so itself.
        entered: when the present state was entered, microseconds.
        spent: state → microseconds, for the states that were left.
        closing: how its end began, None where it has not.
        over: whether the present state is final.
    """

    stream: Stream
    writer: str
    state: str
    entered: int
    steps: list[Step] = attrs.field(factory=list)
    spent: dict[str, int] = attrs.field(factory=dict)
    sent: int = 0
    messages: int = 0
    errors: int = 0
    retries: int = 0
    closing: Closing | None = None
    over: bool = False
    policy: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def lived(self) -> int:
        """From the first event to the last, microseconds."""
        return self.steps[-1].until - self.steps[0].micros

    @property
    def decided(self) -> bool:
        """Whether a retry was scheduled or refused without saying by which policy."""
        decisions = (s.event for s in self.steps if isinstance(s.event, _DECISIONS))
        return any(not event.policy for event in decisions)

    def fold(self, recorded: Recorded, table: Table, *, merge: bool) -> None:
        """Takes the next event; with ``merge`` an activity may join the step before it."""
        after = table.next_state(self.state, recorded.type)
        if after is not None:
            self._count(recorded.event)
        if merge and isinstance(recorded.event, ActivityRecorded) and self._joins(recorded, after):
            return
        self._step(recorded, after)
        if after is not None and after != self.state:
            waited = recorded.micros - self.entered
            self.spent[self.state] = self.spent.get(self.state, 0) + waited
            self.state, self.entered = after, recorded.micros
            self.over = after in table.final

    def _step(self, recorded: Recorded, after: str | None) -> None:
        step = Step(
            position=recorded.position,
            micros=recorded.micros,
            type=recorded.type,
            event=recorded.event,
            before=self.state,
            after=self.state if after is None else after,
            legal=after is not None,
            waited=recorded.micros - self.entered,
            sent=self.sent,
            until=recorded.micros,
        )
        self.steps.append(step)

    def _joins(self, recorded: Recorded, after: str | None) -> bool:
        last = self.steps[-1] if self.steps else None
        if last is None or not isinstance(last.event, ActivityRecorded):
            return False
        if not last.legal or after != last.after:
            return False
        last.event = ActivityRecorded(
            last.event.bytes_sent + recorded.event.bytes_sent,
            last.event.messages_sent + recorded.event.messages_sent,
        )
        last.count, last.until, last.sent = last.count + 1, recorded.micros, self.sent
        return True

    def _count(self, event: Any) -> None:
        match event:
            case ActivityRecorded():
                self.sent += event.bytes_sent
                self.messages += event.messages_sent
            case Closing():
                self.closing = event
            case ErrorRecorded():
                self.errors += 1
            case RetryScheduled():
                self.retries += 1


def lives_of(
    source: LogSource,
    stream_id: str,
    lifecycles: Iterable[Lifecycle] | None = None,
    *,
    merge: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> list[Life]:
    """Every life of an id, in the order they began.

    Args:
        source: a URL or path, a store, or a log.
        stream_id: of a connection or any other stream.
        lifecycles: how events are read; CONNECTION and NODE by default.
        merge: tell a run of activities as one step.
        cache: the folder of caches, the user's own by default; see `history_of`.
        progress: is told the frame that an index has been brought up to.

    Raises:
        StreamNotFound: no stream has this id.
        HistoryEvicted: a bounded memory log no longer holds the beginning.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    lives: dict[Stream, Life] = {}
    with opened(source) as store, _finder(store, cache, progress) as finder:
        tables = finder.tables()
        for fingerprints, recorded in _events(store, finder, stream_id, lifecycles):
            table = tables.of(fingerprints, recorded.stream.lifecycle)
            life = lives.get(recorded.stream)
            if life is None:
                life = Life(recorded.stream, recorded.writer, table.initial, recorded.micros)
                lives[recorded.stream] = life
            life.fold(recorded, table, merge=merge)
        for life in lives.values():
            if life.decided:
                life.policy = finder.policy(life.writer, int(life.stream.born.rpartition(":")[2]))
    return sorted(lives.values(), key=lambda life: life.steps[0].micros)


def history_of(
    source: LogSource,
    stream_id: str,
    lifecycles: Iterable[Lifecycle] | None = None,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[tuple[str, ...], Recorded]]:
    """The events of every stream with an id, and the fingerprints each was written under.

    A log of half a million events or more is indexed first, in a file of the cache folder; what
    was indexed once is only caught up. A damaged frame keeps a log from being indexed, but not
    from being searched.

    Args:
        source: a URL or path, a store, or a log.
        stream_id: of a connection or any other stream.
        lifecycles: how events are read; CONNECTION and NODE by default.
        cache: the folder of caches, the user's own by default.
        progress: is told the frame that an index has been brought up to.

    Raises:
        StreamNotFound: no stream has this id; it names those that look like it.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    with opened(source) as store, _finder(store, cache, progress) as finder:
        yield from _events(store, finder, stream_id, lifecycles)


@contextlib.contextmanager
def _finder(store: Store, cache: Path | None, progress: Progress | None) -> Iterator[Index | Scan]:
    with contextlib.ExitStack() as stack:
        index = None
        with contextlib.suppress(DamagedFrame):
            index = stack.enter_context(kept_index(store, cache, progress))
        yield index or Scan(store)


def _events(
    store: Store,
    finder: Index | Scan,
    stream_id: str,
    lifecycles: Iterable[Lifecycle] | None,
) -> Iterator[tuple[tuple[str, ...], Recorded]]:
    found = False
    picker = finder if isinstance(finder, Scan) else Picker(finder)
    with contextlib.suppress(UnicodeEncodeError):  # no log has such an id: it is no text
        for each in picker.events(stream_id, lifecycles):
            found = True
            yield each
    if not found:
        raise StreamNotFound(store.url, stream_id, near_misses(finder.ids(), stream_id))
