"""States within states, and several at once, in the twins of hierarchical machines."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from transitions import Machine, MachineError
from transitions.extensions import HierarchicalMachine
from transitions.extensions.nesting import NestedState

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import Observed
from rat_fsm.integrations.transitions import event_sourced
from tests.integrations.transitions.machines import NESTED, Model, folded, graph_free, told

HALVES = [
    {"name": "left", "children": ["1", "2"], "initial": "1"},
    {"name": "right", "children": ["1", "2"], "initial": "1"},
]
STATES = ["off", {"name": "on", "parallel": HALVES}]
MOVES: list[list[Any]] = [
    ["start", "off", "on"],
    ["step", "on_left_1", "on_left_2"],
    ["step", "on_right_1", "on_right_2"],
    ["stop", "on", "off"],
]


def made(model: Any, cls: type[Machine] = HierarchicalMachine, **options: Any) -> Any:
    """A twin for a model of a machine that has two halves once it is on."""
    defaults = {"states": STATES, "initial": "off", "transitions": MOVES}
    return event_sourced(cls)(model, **{**defaults, **graph_free(cls), **options})


@pytest.mark.parametrize("cls", NESTED, ids=lambda cls: cls.__name__)
def test_parallel_states_are_lists(cls: type[Machine]) -> None:
    """A trigger that moves both halves is a transition for each."""
    model = Model()
    machine = made(model, cls)
    model.start()
    model.step()
    model.stop()
    assert [(e.kind, e.trigger, e.dest) for e in told(machine, model)] == [
        ("attached", "", "off"),
        ("transition", "start", ["on_left_1", "on_right_1"]),
        ("transition", "step", ["on_left_2", "on_right_1"]),
        ("transition", "step", ["on_left_2", "on_right_2"]),
        ("transition", "stop", "off"),
    ]
    assert folded(machine, model) == model.state == "off"
    machine.event_log.close()


def test_a_model_is_attached_where_it_comes_to_rest() -> None:
    """In the initial substates of its initial state, with one event."""
    model = Model()
    machine = made(model, initial="on")
    assert told(machine, model) == [Observed("attached", "", None, ["on_left_1", "on_right_1"])]
    assert folded(machine, model) == model.state
    machine.event_log.close()


def test_a_model_may_be_attached_in_several_states() -> None:
    """They are taken as they are."""
    model = Model()
    machine = made(None)
    machine.add_model(model, ["on_left_2", "on_right_1"])
    assert [event.dest for event in told(machine, model)] == [["on_left_2", "on_right_1"]]
    machine.event_log.close()


def test_adding_a_model_again_puts_it_back_by_force() -> None:
    """`HierarchicalMachine` gives it the first model's state once more; that is no attachment."""
    one, two = Model(), Model()
    machine = made(one)
    machine.add_model(two)
    two.start()
    machine.add_model([one, two])
    assert [(e.kind, e.dest) for e in told(machine, two)][2:] == [("forced", "off")]
    assert folded(machine, two) == two.state == "off"
    machine.event_log.close()


def test_rejected_and_unknown_triggers_have_their_names() -> None:
    """`finalize_event` of a hierarchical machine would not know them."""
    model = Model()
    machine = made(model)
    with pytest.raises(MachineError):
        model.stop()
    with pytest.raises(AttributeError):
        model.trigger("fly")
    assert told(machine, model)[1:] == [
        Observed("rejected", "stop", "off", "off", "MachineError"),
        Observed("rejected", "fly", "off", "off", "AttributeError"),
    ]
    machine.event_log.close()


def test_a_state_forced_on_the_way_is_not_taken_for_the_destination() -> None:
    """`on_exit` runs first, and may set whatever it likes."""
    model = Model()
    leave = {"name": "off", "on_exit": lambda: machine.set_state("idle", model)}
    machine: Any = made(model, states=[leave, "idle", STATES[1]])
    model.start()
    assert [(e.kind, e.source, e.dest) for e in told(machine, model)][1:] == [
        ("forced", "off", "idle"),
        ("transition", "idle", ["on_left_1", "on_right_1"]),
    ]
    machine.event_log.close()


def test_going_to_a_state_by_name_is_a_trigger() -> None:
    """`to` takes no event of the machine, and is told all the same, failures too."""

    def fail() -> None:
        raise ZeroDivisionError

    model = Model()
    machine = made(model, states=[*STATES, {"name": "broken", "on_enter": fail}])
    model.to("on_left_2")
    model.to("off")
    with pytest.raises(ZeroDivisionError):
        model.to("broken")
    assert [(e.kind, e.trigger, e.dest) for e in told(machine, model)][1:] == [
        ("transition", "to", "on_left_2"),
        ("transition", "to", "off"),
        ("transition", "to", "broken"),
        ("failed", "to", "broken"),
    ]
    machine.event_log.close()


class Inner(Enum):
    """Substates."""

    ONE = 1
    TWO = 2


class Outer(Enum):
    """States, one with substates."""

    DOWN = "down"
    UP = Inner


def test_enumerations_are_told_by_their_paths() -> None:
    """The model has the member, the log its place."""
    model = Model()
    machine = event_sourced(HierarchicalMachine)(model, states=Outer, initial=Outer.DOWN)
    model.to_UP_TWO()
    assert model.state is Inner.TWO
    assert folded(machine, model) == "UP_TWO"
    machine.event_log.close()


def test_another_separator_is_the_machines_affair() -> None:
    """Paths are told with it."""

    class Dotted(NestedState):
        separator = "."

    class DottedMachine(HierarchicalMachine):
        state_cls = Dotted

    model = Model()
    machine = made(model, DottedMachine, transitions=[["start", "off", "on"]], initial="on")
    assert folded(machine, model) == model.state == ["on.left.1", "on.right.1"]
    machine.event_log.close()


def test_a_machine_within_a_machine_must_be_event_sourced_too() -> None:
    """Its transitions become the outer machine's; a plain one's would not say what they do."""
    steps: dict[str, Any] = {
        "states": ["1", "2"],
        "initial": "1",
        "transitions": [["step", "1", "2"]],
    }
    inner: Any = event_sourced(HierarchicalMachine)(model=None, **steps)
    model = Model()
    nested: dict[str, Any] = {
        "states": ["off", {"name": "on", "children": inner}],
        "transitions": [],
    }
    machine = made(model, **nested, initial="on")
    model.step()
    assert [(e.kind, e.trigger, e.dest) for e in told(machine, model)] == [
        ("attached", "", "on_1"),
        ("transition", "step", "on_2"),
    ]
    machine.event_log.close()
    plain = {"name": "on", "children": HierarchicalMachine(model=None, **steps)}
    with pytest.raises(InvalidArgument, match="a plain HierarchicalMachine is no part of"):
        made(Model(), states=["off", plain], transitions=[])
