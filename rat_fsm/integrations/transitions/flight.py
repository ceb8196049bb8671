"""What a machine is about to do with a model, so that `set_state` can tell why it was called.

`set_state` is where every machine of `transitions` assigns a state, and it does not know the
trigger. A context variable carries that to it, through threads and tasks. A hook after the change
would not do: `after_state_change` is left out where `on_enter` raises, and an exception in
`finalize_event` is swallowed.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transitions import EventData

F = TypeVar("F", bound="Flight")
ATTACHED: Final = "attached"
TRANSITION: Final = "transition"
INTERNAL: Final = "internal"
FORCED: Final = "forced"
REJECTED: Final = "rejected"
FAILED: Final = "failed"


ANY_STATE: Final = object()
_NOWHERE: Final = object()


@attrs.frozen
class Change:
    """Why a state is assigned, and where that leads; ``kind`` as in `Observed`."""

    kind: str
    trigger: str
    dest: Any


class Flight(Protocol):
    """What is going on in a machine."""

    @property
    def machine(self) -> object:
        """The machine that it is about."""

    def change(self, model: object, state: object, dest: Any) -> Change | None:
        """What it means that the machine assigns a state to a model; None where nothing changes."""


@attrs.define(eq=False)
class Trigger:
    """One trigger of one model, while it is worked on.

    Attributes:
        expected: the state that the transition in flight will assign, None before one does.
        changed: whether a transition has been made.
        result: what the trigger answered.
    """

    machine: object
    model: object
    name: str
    expected: object = None
    changed: bool = False
    result: Any = None

    def is_of(self, event_data: EventData) -> bool:
        """Whether this is about the same model of the same machine."""
        return self.machine is event_data.machine and self.model is event_data.model

    def change(self, model: object, state: object, dest: Any) -> Change | None:
        """The transition, once; whatever else a callback assigns is forced."""
        expected = self.expected is ANY_STATE or self.expected is state
        if model is not self.model or not expected:
            return Change(FORCED, "", dest)
        self.expected, self.changed = None, True
        return Change(TRANSITION, self.name, dest)


@attrs.define(eq=False)
class Attaching:
    """Models being added to a machine; a hierarchical one assigns each its first state twice.

    Attributes:
        settle: where a model that gets this state comes to rest, such as in an initial substate.
        known: whether the machine had the model before.
        settled: id of a model → where it was attached.
    """

    machine: object
    settle: Callable[[Any], Any]
    known: Callable[[object], bool]
    settled: dict[int, Any] = attrs.field(factory=dict)

    def change(self, model: object, state: object, dest: Any) -> Change | None:
        """The first state of a model that is new; once it is there, nothing."""
        del state
        settled = self.settled.get(id(model), _NOWHERE)
        if settled == dest:
            return None
        if settled is not _NOWHERE or self.known(model):
            return Change(FORCED, "", dest)
        rest = self.settled[id(model)] = self.settle(dest)
        return Change(ATTACHED, "", rest)


@attrs.define(eq=False)
class Rehydrating:
    """A model being put where its log says that it stands."""

    machine: object

    def change(self, model: object, state: object, dest: Any) -> Change | None:
        """Nothing: the log has it."""
        del model, state, dest
        return None


IN_FLIGHT: Final[ContextVar[Flight | None]] = ContextVar("rat_fsm_in_flight", default=None)


@contextmanager
def in_flight(flight: F) -> Iterator[F]:
    """Lets `change_of` know, in this context."""
    token = IN_FLIGHT.set(flight)
    try:
        yield flight
    finally:
        IN_FLIGHT.reset(token)


def expect(event_data: EventData, state: object) -> None:
    """A transition is about to assign a state to the model of the trigger in flight."""
    flight = IN_FLIGHT.get()
    if isinstance(flight, Trigger) and flight.is_of(event_data):
        flight.expected = state


def change_of(machine: object, model: object, state: object, dest: Any) -> Change | None:
    """What it means that a machine assigns a state to a model, in this context."""
    flight = IN_FLIGHT.get()
    if flight is None or flight.machine is not machine:
        return Change(FORCED, "", dest)
    return flight.change(model, state, dest)
