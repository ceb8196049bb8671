"""What tests of rat_fsm, and of programs that use it, are made with.

What needs Hypothesis is imported when it is asked for: the rest works without. So is what needs
asyncio, which is slow to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import MissingExtra
from rat_fsm.replay.coverage import TransitionCoverage, transition_coverage
from rat_fsm.testing.clock import VirtualClock
from rat_fsm.testing.decisions import Given, When, given
from rat_fsm.testing.golden import check_golden
from rat_fsm.testing.walks import Step, Walk, edge_tour, tour

if TYPE_CHECKING:
    from rat_fsm.testing.cancellation import cancel_anywhere
    from rat_fsm.testing.driving import LifecycleMachine, System
    from rat_fsm.testing.faults import FaultyStore, faulty_stores
    from rat_fsm.testing.interleaving import in_any_order
    from rat_fsm.testing.loop import VirtualLoop
    from rat_fsm.testing.recording import Recorder, histories
    from rat_fsm.testing.requesting import requests
    from rat_fsm.testing.stateful import lifecycle_machine
    from rat_fsm.testing.stored import logs
    from rat_fsm.testing.strategies import events

__all__ = [
    "FaultyStore",
    "Given",
    "LifecycleMachine",
    "Recorder",
    "Step",
    "System",
    "TransitionCoverage",
    "VirtualClock",
    "VirtualLoop",
    "Walk",
    "When",
    "cancel_anywhere",
    "check_golden",
    "edge_tour",
    "events",
    "faulty_stores",
    "given",
    "histories",
    "in_any_order",
    "lifecycle_machine",
    "logs",
    "requests",
    "tour",
    "transition_coverage",
]

_LAZY: Final = {
    "FaultyStore": "faults",
    "LifecycleMachine": "driving",
    "Recorder": "recording",
    "System": "driving",
    "VirtualLoop": "loop",
    "cancel_anywhere": "cancellation",
    "events": "strategies",
    "faulty_stores": "faults",
    "histories": "recording",
    "in_any_order": "interleaving",
    "lifecycle_machine": "stateful",
    "logs": "stored",
    "requests": "requesting",
}


def __getattr__(name: str) -> Any:
    """What needs Hypothesis, or asyncio."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    except ModuleNotFoundError as problem:
        if problem.name != "hypothesis":
            raise
        raise MissingExtra(f"rat_fsm.testing.{name}", "testing") from problem
    return getattr(module, name)
