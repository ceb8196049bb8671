"""Written tests: they run, they hold nothing but literals, and they fail when something changes."""

from __future__ import annotations

import ast
import datetime
import importlib
import runpy
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from rat_fsm.errors import IllegalEvent, InvalidArgument, InvalidLifecycle
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ConnectionRefused,
    DrainForced,
    DrainStarted,
    Recovered,
    Registered,
    RetryScheduled,
    Serving,
    Started,
    Stopped,
    UnknownEvent,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.table import Lifecycle
from rat_fsm.traces import Trace, write_test
from tests.orders import ORDER, Done, New, Packed
from tests.traces.made import LIFE, anything, legal, trace
from tests.traces.parcels import PARCEL, Delivered, Sent

if TYPE_CHECKING:
    from pathlib import Path

MOVING: Final = (Registered, Activated, RetryScheduled, Recovered, Closing, Closed)
WHERE: Final = "tests.orders:ORDER"
_numbers = count()


def source_of(some: Trace, *about: str) -> str:
    """The test of a trace."""
    return write_test(some, about, lifecycle=WHERE if some.lifecycle is ORDER else "")


def loaded(source: str, folder: Path) -> dict[str, Any]:
    """What a file defines."""
    path = folder / f"test_{next(_numbers)}.py"
    path.write_text(source, encoding="utf-8")
    return runpy.run_path(str(path))


def checks_in(names: dict[str, Any]) -> dict[str, Any]:
    """The tests among them."""
    return {name: value for name, value in names.items() if name.startswith("test_")}


def failures(source: str, folder: Path) -> set[str]:
    """The tests of a file that fail."""
    failed = set()
    for name, test in checks_in(loaded(source, folder)).items():
        try:
            test()
        except Exception:  # noqa: BLE001 - any failure is one
            failed.add(name)
    return failed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files go."""
    return tmp_path_factory.mktemp("written")


@settings(max_examples=30)
@given(anything())
def test_it_runs_green_as_it_stands(folder: Path, some: Trace) -> None:
    """Whatever the events, in whatever order, the test of them passes, and is plain text."""
    source = source_of(some, "From a log.")
    assert failures(source, folder) == set()
    assert all(line.isprintable() for line in source.split("\n"))
    assert 2 <= len(checks_in(loaded(source, folder))) <= 3


def is_literal(node: ast.AST) -> bool:
    """Whether it is a literal of plain JSON."""
    match node:
        case ast.Constant(value=str() | int() | float() | bool() | None):
            return True
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
            return True
        case ast.List(elts=items):
            return all(map(is_literal, items))
        case ast.Dict(keys=keys, values=values):
            return all(key is not None and is_literal(key) for key in keys) and all(
                map(is_literal, values)
            )
    return False


def is_step(node: ast.expr, names: set[str]) -> bool:
    """Whether it is a time, the call of a known class with literals, and a state."""
    match node:
        case ast.Tuple(elts=[at, ast.Call(func=func, args=[], keywords=given), after]):
            return (
                ast.unparse(func) in names
                and all(word.arg is not None and is_literal(word.value) for word in given)
                and is_literal(at)
                and is_literal(after)
            )
    return False


def shape(source: str) -> tuple[list[str], list[str]]:
    """The imports of a file, and the code in it that is always the same."""
    body = ast.parse(source).body
    imports = [ast.unparse(node) for node in body if isinstance(node, ast.ImportFrom)]
    fixed: list[ast.stmt] = [node for node in body if isinstance(node, ast.FunctionDef)]
    fixed += [node for node in body if assigned(node) == "RECORDED"]
    return imports, [ast.unparse(node) for node in fixed]


def assigned(node: ast.AST) -> str:
    """The name a statement gives a value to."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return ""


_EVENT_NAMES: Final = {
    *(kind.cls.__qualname__ for lc in (CONNECTION, NODE, ORDER) for kind in lc.events),
    "UnknownEvent",
}
# The code of tests over data without anything in it.
_FIXED: Final = {
    line
    for some in (trace(*LIFE), trace(*LIFE[:3]), trace(LIFE[0], *LIFE), trace(LIFE[1]))
    for code in shape(write_test(some))[1]
    for line in code.splitlines()
}


@settings(max_examples=25)
@given(anything((CONNECTION,)), st.lists(st.text(max_size=30), max_size=3))
def test_nothing_of_a_log_is_code(some: Trace, about: list[str]) -> None:
    """Every statement is an import of ours, plain data, or a line that stands in every file."""
    source = source_of(some, *about)
    body = ast.parse(source).body
    imports, fixed = shape(source)
    left = []
    for node in body[1:]:
        match assigned(node), node:
            case "STEPS", ast.Assign(value=ast.List(elts=steps)):
                assert all(is_step(step, _EVENT_NAMES) for step in steps)
            case "KNOWN" | "TOTALS" | "START", ast.Assign(value=value):
                assert is_literal(value)
            case "STREAM", _:
                assert ast.unparse(node) == "STREAM = Stream('connection', 'connection-1', 'w0:1')"
            case _:
                left.append(ast.unparse(node))
    assert sorted(left) == sorted([*imports, *fixed])
    lines = {line for code in fixed for line in code.splitlines()}
    assert {line for line in lines if "RECORDED[:" not in line} <= _FIXED
    names = {name for line in imports for name in line.partition(" import ")[2].split(", ")}
    assert names <= {*_EVENT_NAMES, "Stream", "CONNECTION", "Recorded", "replay"}
    assert ast.dump(ast.parse(source)) == ast.dump(ast.parse(source_of(some)))


HOSTILE: Final = (
    '"""\nimport os\n"""',
    "\\",
    "'",
    "\x1b[31m\u202e\r\x85\u2028",
    "{}",
    "# -*- coding: x -*-",
)


def test_hostile_words(folder: Path) -> None:
    """What would end a string, a comment or a line does not, wherever it stands."""
    for text in HOSTILE:
        events = Registered(text, text, {text: text}), UnknownEvent(text, 1, {text: [text]}, text)
        source = source_of(trace(*events), text, f"From {text}")
        assert failures(source, folder) == set()
        assert all(line.isprintable() for line in source.split("\n"))


def steps_in(tree: ast.Module) -> list[ast.expr]:
    """The steps of a parsed file."""
    for node in tree.body:
        match assigned(node), node:
            case "STEPS", ast.Assign(value=ast.List(elts=steps)):
                return steps
    raise AssertionError


def with_step(source: str, number: int, *others: ast.expr) -> str:
    """A file as somebody would have it who put others in the place of one step."""
    tree = ast.parse(source)
    steps_in(tree)[number : number + 1] = others
    return ast.unparse(tree)


@settings(max_examples=25)
@given(legal((CONNECTION,)), st.data())
def test_it_fails_when_an_event_is_changed(folder: Path, some: Trace, data: st.DataObject) -> None:
    """Other bytes, another kind of connection, another end: some test notices."""
    number = data.draw(st.integers(0, len(some.events) - 1))
    at, event = some.events[number]
    match event:
        case ActivityRecorded(sent, messages):
            other: Any = ActivityRecorded(sent + 1, messages)
        case Registered():
            other = attrs.evolve(event, kind=f"{event.kind}!")
        case Closed():
            other = attrs.evolve(event, reason=f"{event.reason}!")
        case _:
            return
    events = (*some.events[:number], (at, other), *some.events[number + 1 :])
    step = steps_in(ast.parse(source_of(attrs.evolve(some, events=events))))[number]
    assert failures(with_step(source_of(some), number, step), folder)


@settings(max_examples=25)
@given(legal((CONNECTION,)), st.data())
def test_it_fails_without_an_event(folder: Path, some: Trace, data: st.DataObject) -> None:
    """An event that moves a connection cannot be taken out unnoticed, though its state goes too."""
    number = data.draw(st.integers(0, len(some.events) - 1))
    assume(isinstance(some.events[number][1], MOVING))
    assert failures(with_step(source_of(some), number), folder)


def edges(lifecycle: Lifecycle) -> list[list[Any]]:
    """The rows of a table, an edge each."""
    return [
        [kind.cls, source, dest] for kind in lifecycle.events for source, dest in kind.moves.items()
    ]


@settings(max_examples=25)
@given(legal((CONNECTION, NODE)), st.data())
def test_it_fails_when_the_table_is_changed(folder: Path, some: Trace, data: st.DataObject) -> None:
    """Without an edge that the stream takes, or with another end to it, a test fails."""
    number = data.draw(st.integers(0, len(some.events) - 1))
    state = some.lifecycle.initial
    for _, event in some.events[:number]:
        state = some.lifecycle.evolve(state, event)
    taken = [
        type(some.events[number][1]),
        state,
        some.lifecycle.next_state(state, some.events[number][1]),
    ]
    rows = [edge for edge in edges(some.lifecycle) if edge != taken]
    elsewhere = data.draw(st.sampled_from([None, *some.lifecycle.states]))
    assume(elsewhere != taken[2])
    if elsewhere is not None:
        rows.append([*taken[:2], elsewhere])
    try:
        table = Lifecycle(
            some.lifecycle.name,
            states=some.lifecycle.states,
            final=some.lifecycle.final,
            transitions=rows,
        )
    except InvalidLifecycle:
        return
    names = loaded(source_of(some), folder)
    test = names["test_each_event_leads_where_it_led"]
    name = "CONNECTION" if some.lifecycle is CONNECTION else "NODE"
    test.__globals__[name] = table
    with pytest.raises((AssertionError, IllegalEvent)):
        test()


def test_what_it_says_of_a_connection() -> None:
    """A connection that is over: what was known before its end, and the totals."""
    source = write_test(trace(*LIFE))
    values = {assigned(n): n for n in ast.parse(source).body if isinstance(n, ast.Assign)}
    known, totals = (values[name].value for name in ("KNOWN", "TOTALS"))
    assert ast.literal_eval(known) == {
        "remote_addr": "10.0.0.1",
        "kind": "sse",
        "route": "/prices",
        "metadata": {"user": "ann"},
        "bytes_sent": 1600,
        "messages_sent": 5,
        "error_count": 2,
        "retry_count": 1,
        "total_retries": 2,
        "committed": True,
        "stalled": False,
    }
    assert ast.literal_eval(totals) == {
        "total_bytes_sent": 1600,
        "total_messages_sent": 5,
        "total_errors": 2,
        "total_retries": 2,
        "total_retries_refused": 0,
        "total_recoveries": 2,
        "average_response_time": 0.500123,
        "state_distribution": dict.fromkeys(("connecting", "active", "retrying", "closing"), 0),
        "closed_by_reason": {"completed": 1},
        "illegal_events": 0,
        "unknown_events": 0,
    }
    assert "def test_what_is_known_before_its_end() -> None:" in source
    assert "replay(RECORDED[:-1])" in source


def test_a_connection_that_is_open() -> None:
    """What is known of it is known in the end."""
    source = write_test(trace(*LIFE[:5]))
    assert "def test_what_is_known_in_the_end() -> None:" in source
    assert "RECORDED[" not in source


def test_events_after_the_end(folder: Path) -> None:
    """What came after the end is illegal: the test says what was known before it."""
    source = write_test(trace(*LIFE, LIFE[2], LIFE[2]))
    assert f"replay(RECORDED[:{len(LIFE) - 1}])" in source
    assert source.count("ActivityRecorded(bytes_sent=1000, messages_sent=1), None),") == 2
    assert failures(source, folder) == set()


def test_a_stream_that_never_began(folder: Path) -> None:
    """A read model never knows it, and nothing is said of what is known."""
    source = write_test(trace(LIFE[1]))
    assert "KNOWN" not in source
    assert failures(source, folder) == set()


def test_a_run_of_the_node(folder: Path) -> None:
    """A run is told by its shutdown and what it turned away."""
    drain = DrainStarted(30.0, 2, "SIGTERM"), DrainForced(1), Stopped({"forced": 1})
    refused = ConnectionRefused("max_connections", 3)
    some = trace(Started([], {}), Serving(), refused, *drain, lifecycle=NODE)
    source = write_test(some)
    assert failures(source, folder) == set()
    assert '"phase": "stopped",\n    "deadline": 30.0,\n    "total": 2,' in source
    assert '"refused_by_cause": {"max_connections": 3},' in source


def test_a_lifecycle_of_somebody_else(folder: Path) -> None:
    """Classes and lifecycle are imported from where they are defined, also nested ones."""
    source = source_of(trace(New.Placed("tea", 250, "EUR"), Packed(3), Done(), lifecycle=ORDER))
    assert "from tests.orders import ORDER, Done, New, Packed\n" in source
    assert '(0, New.Placed(item="tea", cents=250, currency="EUR"), "open"),' in source
    assert "model = replay(RECORDED, lifecycles=[ORDER])" in source
    assert '"state": "done",\n    "version": 3,' in source
    assert failures(source, folder) == set()


def test_events_richer_than_json(folder: Path) -> None:
    """They are made of their JSON, and an end that is forgotten is told as it was before."""
    sent = Sent(datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    some = trace(sent, Delivered(), lifecycle=PARCEL)
    source = write_test(some, lifecycle="tests.traces.parcels:PARCEL")
    assert '(0, convert({"since": "2026-01-02T00:00:00Z"}, Sent), "away"),' in source
    assert "from msgspec import convert\n" in source
    assert '"state": "away",\n    "version": 1,' in source
    assert failures(source, folder) == set()


def test_what_cannot_be_imported() -> None:
    """A lifecycle that is nowhere, somewhere else, or called like our own data is refused."""
    some = trace(New.Placed("tea", 250, "EUR"), lifecycle=ORDER)
    for where, problem in {
        "": "nobody said where 'order' is defined",
        "tests.orders:OLD_ORDER": "tests.orders:OLD_ORDER is not the lifecycle 'order'",
        "tests.nowhere:ORDER": "tests.nowhere:ORDER is not the lifecycle 'order'",
        "__main__:ORDER": "__main__:ORDER cannot be imported by its name",
        "tests.orders:x y": "tests.orders:x y cannot be imported by its name",
        "tests.orders:STEPS": "STEPS is the name of two things",
        "tests.orders:replay": "replay is the name of two things",
    }.items():
        with pytest.raises(InvalidArgument, match=problem):
            write_test(some, lifecycle=where)


LOCAL: Final = "rat_fsm_written_local"


def test_classes_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that a function defines, or whose name is another's by now, is refused."""
    code = (
        "import attrs\nfrom rat_fsm import Lifecycle\n"
        "def make(name):\n    @attrs.frozen\n    class Ev:\n        pass\n"
        "    Ev.__qualname__ = name or Ev.__qualname__\n"
        "    return Lifecycle('l', states=['x'], final=['x'], transitions=[[Ev, 'new', 'x']])\n"
        "LOCAL, HIDDEN = make(''), make('Lifecycle')\n"
    )
    (tmp_path / f"{LOCAL}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(LOCAL)
    for name, problem in {
        "LOCAL": "make.<locals>.Ev cannot be imported by its name",
        "HIDDEN": "Lifecycle is something else than its class",
    }.items():
        lifecycle = getattr(module, name)
        event = lifecycle.events[0].cls()
        with pytest.raises(InvalidArgument, match=problem):
            write_test(trace(event, lifecycle=lifecycle), lifecycle=f"{LOCAL}:{name}")


@pytest.mark.slow
@settings(max_examples=4, phases=[Phase.generate])
@given(st.lists(anything(), min_size=25, max_size=25))
def test_it_is_laid_out_as_a_person_would(
    tmp_path_factory: pytest.TempPathFactory, some: list[Trace]
) -> None:
    """A formatter and a linter find nothing to change, nor does a type checker."""
    pytest.importorskip("ruff")
    folder = tmp_path_factory.mktemp("layout")
    for number, each in enumerate([trace(*LIFE), *some]):
        path = folder / f"test_{number}.py"
        path.write_text(source_of(each, "From a log."), encoding="utf-8")
    for command in (["format", "--check", "--diff"], ["check", "--select", "E4,E7,E9,F,I"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", "--no-cache", str(folder)]
        result = subprocess.run(ruff, check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_it_runs_with_pytest(tmp_path: Path) -> None:
    """The file of a life is collected as it stands, and passes with warnings as errors."""
    path = tmp_path / "test_life.py"
    path.write_text(write_test(trace(*LIFE)), encoding="utf-8")
    options = "-q", "-W", "error", "-p", "no:cacheprovider"
    command = [sys.executable, "-m", "pytest", *options, str(path)]
    result = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
    assert "3 passed" in result.stdout
