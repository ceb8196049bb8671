"""The transitions of an event-sourced machine, which tell `set_state` that they are the reason."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from transitions import Transition
from transitions.extensions.nesting import NestedTransition

from rat_fsm.integrations.transitions.deriving import derive
from rat_fsm.integrations.transitions.flight import ANY_STATE, expect

if TYPE_CHECKING:
    from transitions import EventData


class ObservedTransition(Transition):
    """A transition between states; what it answers is awaitable where the machine's are."""

    def _change_state(self, event_data: EventData) -> Any:
        # `on_exit` runs before the state is assigned, and may force another.
        expect(event_data, self.dest)
        return super()._change_state(event_data)


class ObservedNestedTransition(NestedTransition):
    """A transition of a hierarchical machine, whose next state is worked out on the way."""

    def _update_model(self, event_data: Any, tree: Any) -> None:  # type: ignore[override]
        expect(event_data, ANY_STATE)
        super()._update_model(event_data, tree)


@cache
def observed(transition_cls: Any) -> Any:
    """The class of transitions that takes the place of a machine's own.

    It has the same name, which is what the repr of a transition shows.
    """
    nested = issubclass(transition_cls, NestedTransition)
    part = ObservedNestedTransition if nested else ObservedTransition
    return derive(observed, transition_cls, [part], transition_cls.__name__)
