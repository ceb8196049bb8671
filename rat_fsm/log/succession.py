"""What a log does when it has lost its slot: it goes on under another, and says what was left.

A process that was paused or cut off for longer than its lease finds that somebody else has ended
its streams. Its connections may be alive all the same. They begin again as new streams that say
which they continue; what was accepted and not stored by then is set aside in a file.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.errors import LogError, WriterBusy
from rat_fsm.events import DrainForced, DrainStarted, Serving, WriterReplaced
from rat_fsm.lifecycles import NODE
from rat_fsm.log.accept import Call
from rat_fsm.log.recover import end_abandoned, fold_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rat_fsm.events import Started
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.record import NodeRecord
    from rat_fsm.stores.port import Frame, Store
    from rat_fsm.stores.spill import SpillFile
    from rat_fsm.table import Lifecycle

_log = logging.getLogger("rat_fsm")


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
            replaced = WriterReplaced(former, aside.events + left, aside.name)
            yield from self._run(run, replaced, streams)
            for record in streams:
                lifecycle = self.lifecycles[record.lifecycle]
                if lifecycle.resume is not None and record.state not in lifecycle.final:
                    born = f"{former}:{record.born}" if record.born <= durable else ""
                    resuming = _resuming(lifecycle, record, born)
                    yield Call(lifecycle, record.id, resuming, reserved=True)

        return calls

    def _run(self, run: str, replaced: WriterReplaced, streams: list[Any]) -> Iterator[Call]:
        if self.started is not None:
            node = next((one for one in streams if one.lifecycle == NODE.name), None)
            begun = (self.started, Serving(), replaced, *_drain_of(node))
            yield Call(NODE, run, lambda _stream, _model: begun, reserved=True)


def _resuming(lifecycle: Lifecycle, record: Any, born: str) -> Any:
    resume: Any = lifecycle.resume
    return lambda _stream, _model: resume(record, born)


def _drain_of(run: NodeRecord | None) -> Iterator[Any]:
    """A run that was draining goes on draining."""
    if run is not None and run.drain_started:
        yield DrainStarted(run.drain_deadline, run.drain_open, run.drain_requested_by)
        if run.state == "forcing":
            yield DrainForced(run.drain_open)


class Aside:
    """A file for what was not stored; made when something is put into it.

    Attributes:
        name: the file, empty where none can be written.
        events: how many events are in it.
    """

    def __init__(self, spill: Path | None, writer: str) -> None:
        self.name = ""
        self.events = 0
        self._writer = writer
        from rat_fsm.stores.spill import SpillFile  # SQLite, for those who lose their slot
        from rat_fsm.stores.sqlite import slot_name

        try:
            folder = state_folder() if spill is None else spill.parent
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{slot_name(writer)}-{time.time_ns()}.aside.db"
            self._file: SpillFile | None = SpillFile(folder / name)
            self.name = str(self._file.path)
        except (OSError, RuntimeError, WriterBusy) as problem:  # RuntimeError: no home
            _log.critical("what is not stored of %s cannot be set aside: %s", writer, problem)
            self._file = None

    def keep(self, frames: Iterable[Frame]) -> None:
        """Adds frames; where they cannot be kept, says that they are lost."""
        fresh = list(frames)
        events = sum(frame.count for frame in fresh)
        self.events += events
        try:
            if fresh and self._file is not None:
                self._file.keep(fresh)
        except (OSError, LogError) as problem:
            _log.critical("%d events of %s are lost: %s", events, self._writer, problem)

    def close(self) -> None:
        """Lets go of the file, which stays where there is something in it."""
        if self._file is not None:
            self._file.close()


def set_aside(file: SpillFile, frames: Sequence[Frame]) -> None:
    """Moves frames of a spill file that no writer can deliver any more into files of their own."""
    for writer in {frame.writer for frame in frames}:
        own = [frame for frame in frames if frame.writer == writer]
        aside = Aside(file.path, writer)
        aside.keep(own)
        aside.close()
        _log.error("%d events of %s are set aside in %s", aside.events, writer, aside.name)
        file.drop(writer, own[-1].first + own[-1].count - 1)


def state_folder() -> Path:
    """Where files of ours are kept that nobody chose a place for.

    ``rat_fsm`` under ``$XDG_STATE_HOME``, or ``~/.local/state`` without one.
    Source: XDG Base Directory Specification 0.8, which wants a relative path to be ignored.
    """
    told = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (told if told.is_absolute() else Path.home() / ".local" / "state") / "rat_fsm"
