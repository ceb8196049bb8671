"""Holds a growing log against nothing but the tables: what must hold after every step of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rat_fsm.log.subscription import read_recorded
from rat_fsm.projections.model import ReadModel

if TYPE_CHECKING:
    from rat_fsm.events import Position, Recorded, Stream
    from rat_fsm.log import EventLog
    from rat_fsm.table import Lifecycle

PATIENCE: Final = 30.0


def require(holds: object, problem: str) -> None:
    """Raises AssertionError unless something holds."""
    if not holds:
        raise AssertionError(problem)


class Auditor:
    """Reads a log as it grows, and raises AssertionError for the first thing that is wrong.

    Args:
        log: what is read; it must know every lifecycle that is in its store.
        lifecycle: the one of the stream that is followed.
        stream_id: and its id.

    Attributes:
        known: whether the stream was ever in it: a system may keep no log.
    """

    def __init__(self, log: EventLog, lifecycle: Lifecycle, stream_id: str) -> None:
        self.known = False
        self._log = log
        self._lifecycle = lifecycle
        self._followed = lifecycle.name, stream_id
        self._fold = ReadModel(log.read_model.lifecycles.values())
        self._position: Position | None = None
        self._lives: dict[Stream, tuple[int, str]] = {}
        self._last = lifecycle.initial

    def catch_up(self) -> list[Any]:
        """The events of the stream that have come since the last time."""
        self._log.flush(PATIENCE)
        heads = self._log.store.heads().values()
        if max((head.position for head in heads), default=0) == self._frame():
            return []
        fresh = read_recorded(self._log.store, self._fold, self._position)
        return [recorded.event for recorded in list(fresh) if self._read(recorded)]

    def _frame(self) -> int:
        """The last frame that was read, as always to its end."""
        return 0 if self._position is None else self._position.frame

    def _read(self, recorded: Recorded) -> bool:
        """Judges and folds one event; whether it is one of the stream that is followed."""
        state = self._judge(recorded)
        self._position = recorded.position
        if recorded.writer == self._log.writer:
            self._fold.apply(recorded)
        stream = recorded.stream
        if (stream.lifecycle, stream.id) != self._followed:
            return False
        self.known, self._last = True, state
        return True

    def _judge(self, recorded: Recorded) -> str:
        stream, table = recorded.stream, self._fold.lifecycles[recorded.stream.lifecycle]
        version, state = self._lives.get(stream, (0, table.initial))
        what = f"{recorded.type}, version {recorded.version} of {stream}"
        require(recorded.version == version + 1, f"{what}, follows version {version}")
        require(state not in table.final, f"{what}, comes after its end")
        dest = table.next_state(state, recorded.event)
        if dest is None:
            raise AssertionError(f"{what}, is illegal from {state!r}")
        self._lives[stream] = recorded.version, dest
        return dest

    def compare(self) -> None:
        """The live read model is what a replay comes to, which is that of the log's own writer."""
        with self._log.reading() as live:
            require(self._fold == live, "the live read model differs from the log's replay")

    def states(self) -> set[str]:
        """Where the system may stand: what has ended and may begin again may say either."""
        table = self._lifecycle
        ended = self._last in table.final and table.reusable_ids
        return {self._last, table.initial} if ended else {self._last}
