"""Says in what two read models differ: counts, states, reasons, and every stream kept in both."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.projections.record import dump_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.record import StreamRecord

    Key = tuple[str, str, Any]

_IDENTITY: Final = frozenset({"lifecycle", "id", "writer", "born"})
_TIMES: Final = frozenset({"average_response_time", "created_at", "drain_started", "last_activity"})


@attrs.frozen
class Change:
    """A fact that two sides know differently; ``name`` says which, None is a side without it."""

    name: str
    before: Any
    after: Any

    @property
    def delta(self) -> int | float | None:
        """By how much it grew, None where it is no number on both sides."""
        numbers = (self.before, self.after)
        if any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in numbers):
            return None
        return self.after - self.before  # type: ignore[no-any-return]  # both are numbers


@attrs.frozen
class Kept:
    """A stream that a read model keeps; ``writer`` and ``born`` say which life of its id."""

    lifecycle: str
    id: str
    writer: str
    born: int
    state: str


@attrs.frozen
class StreamChange:
    """A stream that both sides keep, and its fields that differ."""

    stream: Kept
    changes: tuple[Change, ...]


@attrs.frozen
class ModelDiff:
    """In what two read models differ; false where they do not.

    Attributes:
        counts: the statistics that are numbers, under their names in `get_stats`.
        states: how many streams are in a state, named ``connection.active``.
        reasons: how many connections ended for a reason.
        refusals: how many were refused for a cause.
        only_a: streams that only the first keeps: open ones, and ended ones of lifecycles whose
            ids do not come again.
        only_b: streams that only the second keeps.
        changed: streams that both keep and know differently.
    """

    counts: tuple[Change, ...] = ()
    states: tuple[Change, ...] = ()
    reasons: tuple[Change, ...] = ()
    refusals: tuple[Change, ...] = ()
    only_a: tuple[Kept, ...] = ()
    only_b: tuple[Kept, ...] = ()
    changed: tuple[StreamChange, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return any(attrs.astuple(self, recurse=False))


def diff_models(
    a: ReadModel, b: ReadModel, *, same_log: bool = True, times: bool = True
) -> ModelDiff:
    """Compares two read models, which stay as they are.

    Args:
        a: the first, whose facts are ``before``.
        b: the second, whose facts are ``after``.
        same_log: whether they are two moments of one log, where an id that ended and began again
            is another stream; between two logs a stream is known by its id.
        times: whether it counts when something happened.
    """
    ignored = _IDENTITY | (frozenset() if times else _TIMES)
    stats_a, stats_b = a.stats.as_dict(), b.stats.as_dict()
    kept_a, kept_b = _kept(a, same_log=same_log), _kept(b, same_log=same_log)
    both = [key for key in kept_b if key in kept_a]
    changed = [
        StreamChange(_of(kept_b[key]), changes)
        for key in both
        if (changes := _record_changes(kept_a[key], kept_b[key], ignored))
    ]
    return ModelDiff(
        counts=_changes(_numbers(stats_a), _numbers(stats_b), ignored),
        states=_changes(_states(a), _states(b), absent=0),
        reasons=_changes(stats_a["closed_by_reason"], stats_b["closed_by_reason"], absent=0),
        refusals=_changes(stats_a["refused_by_cause"], stats_b["refused_by_cause"], absent=0),
        only_a=tuple(_of(record) for key, record in kept_a.items() if key not in kept_b),
        only_b=tuple(_of(record) for key, record in kept_b.items() if key not in kept_a),
        changed=tuple(changed),
    )


def _changes(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    ignored: frozenset[str] = frozenset(),
    absent: Any = None,
) -> tuple[Change, ...]:
    names = [name for name in {**before, **after} if name not in ignored]
    pairs = [(name, before.get(name, absent), after.get(name, absent)) for name in names]
    return tuple(Change(name, old, new) for name, old, new in pairs if old != new)


def _record_changes(
    a: StreamRecord, b: StreamRecord, ignored: frozenset[str]
) -> tuple[Change, ...]:
    return _changes(dump_record(a), dump_record(b), ignored)


def _numbers(stats: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stats.items() if not isinstance(value, dict)}


def _states(model: ReadModel) -> dict[str, int]:
    """Lifecycle and state → how many streams are in it; before the first event there is none."""
    return {
        f"{name}.{state}": count
        for name, counts in model.totals.states.items()
        for state, count in counts.items()
        if name not in model.lifecycles or state != model.lifecycles[name].initial
    }


def _kept(model: ReadModel, *, same_log: bool) -> dict[Key, StreamRecord]:
    """The records of a model by what tells them apart from each other.

    Several writers may have one id open: between two logs these are told by their order.
    """
    if same_log:
        return {(r.lifecycle, r.id, (r.writer, r.born)): r for r in _records(model)}
    seen: Counter[tuple[str, str]] = Counter()
    kept: dict[Key, StreamRecord] = {}
    for record in sorted(_records(model), key=lambda record: (record.writer, record.born)):
        name = (record.lifecycle, record.id)
        kept[*name, seen[name]] = record
        seen[name] += 1
    return kept


def _records(model: ReadModel) -> Iterable[StreamRecord]:
    return (record for writer in model.cursor for record in model.records(writer))


def _of(record: StreamRecord) -> Kept:
    return Kept(record.lifecycle, record.id, record.writer, record.born, record.state)
