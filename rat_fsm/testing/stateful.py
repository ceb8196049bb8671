"""Builds a state machine test out of a lifecycle: a rule for each edge of its table."""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from rat_fsm.errors import InvalidArgumentType
from rat_fsm.table import Lifecycle
from rat_fsm.testing import strategies
from rat_fsm.testing.driving import LifecycleMachine
from rat_fsm.traces.rules import machine_name, rule_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rat_fsm.table import EventType
    from rat_fsm.testing.driving import Model
    from rat_fsm.testing.recording import Events


def lifecycle_machine(
    lifecycle: Lifecycle,
    model: Model | None = None,
    *,
    events: Events = strategies.events,
) -> type[LifecycleMachine]:
    """A Hypothesis state machine that takes a system along the edges of a lifecycle's table.

    It has a rule for each edge, such as ``packed_from_open``, which is possible in that state
    only, and so Hypothesis leaves out now one edge, now another; the rule ``illegal_event``; and
    the invariant ``agrees_with_its_log``. A failure prints the calls that lead to it, which run
    as they stand; ``rat-fsm to-test --form stateful`` writes the same calls for a stream of a log.

    ::

        from rat_fsm import CONNECTION
        from rat_fsm.testing import lifecycle_machine

        ConnectionMachine = lifecycle_machine(CONNECTION)
        TestConnections = ConnectionMachine.TestCase

    It runs with Hypothesis' settings but for the phase ``explain``, which would take most of the
    time of a failure. Subclass it to add rules, to say which errors mean a refusal (``refusals``)
    or which legal events the system need not take (`LifecycleMachine.accepts`). Asked again for
    the same, it answers with the same class.

    Args:
        lifecycle: whose edges they are.
        model: called with a log and the id of a stream, for each run; answers with a `System`
            that records in that log, or keeps none. By default the log itself is driven.
        events: called with an event class; answers with a strategy for its events.

    Raises:
        InvalidArgumentType: it is no lifecycle, or one of its events has a type that no strategy
            is known for.
    """
    if not isinstance(lifecycle, Lifecycle):
        raise InvalidArgumentType(f"{lifecycle!r} is no lifecycle")
    return _machine(lifecycle, model, events)


@functools.cache
def _machine(lifecycle: Lifecycle, model: Model | None, events: Events) -> type[LifecycleMachine]:
    of = {kind.cls: events(kind.cls) for kind in lifecycle.events}
    illegal = {
        state: [of[kind.cls] for kind in lifecycle.events if state not in kind.moves]
        for state in (lifecycle.initial, *lifecycle.states)
    }
    namespace = {
        "__doc__": f"Takes a system along the edges of {lifecycle.name}.",
        "__module__": __name__,
        "lifecycle": lifecycle,
        "model": model and staticmethod(model),
        "_illegal": {state: st.one_of(*kinds) for state, kinds in illegal.items() if kinds},
        **dict(_rules(lifecycle, of)),
    }
    return types.new_class(
        machine_name(lifecycle), (LifecycleMachine,), exec_body=lambda body: body.update(namespace)
    )


def _rules(
    lifecycle: Lifecycle, of: Mapping[type, st.SearchStrategy[Any]]
) -> Iterator[tuple[str, Any]]:
    names = rule_names(lifecycle)
    for kind in lifecycle.events:
        for source in kind.moves:
            name = names[kind.tag, source]
            yield name, _rule(name, kind, source, of[kind.cls])


def _rule(name: str, kind: EventType, source: str, event: Any) -> Any:
    """The rule of one edge; its name is what Hypothesis tells rules apart by."""
    dest = kind.moves[source]

    def take(self: LifecycleMachine, event: Any) -> None:
        self.take(name, event, source, dest)

    take.__name__ = take.__qualname__ = name
    take.__doc__ = f"{kind.tag} leads from {source} to {dest}."
    return precondition(lambda self: self.state == source)(rule(event=event)(take))
