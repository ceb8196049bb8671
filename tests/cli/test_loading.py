"""Lifecycles of one's own on the command line: --module, wherever events are read."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

import click
import pytest
from click.testing import CliRunner

from rat_fsm.cli.app import COMMANDS, cli
from rat_fsm.log import EventLog
from tests.cli.logs import Ticking, plain, run
from tests.logs import execute
from tests.orders import OLD_ORDER, ORDER, Done, New, Noted, Old, Packed

if TYPE_CHECKING:
    from pathlib import Path

MODULE: Final = ("--module", "tests.orders:ORDER")
READING: Final = {
    *("log", "history", "stats", "replay", "step", "diff", "check", "diagram", "to-test"),
    *("export", "verify", "top", "writers"),
}
OF_A_USER: Final = """
import attrs
from rat_fsm import CONNECTION, NODE, Lifecycle

print("imported")

@attrs.frozen
class Queued:
    task: str

@attrs.frozen
class Finished:
    pass

JOB = Lifecycle(
    "job",
    states=("waiting", "done"),
    final={"done"},
    transitions=[[Queued, "new", "waiting"], [Finished, "waiting", "done"]],
)
AGAIN = JOB
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log that was begun under an older definition."""
    path = tmp_path / "events.db"
    with EventLog.open(path, lifecycles=[OLD_ORDER], clock=Ticking(), writer="w0") as log:
        log.append(("order", "o1"), Old.Placed("tea", 2.5), Packed())
    with EventLog.open(path, lifecycles=[ORDER], clock=Ticking(), writer="w0") as log:
        log.append(("order", "o2"), New.Placed("milk", 120, "CHF"), Noted("soon"), Done())
    return path


def test_which_commands_take_a_module() -> None:
    """Those that read events; one option, the same in all of them."""
    options = {
        name: option
        for name in COMMANDS
        for option in _command(name).params
        if "--module" in option.opts
    }
    assert set(options) == READING
    assert len({id(option.callback) for option in options.values()}) == 1


def _command(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def test_events_are_read_with_their_classes(path: Path) -> None:
    """Upcasters lift those of old; without a module they are shown as they stand."""
    lifted = 'order.placed        o1    item "tea", cents 250, currency "EUR"'
    assert any(line.endswith(lifted) for line in plain(run("log", path, *MODULE).stdout))
    stored = '(unknown tag) {"item":"tea","price":2.5}'
    assert any(line.endswith(stored) for line in plain(run("log", path).stdout))
    (first, *_), told = (
        [
            json.loads(line)
            for line in run("history", path, "o1", "--json", *more).stdout.split("\n")
            if line
        ]
        for more in ((), MODULE)
    )
    assert (first["data"], told[0]["data"]) == (
        {"item": "tea", "price": 2.5},
        {"item": "tea", "cents": 250, "currency": "EUR"},
    )
    assert 'cents 250, currency "EUR"' in run("history", path, "o1", *MODULE).stdout
    assert '"cents":250' in run("export", path, "--jsonl", *MODULE).stdout
    assert '"cents":250' not in run("export", path, "--jsonl").stdout
    newest = plain(run("log", path, "--last", 4, *MODULE).stdout)
    assert newest[1].endswith('note "soon"')


def test_states_are_counted(path: Path) -> None:
    """How many streams of a lifecycle are where, now and at any moment."""
    counted = {"streams": {"order": {"open": 0, "done": 1, "packed": 1}}}
    assert counted.items() <= json.loads(run("stats", path, "--json", *MODULE).stdout).items()
    assert "streams" not in json.loads(run("stats", path, "--json").stdout)
    lines = [line.split()[:2] for line in plain(run("stats", path, *MODULE).stdout)]
    assert lines[lines.index(["order", "2"]) + 1 :] == [["done", "1"], ["packed", "1"]]
    then = json.loads(run("replay", path, "--at", "1.2", "--json", *MODULE).stdout)
    assert then["stats"]["streams"] == {"order": {"open": 1, "done": 0, "packed": 0}}
    assert "packed" in run("replay", path, *MODULE).stdout
    assert "packed" in run("replay", path, "--connection", "o1", *MODULE).stdout


def test_a_stepper_finds_their_events(path: Path) -> None:
    """By type, with a hint where a type is none."""
    typed = "f order.noted\nf order.doen\n"
    result = CliRunner().invoke(cli, ["step", str(path), *MODULE], input=typed)
    lines = plain(result.stdout)
    assert any(line.endswith('note "soon"') for line in lines)
    assert lines[-1] == "there is no order.doen after this; did you mean order.done?"


def test_logs_are_compared(path: Path, tmp_path: Path) -> None:
    """What differs is told as the classes have it."""
    other = tmp_path / "other.db"
    with EventLog.open(other, lifecycles=[ORDER], clock=Ticking(), writer="w0") as log:
        log.append(("order", "o1"), New.Placed("tea", 251, "EUR"))
    result = run("diff", path, other, *MODULE)
    assert result.exit_code == 1
    assert 'cents 251, currency "EUR"' in result.stdout
    result = run("diff", path, "--at", "1.2", *MODULE)
    assert (result.exit_code, "order.packed" in result.stdout) == (1, True)


def test_what_cannot_be_read_is_found(path: Path) -> None:
    """Checking reads what events hold where it has their classes."""
    execute(path, """UPDATE frames SET body = replace(body, '"milk"', '{"a":1}')""")
    assert run("check", path).exit_code == 0
    result = run("check", path, *MODULE)
    assert result.exit_code == 1
    assert "1 unknown" in result.stdout
    assert "unreadable" in result.stdout


def test_a_lifecycle_is_drawn_by_its_name(tmp_path: Path) -> None:
    """That of a module, as if it were one of rat_fsm."""
    drawn = run("diagram", "order", *MODULE)
    assert (drawn.exit_code, drawn.stdout) == (0, run("diagram", "tests.orders:ORDER").stdout)
    missing = run("diagram", "job", *MODULE)
    assert "one that a --module has or a --log has recorded" in missing.stderr
    assert not list(tmp_path.iterdir())


def test_a_test_is_written_of_their_streams(path: Path) -> None:
    """It imports the lifecycle from where the module has it."""
    source = run("to-test", path, "o2", *MODULE).stdout
    assert "from tests.orders import ORDER" in source


def test_every_lifecycle_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found in the working directory; one with two names is one, those of rat_fsm none."""
    (tmp_path / "rat_fsm_jobs.py").write_text(OF_A_USER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    result = run("diagram", "job", "--module", "rat_fsm_jobs", *MODULE)
    assert (result.exit_code, result.stderr) == (0, "imported\n")
    assert "waiting --> done : finished" in result.stdout
    ours = run("diagram", "connection", "--module", "rat_fsm_jobs").stdout
    changed = run("diagram", "connection", "--module", "tests.testing.test_golden:CHANGED").stdout
    assert len(ours.splitlines()) == len(changed.splitlines()) + 1


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("tests.orders", "two lifecycles are called order: tests.orders:OLD_ORDER and tests.o"),
        ("tests.logs:PATIENCE", "tests.logs:PATIENCE is no Lifecycle but of type float"),
        ("json", "json has no Lifecycle of its own; name a module that has, or MODULE:NAME"),
        ("rat_fsm.lifecycles", "rat_fsm.lifecycles has no Lifecycle of its own"),
        ("no_such_module", "cannot import no_such_module: ModuleNotFoundError: No module named"),
        ("tests.orders:NONE", "cannot import tests.orders:NONE: AttributeError"),
        (":ORDER", "':ORDER' is not of the form module:NAME"),
        ("", "cannot import : ValueError: Empty module name"),
    ],
)
def test_a_module_that_is_none(path: Path, target: str, problem: str) -> None:
    """One line, exit 2."""
    result = run("log", path, "--module", target)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert problem in result.stderr
