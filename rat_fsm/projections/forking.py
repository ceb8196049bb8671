"""Read models of many moments, each at the price of what changed since the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rat_fsm.projections.model import ReadModel
from rat_fsm.projections.record import copy_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rat_fsm.projections.record import StreamRecord
    from rat_fsm.table import Lifecycle


class ForkingModel(ReadModel):
    """A read model for replay that `fork` copies without copying the records in it.

    Whoever folds next takes a copy of a record before changing it. That happens in `resolve`,
    once a stream in each frame, so folding costs hardly more than in a model that never forked;
    the live model has no use for it and knows nothing of it.
    """

    def __init__(self, lifecycles: Iterable[Lifecycle]) -> None:
        super().__init__(lifecycles)
        # The records that no other model has; None as long as that is all of them.
        self._own: set[StreamRecord] | None = None

    @property
    def held(self) -> int:
        """How many streams it keeps a record of."""
        return sum(map(len, self._streams.values()))

    @property
    def events(self) -> int:
        """How many events it has folded, of writers whose log it has folded from the beginning."""
        return sum(self.cursor.values())

    def fork(self) -> ForkingModel:
        """An equal model, which folds on by itself."""
        other = ForkingModel(self.lifecycles.values())
        other.totals = self.totals.copy()
        other.cursor, other.last_at = dict(self.cursor), dict(self.last_at)
        other._ids = {name: dict(records) for name, records in self._ids.items()}
        other._streams = {writer: dict(records) for writer, records in self._streams.items()}
        other._node = self._node
        self._own, other._own = set(), set()
        return other

    def known(self, writer: str) -> Mapping[int, StreamRecord]:
        """None, as soon as another model may share them: then each is resolved by itself."""
        return super().known(writer) if self._own is None else {}

    def resolve(
        self, writer: str, lifecycle: str, stream_id: str, born: int
    ) -> StreamRecord | None:
        """The record of a stream that a frame names, which is now this model's alone."""
        record = super().resolve(writer, lifecycle, stream_id, born)
        if self._own is None or record is None or record in self._own:
            return record
        if record.born:
            record = self._copy(record)
        self._own.add(record)
        return record

    def _copy(self, record: StreamRecord) -> StreamRecord:
        """Puts a copy wherever this model has the record."""
        copy = copy_record(record)
        self._streams[record.writer][record.born] = copy
        ids = self._ids[record.lifecycle]
        if ids.get(record.id) is record:
            ids[record.id] = copy
        if self._node is record:
            self._node = copy  # type: ignore[assignment]  # of the same class
        return copy
