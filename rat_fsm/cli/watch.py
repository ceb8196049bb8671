"""Watches the runs that a request to drain was for, folding the log as it grows."""

from __future__ import annotations

import contextlib
import time
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.codec import decode, no_collection
from rat_fsm.errors import StoreUnreadable
from rat_fsm.events import Started, WriterReplaced
from rat_fsm.log.tailing import Tail
from rat_fsm.projections.drain import drain_of
from rat_fsm.projections.record import NodeRecord
from rat_fsm.replay.slots import slots_of
from rat_fsm.replay.sources import naming, new_model
from rat_fsm.replay.tables import STARTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.projections.drain import Drain
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.record import ConnectionRecord
    from rat_fsm.stores.port import Store, StoredFrame

MOST_LEFT: Final = 100
WRITER_REPLACED: Final = b'"node.writer_replaced"'


@attrs.frozen(eq=False)
class Run:
    """One writer's run, as the log tells it so far.

    Attributes:
        node: its record, which goes on being folded.
        model: what the writer has recorded since this run began.
    """

    writer: str
    node: NodeRecord
    model: ReadModel

    @property
    def drain(self) -> Drain:
        """How far it has come; a run that has stopped serves nobody, whatever else it left."""
        if self.node.state == "stopped":
            return drain_of(self.node, 0, 0)
        return drain_of(self.node, self.model.open_connections, self.model.totals.stalled)

    @property
    def followed(self) -> bool:
        """Whether it has begun to drain, or has stopped."""
        return self.drain.draining

    @property
    def done(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self.followed and not self.drain.remaining

    def left(self) -> list[ConnectionRecord]:
        """The open connections, those first that take nothing, then the oldest."""
        records = [] if self.done else self.model.open_records()
        return sorted(records, key=lambda record: (not record.stalled, record.created_at))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, of the connections left the first hundred."""
        drain = self.drain
        return {
            "writer": self.writer,
            "phase": drain.phase,
            "requested_by": drain.requested_by,
            "total": drain.total,
            "closed": drain.closed,
            "remaining": drain.remaining,
            "stalled": drain.stalled,
            "left": [_as_dict(record) for record in self.left()[:MOST_LEFT]],
        }


def _as_dict(record: ConnectionRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "kind": record.kind,
        "route": record.route,
        "state": record.state,
        "stalled": record.stalled,
        "remote_addr": record.remote_addr,
        "bytes_sent": record.bytes_sent,
        "open_for": open_for(record),
    }


def open_for(record: ConnectionRecord) -> float:
    """For how many seconds a connection has been open, by the clock of this machine."""
    return max(0.0, time.time() - record.created_at / 1_000_000)


class Watch:
    """The runs that were in progress at a frame of a log.

    Attributes:
        runs: by writer, w2 before w10.
    """

    def __init__(self, store: Store, frame: int) -> None:
        self._store = store
        self._tail = Tail(store, frame, "this command")
        self.runs: list[Run] = []
        self._by_writer: dict[str, Run] = {}
        for writer, model in _fold(store, frame).items():
            self._take(writer, model)

    def _take(self, writer: str, model: ReadModel) -> None:
        """Watches the runs that a writer has begun and not ended."""
        self.runs += _running(writer, model)
        self.runs.sort(key=lambda run: (len(run.writer), run.writer))
        self._by_writer = {run.writer: run for run in self.runs}

    @property
    def complete(self) -> bool:
        """Whether all of them have drained."""
        return all(run.done for run in self.runs)

    def advance(self, timeout: float) -> None:
        """Folds what is new, waiting for it at most ``timeout`` seconds."""
        stored = self._tail.next(timeout)
        while stored is not None:
            run = self._by_writer.get(stored.frame.writer)
            if run is not None and run.node.state != "stopped":
                _fold_frame(stored, run.model)
            else:  # what follows a run is the next, which counts if it goes on with one of these
                self._follow(stored)
            stored = self._tail.next(0.0)

    def _follow(self, stored: StoredFrame) -> None:
        """Takes a run that goes on with one which has lost its slot, where a frame begins one."""
        if WRITER_REPLACED not in stored.frame.body:
            return
        model = new_model()
        events = [recorded.event for recorded in decode(stored, model).recorded()]
        former = {event.writer for event in events if isinstance(event, WriterReplaced)}
        if not former.isdisjoint(self._by_writer):
            _fold_frame(stored, model)
            self._take(stored.frame.writer, model)

    def died(self) -> bool:
        """Whether a process that should be draining has ended without a word.

        Its slot is free then, which nobody has recorded yet: the next opening for writing does.
        """
        waiting = [run.writer for run in self.runs if not run.done]
        with contextlib.suppress(StoreUnreadable):
            slots = slots_of(self._store, waiting)
            return any(slots[writer].held is False for writer in waiting)
        return False


def _fold(store: Store, frame: int) -> dict[str, ReadModel]:
    """What each writer recorded from the beginning of its last run up to a frame.

    What went before that run has ended, and a log may hold years of it.
    """
    begun = _begun(store, frame)
    models = {writer: new_model() for writer in begun}
    for stored in _frames(store.read(min(begun.values(), default=frame + 1) - 1), frame):
        if stored.position >= begun.get(stored.frame.writer, frame + 1):
            _fold_frame(stored, models[stored.frame.writer])
    return models


def _begun(store: Store, frame: int) -> dict[str, int]:
    """The frame in which each writer's last run began."""
    begun = {}
    for stored in _frames(naming(store, STARTED), frame):
        events = decode(stored, new_model()).recorded()
        if any(isinstance(recorded.event, Started) for recorded in events):
            begun[stored.frame.writer] = stored.position
    return begun


def _frames(stored: Iterator[StoredFrame], frame: int) -> Iterator[StoredFrame]:
    return takewhile(lambda one: one.position <= frame, stored)


def _fold_frame(stored: StoredFrame, model: ReadModel) -> None:
    with no_collection():
        decode(stored, model).fold_into(model)


def _running(writer: str, model: ReadModel) -> Iterator[Run]:
    for record in model.records(writer):  # of runs, the model keeps those that have not stopped
        if isinstance(record, NodeRecord):
            yield Run(writer, record, model)
