"""Folds recorded events into the verdict of monitors: the same in a test, over a log and live."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import MonitorViolated, Recorded, UnknownEvent
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.monitors.following import FOLLOWING, Following
from rat_fsm.monitors.rules import Monitor, classes_of
from rat_fsm.monitors.steps import Steps
from rat_fsm.monitors.verdict import Cause, Failure, Verdict, Violation
from rat_fsm.table import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rat_fsm.monitors.steps import Step
    from rat_fsm.monitors.verdict import Obligation


class Checker:
    """A projection that judges every event it is given by some monitors.

    Time is what the events say: a deadline has passed once the writer of the event that obliged
    has recorded something later, or, at the end, anybody has. Memory is bounded by the streams
    that are open, and by ``limit``. What a monitor said when it ran live (`MonitorViolated`) is
    never looked at: a violation causes no other.

    Args:
        monitors: what to judge by.
        lifecycles: how states are followed where the events themselves do not say so: CONNECTION,
            NODE and those of the monitors are always known.
        limit: how many violations to keep; all are counted.

    Attributes:
        lifecycles: all that it knows.

    Raises:
        InvalidArgument: a predicate is an event class that no lifecycle has; two monitors have
            one name.
        InvalidArgumentType: something else than a monitor was given.
    """

    def __init__(
        self,
        monitors: Iterable[Monitor],
        *,
        lifecycles: Iterable[Lifecycle] | None = None,
        limit: int | None = None,
    ) -> None:
        self.monitors = tuple(monitors)
        _check_monitors(self.monitors)
        known = self.lifecycles = _known_to(self.monitors, lifecycles or ())
        self._following = [
            FOLLOWING[one.kind](one, _looked_at(one, known)) for one in self.monitors
        ]
        self._steps = Steps(known)
        self._limit = limit
        self._violations: list[Violation] = []
        self._failures: list[Failure] = []
        self._counts = Counter({monitor.name: 0 for monitor in self.monitors})
        self._events = self._latest = 0

    def fold(self, recorded: Recorded) -> Sequence[Violation]:
        """Judges the next event; answers with the violations that it made known.

        Raises:
            InvalidArgumentType: it is not recorded.
        """
        if not isinstance(recorded, Recorded):
            raise InvalidArgumentType(
                f"{recorded!r} is no recorded event; read_events and histories give some"
            )
        self._events += 1
        self._latest = max(self._latest, recorded.micros)
        if isinstance(recorded.event, MonitorViolated):
            return ()
        step = self._steps.take(recorded)
        found: list[Violation] = []
        for following in tuple(self._following):
            found += following.pass_time(recorded.writer, recorded.micros)
            found += self._judge(following, step)
        self._keep(found)
        return found

    def _judge(self, following: Following, step: Step) -> list[Violation]:
        """Judges by one monitor; whose predicate raises is not asked again."""
        try:
            return following.take(step)
        except Exception as error:  # noqa: BLE001 - whatever the code of others raises
            self._following.remove(following)
            self._failures.append(Failure(following.monitor.name, step.recorded, error))
            return []

    def pass_time(self, writer: str, micros: int) -> Sequence[Violation]:
        """Says that nothing else was recorded by a writer up to and at a time.

        Answers with the violations that this made known. A live monitor calls it.
        """
        found = [one for each in self._following for one in each.pass_time(writer, micros + 1)]
        self._latest = max(self._latest, micros)
        self._keep(found)
        return found

    def begin(self, born: str, state: str) -> None:
        """Says where a stream stands whose earlier events will not be given."""
        self._steps.begin(born, state)

    def forget(self) -> None:
        """Judges nothing any more of the streams that have begun; what it has found it keeps."""
        left = [following.monitor for following in self._following]
        self._following = [
            FOLLOWING[one.kind](one, _looked_at(one, self.lifecycles)) for one in left
        ]
        self._steps = Steps(self.lifecycles)

    @property
    def next_deadline(self) -> int | None:
        """When the first of the pending deadlines passes, microseconds; None where none is."""
        deadlines = (following.next_deadline for following in self._following)
        return min((one for one in deadlines if one is not None), default=None)

    @property
    def failures(self) -> Sequence[Failure]:
        """The monitors whose predicate has raised; they judge nothing any more."""
        return tuple(self._failures)

    def verdict(self) -> Verdict:
        """What the monitors say, should the events end here; it changes nothing."""
        pending = [one for following in self._following for one in following.pending()]
        late = [one for one in pending if _has_passed(one, self._latest)]
        overdue = [_overdue(one) for one in sorted(late, key=_deadline)]
        found = [*self._violations, *overdue]
        still = (one for one in pending if not _has_passed(one, self._latest))
        return Verdict(
            violations=tuple(found if self._limit is None else found[: self._limit]),
            counts=self._counted(overdue),
            open=tuple(sorted(still, key=_deadline)),
            failures=tuple(self._failures),
            events=self._events,
        )

    def _counted(self, overdue: Iterable[Violation]) -> dict[str, int]:
        late = Counter(violation.monitor for violation in overdue)
        return {name: count + late[name] for name, count in self._counts.items()}

    def _keep(self, found: Sequence[Violation]) -> None:
        for violation in found:
            self._counts[violation.monitor] += 1
        room = None if self._limit is None else max(0, self._limit - len(self._violations))
        self._violations += found[:room]


def _has_passed(obligation: Obligation, micros: int) -> bool:
    return obligation.deadline is not None and obligation.deadline < micros


def _deadline(obligation: Obligation) -> float:
    return float("inf") if obligation.deadline is None else obligation.deadline


def _overdue(obligation: Obligation) -> Violation:
    deadline = obligation.deadline or 0
    return Violation(obligation.monitor, Cause.DEADLINE, obligation.since, deadline)


def _check_monitors(monitors: Sequence[Monitor]) -> None:
    for monitor in monitors:
        if not isinstance(monitor, Monitor):
            raise InvalidArgumentType(
                f"{monitor!r} is no monitor; make one with always, eventually, leads_to or "
                "never_after"
            )
    names = [monitor.name for monitor in monitors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidArgument(f"two monitors are called {twice[0]!r}; give one another name=")


def _known_to(
    monitors: Iterable[Monitor], lifecycles: Iterable[Lifecycle]
) -> tuple[Lifecycle, ...]:
    """The lifecycles to judge with, by name: who names one means it."""
    own = (monitor.of for monitor in monitors if isinstance(monitor.of, Lifecycle))
    named = {lifecycle.name: lifecycle for lifecycle in (CONNECTION, NODE, *lifecycles, *own)}
    return tuple(named.values())


def _looked_at(monitor: Monitor, known: Sequence[Lifecycle]) -> frozenset[str] | None:
    """The lifecycles whose events a monitor looks at, None for all."""
    for cls in (*classes_of(monitor.first), *classes_of(monitor.then)):
        if not _having(cls, known) and cls is not UnknownEvent:
            raise InvalidArgument(
                f"{monitor.name}: no lifecycle here has events of the class {cls.__name__}, only "
                f"{', '.join(sorted(lc.name for lc in known))} are known; say of=THE_LIFECYCLE"
            )
    if monitor.of is not None:
        return frozenset({monitor.of if isinstance(monitor.of, str) else monitor.of.name})
    classes = classes_of(monitor.then)
    if monitor.first is not None or monitor.scope != "stream" or not classes:
        return None
    return frozenset(name for cls in classes for name in _having(cls, known))


def _having(cls: type, known: Iterable[Lifecycle]) -> list[str]:
    return [lc.name for lc in known if any(issubclass(kind.cls, cls) for kind in lc.events)]
