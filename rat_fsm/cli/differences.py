"""Shows in what two read models, and the streams of two logs, differ."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.cli.render import name_of, style_of
from rat_fsm.cli.text import counted, duration, moment, seconds, size
from rat_fsm.cli.words import describe, joined, label, plain, style_of_event
from rat_fsm.events import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rat_fsm.cli.render import Screen
    from rat_fsm.events import Recorded
    from rat_fsm.replay.diff import Change, Kept, ModelDiff
    from rat_fsm.replay.divergence import Differing, Divergence, LogDiff
    from rat_fsm.replay.sources import Moment
    from rat_fsm.stores.port import Store

_NAME: Final = 24
_VALUE: Final = 12
_EVENT: Final = 17
_SIGNS: Final = {"-": "red", "+": "green", "~": "yellow"}
# Of the streams that changed, those first whose change is more than that they went on.
_TELLING: Final = frozenset({"errors", "reason", "stalled", "state", "total_retries"})
_TIMES: Final = frozenset({"created_at", "drain_started", "last_activity"})


class ModelLines:
    """Writes what is counted otherwise, one column for each side."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, sides: tuple[str, str], models: ModelDiff) -> None:
        """Writes all of it under the names of the sides."""
        groups = (
            ("", models.counts),
            ("streams by state", models.states),
            ("ended", models.reasons),
            ("refused", models.refusals),
        )
        if any(changes for _, changes in groups):
            a, b = sides
            self._screen.row(("", _NAME, ""), (a, -_VALUE, "dim"), (b, -_VALUE, "dim"))
        for title, changes in groups:
            self._group(title, changes)

    def _group(self, title: str, changes: Sequence[Change]) -> None:
        if title and changes:
            self._screen.line((title, "bold"))
        for change in changes:
            name = change.name if title else change.name.replace("_", " ")
            self._screen.row(
                (f"  {name}" if title else name, _NAME, "" if title else "bold"),
                (_value(change.name, change.before), -_VALUE, ""),
                (_value(change.name, change.after), -_VALUE, ""),
                rest=(_growth(change), "dim"),
            )


class MomentLines:
    """Writes in what two moments of one log differ, at most so many streams of each kind."""

    def __init__(self, screen: Screen, limit: int) -> None:
        self._screen = screen
        self._limit = limit

    def show(self, store: Store, moments: tuple[Moment, Moment | None], found: ModelDiff) -> None:
        """Writes all of it."""
        before, after = map(_when, moments)
        self._screen.line((name_of(store), "bold"), (f"  from {before} to {after}", ""))
        if not found:
            self._screen.line(("the same", "bold green"))
        ModelLines(self._screen).show(("before", "after"), found)
        self._kept("-", "gone", found.only_a)
        self._kept("+", "new", found.only_b)
        changed = sorted(found.changed, key=lambda one: not _TELLING & _names(one.changes))
        self._list("changed", [("~", one.stream.id, _changed(one.changes), "") for one in changed])

    def _kept(self, sign: str, title: str, streams: Sequence[Kept]) -> None:
        self._list(title, [(sign, one.id, one.state, style_of(one.state)) for one in streams])

    def _list(self, title: str, rows: Sequence[tuple[str, str, str, str]]) -> None:
        if not rows:
            return
        self._screen.line((f"{title}  ", "bold"), (counted(len(rows), "stream"), ""))
        for sign, stream_id, told, style in rows[: self._limit]:
            self._screen.row(
                (f"  {sign}", 3, _SIGNS[sign]), (stream_id, 12, "bold"), rest=(told, style), under=1
            )
        _more(self._screen, len(rows) - self._limit)


class LogLines:
    """Writes in what two logs differ."""

    def __init__(self, screen: Screen, *, times: bool) -> None:
        self._screen = screen
        self._times = times

    def show(
        self,
        a: tuple[Store, Moment | None],
        b: tuple[Store, Moment | None],
        found: LogDiff,
    ) -> None:
        """Writes all of it."""
        for side, (store, at) in (("A", a), ("B", b)):
            self._screen.line((f"{side}  {name_of(store)}", "bold"), (f"  up to {_when(at)}", ""))
        if not found:
            self._same(found)
            return
        if found.same is not None:
            self._screen.line((f"the same, byte for byte, up to {found.same}", ""))
        ModelLines(self._screen).show(("A", "B"), found.models)
        self._streams("part", found.parted)
        self._streams("only in A", found.only_a)
        self._streams("only in B", found.only_b)

    def _same(self, found: LogDiff) -> None:
        compared = found.streams_a or found.streams_b
        how = "" if self._times else ", but for the times (see --times)"
        self._screen.line(("the same", "bold green"), (how if compared else ", byte for byte", ""))

    def _streams(self, which: str, differing: Differing) -> None:
        if not differing:
            return
        self._screen.line((f"{which}  ", "bold"), (counted(differing.count, "stream"), ""))
        for one in differing.first:
            self._stream(one)
        _more(self._screen, differing.count - len(differing.first))

    def _stream(self, one: Divergence) -> None:
        self._screen.line(
            (f"  {one.stream.lifecycle} {one.stream.id}", "bold"), (f"  {_where(one)}", "dim")
        )
        for side, recorded, events in (("A", one.a, one.events_a), ("B", one.b, one.events_b)):
            if recorded is not None:
                self._event(side, recorded)
            elif events or one.version > 1:
                self._screen.line((f"    {side}  ", "dim"), ("no more of it", "dim"))

    def _event(self, side: str, recorded: Recorded) -> None:
        self._screen.row(
            (f"    {side}", 5, "dim"),
            (str(recorded.position), 6, "dim"),
            (moment(recorded.micros), 23, "dim"),
            (label(recorded.type), _EVENT, style_of_event(recorded.event)),
            rest=(describe(recorded.event), ""),
            under=2,
        )


def _where(one: Divergence) -> str:
    """Which of its events is the first that is not the same; of one side only, how many it has."""
    lone = one.version == 1 and (one.a is None or one.b is None)
    return counted(one.events_a or one.events_b, "event") if lone else f"event {one.version}"


def _more(screen: Screen, more: int) -> None:
    if more > 0:
        screen.line((f"  and {more:,} more, see --limit and --json", "dim"))


def _when(at: Moment | None) -> str:
    if isinstance(at, datetime.datetime):
        return f"{moment(to_micros(at))} UTC"
    return "its end" if at is None else str(at)


def _names(changes: Sequence[Change]) -> set[str]:
    return {change.name for change in changes}


def _changed(changes: Sequence[Change]) -> str:
    """``state active → retrying · bytes sent +65 B``: what tells most comes first."""
    ordered = sorted(changes, key=lambda change: change.name not in _TELLING)
    return joined(*map(_change, ordered), by=" · ")


def _change(change: Change) -> str:
    name = {"version": "events"}.get(change.name, change.name.replace("_", " "))
    if change.delta is None or not change.before:
        before, after = (_value(change.name, side) for side in (change.before, change.after))
        return f"{name} {before} → {after}"
    if change.name in _TIMES:
        return f"{name} {duration(change.delta)} later"
    return f"{name} {_growth(change)}"


def _growth(change: Change) -> str:
    """By how much it grew, with its sign; nothing where it is no number."""
    if change.delta is None:
        return ""
    sign = "+" if change.delta >= 0 else "-"
    return f"{sign}{_value(change.name, abs(change.delta))}"


def _value(name: str, value: Any) -> str:
    match value:
        case str() if value:
            return value
        case int() if name in _TIMES and value:
            return f"{moment(value)} UTC"
        case int() if not isinstance(value, bool):
            return size(value) if "bytes" in name else f"{value:,}"
        case float():
            return seconds(value)
    return plain(value) or "-"
