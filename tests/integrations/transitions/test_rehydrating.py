"""A model comes back from its log, and a machine from its pickle."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest
from transitions import Machine
from transitions.extensions import HierarchicalMachine, LockedMachine

from rat_fsm import EventLog, Lifecycle
from rat_fsm.errors import InvalidArgument, LogClosed, StreamNotFound
from rat_fsm.integrations.transitions import event_sourced
from tests.integrations.transitions.machines import EVERY, Model, folded, graph_free, told

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = Lifecycle.observed("machine")
MOVES: list[list[Any]] = [["go", "A", "B"], ["back", "B", "A"]]


class Loud(Model):
    """A model that counts its callbacks."""

    def __init__(self, id: str = "m") -> None:
        super().__init__(id)
        self.calls = 0

    def called(self) -> None:
        """A callback for everything."""
        self.calls += 1


def made(model: Any, cls: type[Machine] = Machine, **options: Any) -> Any:
    """A twin whose every callback is the model's `called`."""
    states = [{"name": name, "on_enter": "called", "on_exit": "called"} for name in "AB"]
    defaults: dict[str, Any] = {
        "states": states,
        "initial": "A",
        "transitions": MOVES,
        "stream_id": attrgetter("id"),
        **dict.fromkeys(("prepare_event", "before_state_change", "after_state_change"), "called"),
    }
    return event_sourced(cls)(model, **{**defaults, **graph_free(cls), **options})


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_a_model_is_rehydrated_without_a_callback(cls: type[Machine]) -> None:
    """It stands where its stream ends, and the versions go on."""
    with EventLog(lifecycles=(MACHINE,)) as log:
        made(Model("one"), cls, event_log=log).set_state("B")
        machine, model = made(None, cls, event_log=log), Loud("elsewhere")
        machine.rehydrate(model, "one")
        assert (model.state, model.calls, machine.stream_of(model)) == ("B", 0, "one")
        machine.set_state("A", model)
        assert [(e.kind, e.source) for e in told(machine, model)] == [
            ("attached", None),
            ("forced", "A"),
            ("forced", "B"),
        ]
        assert folded(machine, model) == "A"


def test_a_model_is_rehydrated_by_another_process(tmp_path: Path) -> None:
    """From a file, under the writer that wrote it."""
    url = tmp_path / "log.db"
    with EventLog.open(url, lifecycles=(MACHINE,), writer="shop") as log:
        one = Model("one")
        made(one, event_log=log, states=["A", "B"], **QUIET)
        one.go()
    with EventLog.open(url, lifecycles=(MACHINE,), writer="shop") as log:
        machine, model = made(None, event_log=log), Loud()
        machine.rehydrate(model, "one")
        model.back()
        assert (model.state, model.calls > 0, folded(machine, model)) == ("A", True, "A")
        log.flush()
        read = [r for r in log.read() if r.stream.lifecycle == "machine"]
        assert [(r.stream.id, r.version) for r in read] == [("one", 1), ("one", 2), ("one", 3)]


QUIET: dict[str, Any] = dict.fromkeys(
    ("prepare_event", "before_state_change", "after_state_change"), None
)


class Colour(Enum):
    """States."""

    RED = 1
    GREEN = 2


def test_enumerations_and_parallel_states_come_back() -> None:
    """As members, and as lists; a parent that was forced is not resolved to its first child."""
    with EventLog(lifecycles=(MACHINE,)) as log:
        options: dict[str, Any] = {"event_log": log, "model": None, "initial": Colour.RED}
        twin = event_sourced(Machine)
        first, again = (twin(states=Colour, **options) for _ in range(2))
        one, two = Model("one"), Model("two")
        first.add_model(one, Colour.GREEN)
        again.rehydrate(two, first.stream_of(one))
        assert two.state is Colour.GREEN

        halves = [{"name": n, "children": ["x", "y"], "initial": "x"} for n in "LR"]
        states = ["off", {"name": "on", "parallel": halves}]
        nested: dict[str, Any] = {
            "event_log": log,
            "states": states,
            "initial": "off",
            "model": None,
        }
        for state in (["on_L_y", "on_R_x"], "on"):
            machine, other = (event_sourced(HierarchicalMachine)(**nested) for _ in range(2))
            three, four = Model(), Model()
            machine.add_model(three)
            machine.set_state(state, three)
            other.rehydrate(four, machine.stream_of(three))
            assert four.state == state


def test_what_cannot_be_rehydrated() -> None:
    """One error each, and the machine is as it was."""
    with EventLog(lifecycles=(MACHINE,)) as log:
        one = Model("one")
        made([one, Model("two")], event_log=log)
        machine, model = made(None, event_log=log), Model()
        with pytest.raises(StreamNotFound, match="has never heard of machine/three"):
            machine.rehydrate(model, "three")
        fewer = made(None, event_log=log, states=["B"], initial="B", transitions=[])
        with pytest.raises(InvalidArgument, match="'one' ends in 'A': State 'A' is not"):
            fewer.rehydrate(model, "one")
        machine.rehydrate(model, "one")
        with pytest.raises(InvalidArgument, match="is a model of this machine already"):
            machine.rehydrate(model, "two")
        with pytest.raises(InvalidArgument, match="'one' belongs to another model"):
            machine.rehydrate(Model(), "one")
        assert (machine.models, fewer.models) == ([model], [])


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_a_machine_is_pickled_without_the_log_it_was_given(cls: type[Machine]) -> None:
    """It waits for it, and then each model goes on in its stream."""
    with EventLog(lifecycles=(MACHINE,)) as log:
        models = [Pickled("one"), Pickled("two")]
        machine = made(models, cls, event_log=log, states=["A", "B"], **QUIET)
        again = pickle.loads(pickle.dumps(machine))  # noqa: S301 - our own bytes
        assert type(again) is type(machine)
        with pytest.raises(LogClosed, match="reattach"):
            again.set_state("B")
        assert [model.state for model in again.models] == ["A", "A"]
        again.reattach(log)
        again.set_state("B")
        assert [again.stream_of(model) for model in again.models] == ["one", "two"]
        assert [(e.kind, e.source) for e in told(again, again.models[1])] == [
            ("attached", None),
            ("forced", "A"),
        ]


class Pickled:
    """A model that pickle finds."""

    def __init__(self, id: str) -> None:
        self.id = id


def test_a_machine_with_its_own_log_gets_another() -> None:
    """In memory, beginning with where each model stands at its next event; a copy likewise."""
    model = Pickled("one")
    machine: Any = made(model, states=["A", "B"], **QUIET)
    machine.set_state("B")
    for again in (pickle.loads(pickle.dumps(machine)), copy.deepcopy(machine)):  # noqa: S301 - ours
        other = again.models[0]
        again.set_state("A")
        assert [(e.kind, e.dest) for e in told(again, other)] == [
            ("attached", "B"),
            ("forced", "A"),
        ]
        again.event_log.close()
    machine.event_log.close()


def test_a_class_derived_from_a_twin_is_pickled_as_any() -> None:
    """By its own name; and the class of a twin itself is found where it was made."""
    machine: Any = Derived(model=None, states=["A"], initial="A")
    again = pickle.loads(pickle.dumps(machine))  # noqa: S301 - our own bytes
    assert type(again) is Derived
    twin = event_sourced(LockedMachine)
    assert pickle.loads(pickle.dumps(twin)) is twin  # noqa: S301 - our own bytes


Twin: Any = event_sourced(Machine)


class Derived(Twin):  # type: ignore[misc]
    """A class of a user's own."""


def test_another_process_unpickles_a_twin_that_it_never_made(tmp_path: Path) -> None:
    """What it needs is the machine's class."""
    machine: Any = event_sourced(Machine)(states=["A", "B"], initial="A")
    (tmp_path / "machine").write_bytes(pickle.dumps(machine))
    machine.event_log.close()
    script = (
        "import pathlib, pickle, sys\n"
        "machine = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "machine.to_B()\n"
        "print(machine.state, machine.event_log.read_model.record('machine', "
        "machine.stream_of(machine)).dest)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "machine")]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ran.stdout == "B B\n"
