"""Which connections go on under another writer, so that nobody counts them twice.

A process that lost its slot goes on with its connections as new streams, which name those they
continue. Whoever recovers the slot ends the old ones, before that or after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.events import Closed, Registered
from rat_fsm.projections.record import ConnectionRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rat_fsm.codec import Decoded
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.stats import Totals

RECOVERED: Final = frozenset({"crash", "forced"})  # what recovery ends connections with
MOST_DIGITS: Final = 19  # of the number of an event
MOST_ENDS: Final = 65_536  # so many of these are remembered, the newest ones


class Continued:
    """The old streams of connections that go on as another stream.

    Args:
        models: writer → its read model, which this looks into.

    Attributes:
        open: those that nobody has ended yet, by where they began, such as ``w0:17``.
        ended: how many of them have been ended, by reason.
    """

    def __init__(self, models: Mapping[str, ReadModel]) -> None:
        self.open: dict[str, ConnectionRecord] = {}
        self.ended: dict[str, int] = {}
        self._models = models
        self._recovered: dict[str, ConnectionRecord] = {}

    def fold(self, decoded: Decoded, model: ReadModel) -> None:
        """Folds a frame into its writer's model, and sees what is continued or ended there."""
        known = model.known(decoded.stored.frame.writer)
        closes = any(reader.kind and reader.kind.cls is Closed for reader in decoded.readers)
        records = [known.get(born) for _, _, born, _ in decoded.streams] if closes else []
        decoded.fold_into(model)
        for record in records:
            if isinstance(record, ConnectionRecord) and record.state == "closed":
                self._end(record)
        for born in _continued_in(decoded):
            self._go_on(born)

    def _end(self, record: ConnectionRecord) -> None:
        born = f"{record.writer}:{record.born}"
        if self.open.pop(born, None) is not None:
            self._count(record)
        elif record.reason in RECOVERED:
            self._recovered[born] = record
            if len(self._recovered) > MOST_ENDS:
                del self._recovered[next(iter(self._recovered))]

    def _count(self, record: ConnectionRecord) -> None:
        reason = record.reason or ""
        self.ended[reason] = self.ended.get(reason, 0) + 1

    def _go_on(self, born: str) -> None:
        writer, _, number = born.rpartition(":")
        model, ended = self._models.get(writer), self._recovered.pop(born, None)
        if ended is not None:
            self._count(ended)
        elif model is not None and number.isdecimal() and len(number) <= MOST_DIGITS:
            record = model.known(writer).get(int(number))
            if isinstance(record, ConnectionRecord):
                self.open[born] = record

    def take_from(self, totals: Totals) -> None:
        """Takes them out of the totals of all writers: each connection counts where it goes on."""
        totals.registered -= totals.continued
        totals.open -= len(self.open)
        for record in self.open.values():
            totals.states["connection"][record.state] -= 1
            totals.stalled -= record.stalled
            totals.erring -= record.errors > 0
        for reason, count in self.ended.items():
            totals.closed -= count
            _take(totals.closed_by_reason, reason, count)


def _take(counts: dict[str, int], reason: str, count: int) -> None:
    name = reason if reason in counts else "other"
    counts[name] = counts.get(name, 0) - count
    if counts[name] <= 0:
        del counts[name]


def _continued_in(decoded: Decoded) -> Iterator[str]:
    """What the connections that are registered in a frame go on with."""
    places = {
        number: 3 + reader.fields.index("continues")
        for number, reader in enumerate(decoded.readers)
        if reader.kind and reader.kind.cls is Registered and "continues" in reader.fields
    }
    if places:
        for row in decoded.rows:
            place = places.get(row[2])
            if (
                place is not None
                and place < len(row)
                and isinstance(row[place], str)
                and row[place]
            ):
                yield row[place]
