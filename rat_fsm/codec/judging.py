"""Old streams are judged by the definition of their lifecycle that was recorded with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rat_fsm.projections.model import ReadModel
    from rat_fsm.table import EventType, Lifecycle

    OldStates = tuple[tuple[str, tuple[str, ...]], ...]


class _Definition(msgspec.Struct):
    """What judging needs of a recorded definition."""

    name: str
    initial: str
    edges: list[tuple[str, str, str]]


def judged_by(
    definitions: Iterable[Any], model: ReadModel, kinds: Mapping[str, EventType]
) -> tuple[Mapping[str, EventType], OldStates]:
    """The kinds with the tables of other definitions, and the states those name.

    What is no definition, or one of a lifecycle that the model does not know, changes nothing.
    """
    judged, states = dict(kinds), []
    for plain in definitions:
        try:
            old = msgspec.convert(plain, _Definition)
        except msgspec.ValidationError:
            continue
        lifecycle = model.lifecycles.get(old.name)
        if lifecycle is not None:
            judged.update(_kinds_of(old, lifecycle))
            states.append((old.name, tuple(destination for _, _, destination in old.edges)))
    return judged, tuple(states)


def add_states(model: ReadModel, old_states: OldStates) -> None:
    """Lets a model count streams in states that only other definitions name."""
    for lifecycle, states in old_states:
        for state in states:
            model.totals.states[lifecycle].setdefault(state, 0)


def _kinds_of(old: _Definition, lifecycle: Lifecycle) -> dict[str, EventType]:
    moves: dict[str, dict[str, str]] = {kind.tag: {} for kind in lifecycle.events}
    for tag, source, destination in old.edges:
        if tag in moves:
            moves[tag][lifecycle.initial if source == old.initial else source] = destination
    return {kind.tag: attrs.evolve(kind, moves=moves[kind.tag]) for kind in lifecycle.events}
