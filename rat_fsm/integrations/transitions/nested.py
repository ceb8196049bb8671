"""What is different where states lie within states, and a model may be in several at once."""

from __future__ import annotations

from enum import Enum
from typing import Any

from transitions import Event
from transitions.core import listify
from transitions.extensions.nesting import HierarchicalMachine, NestedEventData

from rat_fsm.errors import InvalidArgument
from rat_fsm.integrations.transitions.machine import EventSourced


class NestedEventSourced(EventSourced, HierarchicalMachine):
    """An event-sourced machine whose states are names of paths, and lists of them."""

    def _value(self, state: Any) -> Any:
        values = [self._set_state(value) for value in listify(state)]
        return values if len(values) > 1 else values[0]

    def _told(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._told(item) for item in value]
        if not isinstance(value, Enum):
            return value
        with self():
            return self.state_cls.separator.join(self._get_enum_path(value))

    def _settle(self, dest: Any) -> Any:
        if not isinstance(dest, str):
            return dest
        with self():
            return self._resolve_initial([], dest.split(self.state_cls.separator))

    def _add_machine_states(self, state: Any, remap: Any) -> None:
        if not isinstance(state, NestedEventSourced):  # its transitions would not say what they do
            raise InvalidArgument(
                f"a plain {type(state).__name__} is no part of an event-sourced machine; "
                "make it of the class that event_sourced gives"
            )
        super()._add_machine_states(state, remap)

    def to_state(self, model: object, state_name: str, *args: Any, **kwargs: Any) -> None:
        """Goes to a state, watched as any trigger is; see `HierarchicalMachine.to_state`."""
        watched: Any = NestedEventData(None, Event("to", self), self, model, args, kwargs)
        with self._triggered(watched, "to") as flight:
            super().to_state(model, state_name, *args, **kwargs)
            flight.result = flight.changed

    def _is_unknown(self, trigger_name: str) -> bool:
        del trigger_name
        return False  # a hierarchical machine makes an event of any name, and watches it
