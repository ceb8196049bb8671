"""Judges a log by the monitors that ``rat-fsm check --monitor`` names, and shows what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from rat_fsm.cli.loading import load
from rat_fsm.cli.text import counted, moment
from rat_fsm.cli.words import joined, label
from rat_fsm.codec import encode_recorded
from rat_fsm.errors import InvalidArgument
from rat_fsm.monitors import Cause, Monitor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rat_fsm.cli.render import Screen
    from rat_fsm.events import Recorded
    from rat_fsm.monitors import Verdict, Violation

_CAUSE: Final = 8
_ID: Final = 12


def load_monitors(target: str) -> Sequence[Monitor]:
    """The monitor that ``module:NAME`` names, or those of a list or tuple.

    Raises:
        InvalidArgument: it names something else, see also `load`.
    """
    found = load(target)
    several = found if isinstance(found, (list, tuple)) else [found]
    for one in several:
        if not isinstance(one, Monitor):
            raise InvalidArgument(
                f"{target} is no monitor, nor a list of some, but of type {type(one).__name__}: "
                "make one with always, eventually, leads_to or never_after of rat_fsm.monitors"
            )
    return several


def monitored_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON."""
    return {
        "monitors": verdict.counts,
        "violations": [_violation(one) for one in verdict.violations],
        "open": len(verdict.open),
        "failures": [
            {"monitor": one.monitor, "event": _raw(one.at), "error": repr(one.error)}
            for one in verdict.failures
        ],
    }


def _violation(one: Violation) -> dict[str, Any]:
    by = None if one.by is None else _raw(one.by)
    said = {"monitor": one.monitor, "cause": one.cause.value, "micros": one.micros}
    return {**said, "since": _raw(one.since), "by": by}


def _raw(recorded: Recorded) -> msgspec.Raw:
    return msgspec.Raw(encode_recorded(recorded))


class MonitorLines:
    """Writes a verdict, monitor by monitor."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, verdict: Verdict) -> None:
        """Writes all of it."""
        failed = {one.monitor: one for one in verdict.failures}
        for name, count in verdict.counts.items():
            pending = sum(one.monitor == name for one in verdict.open)
            self._monitor(name, count, pending, broken=name in failed)
            if name in failed:
                self._failure(failed[name].at, failed[name].error)
            told = [one for one in verdict.violations if one.monitor == name]
            for violation in told:
                self._violation(violation)
            if count > len(told):
                self._screen.line((f"  and {count - len(told):,} more, see --limit", "dim"))

    def _monitor(self, name: str, count: int, pending: int, *, broken: bool) -> None:
        still = f"{counted(pending, 'obligation')} still open" if pending else ""
        if broken:
            verdict = ("its predicate raised; it judges nothing from there on", "bold red")
        elif count:
            verdict = (joined(counted(count, "violation"), still), "bold red")
        else:
            verdict = (joined("holds", still), "bold green")
        self._screen.line((f"monitor {name}: ", "bold"), verdict)

    def _failure(self, at: Recorded, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}, at {label(at.type)} of {at.stream}"
        self._screen.row((f"  {at.position}", 8, "dim"), rest=(said, "red"))

    def _violation(self, one: Violation) -> None:
        at = one.since if one.by is None else one.by
        self._screen.row(
            (f"  {at.position}", 8, "dim"),
            (moment(one.micros), 23, "dim"),
            (one.cause.value, _CAUSE, "red"),
            (one.since.stream.id, _ID, "bold"),
            rest=(_told(one), ""),
            under=2,
        )


def _told(one: Violation) -> str:
    since = f"{label(one.since.type)} at {one.since.position}, {moment(one.since.micros)}"
    if one.cause is Cause.DEADLINE:
        return f"nothing followed {since}"
    if one.by is None or one.by is one.since:
        return label(one.since.type)
    return f"{label(one.by.type)} {_AFTER[one.cause]} {since}"


_AFTER: Final = {Cause.EVENT: "after", Cause.END: "ended what had begun with"}
