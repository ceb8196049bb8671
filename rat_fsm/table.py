"""Compiles a lifecycle, one literal in `transitions` notation, into an immutable table.

Running a machine is a look-up in that table. The notation is checked and expanded by a real
`transitions.Machine` that is thrown away afterwards; it never runs.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

import attrs
from transitions import Machine, MachineError

from rat_fsm.errors import IllegalEvent, InvalidLifecycle
from rat_fsm.events import Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Row = Sequence[Any] | Mapping[str, Any]
    Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_ROW_KEYS: Final = {"trigger", "source", "dest"}


@attrs.frozen(eq=False)
class EventType:
    """An event class as one lifecycle knows it.

    Attributes:
        tag: its name in a log, such as ``connection.activated``.
        cls: the event class.
        version: the schema version that is written now.
        fields: the names of its payload, in order.
        moves: source state → destination state, the column of the table for this event.
        upcasters: from-version → the function that lifts a payload by one version.
        lifecycle: the name of its lifecycle.
    """

    tag: str
    cls: type
    version: int
    fields: tuple[str, ...]
    moves: Mapping[str, str]
    upcasters: Mapping[int, Upcaster]
    lifecycle: str


def _strings(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _string_set(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen(eq=False)
class Lifecycle:
    """A finite-state machine whose every change is an event.

    A stream that does not exist yet is in ``initial``, which is no state of its own.
    ``transitions`` are rows ``[event class, source(s), dest]`` or dicts with the keys trigger,
    source, dest; ``"*"`` as source is every state that is not final, ``"="`` as dest is reflexive,
    ``None`` internal. Conditions and callbacks are refused: a decision is code, the table is data.

    Attributes:
        versions: event class → schema version where it is not 1.
        upcasters: (event class, from-version) → function ``dict -> dict``.
        abandon: ``(stream, model, at) -> events`` that end a stream whose writer has died;
            None where such a stream waits for its writer to come back.
        resume: ``(stream, born) -> events`` that begin a stream under another writer which goes on
            with this one, because this process has lost its slot; None where it is not gone on
            with. ``born`` is where it began, empty where nothing of it has been stored.
        reusable_ids: whether an id may begin again once its stream has ended.

    Raises:
        InvalidLifecycle: the definition is ambiguous, incomplete or has a trap.
    """

    name: str
    states: tuple[str, ...] = attrs.field(converter=_strings, kw_only=True)
    transitions: Sequence[Row] = attrs.field(kw_only=True)
    final: frozenset[str] = attrs.field(converter=_string_set, kw_only=True)
    initial: str = attrs.field(default="new", kw_only=True)
    versions: Mapping[type, int] = attrs.field(factory=dict, kw_only=True)
    upcasters: Mapping[tuple[type, int], Upcaster] = attrs.field(factory=dict, kw_only=True)
    abandon: Callable[..., Iterable[Any]] | None = attrs.field(default=None, kw_only=True)
    resume: Callable[..., Iterable[Any]] | None = attrs.field(default=None, kw_only=True)
    reusable_ids: bool = attrs.field(default=False, kw_only=True)
    events: tuple[EventType, ...] = attrs.field(init=False)
    definition: Mapping[str, Any] = attrs.field(init=False, repr=False)
    fingerprint: str = attrs.field(init=False)
    _types: Mapping[type, EventType] = attrs.field(init=False, repr=False)

    @classmethod
    def observed(cls, name: str) -> Lifecycle:
        """A lifecycle for models that another kind of state machine moves.

        A machine with conditions has no table that could tell where a model may go. So there is
        one state and one event, `Observed`, which says where the model came from and went to.
        In place of the table stands one law: each must begin where the last one of its stream
        ended, so that no change goes unseen.
        """
        return cls(
            name,
            states=("observed",),
            final=(),
            transitions=[[Observed, ["new", "observed"], "observed"]],
        )

    @events.default
    def _compile(self) -> tuple[EventType, ...]:
        _check_names(self)
        columns = _expand(self)
        _check_shape(self, columns)
        kinds = tuple(_event_type(self, cls, moves) for cls, moves in columns.items())
        _check_events(self, kinds)
        return kinds

    @definition.default
    def _define(self) -> Mapping[str, Any]:
        return {
            "name": self.name,
            "initial": self.initial,
            "states": list(self.states),
            "final": sorted(self.final),
            "events": [[kind.tag, kind.version, list(kind.fields)] for kind in self.events],
            "edges": [list(edge) for edge in self.rows()],
        }

    @fingerprint.default
    def _fingerprint(self) -> str:
        return fingerprint_of(self.definition)

    @_types.default
    def _index(self) -> Mapping[type, EventType]:
        return {kind.cls: kind for kind in self.events}

    def event_type(self, cls: type) -> EventType | None:
        """How this lifecycle knows an event class, None where it does not."""
        return self._types.get(cls)

    def next_state(self, state: str, event: object) -> str | None:
        """Where an event (or its class) leads from a state, None where it is illegal."""
        kind = self._types.get(event if isinstance(event, type) else type(event))
        return None if kind is None else kind.moves.get(state)

    def evolve(self, state: str, event: object) -> str:
        """Like `next_state`, but an illegal event raises.

        Raises:
            IllegalEvent: the table has no way for this event from this state.
        """
        destination = self.next_state(state, event)
        if destination is None:
            raise IllegalEvent(self.name, state, self.tag_of(event), self.legal(state))
        return destination

    def legal(self, state: str) -> tuple[str, ...]:
        """The tags of the events that a stream in this state can take, sorted."""
        return tuple(sorted(kind.tag for kind in self.events if state in kind.moves))

    def rows(self) -> list[tuple[str, str, str]]:
        """Every edge of the compiled table: (tag, source, destination)."""
        return [(k.tag, source, dest) for k in self.events for source, dest in k.moves.items()]

    def tag_of(self, event: object) -> str:
        """The tag of an event of this lifecycle, or the best name for one that is not."""
        cls = event if isinstance(event, type) else type(event)
        kind = self._types.get(cls)
        return f"{cls.__module__}.{cls.__qualname__}" if kind is None else kind.tag


def fingerprint_of(definition: Mapping[str, Any]) -> str:
    """What identifies a definition: half a SHA-256 of its canonical JSON, in hexadecimal."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def snake_case(name: str) -> str:
    """``ActivityRecorded`` → ``activity_recorded``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _check_names(lifecycle: Lifecycle) -> None:
    _require(
        _NAME.fullmatch(lifecycle.name), f"name {lifecycle.name!r} is not a lower-case identifier"
    )
    _require(lifecycle.states, f"{lifecycle.name} has no states")
    for state in (lifecycle.initial, *lifecycle.states, *lifecycle.final):
        _require(isinstance(state, str), f"{lifecycle.name}: state {state!r} is not a string")
    twice = {state for state in lifecycle.states if lifecycle.states.count(state) > 1}
    _require(not twice, f"{lifecycle.name} declares {_listed(twice)} twice")
    _require(
        lifecycle.initial not in lifecycle.states,
        f"{lifecycle.initial!r} is the state before the first event; leave it out of states",
    )
    unknown = lifecycle.final - set(lifecycle.states)
    _require(not unknown, f"final names {_listed(unknown)}, which states does not declare")


def _expand(lifecycle: Lifecycle) -> dict[type, dict[str, str]]:
    columns: dict[type, dict[str, str]] = {}
    for row in lifecycle.transitions:
        cls, sources, dest = _parse(row)
        column = columns.setdefault(cls, {})
        for source, target in _edges(lifecycle, cls, sources, dest):
            _require(
                source not in column,
                f"{lifecycle.name} has two ways for {cls.__name__} from {source!r}",
            )
            column[source] = target
    return columns


def _parse(row: Row) -> tuple[Any, Any, Any]:
    """Takes a row apart, refusing what a table cannot express."""
    if isinstance(row, dict):
        extra = set(row) - _ROW_KEYS
        _require(not extra, f"row {row!r} has {_listed(extra)}: conditions and callbacks are code")
        _require(not _ROW_KEYS - set(row), f"row {row!r} wants trigger, source and dest")
        row = [row["trigger"], row["source"], row["dest"]]
    _require(
        isinstance(row, list) and len(row) == len(_ROW_KEYS),
        f"row {row!r} is not a list [event class, source(s), dest]",
    )
    cls, sources, dest = row
    _require(
        isinstance(cls, type) and attrs.has(cls), f"row {row!r}: {cls!r} is not an attrs class"
    )
    _require(dest is None or isinstance(dest, str), f"row {row!r}: {dest!r} is not a state")
    return cls, sources, dest


def _edges(
    lifecycle: Lifecycle, cls: type, sources: Any, dest: str | None
) -> list[tuple[str, str]]:
    """The edges of one row, as `transitions` understands its notation."""
    if sources == "*":
        sources = [state for state in lifecycle.states if state not in lifecycle.final]
    machine = Machine(
        model=None,
        states=[lifecycle.initial, *lifecycle.states],
        initial=lifecycle.initial,
        auto_transitions=False,
    )
    try:
        machine.add_transition(cls.__name__, sources, dest)
    except (ValueError, KeyError, TypeError, MachineError) as problem:
        raise InvalidLifecycle(
            f"{lifecycle.name}: row for {cls.__name__} does not compile: {problem}"
        ) from problem
    found = machine.events[cls.__name__].transitions.values()
    edges = [(t.source, t.source if t.dest is None else t.dest) for ts in found for t in ts]
    _require(edges, f"{lifecycle.name}: row for {cls.__name__} has no source")
    for state in {state for edge in edges for state in edge}:
        _require(
            state == lifecycle.initial or state in lifecycle.states,
            f"{lifecycle.name}: row for {cls.__name__} names unknown state {state!r}",
        )
    return edges


def _check_shape(lifecycle: Lifecycle, columns: Mapping[type, Mapping[str, str]]) -> None:
    edges = [edge for column in columns.values() for edge in column.items()]
    name = lifecycle.name
    _require(
        all(dest != lifecycle.initial for _, dest in edges),
        f"{name} leads back to {lifecycle.initial!r}, where a stream does not exist",
    )
    left = {source for source, _ in edges} & lifecycle.final
    _require(not left, f"{name} has ways out of the final {_listed(left)}")
    unreachable = set(lifecycle.states) - _closure(edges, {lifecycle.initial})
    _require(not unreachable, f"{name} can never reach {_listed(unreachable)}")
    ending = _closure([(dest, source) for source, dest in edges], set(lifecycle.final))
    trapped = set(lifecycle.states) - ending
    trapped = set() if Observed in columns else trapped  # where such a model ends, no table says
    _require(not trapped, f"{name} is trapped in {_listed(trapped)}: no way to a final state")


def _closure(edges: list[tuple[str, str]], start: set[str]) -> set[str]:
    """Everything that can be reached from ``start``."""
    seen, front = set(start), set(start)
    while front:
        front = {dest for source, dest in edges if source in front} - seen
        seen |= front
    return seen


def _event_type(lifecycle: Lifecycle, cls: type, moves: Mapping[str, str]) -> EventType:
    version: Any = lifecycle.versions.get(cls, 1)
    _require(
        isinstance(version, int) and version > 0,
        f"{lifecycle.name}: {cls.__name__} is at version {version!r}; versions count from 1",
    )
    upcasters = {v: fn for (c, v), fn in lifecycle.upcasters.items() if c is cls}
    missing = set(range(1, version)) - set(upcasters)
    _require(
        not missing,
        f"{lifecycle.name}: {cls.__name__} is at version {version} but has no upcaster from "
        f"{_listed(str(v) for v in missing)}",
    )
    return EventType(
        tag=f"{lifecycle.name}.{snake_case(cls.__name__)}",
        cls=cls,
        version=version,
        fields=tuple(field.name for field in attrs.fields(cls)),
        moves=moves,
        upcasters=upcasters,
        lifecycle=lifecycle.name,
    )


def _check_events(lifecycle: Lifecycle, kinds: Sequence[EventType]) -> None:
    tags = [kind.tag for kind in kinds]
    twice = {tag for tag in tags if tags.count(tag) > 1}
    _require(not twice, f"{lifecycle.name} has two event classes called {_listed(twice)}")
    told = {*lifecycle.versions, *(cls for cls, _ in lifecycle.upcasters)}
    unknown = told - {kind.cls for kind in kinds}
    _require(
        not unknown,
        f"{lifecycle.name} has no row for {_listed(cls.__name__ for cls in unknown)}, "
        "which versions or upcasters name",
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(repr(name) for name in names))


def _require(holds: object, problem: str) -> None:
    if not holds:
        raise InvalidLifecycle(problem)
