"""One life of a stream taken out of its log, and what it comes to when it is folded again."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.lifecycles import NODE
from rat_fsm.projections.model import ReadModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.events import Position, Stream
    from rat_fsm.projections.record import StreamRecord
    from rat_fsm.table import Lifecycle

# What folds, and what a written test says too: no moment of a log, but none that is 0 either.
START: Final = 1_700_000_000_000_000
SECOND: Final = 1_000_000


@attrs.frozen
class Origin:
    """Where a trace comes from.

    Attributes:
        life: which of the ``lives`` of its id it is, counted from 1 as `rat-fsm history` does.
        first: where its first event stands in the log, and ``last`` the last one taken.
        foreign: whether some of it was written under another definition than its lifecycle's.
    """

    stream: Stream
    life: int
    lives: int
    first: Position | None
    last: Position | None
    foreign: bool


@attrs.frozen
class Trace:
    """The events of one life of a stream.

    Attributes:
        lifecycle: whose events they are; its table judges them.
        events: each with its time, in microseconds since the first.
    """

    lifecycle: Lifecycle
    events: tuple[tuple[int, Any], ...]
    origin: Origin

    @property
    def id(self) -> str:
        """What the stream is called from now on, whatever it was called in the log."""
        return f"{self.lifecycle.name}-1"


@attrs.frozen(eq=False)
class Told:
    """What a trace comes to; the argument of a predicate.

    Attributes:
        trace: the events.
        states: the state after each of them.
        legal: for each, whether the table has a way for it; where not, the state is kept.
        record: where the stream stands at the end, which for a connection is a
            `rat_fsm.projections.record.ConnectionRecord`; also once it is over.
    """

    trace: Trace
    states: tuple[str, ...]
    legal: tuple[bool, ...]
    record: StreamRecord

    @property
    def events(self) -> tuple[Any, ...]:
        """What happened, in order."""
        return tuple(event for _, event in self.trace.events)

    def value(self, name: str) -> Any:
        """One of the values that `names_of` lists; None for a payload that never came."""
        if name in _OWN:
            return _OWN[name](self)
        attributes = _ATTRIBUTES.get(self.trace.lifecycle.name, {})
        if name in attributes:
            return getattr(self.record, attributes[name])
        for _, event in reversed(self.trace.events):
            kind = self.trace.lifecycle.event_type(type(event))
            if kind is not None and name in kind.fields:
                return getattr(event, name)
        return None


def names_of(lifecycle: Lifecycle) -> frozenset[str]:
    """The names of all that an expression may ask about a stream of this lifecycle.

    Those of every stream: ``state``, ``states`` (after each event), ``events`` (their names, such
    as ``error_recorded``), ``duration`` in seconds, ``illegal``. Those of a connection:
    ``bytes_sent``, ``messages_sent``, ``errors``, ``retries`` (of its whole life), ``stalled``.
    And every field of its events, which is the last value that was recorded.
    """
    payloads = {name for kind in lifecycle.events for name in kind.fields}
    return frozenset({*_OWN, *_ATTRIBUTES.get(lifecycle.name, {}), *payloads})


def tell(trace: Trace) -> Told:
    """Folds a trace, as a replay of its log would."""
    lifecycle = trace.lifecycle
    model = ReadModel([lifecycle, NODE] if lifecycle.name != NODE.name else [lifecycle])
    record = model.new_record(lifecycle, trace.id, "w0")
    states, legal = [], []
    for number, (at, event) in enumerate(trace.events, 1):
        kind = lifecycle.event_type(type(event))
        legal.append(kind is not None and record.state in kind.moves)
        if kind is None:
            model.fold_unknown(record)
        else:
            model.fold(record, kind, number, START + at, event)
        states.append(record.state)
    return Told(trace, tuple(states), tuple(legal), record)


def _short_names(told: Told) -> tuple[str, ...]:
    """What happened, by name: the lifecycle goes without saying."""
    tag_of = told.trace.lifecycle.tag_of
    return tuple(tag_of(event).rpartition(".")[2] for event in told.events)


_OWN: Final[Mapping[str, Callable[[Told], Any]]] = {
    "state": attrgetter("record.state"),
    "states": attrgetter("states"),
    "events": _short_names,
    "duration": lambda told: told.trace.events[-1][0] / SECOND,
    "illegal": lambda told: told.legal.count(False),
}
# Where an event has a field of this name too, it is a part or a copy of what the record knows.
_ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {
    "connection": {
        "bytes_sent": "bytes_sent",
        "messages_sent": "messages_sent",
        "errors": "errors",
        "retries": "total_retries",
        "stalled": "stalled",
    }
}
