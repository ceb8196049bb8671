"""What there is to draw, in words and numbers: states with what happens in them, and arrows.

Every notation draws a chart and knows nothing else. An arrow stands for all events between two
states; where traffic was counted, those that were never taken are on an arrow of their own.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from rat_fsm.replay.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from rat_fsm.replay.traffic import Edge, Stays

# Controls, formats (among them those that turn text round), what is no character (XML has no way
# to hold some of those), surrogates, separators of lines.
_HOSTILE: Final = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})
_UNITS: Final = ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))


class Machine(Protocol):
    """What can be drawn: a `Lifecycle`, the `Table` of one in a log, or its `Traffic`."""

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
    """An event that changes no state; ``used`` is False where it was counted and never met."""

    text: str
    used: bool = True


@attrs.frozen
class Place:
    """A state.

    Attributes:
        lines: the events that it takes and stays.
        notes: what was counted there.
        final: whether it ends a stream.
        used: False where traffic was counted and no stream ever came here.
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
        used: False where traffic was counted and none of them was ever met.
        share: how often they were met, as a part of the busiest arrow; None where not counted.
    """

    source: str
    dest: str
    labels: tuple[str, ...]
    used: bool = True
    share: float | None = None


@attrs.frozen
class Chart:
    """A lifecycle, or its traffic, ready to be drawn; ``counted`` says which."""

    name: str
    title: str
    initial: str
    places: tuple[Place, ...]
    arrows: tuple[Arrow, ...]
    counted: bool


def chart(machine: Machine) -> Chart:
    """The chart of a machine, with numbers where it is a `Traffic`."""
    if isinstance(machine, Traffic):
        places = [_counted_place(machine, state) for state in machine.states]
    else:
        places = [_place(machine, state) for state in machine.states]
    return Chart(
        machine.name,
        _title(machine),
        machine.initial,
        tuple(places),
        tuple(_arrows(machine)),
        counted=isinstance(machine, Traffic),
    )


def _title(machine: Machine) -> str:
    if not isinstance(machine, Traffic):
        return f"lifecycle {machine.name}"
    told = [(machine.begun, "begun"), (machine.ended, "ended"), (machine.open, "open")]
    odd = [(machine.illegal, "illegal"), (machine.unknown, "unknown")]
    told += [(count, word) for count, word in odd if count]
    return f"{machine.name}: " + ", ".join(f"{count:,} {word}" for count, word in told)


def _place(machine: Machine, state: str) -> Place:
    stays = [tag for tag, source, dest in machine.rows() if source == dest == state]
    return Place(state, tuple(Line(_short(tag)) for tag in stays), final=state in machine.final)


def _counted_place(traffic: Traffic, state: str) -> Place:
    stays = [edge for edge in traffic.edges if edge[1] == edge[2] == state]
    lines = (Line(_counted(edge, traffic.edges), traffic.edges[edge] > 0) for edge in stays)
    met, final = traffic.states[state], state in traffic.final
    used = met.entered > 0 or met.now > 0
    return Place(state, tuple(lines), _notes(met, final=final), final, used)


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
    counts = machine.edges if isinstance(machine, Traffic) else None
    found: dict[tuple[str, str, bool], list[Edge]] = {}
    for edge in machine.rows():
        _, source, dest = edge
        if source != dest:
            used = counts is None or counts[edge] > 0
            found.setdefault((source, dest, not used), []).append(edge)
    order = {state: n for n, state in enumerate((machine.initial, *machine.states))}
    keys = sorted(found, key=lambda key: (order[key[0]], order[key[1]], key[2]))
    if counts is None:
        return [Arrow(key[0], key[1], tuple(_short(e[0]) for e in found[key])) for key in keys]
    return _counted_arrows([found[key] for key in keys], counts)


def _counted_arrows(bundles: Sequence[Sequence[Edge]], counts: Mapping[Edge, int]) -> list[Arrow]:
    totals = [sum(counts[edge] for edge in edges) for edges in bundles]
    most = max(totals, default=0) or 1
    return [
        Arrow(
            *edges[0][1:], tuple(_counted(edge, counts) for edge in edges), total > 0, total / most
        )
        for edges, total in zip(bundles, totals, strict=True)
    ]


def _counted(edge: Edge, counts: Mapping[Edge, int]) -> str:
    return f"{_short(edge[0])} {counts[edge]:,}"


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
