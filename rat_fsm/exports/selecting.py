"""Which events leave a log."""

from __future__ import annotations

import datetime
from bisect import bisect_left, bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.codec import decode, no_collection
from rat_fsm.errors import InvalidArgumentType
from rat_fsm.events import Position, to_micros
from rat_fsm.replay.sources import check_moment, new_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rat_fsm.codec import Decoded
    from rat_fsm.events import Recorded
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.replay.sources import Moment
    from rat_fsm.stores.port import Frame, Store, StoredFrame
    from rat_fsm.table import Lifecycle

    Progress = Callable[[int], object]


@attrs.frozen
class Exported:
    """What was written.

    Attributes:
        events: how many events.
        parts: in how many frames, lines, batches or traces.
    """

    events: int
    parts: int


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


def _check_time(_instance: object, attribute: Any, value: Any) -> None:
    if value is not None and not isinstance(value, datetime.datetime):
        raise InvalidArgumentType(f"{attribute.name} must be a datetime, not {value!r:.80}")
    _check_any(_instance, attribute, value)


def _check_any(_instance: object, attribute: Any, value: Any) -> None:
    if value is not None:
        check_moment(value, attribute.name)


def _check_position(_instance: object, attribute: Any, value: Any) -> None:
    if value is not None and not isinstance(value, Position):
        raise InvalidArgumentType(f"{attribute.name} must be a Position, not {value!r:.80}")


@attrs.frozen(kw_only=True)
class Selection:
    """What is exported of a log; by default all of it.

    Attributes:
        since: the first time, inclusive.
        until: the last time or position, inclusive.
        after: the position behind which it begins.
        lifecycles: the names of the lifecycles whose events are exported; empty for all.
        redact: a function that gives each event as it may leave, such as
            `rat_fsm.exports.without_personal_data`.

    Raises:
        InvalidArgument: a time has no time zone.
        InvalidArgumentType: one of them is something else.
    """

    since: datetime.datetime | None = attrs.field(default=None, validator=_check_time)
    until: Moment | None = attrs.field(default=None, validator=_check_any)
    after: Position | None = attrs.field(default=None, validator=_check_position)
    lifecycles: frozenset[str] = attrs.field(default=frozenset(), converter=_names)
    redact: Callable[[Any], Any] | None = None

    @property
    def _first(self) -> int | None:
        return None if self.since is None else to_micros(self.since)

    @property
    def _last(self) -> int | None:
        until = self.until
        return None if until is None or isinstance(until, Position) else to_micros(until)

    @property
    def start(self) -> int:
        """The last frame that holds nothing of it because of ``after``."""
        return 0 if self.after is None else max(0, self.after.frame - 1)

    def ends_before(self, position: int) -> bool:
        """Whether neither this frame nor one behind it holds anything of it."""
        return isinstance(self.until, Position) and position > self.until.frame

    def misses(self, frame: Frame) -> bool:
        """Whether a frame holds nothing of it, as far as its times say."""
        first, last = self._first, self._last
        return (first is not None and frame.last_at < first) or (
            last is not None and frame.first_at > last
        )

    def chosen(self, decoded: Decoded) -> Sequence[int]:
        """The numbers of the rows of a frame that are exported; their times ascend."""
        rows, frame = decoded.rows, decoded.stored.frame
        start, stop = self._between(decoded.stored.position, len(rows))
        if (first := self._first) is not None:
            start = max(start, bisect_left(rows, first - frame.first_at, key=itemgetter(0)))
        if (last := self._last) is not None:
            stop = min(stop, bisect_right(rows, last - frame.first_at, key=itemgetter(0)))
        if not self.lifecycles:
            return range(start, stop)
        wanted = [lifecycle in self.lifecycles for lifecycle, *_ in decoded.streams]
        return [number for number in range(start, stop) if wanted[rows[number][1]]]

    def _between(self, position: int, count: int) -> tuple[int, int]:
        """The first row of a frame behind ``after``, and the first behind ``until``."""
        start, stop = 0, count
        if self.after is not None and position <= self.after.frame:
            start = count if position < self.after.frame else self.after.offset + 1
        if isinstance(self.until, Position) and position == self.until.frame:
            stop = min(count, self.until.offset + 1)
        return start, stop

    def released(self, event: Any) -> Any:
        """An event as it may leave."""
        return event if self.redact is None else self.redact(event)


EVERYTHING: Final = Selection()


def selected(
    store: Store,
    selection: Selection,
    lifecycles: Iterable[Lifecycle] | None = None,
    progress: Progress | None = None,
) -> Iterator[Recorded]:
    """The events of a selection in the order of the log; frames without any are not decoded."""
    model = new_model(lifecycles)
    for stored in store.read(selection.start):
        if selection.ends_before(stored.position):
            return
        if not selection.misses(stored.frame):
            yield from _released(stored, model, selection)
        if progress is not None:
            progress(stored.position)


def _released(stored: StoredFrame, model: ReadModel, selection: Selection) -> list[Recorded]:
    with no_collection():
        decoded = decode(stored, model)
        events = list(decoded.recorded())
        chosen = [events[number] for number in selection.chosen(decoded)]
        if selection.redact is None:
            return chosen
        return [attrs.evolve(event, event=selection.redact(event.event)) for event in chosen]
