"""What there is to draw, in words and numbers: states with what happens in them, and arrows.

Every notation draws a chart and knows nothing else. An arrow stands for all events between two
states; where they were counted, those that were never taken are on an arrow of their own, and so
are those that only production takes.
"""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from rat_fsm.replay.coverage import TransitionCoverage
from rat_fsm.replay.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rat_fsm.replay.counting import Edge
    from rat_fsm.replay.traffic import Stays

# Controls, formats (among them those that turn text round), what is no character (XML has no way
# to hold some of those), surrogates, separators of lines.
_HOSTILE: Final = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})
_UNITS: Final = ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))


class Machine(Protocol):
    """What can be drawn: a `Lifecycle`, a log's `Table` of one, its `Traffic`, its coverage."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def initial(self) -> str:
        """The state before the first event."""

    @property
    def states(self) -> Collection[str]:
        """The others, in their order."""

    @property
    def final(self) -> Collection[str]:
        """Those of them that end it."""

    def rows(self) -> list[tuple[str, str, str]]:
        """Every edge: (tag, source, destination)."""


@attrs.frozen
class Line:
    """An event, by its short name and how often it was met, where that was counted.

    Attributes:
        used: False where it was counted and never met.
        untested: whether production met it, and no test.
    """

    text: str
    used: bool = True
    untested: bool = False


@attrs.frozen
class Place:
    """A state.

    Attributes:
        lines: the events that it takes and stays.
        notes: what was counted there.
        final: whether it ends a stream.
        used: False where it was counted and no stream ever came here.
    """

    state: str
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    final: bool = False
    used: bool = True


@attrs.frozen
class Arrow:
    """Every event that leads from one state to another, by its short name.

    Attributes:
        labels: the names, with how often where that was counted.
        used: False where they were counted and none was ever met.
        untested: whether production met each of them, and no test.
        share: how often they were met, as a part of the busiest arrow; None where not counted.
    """

    source: str
    dest: str
    labels: tuple[str, ...]
    used: bool = True
    untested: bool = False
    share: float | None = None


@attrs.frozen
class Chart:
    """A lifecycle, or what was counted of it, ready to be drawn; ``counted`` says which."""

    name: str
    title: str
    initial: str
    places: tuple[Place, ...]
    arrows: tuple[Arrow, ...]
    counted: bool


def chart(machine: Machine) -> Chart:
    """The chart of a machine, with numbers where it is a `Traffic` or a `TransitionCoverage`."""
    return Chart(
        machine.name,
        _title(machine),
        machine.initial,
        tuple(_place(machine, state) for state in machine.states),
        tuple(_arrows(machine)),
        counted=isinstance(machine, (Traffic, TransitionCoverage)),
    )


def _title(machine: Machine) -> str:
    if isinstance(machine, TransitionCoverage):
        return _coverage_title(machine)
    if not isinstance(machine, Traffic):
        return f"lifecycle {machine.name}"
    told = [(machine.begun, "begun"), (machine.ended, "ended"), (machine.open, "open")]
    odd = [(machine.illegal, "illegal"), (machine.unknown, "unknown")]
    told += [(count, word) for count, word in odd if count]
    return f"{machine.name}: " + ", ".join(f"{count:,} {word}" for count, word in told)


def _coverage_title(coverage: TransitionCoverage) -> str:
    taken, edges = len(coverage.taken), len(coverage.edges)
    title = f"{coverage.name}: tests take {taken} of {edges} edges"
    title += f" ({math.floor(coverage.percent)} %)"
    return f"{title}, production {len(coverage.untested)} more" if coverage.production else title


def _place(machine: Machine, state: str) -> Place:
    stays = [edge for edge in machine.rows() if edge[1] == edge[2] == state]
    lines = tuple(_line(machine, edge) for edge in stays)
    final = state in machine.final
    if isinstance(machine, Traffic):
        met = machine.states[state]
        used = met.entered > 0 or met.now > 0
        return Place(state, lines, _notes(met, final=final), final, used)
    if isinstance(machine, TransitionCoverage):
        entered = machine.states[state]
        return Place(state, lines, (f"entered {entered:,}",), final, entered > 0)
    return Place(state, lines, final=final)


def _notes(met: Stays, *, final: bool) -> tuple[str, ...]:
    """How many came, how many are there, and for how long they stayed."""
    entered = f"entered {met.entered:,}"
    if final:
        return (entered,)
    if met.median is None or met.p90 is None:
        return (f"{entered}, now {met.now:,}",)
    lasted = f"median {_time(met.median)}, p90 {_time(met.p90)}"
    return (f"{entered}, now {met.now:,}", lasted)


def _arrows(machine: Machine) -> list[Arrow]:
    """The changes of state, in the order of the states, those that begin a stream first."""
    found: dict[tuple[str, str, bool, bool], list[Edge]] = {}
    for edge in machine.rows():
        _, source, dest = edge
        if source != dest:
            line = _line(machine, edge)
            found.setdefault((source, dest, not line.used, line.untested), []).append(edge)
    order = {state: n for n, state in enumerate((machine.initial, *machine.states))}
    keys = sorted(found, key=lambda key: (order[key[0]], order[key[1]], *key[2:]))
    counts = _counts(machine) or {}
    totals = {key: sum(counts.get(edge, 0) for edge in found[key]) for key in keys}
    most = max(totals.values(), default=0) or 1
    return [
        Arrow(
            source,
            dest,
            tuple(_line(machine, edge).text for edge in found[source, dest, never, untested]),
            not never,
            untested,
            totals[source, dest, never, untested] / most if counts else None,
        )
        for source, dest, never, untested in keys
    ]


def _counts(machine: Machine) -> Mapping[Edge, int] | None:
    return machine.edges if isinstance(machine, (Traffic, TransitionCoverage)) else None


def _line(machine: Machine, edge: Edge) -> Line:
    name, counts = _short(edge[0]), _counts(machine)
    if counts is None:
        return Line(name)
    count, busy = counts[edge], _only_in_production(machine, edge)
    if busy:
        return Line(f"{name} 0, production {busy:,}", used=False, untested=True)
    return Line(f"{name} {count:,}", count > 0)


def _only_in_production(machine: Machine, edge: Edge) -> int:
    """How often production took what no test does."""
    if not isinstance(machine, TransitionCoverage) or machine.edges[edge]:
        return 0
    return (machine.production or {}).get(edge, 0)


def _short(tag: str) -> str:
    """The lifecycle's name is in the title."""
    return tag.partition(".")[2] or tag


def _time(seconds: float) -> str:
    """A duration in three digits, in the largest unit that it fills."""
    size, unit = next((pair for pair in _UNITS if seconds >= pair[0]), _UNITS[-1])
    value = seconds / size
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"  # noqa: PLR2004 - digits


def visible(text: str) -> str:
    r"""Text as one line without anything that a program obeys: ``\x1b`` for an escape."""
    return "".join(_escaped(c) if unicodedata.category(c) in _HOSTILE else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - two digits
