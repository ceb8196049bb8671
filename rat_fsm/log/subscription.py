"""Follows a log: every durable event, once, in order, as it comes."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Self

from rat_fsm.codec import decode
from rat_fsm.log.tailing import SLICE, Tail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rat_fsm.events import Position, Recorded
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.stores.port import Store, StoredFrame


def read_recorded(store: Store, model: ReadModel, after: Position | None) -> Iterator[Recorded]:
    """Every durable event after a position, of all writers, in the store's order."""
    for stored in store.read(_frame_before(after)):
        yield from events_after(stored, model, after)


def events_after(
    stored: StoredFrame, model: ReadModel, after: Position | None
) -> Iterator[Recorded]:
    """The events of a frame that stand after a position."""
    recorded = decode(stored, model).recorded()
    if after is None or stored.position > after.frame:
        return recorded
    return (
        islice(recorded, max(0, after.offset + 1), None)
        if stored.position == after.frame
        else iter(())
    )


def _frame_before(after: Position | None) -> int:
    """The last frame that holds nothing after a position, whatever that frame's length."""
    return 0 if after is None else max(0, after.frame - 1)


class Subscription:
    """An iterator that blocks for the next durable event of any writer.

    Ends when it is closed, from any thread, or when the log is. It is a context manager; leaving
    it closes it. A store that cannot be read for a while is asked again, and nothing is missed.
    """

    def __init__(self, store: Store, model: ReadModel, after: Position | None) -> None:
        self._model = model
        self._after = after
        self._tail = Tail(store, _frame_before(after), "a subscription")
        self._events: Iterator[Recorded] = iter(())

    def __iter__(self) -> Iterator[Recorded]:
        """Itself."""
        return self

    def __next__(self) -> Recorded:
        """The next event, however long it takes; StopIteration once closed."""
        while not self.closed:
            recorded = self.next(SLICE)
            if recorded is not None:
                return recorded
        raise StopIteration

    @property
    def closed(self) -> bool:
        """Whether it has ended: it was closed, or the log was."""
        return self._tail.ended

    @property
    def problem(self) -> OSError | None:
        """Why the store cannot be read now; None while it can."""
        return self._tail.problem

    def next(self, timeout: float) -> Recorded | None:
        """The next event, None where none comes within ``timeout`` seconds or once closed.

        Raises:
            HistoryEvicted: a bounded memory log dropped events that were not delivered yet.
            DamagedFrame: a frame cannot be read.
        """
        deadline = time.monotonic() + timeout
        recorded = next(self._events, None)
        while recorded is None:
            stored = self._tail.next(max(0.0, deadline - time.monotonic()))
            if stored is None:
                break
            self._events = self._read(stored)
            recorded = next(self._events, None)
        return recorded

    def _read(self, stored: StoredFrame) -> Iterator[Recorded]:
        try:
            return events_after(stored, self._model, self._after)
        except BaseException:
            self._tail.give_back()  # who asks again is told again
            raise

    def close(self) -> None:
        """Ends the iteration; idempotent."""
        self._tail.end()

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
