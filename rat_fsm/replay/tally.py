"""What the index keeps of each life: a fold of any stream to one row.

States follow the table that a frame was written under, so it works for lifecycles whose code is
not at hand. An illegal event counts as such and changes nothing else.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.codec import MAX_INTEGER
from rat_fsm.events import (
    Activated,
    Closing,
    ErrorRecorded,
    Registered,
    RetryScheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@attrs.define(eq=False)
class Tally:
    """One life of one id, summed up; times in microseconds.

    Attributes:
        number: counts the lives of a log in the order they began.
        first_frame: where its first event stands; ``last_frame`` where its last one does.
        over: whether its state is final.
        errors: how many errors it had; what they were is kept apart.
        illegal: events for which the table had no way.
    """

    number: int
    lifecycle: str
    id: str
    writer: str
    born: int
    first_at: int
    first_frame: int
    state: str
    last_at: int = 0
    last_frame: int = 0
    events: int = 0
    over: bool = False
    kind: str = ""
    client: str = ""
    route: str = ""
    reason: str | None = None
    ended_by: str | None = None
    phase: str | None = None
    code: int | None = None
    bytes_sent: int = 0
    messages_sent: int = 0
    errors: int = 0
    retries: int = 0
    illegal: int = 0


COLUMNS: Final = tuple(field.name for field in attrs.fields(Tally))
_values: Final = attrgetter(*COLUMNS)
_SUMS: Final = slice(COLUMNS.index("code"), None)


def values_of(tally: Tally) -> tuple[Any, ...]:
    """What is stored of a life; numbers that need more than 64 bits are as large as can be."""
    values = _values(tally)
    return *values[: _SUMS.start], *map(_bounded, values[_SUMS])


def _bounded(number: int | None) -> int | None:
    return number and max(-MAX_INTEGER, min(MAX_INTEGER, number))


def _registered(tally: Tally, event: Registered) -> None:
    tally.client, tally.kind = event.remote_addr, event.kind


def _activated(tally: Tally, event: Activated) -> None:
    tally.route = event.route


def _erred(tally: Tally, _event: ErrorRecorded) -> None:
    tally.errors += 1


def _scheduled(tally: Tally, _event: RetryScheduled) -> None:
    tally.retries += 1


def _closing(tally: Tally, event: Closing) -> None:
    tally.reason, tally.ended_by = event.reason, event.ended_by
    tally.phase, tally.code = event.phase, event.code


_FOLDS: Final[Mapping[type, Callable[[Tally, Any], None]]] = {
    Registered: _registered,
    Activated: _activated,
    ErrorRecorded: _erred,
    RetryScheduled: _scheduled,
    Closing: _closing,
}


def fold_event(tally: Tally, event: Any) -> None:
    """Takes what a legal event of a connection says of it, but for its activities."""
    fold = _FOLDS.get(type(event))
    if fold is not None:
        fold(tally, event)
