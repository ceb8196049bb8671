"""State machine tests made of lifecycles: what they do, and what each broken system shows them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from rat_fsm import ConnectionManager
from rat_fsm.errors import InvalidArgumentType, Refused
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ErrorRecorded,
    Registered,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.table import Lifecycle
from rat_fsm.testing import LifecycleMachine, Recorder, lifecycle_machine
from rat_fsm.testing.stored import frame_of
from rat_fsm.traces import write_calls
from rat_fsm.traces.rules import rule_names
from tests.orders import ORDER, Done, New, Noted, Packed
from tests.traces.made import trace

if TYPE_CHECKING:
    from rat_fsm.testing.driving import Model

PLACED: Final = New.Placed("a book", 100, "EUR")
SHORT: Final = settings(
    max_examples=8, stateful_step_count=7, database=None, phases=[Phase.generate]
)
SHRINKING: Final = settings(SHORT, phases=[Phase.generate, Phase.shrink])
ILLEGAL: Final = "illegal_event"
EVENTS: Final = {"New": New, "Packed": Packed, "Noted": Noted, "Done": Done}


def run(machine: type[LifecycleMachine], how: settings = SHORT) -> None:
    """Lets Hypothesis drive it, for a short while."""
    run_state_machine_as_test(machine, settings=how)


def failure(machine: type[LifecycleMachine], how: settings = SHORT) -> BaseException:
    """What Hypothesis finds."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the callers look at it
        run(machine, how)
    return caught.value


def program(problem: BaseException) -> str:
    """The calls that Hypothesis prints with a failure."""
    notes = "\n".join(problem.__notes__).splitlines()
    return "\n".join(line for line in map(str.strip, notes) if line.startswith("state"))


def calls_in(source: str) -> list[str]:
    """The methods of ``state`` that code calls, in order."""
    return [
        node.func.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "state"
    ]


@pytest.mark.parametrize(
    "lifecycle",
    [
        pytest.param(lifecycle, id=lifecycle.name, marks=[pytest.mark.slow] * bool(number))
        for number, lifecycle in enumerate((ORDER, CONNECTION, NODE))
    ],
)
def test_a_log_passes(lifecycle: Lifecycle) -> None:
    """Whatever the lifecycle, the log itself does all that its table says, and nothing else."""
    run(lifecycle_machine(lifecycle))


@attrs.define
class Shop:
    """A system without a log, that follows the table of orders."""

    log: EventLog
    id: str
    state: str = ORDER.initial

    def apply(self, event: Any) -> None:
        self.state = ORDER.evolve(self.state, event)


def test_a_system_without_a_log_passes() -> None:
    """It is held against the table alone."""
    run(lifecycle_machine(ORDER, Shop))


class Recording(Shop):
    """A system that keeps its state beside the log."""

    def apply(self, event: Any) -> None:
        self.log.append((ORDER, self.id), event)
        super().apply(event)


@pytest.mark.slow
def test_a_system_with_a_log_passes() -> None:
    """What it says is what its log says."""
    run(lifecycle_machine(ORDER, Recording))


class Deaf(Shop):
    """It does nothing."""

    def apply(self, event: Any) -> None:
        pass


class Sloppy(Shop):
    """Everything is fine with it."""

    def apply(self, event: Any) -> None:
        self.state = ORDER.next_state(self.state, event) or "done"


class Strict(Shop):
    """It refuses what it must take."""

    def apply(self, event: Any) -> None:
        if isinstance(event, Packed):
            raise Refused("no boxes left", cause="boxes")
        super().apply(event)


class Forgetful(Recording):
    """It does not record everything."""

    def apply(self, event: Any) -> None:
        if not (isinstance(event, Packed) and self.state == "open"):
            super().apply(event)


class Liar(Recording):
    """It records something else."""

    def apply(self, event: Any) -> None:
        super().apply(Noted() if isinstance(event, Packed) else event)


class Hasty(Recording):
    """It records before it refuses."""

    def apply(self, event: Any) -> None:
        if ORDER.next_state(self.state, event) is None and self.state == "open":
            super().apply(Noted())
            raise Refused("no", cause="no")
        super().apply(event)


class Stale(Recording):
    """It keeps a state that is over."""

    def apply(self, event: Any) -> None:
        before = self.state
        super().apply(event)
        if isinstance(event, Done):
            self.state = before


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (Deaf, "the system is 'new', and should be 'open'"),
        (Sloppy, "is illegal from 'new', but led to 'done'"),
        (Strict, "packed_from_open: legal from 'open', but refused"),
        (Forgetful, "packed_from_open: not recorded; what was: nothing"),
        (Liar, "packed_from_open: not recorded; what was: order.noted"),
        (Hasty, "it refused New.Placed("),
        (Stale, "the system is 'open', and should be 'done'"),
    ],
)
def test_what_is_found(model: Model, found: str) -> None:
    """Each way in which a system may leave the table is found and named."""
    assert found in str(failure(lifecycle_machine(ORDER, model)))


class Tampered(Recording):
    """One that writes into the store behind the back of its log."""

    changes: Any = None

    def apply(self, event: Any) -> None:
        super().apply(event)
        if isinstance(event, Noted) and not self.log.store.heads().get("w9"):
            recorder = Recorder([ORDER])
            events = [PLACED, Done(), Noted()]
            recorded = [recorder.record("order", "b", one, writer="w9") for one in events]
            frame = None
            for one in type(self).changes(recorded):
                frame = frame_of([one], [ORDER], frame)
                self.log.store.append(frame)


class Hole(Tampered):
    """A version is missing."""

    @staticmethod
    def changes(recorded: list[Any]) -> list[Any]:
        return [recorded[0], attrs.evolve(recorded[1], seq=2, version=3)]


class Afterlife(Tampered):
    """Something follows its end."""

    @staticmethod
    def changes(recorded: list[Any]) -> list[Any]:
        return recorded


class Backwards(Tampered):
    """It begins twice."""

    @staticmethod
    def changes(recorded: list[Any]) -> list[Any]:
        again = attrs.evolve(recorded[0], seq=2, version=2)
        return [recorded[0], again]


class Adrift(Recording):
    """Its live read model is changed by hand."""

    def apply(self, event: Any) -> None:
        super().apply(event)
        self.log.read_model.totals.unknown += 1


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (Hole, "order.done, version 3 of order/b, follows version 1"),
        (Afterlife, "order.noted, version 3 of order/b, comes after its end"),
        (Backwards, "order.placed, version 2 of order/b, is illegal from 'open'"),
        (Adrift, "the live read model differs from the log's replay"),
    ],
)
def test_an_unsound_log_is_found(model: Model, found: str) -> None:
    """Something after the end, something illegal, a live model that is no fold of the log."""
    assert found in str(failure(lifecycle_machine(ORDER, model)))


def test_every_edge_has_a_rule_of_its_own() -> None:
    """Each is possible in its own state only; together they are the table."""
    machine = lifecycle_machine(CONNECTION)
    names = {each.function.__name__ for each in machine.setup_state().rules}
    assert names == {*rule_names(CONNECTION).values(), ILLEGAL}
    assert len(names) == len(CONNECTION.rows()) + 1
    assert "activated_from_connecting" in names


def test_every_edge_of_a_small_table_is_taken() -> None:
    """And where nothing is legal any more, the run goes on with what is illegal."""
    taken: set[str] = set()
    ends: list[str] = []

    class Watched(lifecycle_machine(ORDER)):  # type: ignore[misc]  # a class made at run time
        def teardown(self) -> None:
            taken.update(self.taken)
            ends.append(self.state)
            super().teardown()

    run(Watched)
    assert taken == set(rule_names(ORDER).values())
    assert "done" in ends


def test_the_same_class_comes_again() -> None:
    """One for each definition and system: Hypothesis never forgets a class."""
    assert lifecycle_machine(ORDER) is lifecycle_machine(ORDER)
    assert lifecycle_machine(ORDER) is not lifecycle_machine(ORDER, Shop)
    assert lifecycle_machine(ORDER).__name__ == "OrderMachine"
    assert Phase.shrink in lifecycle_machine(ORDER).TestCase.settings.phases
    assert Phase.explain not in lifecycle_machine(ORDER).TestCase.settings.phases


@pytest.mark.parametrize("model", [Strict, pytest.param(Stale, marks=pytest.mark.slow)])
def test_what_is_printed_runs_and_fails_the_same(model: Model) -> None:
    """The calls that Hypothesis prints are a program."""
    machine = lifecycle_machine(ORDER, model)
    found = failure(machine, SHRINKING)
    with pytest.raises(AssertionError) as caught:
        exec(program(found), {"OrderMachine": machine, **EVENTS})  # noqa: S102 - that is the point
    assert str(caught.value) == str(found)


def test_what_is_printed_is_what_is_written() -> None:
    """The calls of a run, and those of a test that is written from the log of it, are the same."""
    events: list[Any] = []

    class Last(Recording):
        def apply(self, event: Any) -> None:
            events.append(event)
            super().apply(event)
            if isinstance(event, Done):
                raise KeyError("a defect")

    machine = lifecycle_machine(ORDER, Last)
    printed = program(failure(machine))
    del events[:]
    state = machine()
    with pytest.raises(KeyError):
        exec(printed, {"OrderMachine": lambda: state, **EVENTS})  # noqa: S102 - that is the point
    source = write_calls(trace(*events, lifecycle=ORDER), lifecycle="tests.orders:ORDER")
    written = calls_in(source)
    assert "done_from_open" in written
    # The invariant after the last step is left out where that step fails.
    assert calls_in(printed) == [*written[:-2], "teardown"]


def test_rules_of_ones_own() -> None:
    """A subclass adds rules, which see the system, and time passes when they say so."""
    seen: list[tuple[str, int]] = []

    class Own(lifecycle_machine(ORDER, Recording)):  # type: ignore[misc]  # as above
        @rule(seconds=st.integers(1, 9))
        def time_passes(self, seconds: int) -> None:
            before = self.clock.now()
            self.clock.advance(seconds)
            seen.append((self.system.state, (self.clock.now() - before) // 1_000_000 - seconds))

    run(Own)
    assert {state for state, _ in seen} >= {"new", "open"}
    assert {off for _, off in seen} == {0}


@pytest.mark.parametrize("kind", [Shop, pytest.param(Recording, marks=pytest.mark.slow)])
def test_what_a_system_need_not_accept(kind: type[Shop]) -> None:
    """A decision may refuse what the table allows, or not, where a subclass says so."""

    class Fragile(kind):  # type: ignore[misc,valid-type]  # as above
        def apply(self, event: Any) -> None:
            match event:
                case Packed(boxes) if boxes:
                    raise LookupError("too heavy")
            super().apply(event)

    class Excused(lifecycle_machine(ORDER, Fragile)):  # type: ignore[misc]  # as above
        refusals = (Refused, LookupError)

        def accepts(self, event: Any) -> bool:
            return not isinstance(event, Packed)

    run(Excused)


@pytest.mark.slow
def test_a_log_of_ones_own() -> None:
    """A system that keeps more than one lifecycle gets a log that knows them."""

    class Both(Recording):
        def apply(self, event: Any) -> None:
            super().apply(event)
            self.log.append((CONNECTION, f"{self.log.read_model.open_connections}"), Registered(""))

    class Wide(lifecycle_machine(ORDER, Both)):  # type: ignore[misc]  # as above
        def open_log(self) -> EventLog:
            return EventLog(lifecycles=(ORDER, CONNECTION), clock=self.clock)

    run(Wide)


class Managed:
    """One connection of our own manager, asked by its methods for what leads to an event."""

    def __init__(self, log: EventLog, stream_id: str) -> None:
        self.id = stream_id
        self.manager = ConnectionManager(log=log)
        self.over = False

    @property
    def state(self) -> str:
        known = self.manager.connections.get(self.id)
        return known.state.value if known is not None else "closed" if self.over else "new"

    def apply(self, event: Any) -> None:
        match event:
            case Registered():
                self.manager.register_connection(self.id, "10.0.0.1")
            case Activated():
                self.manager.activate_connection(self.id)
            case ActivityRecorded():
                self.manager.record_activity(self.id, 1, 1)
            case ErrorRecorded():
                self.manager.record_error(self.id, TimeoutError())
            case Closing() | Closed():
                self.over = self.manager.unregister_connection(self.id) or self.over


@pytest.mark.slow
def test_our_own_manager() -> None:
    """It may first do what makes something legal, and say that it is closed or that it is new."""
    driven = (Registered, Activated, ActivityRecorded, ErrorRecorded, Closing)

    class Driven(lifecycle_machine(CONNECTION, Managed)):  # type: ignore[misc]  # as above
        def accepts(self, event: Any) -> bool:
            return isinstance(event, driven)

        def teardown(self) -> None:
            self.system.manager.shutdown()
            super().teardown()

    run(Driven)


def test_a_call_out_of_place_says_so() -> None:
    """A written test whose table has changed does not go on as if nothing had happened."""
    state: Any = lifecycle_machine(ORDER)()
    with pytest.raises(AssertionError, match="packed_from_open: it is 'new' and not 'open'"):
        state.packed_from_open(event=Packed())
    state.illegal_event(event=Packed())
    state.teardown()


@attrs.frozen
class Went:
    """It went from anywhere to its end."""


def test_where_everything_is_legal_nothing_illegal_is_asked() -> None:
    """The rule is possible wherever something is illegal."""
    light = Lifecycle("light", states=("off",), final={"off"}, transitions=[[Went, "new", "off"]])
    state: Any = lifecycle_machine(light)()
    assert not state._has_illegal()
    state.went_from_new(event=Went())
    assert state._has_illegal()
    state.teardown()


def test_what_is_no_lifecycle() -> None:
    """It is refused at once."""
    with pytest.raises(InvalidArgumentType, match="'order' is no lifecycle"):
        lifecycle_machine("order")  # type: ignore[arg-type]
