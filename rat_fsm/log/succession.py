"""What a log does when it has lost its slot: it goes on under another, and says what was left.

A process that was paused or cut off for longer than its lease finds that somebody else has ended
its streams. Its connections may be alive all the same. They begin again as new streams that say
which they continue; what was accepted and not stored by then is set aside in a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.events import DrainForced, DrainStarted, Serving, WriterReplaced
from rat_fsm.lifecycles import NODE
from rat_fsm.log.aside import Aside
from rat_fsm.log.recover import end_abandoned, fold_writer
from rat_fsm.log.transactions import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from rat_fsm.events import Started
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.record import NodeRecord
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle


@attrs.define
class Succession:
    """How one log goes on under another slot.

    Attributes:
        lifecycles: by name; which of them have a way to be resumed.
        moves: whether it takes another slot; if not, what is not stored is set aside all the same.
        spill: the file that the log spills to; what is set aside goes beside it.
        started: what a run of this process begins with, None before it has begun.
        set_aside: how many events were set aside so far.
    """

    lifecycles: Mapping[str, Lifecycle]
    moves: bool = True
    spill: Path | None = None
    started: Started | None = None
    set_aside: int = 0

    def aside_for(self, writer: str) -> Aside:
        """A file for what a writer has not stored."""
        return Aside(self.spill, writer)

    def fold(self, store: Store, writer: str) -> ReadModel:
        """What a claimed slot's writer has recorded, with the ends of what it left open."""
        model = fold_writer(store, writer, self.lifecycles)
        end_abandoned(store, writer, model)
        return model

    def begin(
        self, former: str, durable: int, writer: str, model: ReadModel, aside: Aside
    ) -> Callable[[list[Any], int], Iterator[Call]]:
        """What begins the run and the streams of a former writer again, under a new one.

        Args:
            former: the former writer.
            durable: the number of its last event that is stored.
            writer: the new one.
            model: what the new one has recorded so far.
            aside: where the rest of the former one's events goes.

        Returns:
            The former streams, and how many events of its are left to set aside → calls.
        """
        run = f"{writer}:{model.cursor.get(writer, 0) + 1}"

        def calls(streams: list[Any], left: int) -> Iterator[Call]:
            file = aside.expect(left)
            replaced = WriterReplaced(former, aside.events + left, file)
            yield from self._run(run, replaced, streams)
            for record in streams:
                lifecycle = self.lifecycles[record.lifecycle]
                if lifecycle.resume is not None and record.state not in lifecycle.final:
                    born = _begun(former, durable, record)
                    resuming = _resuming(lifecycle, record, born)
                    yield Call(lifecycle, record.id, resuming, reserved=True)

        return calls

    def _run(self, run: str, replaced: WriterReplaced, streams: list[Any]) -> Iterator[Call]:
        if self.started is not None:
            node = next((one for one in streams if one.lifecycle == NODE.name), None)
            begun = (self.started, Serving(), replaced, *_drain_of(node))
            yield Call(NODE, run, lambda _stream, _model: begun, reserved=True)


def _begun(former: str, durable: int, record: Any) -> str:
    """Where a stream began, as far as the store knows: it may be one that this one continued."""
    if record.born <= durable:
        return f"{former}:{record.born}"
    return getattr(record, "continues", "")


def _resuming(lifecycle: Lifecycle, record: Any, born: str) -> Any:
    resume: Any = lifecycle.resume
    return lambda _stream, _model: resume(record, born)


def _drain_of(run: NodeRecord | None) -> Iterator[Any]:
    """A run that was draining goes on draining."""
    if run is not None and run.drain_started:
        yield DrainStarted(run.drain_deadline, run.drain_open, run.drain_requested_by)
        if run.state == "forcing":
            yield DrainForced(run.drain_open)
