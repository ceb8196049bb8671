"""All writers of a log at once: what each is doing, and all of them together, kept up to date."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.codec import decode
from rat_fsm.errors import StoreUnreadable
from rat_fsm.events import to_datetime
from rat_fsm.projections.model import ReadModel
from rat_fsm.projections.stats import Totals
from rat_fsm.replay.continuing import Continued
from rat_fsm.replay.following import LogFollower, lifecycles_of
from rat_fsm.replay.slots import SlotState, slots_of

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Iterator, Mapping

    from rat_fsm.projections.connections import ConnectionInfo
    from rat_fsm.projections.drain import Drain
    from rat_fsm.projections.record import ConnectionRecord
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.stores.port import StoredFrame
    from rat_fsm.table import Lifecycle

_COUNTERS: Final = [slot for slot in Totals.__slots__ if slot != "definitions"]


@attrs.frozen
class OpenConnection:
    """An open connection, and the writer that has it."""

    writer: str
    info: ConnectionInfo


@attrs.frozen
class WriterStatus:
    """What is known of one writer.

    Attributes:
        writer: its name.
        slot: whether a process holds it.
        stats: what `get_stats` says there, from the beginning of the log.
        drain: the phase of its last run.
        events: how many events it has recorded.
        open_streams: how many of its streams have not ended, its run among them.
        position: its last frame, 0 where it has none.
        head: the hash of that frame, in hexadecimal.
        last_event: when it recorded something last, aware UTC; None where it never did.
    """

    writer: str
    slot: SlotState
    stats: Mapping[str, Any]
    drain: Drain
    events: int = 0
    open_streams: int = 0
    position: int = 0
    head: str = ""
    last_event: datetime.datetime | None = None

    @property
    def last_seen(self) -> datetime.datetime | None:
        """When it last gave a sign of life, by its events or its lease."""
        seen = None if self.slot.seen is None else to_datetime(self.slot.seen)
        return max(filter(None, (seen, self.last_event)), default=None)

    @property
    def died(self) -> bool:
        """Whether its process ended without a word: nobody holds the slot, its run goes on.

        The next opening of the log for writing ends that run, and its connections.
        """
        return self.slot.held is False and self.drain.phase not in {"none", "stopped"}

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "writer": self.writer,
            "slot": attrs.asdict(self.slot),
            "died": self.died,
            "position": self.position,
            "head": self.head,
            "events": self.events,
            "open_streams": self.open_streams,
            "last_event": self.last_event,
            "last_seen": self.last_seen,
            "drain": attrs.asdict(self.drain),
            "stats": dict(self.stats),
        }


class ClusterView(LogFollower):
    """What all writers of a log are doing, kept up to date on a thread of its own.

    It begins to read at once; ``view.wait()`` waits until it has caught up. `lag` and `health` say
    how far it is behind and whether the store can be read. Nothing is written: the slots of a
    SQLite file are taken for a moment to see whether somebody holds them.

    Args:
        source: a URL or path, a store, or a log, of which what is durable is read.
        lifecycles: how events are read; CONNECTION and NODE, or the log's, by default.

    Attributes:
        url: the log's address.
        error: what has stopped it, None while all is well.

    Raises:
        InvalidArgument, InvalidArgumentType: it is in the memory of some process, or no log.
        StoreUnreadable, UnsupportedFormat: it cannot be opened.
    """

    def __init__(self, source: LogSource, *, lifecycles: Iterable[Lifecycle] | None = None) -> None:
        self._lifecycles = lifecycles_of(source, lifecycles)
        self._models: dict[str, ReadModel] = {}
        self._last: dict[str, tuple[int, bytes]] = {}
        self._continued = Continued(self._models)
        self._open = self._peak = 0
        super().__init__(source, "a cluster view")

    def _fold(self, stored: StoredFrame) -> None:
        writer = stored.frame.writer
        model = self._models.get(writer)
        if model is None:
            model = self._models[writer] = ReadModel(self._lifecycles)
        before = model.totals.open
        self._continued.fold(decode(stored, model), model)
        self._open += model.totals.open - before
        self._peak = max(self._peak, self._open - len(self._continued.open))
        self._last[writer] = stored.position, stored.frame.hash

    @contextlib.contextmanager
    def reading(self) -> Iterator[Mapping[str, ReadModel]]:
        """Writer → its read model, held still while the context lasts: keep it short.

        Raises:
            DamagedFrame, UnsupportedFormat, HistoryEvicted: it has stopped.
            LogForked: in a forked child.
        """
        with self._held_still():
            yield self._models

    def stats(self) -> dict[str, Any]:
        """Statistics of all writers together, with the keys of ``get_stats()``.

        A connection that went on under another writer counts once. The limit is what the runs
        that have not stopped let in together, None where one of them has no limit; the peak is
        what was open at the end of some frame.
        """
        with self.reading() as models:
            together = ReadModel(self._lifecycles)
            for model in models.values():
                _add(together.totals, model.totals)
            self._continued.take_from(together.totals)
            together.totals.peak = self._peak
            return {**together.stats.as_dict(), "max_connections": _limit(models.values())}

    def connections(self) -> list[OpenConnection]:
        """Every open connection once, with the writer that has it."""
        with self.reading() as models:
            infos = [info for model in models.values() for info in model.connections.infos()]
            return [
                OpenConnection(record.writer, info)
                for record, info in zip(self._records(), infos, strict=True)
                if self._is_shown(record)
            ]

    def open_records(self) -> list[ConnectionRecord]:
        """The records behind `connections`, to be looked at while `reading` and not changed."""
        return [record for record in self._records() if self._is_shown(record)]

    def _records(self) -> Iterator[ConnectionRecord]:
        return (record for model in self._models.values() for record in model.open_records())

    def _is_shown(self, record: ConnectionRecord) -> bool:
        """Whether a connection does not go on elsewhere; most of the time none does."""
        continued = self._continued.open
        return not continued or f"{record.writer}:{record.born}" not in continued

    def writers(self) -> dict[str, WriterStatus]:
        """What each writer is doing, w2 before w10; asks the store about the slots, if it can.

        Raises:
            DamagedFrame, UnsupportedFormat, HistoryEvicted: it has stopped.
            LogForked: in a forked child.
        """
        slots = self._slots()
        with self.reading() as models:
            names = sorted({*slots, *models}, key=lambda name: (len(name), name))
            return {name: self._status_of(name, slots.get(name)) for name in names}

    def _slots(self) -> dict[str, SlotState]:
        self._check_ours()
        if self._tail.problem is None and not self.ended:
            with contextlib.suppress(StoreUnreadable):
                return slots_of(self._store, list(self._models))
        return {}

    def _status_of(self, writer: str, slot: SlotState | None) -> WriterStatus:
        slot, model = slot or SlotState(None), self._models.get(writer)
        if model is None:
            nothing = ReadModel(self._lifecycles)
            return WriterStatus(writer, slot, nothing.stats.as_dict(), nothing.drain)
        position, head = self._last[writer]
        return WriterStatus(
            writer=writer,
            slot=slot,
            stats=model.stats.as_dict(),
            drain=model.drain,
            events=model.cursor[writer],
            open_streams=open_streams(model),
            position=position,
            head=head.hex(),
            last_event=to_datetime(model.last_at[writer]),
        )


def open_streams(model: ReadModel) -> int:
    """How many streams of all lifecycles have not ended."""
    return sum(
        count
        for name, counts in model.totals.states.items()
        if name in model.lifecycles
        for state, count in counts.items()
        if state not in model.lifecycles[name].final
    )


def _limit(models: Iterable[ReadModel]) -> int | None:
    running = [model for model in models if model.drain.phase not in {"none", "stopped"}]
    limits = [model.limits.get("max_connections") for model in running]
    known = [limit for limit in limits if isinstance(limit, int)]
    return sum(known) if known and len(known) == len(limits) else None


def _add(totals: Totals, other: Totals) -> None:
    for slot in _COUNTERS:
        setattr(totals, slot, _sum(getattr(totals, slot), getattr(other, slot)))


def _sum(one: Any, other: Any) -> Any:
    """The sum of two counters, or of the counters in two mappings."""
    if not isinstance(one, dict):
        return one + other
    total = dict(one)
    for key, value in other.items():
        total[key] = _sum(total[key], value) if key in total else value
    return total
