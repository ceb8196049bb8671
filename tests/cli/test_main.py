"""rat-fsm itself: help, version, errors, and what start-up imports."""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import click
import pytest

from rat_fsm.cli.app import COMMANDS, cli
from rat_fsm.events import Registered
from rat_fsm.log import EventLog
from tests.cli.logs import ESCAPED, HOSTILE, RAT_FSM, change, plain, run, write

READING: Final = ("log", "stats", "history", "find", "to-test", "verify")


def arguments(command: str, url: object) -> list[str]:
    """What a reading command wants to read a log."""
    return [command, str(url), *(["c1"] if command in {"history", "to-test"} else [])]


def test_version() -> None:
    """--version says the version of the distribution."""
    result = run("--version")
    assert (result.exit_code, result.output) == (0, f"rat-fsm {metadata.version('rat-fsm')}\n")


def test_the_module_is_the_script() -> None:
    """`python -m rat_fsm.cli` is the installed `rat-fsm`."""
    script = Path(sys.executable).with_name("rat-fsm")
    outputs = {
        subprocess.run([*command, "--help"], check=True, capture_output=True, text=True).stdout
        for command in (RAT_FSM, (str(script),))
    }
    assert len(outputs) == 1
    assert outputs.pop().startswith("Usage: rat-fsm ")


@pytest.mark.parametrize("name", COMMANDS)
def test_everything_has_a_help(name: str) -> None:
    """Every command and every option says what it is for."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert [option.name for option in options if not option.help] == []
    assert run(name, "--help").exit_code == 0


def test_help_lists_every_command() -> None:
    """The help of the group has a line for each command."""
    lines = run("--help").output.splitlines()
    for name, (_, summary) in COMMANDS.items():
        assert any(line.split()[:1] == [name] and summary in line for line in lines)


def test_an_unknown_command() -> None:
    """A command that is none is refused by name, exit 2."""
    result = run("no-such-command")
    assert result.exit_code == 2
    assert "No such command 'no-such-command'" in result.stderr


def modules_after(*args: object) -> set[str]:
    """What has been imported once a command line has run in a process of its own."""
    script = (
        "import json, sys\n"
        "from rat_fsm.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, *map(str, args)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(json.loads(result.stderr.splitlines()[-1]))


def test_help_is_light(tmp_path: Path) -> None:
    """--help imports no command; a command imports nothing of the server or of the others."""
    light = modules_after("--help")
    assert light & {"rich", "rat_fsm.stores.sqlite", "starlette", "uvicorn"} == set()
    assert {name for name in light if name.startswith("rat_fsm.cli.")} == {
        *("rat_fsm.cli.app", "rat_fsm.cli.text")
    }
    write(tmp_path / "events.db", ("c1", Registered("10.0.0.1")))
    modules = modules_after("stats", tmp_path / "events.db")
    assert modules & {"starlette", "uvicorn", "rat_fsm.cli.log", "rat_fsm.cli.demo"} == set()
    assert "rat_fsm.cli.stats" in modules


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra(missing: str) -> None:
    """Where click or rich is missing, one line names the extra; exit 2."""
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from rat_fsm.cli import main\nsys.exit(main())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == ("error: the command line needs an extra: pip install 'rat-fsm[cli]'\n")


@pytest.mark.parametrize("command", READING)
def test_what_is_no_log(tmp_path: Path, command: str) -> None:
    """A missing file, a directory, a text, a foreign database, a newer one: one clear line each."""
    foreign, newer, text = tmp_path / "foreign.db", tmp_path / "newer.db", tmp_path / "text.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE frames (position)")
    connection.close()
    write(newer, ("c1", Registered("10.0.0.1")))
    change(newer, "PRAGMA user_version = 99")
    text.write_text("This is no database, though it is long enough to be mistaken for one. " * 20)
    said = {
        tmp_path / "missing.db": "No such file",
        tmp_path: "no regular file",
        foreign: "something else, not a rat_fsm log",
        newer: "newer than this rat_fsm",
        text: "not a database",
        "memory:": "cannot be read from outside its process",
        "": "is no path",
        "redis://user:secret@host/stream": "no store for 'redis:'",
    }
    for url, expected in said.items():
        result = run(*arguments(command, url))
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert expected in result.stderr
    assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@host/db", "postgresql//me:s3cret@host/db", "//me:s3cret@h"]
)
def test_credentials_are_never_printed(command: str, url: str) -> None:
    """A password in a URL, or in what was meant to be one, stays out of every message."""
    result = run(*arguments(command, url))
    assert result.exit_code == 2
    assert "s3cret" not in result.output


def test_an_error_is_escaped(tmp_path: Path) -> None:
    """An error shows what it was given as text, whatever it was given."""
    result = run("log", tmp_path / "\x1b[31m\u202e\n.db")
    assert result.stderr.startswith(f"error: no log at {tmp_path}/\\x1b[31m\\u202e\\n.db")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", READING)
def test_reading_leaves_no_trace(tmp_path: Path, command: str) -> None:
    """Reading needs no right to write, and leaves nothing beside the log."""
    path = tmp_path / "events.db"
    write(path, ("c1", Registered("10.0.0.1")))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert run(*arguments(command, path)).exit_code == 0
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_encoding_without_arrows(tmp_path: Path) -> None:
    """Where the output can hold ASCII only, other characters become escapes."""
    path = tmp_path / "events.db"
    write(path, ("名前", Registered("10.0.0.1")))
    result = subprocess.run(
        [*RAT_FSM, "history", str(path), "名前"],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert b"connection \\u540d\\u524d" in result.stdout
    assert b"new \\u2192 connecting" in result.stdout


def test_progress_needs_a_terminal_and_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bar shows on a terminal's stderr only, and only once the work has taken a while."""
    path = tmp_path / "events.db"
    write(path, ("c1", Registered("10.0.0.1")))
    assert run("verify", path).stderr == ""
    assert run("verify", path, width=80).stderr == ""
    reading = importlib.import_module("rat_fsm.cli.reading")
    monkeypatch.setattr(reading, "Timer", AtOnce)
    assert run("verify", path).stderr == ""
    assert "verifying" in run("verify", path, width=80).stderr
    assert "verifying" not in plain(run("verify", path, width=80).stdout)


class AtOnce:
    """A timer for which the time has come already."""

    daemon = False

    def __init__(self, _interval: float, function: object) -> None:
        self._function = function

    def start(self) -> None:
        """Does it."""
        assert callable(self._function)
        self._function()

    def cancel(self) -> None:
        """Too late."""

    def join(self) -> None:
        """It is done."""


def test_nothing_is_claimed_by_reading(tmp_path: Path) -> None:
    """A server may start while a reader reads, and get the first slot."""
    path = tmp_path / "events.db"
    write(path, ("c1", Registered("10.0.0.1")))
    assert run("log", path).exit_code == 0
    with EventLog.open(path) as log:
        assert log.writer == "w0"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (("replay",), "Missing argument 'URL'; see rat-fsm replay --help"),
        (("log", "x", "--last", "x"), "Invalid value for '--last': 'x' is not"),
        (("nope",), "No such command 'nope'; see rat-fsm --help"),
        (("find", "x", "--since", "2026-09-21T14:03"), "say 2026-09-21T14:03Z for UTC"),
        (("log", "x", f"--{HOSTILE}"), f"--{ESCAPED}"),
    ],
)
def test_what_is_typed_wrong_is_one_line(given: tuple[str, ...], problem: str) -> None:
    """It names what was wrong and where to read more; nothing in it is obeyed by a terminal."""
    result = run(*given)
    assert (result.exit_code, result.stderr.count("\n"), result.stdout) == (2, 1, "")
    assert problem in result.stderr
