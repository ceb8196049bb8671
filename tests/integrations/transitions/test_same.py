"""A twin does what its machine does, whatever is asked of it, and its log says the same."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transitions import Machine
from transitions.extensions import (
    AsyncMachine,
    HierarchicalAsyncMachine,
    HierarchicalMachine,
    LockedHierarchicalMachine,
    LockedMachine,
)

from rat_fsm.integrations.transitions import event_sourced
from tests.integrations.transitions.machines import Model, answer, folded, told

FLAT_STATES: list[Any] = ["A", "B", "C"]
NESTED_STATES: list[Any] = [
    "A",
    {"name": "B", "children": ["x", "y"], "initial": "x"},
    {
        "name": "C",
        "parallel": [
            {"name": "l", "children": ["x", "y"], "initial": "x"},
            {"name": "r", "children": ["x", "y"], "initial": "y"},
        ],
    },
]
FLAT_NAMES = ["A", "B", "C"]
NESTED_NAMES = ["A", "B", "B_x", "B_y", "C", "C_l_y", "C_r_x"]
TRIGGERS = ["one", "two"]
MOST_FIRED = 3
MACHINES = [
    *((cls, FLAT_STATES, FLAT_NAMES) for cls in (Machine, LockedMachine, AsyncMachine)),
    *(
        (cls, NESTED_STATES, NESTED_NAMES)
        for cls in (HierarchicalMachine, LockedHierarchicalMachine, HierarchicalAsyncMachine)
    ),
]


@attrs.frozen
class Callback:
    """What a callback does: raises, forces a state, fires a trigger, or answers."""

    what: str
    name: str

    def of(self, model: Any) -> Any:
        """The callback of one model."""

        def call() -> Any:
            if self.what == "raise":
                raise ZeroDivisionError
            if self.what == "force":
                model.machine.set_state(self.name, model)
            if self.what == "fire" and model.fired < MOST_FIRED:
                model.fired += 1
                return model.trigger("one")
            return self.what != "no"

        return call


def callbacks(names: list[str]) -> st.SearchStrategy[Callback]:
    """One that mostly does nothing."""
    whats = st.sampled_from(["yes", "yes", "yes", "no", "raise", "force", "fire"])
    return st.builds(Callback, whats, st.sampled_from(names))


def rows(names: list[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Transitions with conditions and callbacks."""
    name = st.sampled_from(names)
    callback = st.none() | callbacks(names)
    row = st.fixed_dictionaries(
        {
            "trigger": st.sampled_from(TRIGGERS),
            "source": name,
            "dest": st.none() | st.just("=") | name,
            "conditions": callback,
            "before": callback,
            "after": callback,
        }
    )
    return st.lists(row, min_size=2, max_size=8)


def calls(names: list[str]) -> st.SearchStrategy[list[tuple[str, str]]]:
    """What is asked of a model."""
    triggers = st.tuples(st.just("trigger"), st.sampled_from([*TRIGGERS, "fly"]))
    states = st.sampled_from(names)
    others = st.tuples(st.sampled_from(["set_state", "to", "by hand"]), states)
    return st.lists(triggers | triggers | others, max_size=12)


def made(cls: Any, states: list[Any], moves: list[dict[str, Any]], **options: Any) -> Any:
    """A model and its machine; callbacks are of the model."""
    model: Any = Model()
    model.fired = 0
    bound = [
        {k: v.of(model) if isinstance(v, Callback) else v for k, v in row.items()} for row in moves
    ]
    model.machine = cls(model, states=states, initial="A", transitions=bound, **options)
    return model


def now(model: Any) -> Any:
    """Where the live read model of its log has a model."""
    machine = model.machine
    record: Any = machine.event_log.read_model.record("machine", machine.stream_of(model))
    return record.dest


def ask(model: Any, call: str, name: str) -> object:
    """Asks something of a model; what it answers, or how it fails."""
    try:
        if call == "trigger":
            return answer(model.trigger(name))
        if call == "to":
            return answer(model.trigger(f"to_{name}"))
        if call == "by hand":
            model.state = "A"
            return None
        return model.machine.set_state(name, model)
    except Exception as problem:  # noqa: BLE001 - whatever it is, both must fail in one way
        return type(problem), str(problem)


def check(cls: type[Machine], states: list[Any], names: list[str], data: st.DataObject) -> None:
    """Asks the same of a model of each, and compares."""
    moves, queued = data.draw(rows(names)), data.draw(st.booleans())
    plain, twin = (made(each, states, moves, queued=queued) for each in (cls, event_sourced(cls)))
    for call, name in data.draw(calls(names)):
        assert ask(twin, call, name) == ask(plain, call, name)
        assert twin.state == plain.state
        twin.machine.set_state(twin.state, twin)  # so that what was done by hand is told
        assert now(twin) == twin.state
    assert folded(twin.machine, twin) == twin.state
    events = told(twin.machine, twin)
    assert [event.source for event in events] == [None, *(event.dest for event in events[:-1])]
    twin.machine.event_log.close()


every_machine = pytest.mark.parametrize(
    ("cls", "states", "names"), MACHINES, ids=[cls.__name__ for cls, _, _ in MACHINES]
)


@every_machine
@settings(max_examples=8)
@given(data=st.data())
def test_a_twin_does_what_its_machine_does(
    cls: type[Machine], states: list[Any], names: list[str], data: st.DataObject
) -> None:
    """Answers, errors and states agree at each step; the chain in the log has no gap."""
    check(cls, states, names, data)


@pytest.mark.slow
@every_machine
@settings(max_examples=150)
@given(data=st.data())
def test_a_twin_does_what_its_machine_does_in_many_more_ways(
    cls: type[Machine], states: list[Any], names: list[str], data: st.DataObject
) -> None:
    """The same, looked for longer."""
    check(cls, states, names, data)
