"""How far the store has come, and what those are told who ask whether their events are durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from rat_fsm.errors import FlushTimeout, LogUnavailable, OutcomeUnknown, WriterFenced
from rat_fsm.events import Position
from rat_fsm.stores.port import GENESIS

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.log.accept import Mark
    from rat_fsm.stores.port import Frame, StoredFrame


@attrs.define
class Progress:
    """How far the store has come; written by the committing thread only.

    Attributes:
        durable: the sequence number of the last durable event.
        position: where that event is.
        head: the hash of the frame it is in.
        oldest_at: the time of the oldest event that was taken and is neither stored nor in the
            spill file, 0 where there is none.
        retries: how often the store has been asked again after a failure.
        error: what the store said last while it failed.
        failing_since: when it began to (of `time.monotonic`), 0 while it works.
        unknown: whether a frame may have been stored that the store could not be asked for.
        former: how far each slot had come when it was lost, the first one first.
        spill: the file where all is kept that was not stored at the last failure, None where it
            is not.
    """

    durable: int = 0
    position: Position | None = None
    head: bytes = GENESIS
    oldest_at: int = 0
    retries: int = 0
    error: Exception | None = None
    failing_since: float = 0.0
    unknown: bool = False
    former: list[tuple[int, Position | None]] = attrs.field(factory=list)
    spill: Path | None = None

    def begin(self, last: StoredFrame | None) -> None:
        """Goes on after a writer's last frame, None where it has none."""
        self.head = GENESIS if last is None else last.frame.hash
        self.durable = 0 if last is None else last.frame.last
        self.position = None if last is None else _end_of(last.frame, last.position)

    def advance(self, frame: Frame, position: int) -> None:
        """A frame is stored."""
        self.head = frame.hash
        self.position = _end_of(frame, position)
        self.durable = frame.last

    def lose_slot(self) -> None:
        """Keeps how far the slot had come that was lost; `begin` must follow."""
        self.former.append((self.durable, self.position))

    def has_settled(self, mark: Mark) -> bool:
        """Whether everything up to a mark is durable, or never will be."""
        # Read in this order: another thread asks, too, and a new slot's numbers are not the old's.
        durable = self.durable
        return mark.generation < len(self.former) or mark.seq <= durable

    def answer_to(self, mark: Mark) -> Position | Exception:
        """Where the last durable event is, where everything up to a mark is; else why not."""
        durable, position = self.durable, self.position
        lost = mark.generation < len(self.former)
        if lost:
            durable, position = self.former[mark.generation]
        if mark.seq <= durable and position is not None:
            return position
        if lost:
            missing = mark.seq - durable
            return WriterFenced(f"{missing} events were set aside: their writer lost its slot")
        return self._failure(mark.seq - durable)

    def _failure(self, missing: int) -> Exception:
        if self.error is None:
            return FlushTimeout(f"{missing} events are not durable yet; they are still pending")
        if isinstance(self.error, WriterFenced):
            return WriterFenced(*self.error.args)
        cls = OutcomeUnknown if self.unknown else LogUnavailable
        kept = "" if self.spill is None else f"; they are kept in {self.spill}"
        return cls(f"{missing} events wait for a store that fails: {self.error}{kept}")


def _end_of(frame: Frame, position: int) -> Position:
    return Position(position, frame.count - 1)
