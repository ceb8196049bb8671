"""Traces written as the calls of a state machine test: they run, and notice a changed table."""

from __future__ import annotations

import ast
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import Activated, Closed, Registered, UnknownEvent
from rat_fsm.table import Lifecycle
from rat_fsm.testing import lifecycle_machine
from rat_fsm.traces import Trace, tell, write_calls
from rat_fsm.traces.rules import machine_name, rule_names
from tests.orders import ORDER, Done, New, Packed
from tests.traces.made import LIFE, anything, legal, trace
from tests.traces.parcels import PARCEL

if TYPE_CHECKING:
    from pathlib import Path

WHERE: Final = "tests.orders:ORDER"
PLACED: Final = New.Placed("a book", 100, "EUR")
OrderMachine: Final = lifecycle_machine(ORDER)
SHORT: Final = """\
\"\"\"A stream of the lifecycle order, in the calls of its machine.\"\"\"

# From a log.

from rat_fsm.testing import lifecycle_machine
from tests.orders import ORDER, New, Packed

OrderMachine = lifecycle_machine(ORDER)


def test_it_goes_the_way_it_went() -> None:
    \"\"\"Each event leads where it led, and what is illegal is refused.\"\"\"
    state = OrderMachine()
    state.agrees_with_its_log()
    state.illegal_event(event=Packed())
    state.agrees_with_its_log()
    # Here came an event that is not known: "order.novelty"
    state.placed_from_new(event=New.Placed(item="a book", cents=100, currency="EUR"))
    state.agrees_with_its_log()
    state.teardown()
"""
_numbers = count()


def source_of(some: Trace) -> str:
    """The calls of a trace."""
    return write_calls(some, ["From a log."], lifecycle=WHERE if some.lifecycle is ORDER else "")


def execute(source: str) -> None:
    """Runs the test of a file."""
    names: dict[str, Any] = {}
    exec(compile(source, f"calls {next(_numbers)}", "exec"), names)  # noqa: S102 - it is a test
    names["test_it_goes_the_way_it_went"]()


def test_how_it_looks() -> None:
    """One call an event, and what must hold before and after each."""
    unknown = UnknownEvent("order.novelty", 7, {}, "unknown tag")
    assert source_of(trace(Packed(), unknown, PLACED, lifecycle=ORDER)) == SHORT
    execute(SHORT)


@settings(max_examples=6)
@given(anything())
def test_it_runs_green_as_it_stands(some: Trace) -> None:
    """Whatever the events, in whatever order; and nothing in it but literals is from the log."""
    source = source_of(some)
    execute(source)
    assert all(line.isprintable() for line in source.split("\n"))
    called = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    rules = {*rule_names(some.lifecycle).values(), "illegal_event"}
    taken = [func.attr for func in called if isinstance(func, ast.Attribute) and func.attr in rules]
    known = [some.lifecycle.event_type(type(event)) for _, event in some.events]
    assert len(taken) == sum(kind is not None for kind in known)


@settings(max_examples=10)
@given(legal(most=6))
def test_legal_traces_go_along_their_edges(some: Trace) -> None:
    """Each call is that of the edge from the state before."""
    states = [some.lifecycle.initial, *tell(some).states]
    names = rule_names(some.lifecycle)
    for state, (_, event) in zip(states, some.events, strict=False):
        assert f"state.{names[some.lifecycle.tag_of(event), state]}(" in source_of(some)


def test_a_changed_table_fails_it() -> None:
    """Where an edge leads elsewhere now, or is no more."""
    source = source_of(trace(PLACED, Packed(), Done(), lifecycle=ORDER))
    slow = Lifecycle(
        "order",
        states=("open", "packed", "done"),
        final={"done"},
        transitions=[
            [New.Placed, "new", "open"],
            [Packed, "open", "packed"],
            [Done, ["open", "packed"], "done"],
        ],
    )
    less = Lifecycle(
        "order",
        states=("open", "done"),
        final={"done"},
        transitions=[[New.Placed, "new", "open"], [Done, "open", "done"]],
    )
    changed = source.replace("import ORDER, Done", "import Done")
    found = {slow: "done_from_open: it is 'packed' and not 'open'", less: "'packed_from_open'"}
    for now, problem in found.items():
        names: dict[str, Any] = {"ORDER": now}
        exec(changed, names)  # noqa: S102 - likewise
        with pytest.raises((AssertionError, AttributeError), match=problem):
            names["test_it_goes_the_way_it_went"]()


def test_a_machine_of_ones_own() -> None:
    """It is imported, and drives what it drives."""
    source = write_calls(trace(PLACED, lifecycle=ORDER), machine=f"{__name__}:OrderMachine")
    assert f"from {__name__} import OrderMachine" in source
    assert "lifecycle_machine" not in source
    execute(source)


@pytest.mark.parametrize(
    ("some", "where", "problem"),
    [
        (trace(LIFE[0]), {"machine": f"{__name__}:OrderMachine"}, "no machine of 'connection'"),
        (trace(LIFE[0]), {"machine": "tests.orders:ORDER"}, "no machine of 'connection'"),
        (trace(lifecycle=PARCEL), {}, "nobody said where 'parcel' is defined"),
        (trace(lifecycle=PARCEL), {"lifecycle": WHERE}, "is not the lifecycle 'parcel'"),
    ],
)
def test_what_cannot_be_written(some: Trace, where: dict[str, str], problem: str) -> None:
    """It is said at once."""
    with pytest.raises(InvalidArgument, match=problem):
        write_calls(some, **where)


def test_rules_have_names_that_can_be_written() -> None:
    """Whatever the states are called, and no two alike."""
    odd = Lifecycle(
        "odd_thing",
        initial="not yet",
        states=("zurück", "a-b", "a b", "②"),
        final={"②"},
        transitions=[
            [Registered, "not yet", "zurück"],
            [Activated, ["zurück", "a-b"], "a b"],
            [Activated, "a b", "a-b"],
            [Closed, ["zurück", "a-b", "a b"], "②"],
        ],
    )
    names = rule_names(odd)
    assert machine_name(odd) == "OddThingMachine"
    assert names["odd_thing.registered", "not yet"] == "registered_from_not_yet"
    assert names["odd_thing.activated", "zurück"] == "activated_from_zurück"
    assert {names["odd_thing.closed", state] for state in ("a-b", "a b")} == {
        *("closed_from_a_b", "closed_from_a_b_2")
    }
    assert all(name.isidentifier() for name in names.values())
    assert len(set(names.values())) == len(odd.rows())
    state: Any = lifecycle_machine(odd)()
    state.registered_from_not_yet(event=Registered("x"))
    state.activated_from_zurück(event=Activated())
    state.teardown()


@pytest.mark.slow
def test_a_formatter_finds_nothing(tmp_path: Path) -> None:
    """As for the other form of test."""
    pytest.importorskip("ruff")
    path = tmp_path / "test_calls.py"
    path.write_text(source_of(trace(*LIFE)), encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--no-cache", "--line-length", "88", str(path)]
    for command in (["format", "--check"], ["check", "--select", "E4,E7,E9,F,I"]):
        done = subprocess.run([*ruff, *command, *options], check=False, capture_output=True)
        assert done.returncode == 0, done.stdout
