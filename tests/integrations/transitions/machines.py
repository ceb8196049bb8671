"""Machines and models that the tests of their event-sourced twins share."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Final

from transitions import Machine
from transitions.extensions import (
    AsyncGraphMachine,
    AsyncMachine,
    GraphMachine,
    HierarchicalAsyncGraphMachine,
    HierarchicalAsyncMachine,
    HierarchicalGraphMachine,
    HierarchicalMachine,
    LockedGraphMachine,
    LockedHierarchicalGraphMachine,
    LockedHierarchicalMachine,
    LockedMachine,
)
from transitions.extensions.markup import HierarchicalMarkupMachine, MarkupMachine

from rat_fsm import EventLog, replay
from rat_fsm.events import Observed

if TYPE_CHECKING:
    from rat_fsm.stores.port import Store

FLAT: Final = (Machine, LockedMachine, MarkupMachine, GraphMachine, LockedGraphMachine)
NESTED: Final = (
    *(HierarchicalMachine, LockedHierarchicalMachine, HierarchicalMarkupMachine),
    *(HierarchicalGraphMachine, LockedHierarchicalGraphMachine),
)
AWAITED: Final = (
    *(AsyncMachine, AsyncGraphMachine),
    *(HierarchicalAsyncMachine, HierarchicalAsyncGraphMachine),
)
EVERY: Final = (*FLAT, *NESTED, *AWAITED)


class Model:
    """Something with states; a name makes it recognisable in a log."""

    state: Any

    def __init__(self, id: str = "m") -> None:
        self.id = id

    def __getattr__(self, name: str) -> Any:
        """For type checkers: what a machine binds to a model."""
        raise AttributeError(name)


class Refusing(EventLog):
    """A log that takes no observation while it is told so."""

    error: Exception | None = None

    def transact(self, lifecycle: Any, stream_id: str, decide: Any, **options: Any) -> int | None:
        """Raises, or does what every log does."""
        if self.error is not None:
            raise self.error
        return super().transact(lifecycle, stream_id, decide, **options)


def graph_free(machine_cls: type[Machine]) -> dict[str, Any]:
    """The option that keeps a machine from looking for Graphviz."""
    return {"graph_engine": "mermaid"} if issubclass(machine_cls, GraphMachine) else {}


def answer(result: Any) -> Any:
    """What a trigger answers, awaited where it must be."""
    if not inspect.isawaitable(result):
        return result

    async def awaited() -> Any:
        return await result

    return asyncio.run(awaited())


def told(machine: Any, model: object) -> list[Observed]:
    """The events of a model, as they are in the log."""
    machine.event_log.flush()
    stream = machine.stream_of(model)
    return [
        recorded.event
        for recorded in machine.event_log.read()
        if recorded.stream.id == stream and isinstance(recorded.event, Observed)
    ]


def folded(machine: Any, model: object) -> Any:
    """Where the log says that a model stands, folded anew; the live model must say the same."""
    log = machine.event_log
    log.flush()
    again = replay(log, lifecycles=log.read_model.lifecycles.values())
    assert again == log.read_model
    assert (again.totals.illegal, again.totals.unknown) == (0, 0)
    record: Any = again.record("machine", machine.stream_of(model))
    return record.dest


def opened(store: Store, *lifecycles: Any) -> EventLog:
    """A log in a store, of one writer."""
    return EventLog(store, lifecycles=lifecycles, writer="w0")
