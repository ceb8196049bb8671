"""Finds the next event of a kind in either direction, decoding only frames that may hold one."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from rat_fsm.codec import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rat_fsm.codec import Decoded
    from rat_fsm.events import Position, Recorded
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.stores.port import Store, StoredFrame

    Predicate = Callable[[Recorded], object]

CHUNK: Final = 16  # frames that are read at once on the way back: a store reads forward only


@attrs.frozen
class Wanted:
    """What an event must be; what is None does not matter.

    Attributes:
        tag: its type, such as ``connection.closed``.
        stream_id: the id of its stream.
        predicate: says yes to it.
    """

    tag: str | None = None
    stream_id: str | None = None
    predicate: Predicate | None = None

    def may_be_in(self, stored: StoredFrame) -> bool:
        """Whether a frame is worth decoding."""
        needles = (msgspec.json.encode(name) for name in (self.tag, self.stream_id) if name)
        return all(needle in stored.frame.body for needle in needles)

    def among(self, decoded: Decoded) -> Iterator[Recorded]:
        """The events of a frame that are wanted, in order."""
        types = {n for n, reader in enumerate(decoded.readers) if self.tag in {None, reader.tag}}
        streams = {
            number
            for number, (_, name, _, _) in enumerate(decoded.streams)
            if self.stream_id in {None, name}
        }

        def picked(row: Sequence[Any]) -> bool:
            return row[2] in types and row[1] in streams

        found = decoded.recorded(picked) if types and streams else iter(())
        return found if self.predicate is None else filter(self.predicate, found)


def next_event(
    store: Store,
    model: ReadModel,
    wanted: Wanted,
    after: Position | None,
    progress: Callable[[int], object],
) -> Recorded | None:
    """The first wanted event after a position, or of all; None where there is none.

    Args:
        store: the log.
        model: its lifecycles say how events are read.
        wanted: which event.
        after: the position.
        progress: called with the position of each frame that was looked at.
    """
    for stored in store.read(0 if after is None else after.frame - 1):
        if wanted.may_be_in(stored):
            for recorded in wanted.among(decode(stored, model)):
                if after is None or (recorded.position is not None and recorded.position > after):
                    return recorded
        progress(stored.position)
    return None


def previous_event(
    store: Store,
    model: ReadModel,
    wanted: Wanted,
    before: Position,
    progress: Callable[[int], object],
) -> Recorded | None:
    """The last wanted event before a position; see `next_event`."""
    for stored in _backward(store, before.frame):
        if wanted.may_be_in(stored):
            found = list(wanted.among(decode(stored, model)))
            for recorded in reversed(found):
                if recorded.position is not None and recorded.position < before:
                    return recorded
        progress(stored.position)
    return None


def _backward(store: Store, last: int) -> Iterator[StoredFrame]:
    """The frames up to a position, the last of them first."""
    while last > 0:
        first = max(1, last - CHUNK + 1)
        yield from reversed(list(islice(store.read(first - 1), last - first + 1)))
        last = first - 1
