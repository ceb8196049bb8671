"""Follows a log: every durable event, once, in order, as it comes."""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from rat_fsm.codec import decode
from rat_fsm.errors import LogClosed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from rat_fsm.events import Position, Recorded
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.stores.port import Store, StoredFrame

SLICE: Final = 0.25


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
    it closes it.
    """

    def __init__(self, store: Store, model: ReadModel, after: Position | None) -> None:
        self._store = store
        self._model = model
        self._after = after
        self._frame = _frame_before(after)
        self._events: Iterator[Recorded] = iter(())
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Recorded]:
        """Itself."""
        return self

    def __next__(self) -> Recorded:
        """The next event, however long it takes; StopIteration once closed."""
        while not self._closed.is_set():
            recorded = self.next(SLICE)
            if recorded is not None:
                return recorded
        raise StopIteration

    @property
    def closed(self) -> bool:
        """Whether it has ended: it was closed, or the log was."""
        return self._closed.is_set()

    def next(self, timeout: float) -> Recorded | None:
        """The next event, None where none comes within ``timeout`` seconds or once closed.

        Raises:
            HistoryEvicted: a bounded memory log dropped events that were not delivered yet.
            DamagedFrame: a frame cannot be read.
        """
        recorded = next(self._events, None)
        while recorded is None and self._more(timeout):
            self._events = self._read()
            recorded = next(self._events, None)
        return recorded

    def _more(self, timeout: float) -> bool:
        if self._closed.is_set():
            return False
        try:
            return self._store.wait(self._frame, timeout)
        except LogClosed:
            self.close()
            return False

    def _read(self) -> Iterator[Recorded]:
        for stored in self._store.read(self._frame):
            yield from events_after(stored, self._model, self._after)
            self._frame = stored.position

    def close(self) -> None:
        """Ends the iteration; idempotent."""
        self._closed.set()

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
