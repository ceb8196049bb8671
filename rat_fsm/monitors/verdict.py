"""What monitors have to say: what was violated, is still open, or could not be judged."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.events import to_datetime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.events import Recorded


class Cause(StrEnum):
    """How a violation came about."""

    EVENT = "event"  # an event that must not be
    DEADLINE = "deadline"  # the time for what had to follow has passed
    END = "end"  # the stream, or the run, has ended before it followed


@attrs.frozen
class Violation:
    """A monitor that does not hold.

    Attributes:
        monitor: its name.
        cause: how it came about.
        since: the event with which it began: what had to be followed, or must not have been.
            For ``always`` the event itself.
        micros: when it was violated, microseconds since the epoch: the time of an event, or the
            deadline.
        by: the event that violated it, None where a deadline passed.
    """

    monitor: str
    cause: Cause
    since: Recorded
    micros: int
    by: Recorded | None = None

    def __str__(self) -> str:
        """One line: which monitor, of which stream, how, and since when."""
        by = "" if self.by is None else f" by {_placed(self.by)}"
        return (
            f"{self.monitor} of {self.since.stream}: {_HOW[self.cause]} at "
            f"{to_datetime(self.micros).isoformat()}{by}, since {_placed(self.since)}"
        )


@attrs.frozen
class Obligation:
    """What had to follow an event and may still do so.

    ``deadline`` is in microseconds since the epoch, None where there is none.
    """

    monitor: str
    since: Recorded
    deadline: int | None


@attrs.frozen
class Failure:
    """A monitor that can judge nothing any more: its predicate raised ``error`` at an event."""

    monitor: str
    at: Recorded
    error: Exception


@attrs.frozen
class Verdict:
    """What monitors say about the events so far.

    Attributes:
        violations: the first of them, in the order in which they were found.
        counts: monitor → how many violations there are.
        open: what is still pending at the end, oldest deadline first.
        failures: the monitors whose predicate raised.
        events: how many events were judged.
    """

    violations: tuple[Violation, ...]
    counts: Mapping[str, int]
    open: tuple[Obligation, ...]
    failures: tuple[Failure, ...]
    events: int

    @property
    def holds(self) -> bool:
        """Whether every monitor could judge, and none was violated; what is open may be."""
        return not (self.failures or any(self.counts.values()))


_HOW: Final = {
    Cause.EVENT: "violated",
    Cause.DEADLINE: "nothing followed in time",
    Cause.END: "nothing followed before the end",
}


def _placed(recorded: Recorded) -> str:
    """An event and where it stands: its position once it is durable, else its number."""
    at = recorded.position
    return f"{recorded.type} {f'{recorded.writer}:{recorded.seq}' if at is None else at}"
