"""Compares two logs, or two moments of one: what is counted, and where each stream parts.

Memory is bounded by the streams that are open, whatever the logs' length. What both logs begin
with, byte for byte, is read and no more. Behind it the events of each stream become a digest (see
`rat_fsm.replay.digests`), and only streams whose digests differ are read a second time, as many as
are asked for.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.codec import decode, no_collection
from rat_fsm.events import Position, Recorded, Stream
from rat_fsm.projections.model import ReadModel
from rat_fsm.replay.diff import ModelDiff, diff_models
from rat_fsm.replay.digests import A, B, Digests, fact_of
from rat_fsm.replay.prefix import Prefix, prefix_of
from rat_fsm.replay.sources import known_lifecycles, last_position, opened
from rat_fsm.replay.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from rat_fsm.replay.digests import Pair, Side
    from rat_fsm.replay.sources import LogSource, Moment
    from rat_fsm.stores.port import StoredFrame
    from rat_fsm.table import Lifecycle

    Progress = Callable[[int], object]

LISTED: Final = 20


@attrs.frozen
class Divergence:
    """Where a stream parts: its first event that differs, None where a log has no more of it.

    Attributes:
        stream: which life of which id, as ``a`` or else ``b`` calls it.
        version: the number of that event within the stream.
        events_a: how many events of it were compared in the first log; ``events_b`` likewise.
    """

    stream: Stream
    version: int
    a: Recorded | None
    b: Recorded | None
    events_a: int
    events_b: int


@attrs.frozen
class Differing:
    """How many streams differ in a way, and the first of them; false where none does."""

    count: int = 0
    first: tuple[Divergence, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is one."""
        return bool(self.count)


@attrs.frozen
class LogDiff:
    """In what two logs differ; false where they do not.

    Attributes:
        models: what they come to.
        same: the last event up to which all frames are the same, None where the first is not.
        streams_a: how many streams of the first were compared, having events behind that one;
            ``streams_b`` likewise.
        parted: streams of both that part from each other.
        only_a: streams that only the first has.
        only_b: streams that only the second has.
    """

    models: ModelDiff = attrs.field(factory=ModelDiff)
    same: Position | None = None
    streams_a: int = 0
    streams_b: int = 0
    parted: Differing = Differing()
    only_a: Differing = Differing()
    only_b: Differing = Differing()

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return any((self.models, self.parted, self.only_a, self.only_b))


def diff_moments(
    source: LogSource,
    at: Moment,
    to: Moment | None = None,
    *,
    lifecycles: Iterable[Lifecycle] | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> ModelDiff:
    """In what the read model of a log differs between two moments.

    Args:
        source: a URL or path, a store, or a log.
        at: the moment that is ``before``.
        to: the moment that is ``after``; the end of the log by default.
        lifecycles: how events are read; CONNECTION and NODE by default.
        cache: the folder for checkpoints of a long log, see `rat_fsm.replay.timeline`.
        progress: called with the position of each frame that is read on a long way.

    Raises:
        InvalidArgument: the log has no such moment, or a time has no zone.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    progress = progress or _nobody
    with Timeline(source, lifecycles=lifecycles, cache=cache, progress=progress) as timeline:
        end = last_position(timeline.store) if to is None else to
        a = timeline.at(at)
        return diff_models(a, a if end is None else timeline.at(end))


def diff_logs(
    a: LogSource,
    b: LogSource,
    *,
    at_a: Moment | None = None,
    at_b: Moment | None = None,
    times: bool = False,
    limit: int = LISTED,
    lifecycles: Iterable[Lifecycle] | None = None,
    progress: Progress | None = None,
) -> LogDiff:
    """In what two logs differ, in sum and stream by stream.

    Streams are matched by lifecycle, id and the number of the life, whoever wrote them, and
    compared event by event: its type and what it says. How events of different streams are
    interleaved, and how they are distributed over frames, does not count.

    Args:
        a: a URL or path, a store, or a log.
        b: the other.
        at_a: compare the first up to this moment; to its present end by default.
        at_b: likewise.
        times: whether it counts when something happened, and how long it took.
        limit: how many streams of each kind to list; all are counted.
        lifecycles: how events are read; CONNECTION and NODE by default. Events of others are
            compared as they were written.
        progress: called with the number of frames that were looked at, of both logs together.

    Raises:
        InvalidArgument: a log has no such moment, or a time has no zone.
    """
    with opened(a) as store_a, opened(b) as store_b:
        prefixes = prefix_of(store_a, at_a), prefix_of(store_b, at_b)
        comparison = _Comparison(*prefixes, lifecycles, times=times)
        if comparison.all_is_same:
            return LogDiff(same=comparison.same)
        return comparison.run(limit, progress or _nobody)


class _Comparison:
    """Compares two logs in two passes: the first counts, the second looks at what differs."""

    _digests: Digests

    def __init__(
        self, a: Prefix, b: Prefix, lifecycles: Iterable[Lifecycle] | None, *, times: bool
    ) -> None:
        self._a, self._b = a, b
        self._lifecycles = known_lifecycles(lifecycles)
        self._times = times
        self.same = _same(a, b)

    @property
    def all_is_same(self) -> bool:
        """Whether both consist of the same frames."""
        return self._a.last == self._b.last == _frame(self.same)

    def run(self, limit: int, progress: Progress) -> LogDiff:
        """Compares them."""
        with contextlib.closing(Digests(times=self._times)) as self._digests:
            a = self._fold(A, self._a, progress)
            b = self._fold(B, self._b, lambda done: progress(self._a.last + done))
            return LogDiff(
                diff_models(a, b, same_log=False, times=self._times),
                self.same,
                self._digests.count(A),
                self._digests.count(B),
                **self._differing(limit),
            )

    def _fold(self, side: str, prefix: Prefix, progress: Progress) -> ReadModel:
        self._digests.begin(side)
        model, same = ReadModel(self._lifecycles), _frame(self.same)
        for stored in prefix.frames():
            with no_collection():
                decoded = decode(stored, model)
                rows = prefix.rows(decoded)
                decoded.fold_into(model, rows)
                if stored.position > same:
                    self._digests.take(decoded, rows)
            progress(stored.position)
        return model

    def _differing(self, limit: int) -> dict[str, Differing]:
        counts: Counter[str] = Counter()
        pairs: defaultdict[str, list[Pair]] = defaultdict(list)
        for pair in self._digests.differing():
            counts[pair.kind] += 1
            if counts[pair.kind] <= limit:
                pairs[pair.kind].append(pair)
        return {
            kind: Differing(count, tuple(chain.from_iterable(map(self._divergence, pairs[kind]))))
            for kind, count in counts.items()
        }

    def _divergence(self, pair: Pair) -> Iterator[Divergence]:
        """Reads a life again, in both logs at once, up to where it parts."""
        a, b = self._events(self._a, pair, pair.a), self._events(self._b, pair, pair.b)
        for x, y in zip_longest(a, b):
            if self._told(x) != self._told(y):
                events_a, events_b = (side.events if side else 0 for side in (pair.a, pair.b))
                known = x or y
                yield Divergence(known.stream, known.version, x, y, events_a, events_b)
                return

    def _events(self, prefix: Prefix, pair: Pair, side: Side | None) -> Iterator[Recorded]:
        """The events of one side of a life that are compared."""
        if side is None:
            return iter(())
        stream = Stream(pair.lifecycle, pair.id, f"{side.writer}:{side.born}")
        return prefix.events(stream, self._lifecycles, side.frame - 1)

    def _told(self, recorded: Recorded | None) -> Any:
        if recorded is None:
            return None
        at = recorded.micros if self._times else 0
        return recorded.type, fact_of(recorded.event, times=self._times), at


def _nobody(_done: int) -> None:
    """Nobody wants to know how far it has come."""


def _same(a: Prefix, b: Prefix) -> Position | None:
    """The last event of the frames that two logs both begin with."""
    same = None
    for x, y in zip(a.frames(), b.frames(), strict=False):
        if _content(x) != _content(y) or not (a.has_all_of(x) and b.has_all_of(y)):
            break
        same = Position(x.position, x.frame.count - 1)
    return same


def _content(stored: StoredFrame) -> tuple[Any, ...]:
    """What a frame says; that its hash is right is for verifying to find out."""
    frame = stored.frame
    said = frame.writer, frame.first, frame.count, frame.first_at, frame.last_at, frame.body
    return (stored.position, frame.fingerprints, *said)


def _frame(position: Position | None) -> int:
    return 0 if position is None else position.frame
