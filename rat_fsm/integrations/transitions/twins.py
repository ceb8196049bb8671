"""Makes the event-sourced twin of a machine class, once."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

from transitions import Machine
from transitions.extensions.asyncio import AsyncMachine
from transitions.extensions.nesting import HierarchicalMachine

from rat_fsm.errors import InvalidArgumentType
from rat_fsm.integrations.transitions.awaiting import AsyncEventSourced
from rat_fsm.integrations.transitions.deriving import derive
from rat_fsm.integrations.transitions.machine import EventSourced
from rat_fsm.integrations.transitions.nested import NestedEventSourced

M = TypeVar("M", bound=Machine)


def event_sourced(machine_cls: type[M]) -> type[M]:
    """The event-sourced twin of a machine class of `transitions`; always the same for a class.

    It takes everything that the class takes, and ``event_log``, ``stream_id`` and ``lifecycle``;
    it has ``event_log``, ``rehydrate``, ``reattach`` and ``stream_of``: see `EventSourced`.

    Args:
        machine_cls: Machine, HierarchicalMachine, LockedMachine, AsyncMachine, GraphMachine,
            MarkupMachine, one of their combinations, or a class of your own that derives from one.

    Raises:
        InvalidArgumentType: it is no machine class.
    """
    if not _is_machine_class(machine_cls):
        raise InvalidArgumentType(f"{machine_cls!r} is no machine class of transitions")
    return cast("type[M]", _twin(cast("Any", machine_cls)))


def _is_machine_class(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Machine)


@cache
def _twin(machine_cls: Any) -> Any:
    if issubclass(machine_cls, EventSourced):
        return machine_cls
    parts: list[type[Machine]] = [EventSourced]
    if issubclass(machine_cls, AsyncMachine):
        parts.insert(0, AsyncEventSourced)
    if issubclass(machine_cls, HierarchicalMachine):
        parts.insert(0, NestedEventSourced)
    name = f"EventSourced{machine_cls.__name__}"
    return derive(_twin, machine_cls, parts, name)
