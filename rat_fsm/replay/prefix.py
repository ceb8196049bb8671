"""A log up to a moment: what of it is read, whatever is written to it meanwhile."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.codec import decode
from rat_fsm.events import Position, to_micros
from rat_fsm.projections.model import ReadModel
from rat_fsm.replay.folding import rows_until
from rat_fsm.replay.rows import events_of
from rat_fsm.replay.sources import check_within, naming
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rat_fsm.codec import Decoded
    from rat_fsm.events import Recorded, Stream
    from rat_fsm.replay.sources import Moment
    from rat_fsm.stores.port import Store, StoredFrame
    from rat_fsm.table import Lifecycle


@attrs.frozen
class Prefix:
    """A log up to a moment, or to what was its end when it was asked for.

    Attributes:
        last: the last frame that may be part of it.
        until: the last event, None for all of these frames.
    """

    store: Store
    last: int
    until: Moment | None

    def frames(self, after: int = 0) -> Iterator[StoredFrame]:
        """The frames after a position, the last of which may be part of it only to some event."""
        return takewhile(lambda stored: stored.position <= self.last, self.store.read(after))

    def rows(self, decoded: Decoded) -> Sequence[Sequence[Any]]:
        """The rows of a frame that are part of it."""
        return decoded.rows if self.until is None else rows_until(decoded, self.until)

    def has_all_of(self, stored: StoredFrame) -> bool:
        """Whether every event of a frame is part of it."""
        if isinstance(self.until, Position):
            return Position(stored.position, stored.frame.count - 1) <= self.until
        return self.until is None or stored.frame.last_at <= to_micros(self.until)

    def events(
        self, stream: Stream, lifecycles: Iterable[Lifecycle], after: int
    ) -> Iterator[Recorded]:
        """The events of one stream in the frames after a position."""
        model = ReadModel(lifecycles)
        writer, _, _ = stream.born.rpartition(":")
        found = naming(self.store, stream.id, after)
        for stored in takewhile(lambda stored: stored.position <= self.last, found):
            if stored.frame.writer == writer:
                decoded = decode(stored, model)
                yield from events_of(decoded, self.rows(decoded), stream)


def prefix_of(store: Store, moment: Moment | None) -> Prefix:
    """A log up to a moment that it has.

    Raises:
        InvalidArgument: it has no such moment.
    """
    until = None if moment is None else check_within(store, moment)
    return Prefix(store, until.frame if isinstance(until, Position) else last_frame(store), until)
