"""Gives machines of the library `transitions` an event log, which has each change beforehand.

`event_sourced` makes the event-sourced twin of any of its machine classes. `AsyncMachine` of
transitions 0.9.3 swallows ``CancelledError``: a task that is cancelled in a trigger goes on. Its
twin records the trigger as failed, and can do no more about it.
"""

from rat_fsm.integrations.transitions.machine import EventSourced
from rat_fsm.integrations.transitions.twins import event_sourced

__all__ = ["EventSourced", "event_sourced"]
