"""Any moment of a log again, and a cursor to step through it, forward and back."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import ExitStack
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from rat_fsm.codec import decode, no_collection
from rat_fsm.events import Position, UnknownEvent, to_micros
from rat_fsm.replay.cache import Cache
from rat_fsm.replay.checkpoints import Checkpoints
from rat_fsm.replay.folding import rows_until
from rat_fsm.replay.instants import cut
from rat_fsm.replay.rewinding import Distances, Rewinder
from rat_fsm.replay.seeking import Wanted, next_event, previous_event
from rat_fsm.replay.sources import (
    check_within,
    event_count,
    frame_at,
    last_position,
    new_model,
    opened,
)

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from rat_fsm.codec import Decoded, Reader
    from rat_fsm.events import Recorded
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.replay.seeking import Predicate
    from rat_fsm.replay.sources import LogSource, Moment
    from rat_fsm.table import Lifecycle

FRAMES_KEPT: Final = 3  # decoded: ten thousand rows each at most


@attrs.frozen
class Change:
    """What an event did to the state of its stream.

    Attributes:
        before: the state that it met.
        after: the state that it led to.
        legal: False where the table has no way for it, or it is unknown: the state was kept.
    """

    before: str
    after: str
    legal: bool


class Timeline:
    """The moments of one log; a context manager that closes itself.

    `at` answers with the read model as of a moment. A cursor stands at an event, at first before
    them all, and moves from one to another; `model` and `change` say what was true there. Moments
    far from the beginning are reached from checkpoints, which the first long fold leaves in a
    cache. The log may be written meanwhile: what is new comes into reach by itself.

    Args:
        source: a URL or path, a store, or a log, of which what is durable is read.
        lifecycles: how events are read; CONNECTION and NODE by default.
        cache: the folder for checkpoints, see `rat_fsm.replay.cache`.
        distances: how far apart models are kept, in memory and in the cache.
        progress: called with the position of each frame that is read on a long way.

    Attributes:
        store: what it reads.
        position: of the event at the cursor, None before the first.
        focused: the id that `focus` was told.

    Raises:
        InvalidArgument, InvalidArgumentType: it is no log, or in another process's memory.
        StoreUnreadable, UnsupportedFormat, DamagedFrame, HistoryEvicted: it cannot be read; every
            method may raise these.
    """

    def __init__(
        self,
        source: LogSource,
        *,
        lifecycles: Iterable[Lifecycle] | None = None,
        cache: Path | None = None,
        distances: Distances = Distances(),  # noqa: B008 - it is immutable
        progress: Callable[[int], object] = lambda _frame: None,
    ) -> None:
        self.position: Position | None = None
        self.focused: str | None = None
        self._model = new_model(lifecycles)
        self._progress = progress
        self._decoded: OrderedDict[int, Decoded] = OrderedDict()
        with ExitStack() as stack:
            self.store = stack.enter_context(opened(source))
            known = tuple(self._model.lifecycles.values())
            kept = event_count(self.store) >= distances.checkpoints  # else there are none to keep
            found = stack.enter_context(Cache(self.store, cache, kept=kept))
            checkpoints = Checkpoints(found, known)
            self._rewinder = Rewinder(self.store, known, checkpoints, distances, progress)
            self._open = stack.pop_all()

    def at(self, moment: Moment) -> ReadModel:
        """The read model as of a moment: all events up to it, inclusive.

        It is the caller's own, and equal to ``replay(source, moment)``.

        Raises:
            InvalidArgument: no event stands at the position, or the time has no zone.
        """
        moment = check_within(self.store, moment)
        if isinstance(moment, Position):
            return self._until(moment, around=False)
        split = cut(self.store, to_micros(moment))
        model = self._rewinder.after(split.whole)
        for stored in self.store.read(split.whole):
            if stored.position > split.last:
                break
            decoded = decode(stored, model)
            decoded.fold_into(model, rows_until(decoded, moment))
        return model

    @property
    def model(self) -> ReadModel:
        """The read model as of the cursor, the caller's own."""
        if self.position is None:
            return self._rewinder.after(0)
        return self._until(self.position, around=True)

    @property
    def event(self) -> Recorded | None:
        """The event at the cursor, None before the first."""
        if self.position is None:
            return None
        decoded = self._frame(self.position.frame)
        wanted = decoded.rows[self.position.offset]
        return next(decoded.recorded(lambda row: row is wanted))

    @property
    def change(self) -> Change | None:
        """What the event at the cursor changed, None where its lifecycle is not known."""
        if self.position is None:
            return None
        frame, offset = self.position.frame, self.position.offset
        model = self._rewinder.after(frame - 1, around=True)
        decoded = self._judged(frame, model)
        number = decoded.rows[offset][1]
        lifecycle, name, born, _ = decoded.streams[number]
        record = model.resolve(decoded.stored.frame.writer, lifecycle, name, born)
        if record is None:
            return None
        *earlier, row = [row for row in decoded.rows[: offset + 1] if row[1] == number]
        state = record.state
        for before in earlier:
            state = _next(state, decoded.readers[before[2]], before) or state
        after = _next(state, decoded.readers[row[2]], row)
        return Change(state, after or state, after is not None)

    def focus(self, stream_id: str | None) -> None:
        """Lets every move but `goto` stop at events of this id only; None at any again."""
        self.focused = stream_id

    def first(self) -> Recorded | None:
        """Goes to the first event of the log; None where there is none."""
        self.position = None
        return self.next()

    def last(self) -> Recorded | None:
        """Goes to the last event of the log, as of now; None where there is none."""
        self.position = last_position(self.store)
        event = self.event
        if event is None or self.focused in {None, event.stream.id}:
            return event
        return self.previous()

    def goto(self, moment: Moment) -> Recorded | None:
        """Goes to a position, or to the last event before the first that is after a time.

        Raises:
            InvalidArgument: see `at`.
        """
        moment = check_within(self.store, moment)
        self.position = moment if isinstance(moment, Position) else self._place(moment)
        return self.event

    def next(self, count: int = 1) -> Recorded | None:
        """Goes so many events on, or as far as there are any yet.

        Returns:
            The event that it has come to; None where the cursor has not moved.
        """
        moved = sum(1 for _ in takewhile(lambda _: self._go_on(), range(count)))
        return self.event if moved else None

    def previous(self, count: int = 1) -> Recorded | None:
        """Goes so many events back, or as far as there are any: without a focus before the first.

        Returns:
            The event that it has come to; None before the first, or where it has not moved.
        """
        moved = sum(1 for _ in takewhile(lambda _: self._go_back(), range(count)))
        return self.event if moved else None

    def seek(self, wanted: str | Predicate | None, *, backward: bool = False) -> Recorded | None:
        """Goes to the nearest event of a type, or to which a predicate says yes.

        Args:
            wanted: a tag such as ``connection.closed``, a function of a `Recorded`, or None.
            backward: whether to look before the cursor, not after it.

        Returns:
            The event; None where there is none, and the cursor stays.
        """
        tag, predicate = (wanted, None) if isinstance(wanted, str) else (None, wanted)
        what = Wanted(tag, self.focused, predicate)
        found = self._look(what, backward=backward)
        if found is not None:
            self.position = found.position
        return found

    def _look(self, what: Wanted, *, backward: bool) -> Recorded | None:
        if not backward:
            return next_event(self.store, self._model, what, self.position, self._progress)
        if self.position is None:
            return None
        return previous_event(self.store, self._model, what, self.position, self._progress)

    def _go_on(self) -> bool:
        """To the event after the cursor; whether there is one."""
        if self.focused is not None:
            return self.seek(None) is not None
        following = Position(1, 0)
        if self.position is not None:
            frame, offset = self.position.frame, self.position.offset + 1
            within = offset < self._frame(frame).stored.frame.count
            following = Position(frame, offset) if within else Position(frame + 1, 0)
        if following.offset == 0 and frame_at(self.store, following.frame) is None:
            return False
        self.position = following
        return True

    def _go_back(self) -> bool:
        """To the event before the cursor; whether there was anything to leave."""
        if self.position is None or self.focused is not None:
            return self.seek(None, backward=True) is not None
        frame, offset = self.position.frame, self.position.offset
        self.position = Position(frame, offset - 1) if offset else self._end_of(frame - 1)
        return True

    def _until(self, position: Position, *, around: bool) -> ReadModel:
        model = self._rewinder.after(position.frame - 1, around=around)
        decoded = self._judged(position.frame, model)
        with no_collection():
            decoded.fold_into(model, decoded.rows[: position.offset + 1])
        return model

    def _frame(self, position: int) -> Decoded:
        """A frame decoded as today's definitions have it, which is all that its events need."""
        decoded = self._decoded.pop(position, None)
        if decoded is None:
            stored = next(iter(self.store.read(position - 1)))
            with no_collection():
                decoded = decode(stored, self._model)
        self._decoded[position] = decoded
        if len(self._decoded) > FRAMES_KEPT:
            self._decoded.popitem(last=False)
        return decoded

    def _judged(self, position: int, model: ReadModel) -> Decoded:
        """A frame decoded as the definitions have it that it was written under."""
        decoded = self._frame(position)
        current = {lifecycle.fingerprint for lifecycle in self._model.lifecycles.values()}
        if current >= set(decoded.stored.frame.fingerprints):
            return decoded
        return decode(decoded.stored, model)

    def _place(self, moment: datetime.datetime) -> Position | None:
        """The last event before the first that is after a time, in the order of the log."""
        whole = cut(self.store, to_micros(moment)).whole
        following = frame_at(self.store, whole + 1)
        if following is not None:
            rows = rows_until(self._frame(following.position), moment)
            if rows:
                return Position(following.position, len(rows) - 1)
        return self._end_of(whole)

    def _end_of(self, frame: int) -> Position | None:
        return Position(frame, self._frame(frame).stored.frame.count - 1) if frame else None

    def close(self) -> None:
        """Lets go of the log, if it was opened here, and of the cache; idempotent."""
        self._open.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes it."""
        self.close()


def _next(state: str, reader: Reader, row: Any) -> str | None:
    """Where a row leads from a state, None where it keeps it for want of a way."""
    if reader.kind is None or isinstance(reader.read(row[3:]), UnknownEvent):
        return None
    return reader.kind.moves.get(state)
