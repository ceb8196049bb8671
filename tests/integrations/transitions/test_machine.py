"""The event-sourced twin of a flat machine does what the machine does, and says it beforehand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Any

import pytest
from transitions import EventData, Machine, MachineError, State
from transitions.extensions import LockedMachine

from rat_fsm import EventLog, Lifecycle
from rat_fsm.errors import (
    InvalidArgument,
    InvalidArgumentType,
    LogClosed,
    LogUnavailable,
    RatFsmError,
)
from rat_fsm.events import Observed
from rat_fsm.integrations.transitions import EventSourced, event_sourced
from tests.integrations.transitions.machines import FLAT, Model, Refusing, folded, graph_free, told

MACHINE = Lifecycle.observed("machine")
MOVES: list[list[Any]] = [
    ["go", "A", "B"],
    ["stay", "B", None],
    ["back", "B", "A"],
    ["again", "B", "="],
]


def made(model: Any, cls: type[Machine] = Machine, **options: Any) -> Any:
    """A twin for a model, with three states."""
    defaults = {"states": ["A", "B", "C"], "initial": "A", "transitions": MOVES}
    return event_sourced(cls)(model, **{**defaults, **graph_free(cls), **options})


@pytest.mark.parametrize("cls", FLAT, ids=lambda cls: cls.__name__)
def test_each_change_is_an_event_of_its_kind(cls: type[Machine]) -> None:
    """Attached, transition, internal, forced, rejected: in order, from where to where."""
    model = Model()
    machine = made(model, cls)
    assert (model.go(), model.stay(), model.again()) == (True, True, True)
    machine.set_state("C", model)
    with pytest.raises(MachineError):
        model.go()
    with pytest.raises(AttributeError):
        model.trigger("fly")
    assert told(machine, model) == [
        Observed("attached", "", None, "A"),
        Observed("transition", "go", "A", "B"),
        Observed("internal", "stay", "B", "B"),
        Observed("transition", "again", "B", "B"),
        Observed("forced", "", "B", "C"),
        Observed("rejected", "go", "C", "C", "MachineError"),
        Observed("rejected", "fly", "C", "C"),
    ]
    assert folded(machine, model) == model.state == "C"
    machine.event_log.close()


def test_what_conditions_or_a_lenient_machine_decline_is_rejected() -> None:
    """A trigger that answers False is a fact, though nobody raised."""
    model = Model()
    never: list[Any] = [{"trigger": "go", "source": "A", "dest": "B", "conditions": lambda: False}]
    machine = made(model, transitions=never, ignore_invalid_triggers=True)
    assert (model.go(), model.to_B(), model.go(), model.trigger("fly")) == (
        False,
        True,
        False,
        False,
    )
    assert [(e.kind, e.trigger, e.error) for e in told(machine, model)] == [
        ("attached", "", ""),
        ("rejected", "go", ""),
        ("transition", "to_B", ""),
        ("rejected", "go", ""),
        ("rejected", "fly", ""),
    ]
    machine.event_log.close()


@pytest.mark.parametrize(
    ("callback", "kinds"),
    [
        ("before", ["attached", "failed"]),
        ("after", ["attached", "transition", "failed"]),
        ("conditions", ["attached", "failed"]),
    ],
)
def test_a_callback_that_raises_makes_the_trigger_fail(callback: str, kinds: list[str]) -> None:
    """The error goes on to the caller; if the state had changed by then, the log says that too."""

    def fail() -> bool:
        raise ZeroDivisionError

    model = Model()
    row = {"trigger": "go", "source": "A", "dest": "B", callback: fail}
    machine = made(model, transitions=[row])
    with pytest.raises(ZeroDivisionError):
        model.go()
    events = told(machine, model)
    assert [event.kind for event in events] == kinds
    assert events[-1] == Observed("failed", "go", model.state, model.state, "ZeroDivisionError")
    assert folded(machine, model) == model.state
    machine.event_log.close()


def test_a_change_is_recorded_though_entering_the_state_raises() -> None:
    """The hooks after a change miss this one."""
    model = Model()

    def fail() -> None:
        raise ZeroDivisionError

    machine = made(model, states=["A", State("B", on_enter=fail)])
    with pytest.raises(ZeroDivisionError):
        model.go()
    assert [(e.kind, e.source, e.dest) for e in told(machine, model)] == [
        ("attached", None, "A"),
        ("transition", "A", "B"),
        ("failed", "B", "B"),
    ]
    assert model.state == "B"
    machine.event_log.close()


def test_an_error_that_a_machine_deals_with_is_a_failure_all_the_same() -> None:
    """What `on_exception` swallows is not lost."""

    def fail() -> None:
        raise ZeroDivisionError

    model, seen = Model(), []
    row = {"trigger": "go", "source": "A", "dest": "B", "before": fail}
    machine = made(
        model,
        transitions=[row],
        send_event=False,
        on_exception=lambda: seen.append("dealt with"),
    )
    assert (model.go(), model.to_B(), model.go(), seen) == (False, True, False, ["dealt with"] * 2)
    assert [(e.kind, e.error) for e in told(machine, model)] == [
        ("attached", ""),
        ("failed", "ZeroDivisionError"),
        ("transition", ""),
        ("rejected", "MachineError"),
    ]
    machine.event_log.close()


def test_what_happens_inside_a_change_is_told_in_its_order() -> None:
    """A nested trigger comes after the change it is nested in, a forced state before."""
    model = Model()
    leave = {"name": "A", "on_exit": lambda: machine.set_state("C", model)}
    enter = {"name": "B", "on_enter": "back"}
    machine: Any = made(model, states=[leave, enter, "C"])
    model.go()
    assert [(e.kind, e.trigger, e.source, e.dest) for e in told(machine, model)] == [
        ("attached", "", None, "A"),
        ("forced", "", "A", "C"),
        ("transition", "go", "C", "B"),
        ("transition", "back", "B", "A"),
    ]
    assert folded(machine, model) == model.state == "A"
    machine.event_log.close()


def test_a_transition_assigns_its_state_once() -> None:
    """What assigns the same state again on entering it is forced."""
    model = Model()
    enter = {"name": "B", "on_enter": lambda: machine.set_state("B", model)}
    machine: Any = made(model, states=["A", enter, "C"])
    model.go()
    assert [(e.kind, e.dest) for e in told(machine, model)][1:] == [
        ("transition", "B"),
        ("forced", "B"),
    ]
    machine.event_log.close()


def test_queued_triggers_are_told_when_they_run() -> None:
    """A nested trigger of a queued machine waits for the outer one to end."""
    model = Model()
    machine = made(model, states=["A", {"name": "B", "on_enter": "back"}, "C"], queued=True)
    assert model.go()
    assert [(e.trigger, e.dest) for e in told(machine, model)] == [
        ("", "A"),
        ("go", "B"),
        ("back", "A"),
    ]
    machine.event_log.close()


def test_a_state_set_by_hand_is_accepted_with_the_next_event() -> None:
    """No change goes unseen: what the machine was not asked for is forced."""
    model = Model()
    machine = made(model)
    model.state = "B"
    model.back()
    assert told(machine, model)[1:] == [
        Observed("forced", "", "A", "B"),
        Observed("transition", "back", "B", "A"),
    ]
    machine.event_log.close()


def test_a_log_that_refuses_leaves_the_state_alone() -> None:
    """What the log raises is what the trigger raises; entering the state never happens."""
    entered: list[str] = []
    log, model = Refusing(lifecycles=(MACHINE,)), Model()
    states = ["A", {"name": "B", "on_enter": lambda: entered.append("B")}]
    machine = made(model, states=states, event_log=log)
    log.error = LogUnavailable("the store is away")
    with pytest.raises(LogUnavailable) as caught:
        model.go()
    with pytest.raises(LogUnavailable):
        machine.set_state("B")
    assert (model.state, entered) == ("A", [])
    assert caught.value.__notes__ == ["the event log did not take this failure: the store is away"]
    log.error = None
    model.go()
    assert (model.state, entered, folded(machine, model)) == ("B", ["B"], "B")
    log.close()


def test_a_failure_that_cannot_be_told_is_the_callers_still() -> None:
    """The error of a callback is raised as it is, with a note that the log does not have it."""
    log, model = Refusing(lifecycles=(MACHINE,)), Model()

    def fail() -> None:
        log.error = LogUnavailable("the store is away")
        raise ZeroDivisionError

    made(
        model,
        transitions=[{"trigger": "go", "source": "A", "dest": "B", "before": fail}],
        event_log=log,
    )
    with pytest.raises(ZeroDivisionError) as caught:
        model.go()
    assert caught.value.__notes__ == ["the event log did not take this failure: the store is away"]
    log.error = None
    log.close()


def test_a_model_that_the_log_refuses_is_not_added() -> None:
    """It may be added again, under the same name."""
    log = Refusing(lifecycles=(MACHINE,))
    machine = made(None, event_log=log, stream_id=attrgetter("id"))
    log.error, model = LogUnavailable("the store is away"), Model("a")
    with pytest.raises(LogUnavailable):
        machine.add_model(model)
    assert (machine.models, hasattr(model, "state")) == ([], False)
    log.error = None
    machine.add_model(model)
    assert (machine.stream_of(model), folded(machine, model)) == ("a", "A")
    assert told(machine, model) == [Observed("attached", "", None, "A")]
    log.close()


def test_unknown_states_are_refused_before_the_log_hears_of_them() -> None:
    """The machine's own error, and no event."""
    model = Model()
    machine = made(model)
    with pytest.raises(ValueError, match="'D' is not a registered state"):
        machine.set_state("D", model)
    assert len(told(machine, model)) == 1
    machine.event_log.close()


def test_models_have_streams_by_their_names() -> None:
    """Names come from the model, and no two models share one."""
    one, two = Model("one"), Model("two")
    log = EventLog(lifecycles=(Lifecycle.observed("order"),))
    machine = made([one, two], event_log=log, lifecycle="order", stream_id=attrgetter("id"))
    one.go()
    machine.set_state("C")
    assert [machine.stream_of(model) for model in (one, two)] == ["one", "two"]
    assert [(e.kind, e.dest) for e in told(machine, two)] == [("attached", "A"), ("forced", "C")]
    with pytest.raises(InvalidArgument, match="'one' belongs to another model"):
        machine.add_model(Model("one"))
    with pytest.raises(InvalidArgument, match="is no model of this machine"):
        machine.stream_of(Model("three"))
    log.close()


def test_a_model_that_was_removed_goes_on_in_a_stream() -> None:
    """Under its name where models have names, else in one of its own."""
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"stream_id": attrgetter("id")}, [1, 2]),
        ({}, [1, 1, 2]),
    ]
    for options, versions in cases:
        model = Model("one")
        machine = made(model, **options)
        machine.remove_model(model)
        model.go()
        machine.event_log.flush()
        read = [r for r in machine.event_log.read() if r.stream.lifecycle == "machine"]
        assert ([r.version for r in read], read[-1].event.dest) == (versions, "B")
        machine.event_log.close()


def test_a_model_that_comes_back_is_attached_again() -> None:
    """From where its stream had ended."""
    model = Model("one")
    machine = made(model, stream_id=attrgetter("id"))
    model.go()
    machine.remove_model(model)
    machine.add_model(model)
    assert told(machine, model)[-1] == Observed("attached", "", "B", "A")
    assert folded(machine, model) == model.state == "A"
    machine.event_log.close()


def test_a_committed_log_has_each_change_on_disk_before_it_is_made(tmp_path: Any) -> None:
    """What a callback reads from the store is there already."""
    durable: list[int] = []
    log = EventLog.open(tmp_path / "log.db", lifecycles=(MACHINE,), durability="committed")

    def look() -> None:
        durable.append(sum(1 for r in log.read() if r.stream.lifecycle == "machine"))

    model = Model()
    made(model, states=["A", {"name": "B", "on_enter": look}], event_log=log)
    model.go()
    assert durable == [2]
    log.close()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"event_log": "events.db"},
            InvalidArgumentType,
            "event_log is an EventLog, not 'events.db'",
        ),
        ({"stream_id": "id"}, InvalidArgumentType, "stream_id is a function of a model"),
        ({"lifecycle": "order"}, InvalidArgument, r"the log observes no 'order'; open it with"),
        ({"lifecycle": "node"}, InvalidArgument, r"the log observes no 'node'"),
        ({"stream_id": lambda _: 7}, InvalidArgumentType, "machine id must be a string, not int"),
    ],
)
def test_what_a_machine_cannot_be_given(
    options: dict[str, Any], error: type[RatFsmError], words: str
) -> None:
    """One error that says what would be right."""
    with EventLog(lifecycles=(MACHINE,)) as log, pytest.raises(error, match=words):
        made(Model(), **{"event_log": log, **options})


def test_a_closed_log_ends_the_machine() -> None:
    """Nothing changes that is not recorded."""
    model = Model()
    machine = made(model)
    machine.event_log.close()
    with pytest.raises(LogClosed):
        model.go()
    assert model.state == "A"


def test_twins_are_made_once() -> None:
    """A class has one twin, which is its own; and no other class has any."""
    twin = event_sourced(Machine)
    assert twin is event_sourced(Machine)
    assert twin is event_sourced(twin)
    assert issubclass(twin, Machine)
    assert issubclass(twin, EventSourced)
    wrong: Any
    for wrong in (object, Machine(model=None), "Machine"):
        with pytest.raises(InvalidArgumentType, match="is no machine class of transitions"):
            event_sourced(wrong)


def test_a_transition_that_is_executed_by_itself_is_forced() -> None:
    """No trigger set it off."""
    model = Model()
    machine = made(model)
    (go,) = machine.get_transitions("go")
    go.execute(EventData(None, None, machine, model, (), {}))
    assert told(machine, model)[1:] == [Observed("forced", "", "A", "B")]
    machine.event_log.close()


def test_machines_of_one_model_know_of_their_own_changes() -> None:
    """What another machine of its callbacks' did is none of a trigger's changes."""
    model = Model()
    other: Any = None
    leave = {"name": "A", "on_exit": lambda: other.set_state("B", model)}
    machine: Any = made(model, states=[leave, "B", "C"])
    other = event_sourced(Machine)(model, states=["A", "B"], initial="A", model_attribute="mood")
    model.go()
    assert [(e.kind, e.dest) for e in told(other, model)] == [("attached", "A"), ("forced", "B")]
    assert [(e.kind, e.dest) for e in told(machine, model)] == [
        ("attached", "A"),
        ("transition", "B"),
    ]
    assert (model.state, model.mood) == ("B", "B")
    for each in (machine, other):
        each.event_log.close()


def test_threads_of_a_locked_machine_take_turns() -> None:
    """Whatever their order, each stream is a chain."""
    models: list[Any] = [Model(str(number)) for number in range(4)]
    machine = made(models, LockedMachine)

    def work(offset: int) -> None:
        for number in range(40):
            model = models[(number + offset) % len(models)]
            model.to_B() if number % 2 else model.to_A()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    for model in models:
        events = told(machine, model)
        assert {event.kind for event in events[1:]} == {"transition"}
        assert len(events) == 1 + 8 * 40 // len(models)
        assert folded(machine, model) == model.state
    machine.event_log.close()


def test_a_class_of_ones_own_has_a_twin_too() -> None:
    """Its constructor is called with what it takes, its own transitions are observed."""

    class Door(Machine):
        def __init__(self, model: Any, *, colour: str) -> None:
            super().__init__(model, states=["shut", "open"], initial="shut")
            self.add_transition("pull", "shut", "open")
            self.colour = colour

    model = Model()
    door: Any = event_sourced(Door)(model, colour="red")
    model.pull()
    assert (door.colour, told(door, model)[-1].kind) == ("red", "transition")
    assert repr(door.get_transitions("pull")[0]).startswith("<Transition('shut', 'open')@")
    door.event_log.close()
