"""Follows one monitor through a log: what it waits for in each stream, run, or the log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING, ClassVar, Final

import attrs

from rat_fsm.events import Started, Stopped
from rat_fsm.monitors.rules import Kind, Monitor, compiled
from rat_fsm.monitors.verdict import Cause, Obligation, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rat_fsm.events import Recorded
    from rat_fsm.monitors.steps import Step

_SECOND: Final = 1_000_000


@attrs.frozen
class Scope:
    """What is judged by itself: by what to tell it, with which step it begins and ends."""

    key: Callable[[Step], str]
    begins: Callable[[Step], bool]
    ends: Callable[[Step], bool]


@attrs.define(eq=False)
class Cell:
    """What is remembered of one stream, run, or the log: an event that matters for what follows.

    Attributes:
        since: that event.
        deadline: until when something has to follow, None where there is no limit.
        broken: whether that has been violated already.
    """

    since: Recorded
    deadline: int | None = None
    broken: bool = False


class Following(ABC):
    """One monitor over the events so far: at most one cell for each open stream.

    The deadlines of what one writer recorded never decrease, since its times do not: a queue for
    each writer has them in order, without a heap.
    """

    obliges: ClassVar[bool] = False

    def __init__(self, monitor: Monitor, looked_at: frozenset[str] | None) -> None:
        self.monitor = monitor
        self._looked_at = looked_at
        self._scope = SCOPES[monitor.scope]
        self._first = compiled(monitor.first or monitor.then)
        self._then = compiled(monitor.then)
        self._cells: dict[str, Cell] = {}
        self._queues: dict[str, OrderedDict[str, Cell]] = {}

    @property
    def next_deadline(self) -> int | None:
        """When the first pending deadline passes, None where there is none."""
        heads = (next(iter(queue.values())) for queue in self._queues.values() if queue)
        return min((cell.deadline for cell in heads if cell.deadline is not None), default=None)

    def pass_time(self, writer: str, micros: int) -> Iterator[Violation]:
        """The deadlines of what a writer recorded that lie before a time."""
        queue = self._queues.get(writer)
        while queue:
            key, cell = next(iter(queue.items()))
            if cell.deadline is None or cell.deadline >= micros:
                return
            del queue[key]
            self._miss(key, cell)
            yield self._violation(Cause.DEADLINE, cell.since, cell.deadline)

    def take(self, step: Step) -> list[Violation]:
        """Judges one event.

        Raises:
            Exception: whatever a predicate raises.
        """
        key = self._scope.key(step)
        if self._looked_at is None or step.recorded.stream.lifecycle in self._looked_at:
            violation = self._judge(key, step)
        else:
            violation = self._pass_by(key, step)
        ended = self._end(key, step.recorded) if self._scope.ends(step) else None
        return [one for one in (violation, ended) if one is not None]

    def pending(self) -> list[Obligation]:
        """What had to follow, and has neither done so nor been missed."""
        if not self.obliges:
            return []
        return [
            Obligation(self.monitor.name, cell.since, cell.deadline)
            for cell in self._cells.values()
            if not cell.broken
        ]

    @abstractmethod
    def _judge(self, key: str, step: Step) -> Violation | None:
        """An event that is looked at, in the cell that it belongs to."""

    def _pass_by(self, _key: str, _step: Step) -> Violation | None:
        """An event of a lifecycle that is not looked at."""
        return None

    def _miss(self, key: str, _cell: Cell) -> None:
        """Nothing followed in time."""
        del self._cells[key]

    def _oblige(self, key: str, recorded: Recorded) -> None:
        """From this event on, something has to follow."""
        within = self.monitor.within
        deadline = None if within is None else recorded.micros + round(within * _SECOND)
        cell = self._cells[key] = Cell(recorded, deadline)
        if deadline is not None:
            self._queues.setdefault(recorded.writer, OrderedDict())[key] = cell

    def _release(self, key: str) -> Cell | None:
        cell = self._cells.pop(key, None)
        if cell is not None and cell.deadline is not None:
            self._queues[cell.since.writer].pop(key, None)
        return cell

    def _end(self, key: str, last: Recorded) -> Violation | None:
        cell = self._release(key)
        if cell is None or cell.broken or not self.obliges:
            return None
        return self._violation(Cause.END, cell.since, last.micros, last)

    def _violation(
        self, cause: Cause, since: Recorded, micros: int, by: Recorded | None = None
    ) -> Violation:
        return Violation(self.monitor.name, cause, since, micros, by)


class _Always(Following):
    """A cell stands for events one after the other that do not satisfy the predicate."""

    def _judge(self, key: str, step: Step) -> Violation | None:
        recorded = step.recorded
        if self._then(step):
            self._cells.pop(key, None)
            return None
        if key in self._cells:
            return None
        self._cells[key] = Cell(recorded)
        return self._violation(Cause.EVENT, recorded, recorded.micros, recorded)


class _Eventually(Following):
    """A cell stands for what has begun and not had its event yet."""

    obliges = True

    def __init__(self, monitor: Monitor, looked_at: frozenset[str] | None) -> None:
        super().__init__(monitor, looked_at)
        self._log_began = False

    def _judge(self, key: str, step: Step) -> Violation | None:
        self._begin(key, step)
        if key in self._cells and self._then(step):
            self._release(key)
        return None

    def _pass_by(self, key: str, step: Step) -> Violation | None:
        if self.monitor.scope != "stream":  # a run, or the log, begins with whatever event
            self._begin(key, step)
        return None

    def _begin(self, key: str, step: Step) -> None:
        if self._scope.begins(step) and not (self._log_began and self.monitor.scope == "log"):
            self._oblige(key, step.recorded)
        self._log_began = True


class _LeadsTo(Following):
    """A cell stands for an event that obliges, until it is answered; it may have been missed."""

    obliges = True

    def _judge(self, key: str, step: Step) -> Violation | None:
        if key in self._cells:
            if self._then(step):
                self._release(key)
        elif self._first(step) and not self._then(step):
            self._oblige(key, step.recorded)
        return None

    def _miss(self, _key: str, cell: Cell) -> None:
        cell.broken = True  # events that oblige belong to it, until one answers


class _NeverAfter(Following):
    """A cell stands for the event after which another must not come."""

    def _judge(self, key: str, step: Step) -> Violation | None:
        recorded, cell = step.recorded, self._cells.get(key)
        if cell is None:
            if self._first(step):
                self._cells[key] = Cell(recorded)
        elif not cell.broken and self._then(step):
            cell.broken = True
            return self._violation(Cause.EVENT, cell.since, recorded.micros, recorded)
        return None


FOLLOWING: Final[Mapping[Kind, type[Following]]] = {
    Kind.ALWAYS: _Always,
    Kind.EVENTUALLY: _Eventually,
    Kind.LEADS_TO: _LeadsTo,
    Kind.NEVER_AFTER: _NeverAfter,
}
SCOPES: Final[Mapping[str, Scope]] = {
    "stream": Scope(
        key=lambda step: step.recorded.stream.born,
        begins=lambda step: step.recorded.version == 1,
        ends=lambda step: step.ended,
    ),
    "run": Scope(
        key=lambda step: step.recorded.writer,
        begins=lambda step: isinstance(step.event, Started),
        ends=lambda step: isinstance(step.event, Stopped),
    ),
    "log": Scope(key=lambda _: "", begins=lambda _: True, ends=lambda _: False),
}
