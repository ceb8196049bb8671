"""Declares monitors: `always`, `eventually`, `leads_to` and `never_after`.

They are the four patterns of Dwyer, Avrunin and Corbett (1999) that most properties of real
programs are: absence, existence, response and precedence, each over one stream, run or log.
"""

from __future__ import annotations

import math
import types
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.table import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rat_fsm.events import Recorded
    from rat_fsm.monitors.steps import Step
    from rat_fsm.monitors.verdict import Verdict

    Predicate = type | types.UnionType | Callable[[Step], object]


_SCOPES: Final = ("stream", "run", "log")


class Kind(StrEnum):
    """The four kinds of monitors."""

    ALWAYS = "always"
    EVENTUALLY = "eventually"
    LEADS_TO = "leads_to"
    NEVER_AFTER = "never_after"


@attrs.frozen(eq=False)
class Monitor:
    """A rule about the events of a log; made by `always` and its three siblings.

    It holds no state: `check` judges a history, ``rat-fsm check --monitor`` a stored log, and
    `rat_fsm.runtime.watching.watch` what is recorded from now on, all by the same fold.

    Attributes:
        kind: which of the four it is.
        name: what it is called where it is violated.
        first: the predicate that obliges, None for ``always`` and ``eventually``.
        then: the predicate that must hold, must follow or must not follow.
        within: how many seconds it has to follow, None for any time before the end.
        of: the lifecycle whose events it looks at, or its name; None for all.
        scope: whether each stream, each run of a writer or the whole log is judged by itself.
    """

    kind: Kind
    name: str
    first: Predicate | None
    then: Predicate
    within: float | None
    of: Lifecycle | str | None
    scope: str

    def check(
        self, events: Iterable[Recorded], *, lifecycles: Iterable[Lifecycle] | None = None
    ) -> Verdict:
        """Judges recorded events by their own times, in the order of their log.

        Args:
            events: what `read_events` yields, or a property test drew.
            lifecycles: how states are followed where no event of the log says so; CONNECTION,
                NODE and the monitor's own are known.

        Raises:
            InvalidArgument: a predicate is an event class that no lifecycle has.
            InvalidArgumentType: an event is not recorded.
        """
        from rat_fsm.monitors.checker import Checker

        checker = Checker([self], lifecycles=lifecycles)
        for recorded in events:
            checker.fold(recorded)
        return checker.verdict()


def always(
    predicate: Predicate,
    *,
    of: Lifecycle | str | None = None,
    scope: str = "stream",
    name: str | None = None,
) -> Monitor:
    """Every event satisfies a predicate.

    Of events one after the other that do not, the first is the violation.

    Args:
        predicate: a function of a `Step`, or an event class, which is satisfied by its events.
        of: a lifecycle, or its name: only its events are judged. All by default, or, where the
            predicate is a class, the streams of the lifecycles that have it.
        scope: see `Monitor`.
        name: what to call it; made of the predicate's name by default.

    Raises:
        InvalidArgument, InvalidArgumentType: an argument is none of these.
    """
    return _monitor(Kind.ALWAYS, (predicate,), None, of=of, scope=scope, name=name)


def eventually(
    predicate: Predicate,
    *,
    within: float | None = None,
    of: Lifecycle | str | None = None,
    scope: str = "stream",
    name: str | None = None,
) -> Monitor:
    """An event that satisfies a predicate comes in each stream (run, log).

    Args:
        predicate: see `always`; so are ``of``, ``scope`` and ``name``.
        within: how many seconds after the first event; any time before the end by default.

    Raises:
        InvalidArgument, InvalidArgumentType: an argument is none of these.
    """
    return _monitor(Kind.EVENTUALLY, (predicate,), within, of=of, scope=scope, name=name)


def leads_to(
    first: Predicate,
    then: Predicate,
    *,
    within: float | None = None,
    of: Lifecycle | str | None = None,
    scope: str = "stream",
    name: str | None = None,
) -> Monitor:
    """Whenever an event satisfies ``first``, it or a later one satisfies ``then``.

    The time counts from the first event that has not been answered. Where it passes, that is one
    violation, and the next event that obliges after an answer begins anew.

    Args:
        first: what obliges, see `always`; so are ``of``, ``scope`` and ``name``.
        then: what has to follow.
        within: in how many seconds; any time before the end by default.

    Raises:
        InvalidArgument, InvalidArgumentType: an argument is none of these.
    """
    return _monitor(Kind.LEADS_TO, (first, then), within, of=of, scope=scope, name=name)


def never_after(
    first: Predicate,
    then: Predicate,
    *,
    of: Lifecycle | str | None = None,
    scope: str = "stream",
    name: str | None = None,
) -> Monitor:
    """After an event that satisfies ``first``, none satisfies ``then``.

    The first that does is the violation of its stream (run, log). ``never_after(A, A)`` says
    that A happens at most once.

    Args:
        first: see `always`; so are ``of``, ``scope`` and ``name``.
        then: what must not follow.

    Raises:
        InvalidArgument, InvalidArgumentType: an argument is none of these.
    """
    return _monitor(Kind.NEVER_AFTER, (first, then), None, of=of, scope=scope, name=name)


def _monitor(
    kind: Kind, predicates: tuple[Any, ...], within: Any, *, of: Any, scope: Any, name: Any
) -> Monitor:
    for predicate in predicates:
        _check_predicate(predicate)
    _check_within(within)
    if of is not None and not isinstance(of, (Lifecycle, str)):
        raise InvalidArgumentType(f"of must be a Lifecycle or its name, not {type(of).__name__}")
    if scope not in _SCOPES:
        raise InvalidArgument(f"scope is {scope!r}; use one of {', '.join(_SCOPES)}")
    if name is not None and not isinstance(name, str):
        raise InvalidArgumentType(f"name must be a string, not {type(name).__name__}")
    name = name or _called(kind, predicates, within)
    first = predicates[0] if len(predicates) > 1 else None
    return Monitor(kind, name, first, predicates[-1], within, of, scope)


def _check_predicate(predicate: Any) -> None:
    if not callable(predicate) and not isinstance(predicate, types.UnionType):
        raise InvalidArgumentType(
            "a predicate is an event class, a union of them or a function of a Step, "
            f"not {type(predicate).__name__}"
        )


def _check_within(within: Any) -> None:
    if within is None:
        return
    if isinstance(within, bool) or not isinstance(within, (int, float)):
        raise InvalidArgumentType(f"within must be seconds, not {type(within).__name__}")
    if not (math.isfinite(within) and within >= 0):
        raise InvalidArgument(f"within is {within} seconds; use a finite number, or None")


def _called(kind: Kind, predicates: tuple[Any, ...], within: float | None) -> str:
    said = list(map(_name_of, predicates))
    if within is not None:
        said.append(f"within={within:g}")
    return f"{kind}({', '.join(said)})"


def _name_of(predicate: Any) -> str:
    """A function's own name, a union's members, or the class of a callable object."""
    if isinstance(predicate, types.UnionType):
        return " | ".join(map(_name_of, predicate.__args__))
    return str(getattr(predicate, "__name__", type(predicate).__name__)).strip("<>")


def classes_of(predicate: Predicate | None) -> tuple[type, ...]:
    """The event classes that a predicate consists of, none where it is a function."""
    if isinstance(predicate, types.UnionType):
        return predicate.__args__
    return (predicate,) if isinstance(predicate, type) else ()


def compiled(predicate: Predicate) -> Callable[[Step], object]:
    """A predicate as a function of a step."""
    classes = classes_of(predicate)
    if classes:
        return lambda step: isinstance(step.recorded.event, classes)
    return predicate  # type: ignore[return-value]  # it was found callable when it was declared
