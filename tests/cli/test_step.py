"""rat-fsm step."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from rat_fsm.cli.app import cli
from rat_fsm.cli.render import Screen
from rat_fsm.cli.stepper import Stepper
from rat_fsm.cli.telling import TextTeller
from rat_fsm.codec import encode_recorded
from rat_fsm.events import Activated, Closing, Registered
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.replay import read_events, replay
from rat_fsm.replay.sources import opened
from tests.cli.frames import write_frames
from tests.cli.logs import (
    HOSTILE,
    RAT_FSM,
    Writer,
    a_life,
    change,
    plain,
    start,
)

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from rat_fsm.cli.then import Then


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with two lives, the second of which goes on while the first is over."""
    path = tmp_path / "events.db"
    write_frames(
        path, *a_life("c1"), *a_life("c2")[:6], ("c3", Registered("10.0.0.3", "websocket"))
    )
    return path


def step(path: Path, *commands: str, options: tuple[object, ...] = (), width: int = 0) -> Result:
    """Steps through a log by commands from a pipe."""
    terminal = {"FORCE_COLOR": "1", "COLUMNS": str(width)} if width else {"FORCE_COLOR": None}
    arguments = ["step", str(path), *map(str, options)]
    result = CliRunner(env=terminal).invoke(
        cli, arguments, input="".join(f"{c}\n" for c in commands)
    )
    assert (result.exit_code, result.stderr) == (0, "")
    return result


def answers(path: Path, *commands: str, options: tuple[object, ...] = ()) -> list[Any]:
    """What each command is answered, the place where it begins left out."""
    lines = step(path, *commands, options=("--json", *options)).stdout.splitlines()
    return [json.loads(line) for line in lines[1:]]


def seqs(found: list[Any]) -> list[int]:
    """The numbers of the events in answers, 0 for what is no event."""
    return [one["event"]["seq"] if "event" in one else 0 for one in found]


def test_steps_go_through_the_log(path: Path) -> None:
    """With n one goes from event to event, each told whole, with what it changed; p goes back."""
    events = list(read_events(path))
    lines = step(path, *["n"] * len(events), options=("--json",)).stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert [one["event"] for one in told[:-1]] == [json.loads(encode_recorded(e)) for e in events]
    assert told[-1] == {"note": "this is the last event so far"}
    assert [(c["before"], c["after"]) for c in (one["change"] for one in told[2:5])] == [
        ("new", "connecting"),
        ("connecting", "active"),
        ("active", "active"),
    ]
    back = answers(path, "last", *["p"] * len(events))
    assert seqs(back) == [*range(len(events), 0, -1), 0]
    assert back[-1] == {"note": "before the first event"}


def test_it_is_told_in_lines(path: Path) -> None:
    """Position, time, event, whose, what became of the state, and what it says."""
    lines = step(path, "g 1.6", "n 2", "m", "d").stdout.splitlines()
    assert [re.split(r"  +", line) for line in lines[1:4]] == [
        [
            *("1.6", "2026-09-21 14:13:23.500", "error_recorded", "c1", "active"),
            "OSError: reset by peer (network_error, retryable)",
        ],
        [
            *("1.7", "2026-09-21 14:13:24.000", "retry_scheduled", "c1", "active → retrying"),
            "attempt 1 in 1.0 s (network_error)",
        ],
        [
            *("1.8", "2026-09-21 14:13:24.501", "recovered", "c1", "retrying → active"),
            "after 1 retry",
        ],
    ]
    assert lines[4] == "marked 1.8; d tells what has changed since"
    assert lines[-1] == "the same"


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (["n 3", "p 2", "first", "next", "prev"], [2, 3, 4, 3, 2, 1, 2, 1]),
        (["n 1000", "p 1000"], [19, 0]),
        (["f closed", "f connection.closed", "b registered", "b registered"], [11, 0, 3, 0]),
        (["f node.stopped", "back node.started"], [19, 1]),
        (["goto 2026-09-21T14:13:24Z", "g 1", "g 1999-01-01T00:00Z", "n"], [7, 18, 0, 1]),
        (
            ["c c2", "n", "n 9", "p", "first", "last", "c", "n"],
            [12, 13, 14, 15, 16, 17, 0, 16, 12, 17, 0, 18],
        ),
        (
            ["last", "c c1", "c c2", "b closed", "f error_recorded", "b activated"],
            [19, 11, 12, 0, 16, 13],
        ),
        (["", "   ", "q", "n"], []),
        (["quit", "n"], []),
    ],
)
def test_where_commands_lead(path: Path, commands: list[str], expected: list[int]) -> None:
    """Each command goes where it says, and stays where there is nothing to go to."""
    assert seqs(answers(path, *commands)) == expected


def test_where_it_begins(path: Path) -> None:
    """At the first event, at a moment, at one connection's first event or the nearest."""
    for options, seq in (
        ((), 1),
        (("--at", "1.4"), 5),
        (("--connection", "c2"), 12),
        (("--at", "1.14", "--connection", "c2"), 15),
        (("--at", "1.14", "--connection", "c1"), 11),
    ):
        (line,) = step(path, options=("--json", *options)).stdout.splitlines()
        assert json.loads(line)["event"]["seq"] == seq
    (line,) = step(path, options=("--at", "1999-01-01T00:00Z")).stdout.splitlines()
    assert line == "before the first event"


def test_what_is_true_is_shown(path: Path) -> None:
    """With s it is what `replay` says of the same place: of everything, or of one connection."""
    whole, followed, one, gone = answers(
        path,
        "s",
        "s",
        "show c3",
        "s c1",
        options=(
            "--at",
            "1.14",
        ),
    )[:4]
    assert whole["stats"] == replay(path, _position("1.14")).stats.as_dict() == followed["stats"]
    assert (one["id"], one["connections"], one["lives"][0]["state"]) == ("c3", [], None)
    assert gone["lives"][0]["state"] == "closed"
    (arrived, of_it) = answers(
        path,
        "c c2",
        "s",
        options=(
            "--at",
            "1.14",
        ),
    )
    assert arrived["event"]["stream"][1] == of_it["connections"][0]["connection_id"] == "c2"


def _position(text: str) -> Any:
    from rat_fsm.cli.moments import PositionType

    return PositionType().convert(text, None, None)


def test_what_changed_since_a_place(path: Path) -> None:
    """With d one compares with the place that m marked, wherever one has gone since."""
    marked, moved, changed, back, again = answers(path, "m", "g 1.12", "d", "g 1.0", "d")
    assert (marked["note"], back["event"]["seq"]) == (
        "marked 1.0; d tells what has changed since",
        1,
    )
    counts = {change["name"]: change["after"] for change in changed["models"]["counts"]}
    assert (moved["event"]["seq"], counts["total_connections"], changed["differs"]) == (13, 2, True)
    assert (changed["before"], changed["after"], again["differs"]) == ("1.0", "1.12", False)
    lines = step(path, "m", "g 1.12", "d", "p 99", "d").stdout.splitlines()
    assert "new  1 stream" in lines
    assert lines[2].endswith("from 1.0 to 1.12") or lines[3].endswith("from 1.0 to 1.12")


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("x", "there is no command x; ? lists those there are"),
        ("n x", "x is no number of events"),
        ("n 0", "0 is no number of events"),
        ("p -1", "-1 is no number of events"),
        ("n 99999999999999999999", "99999999999999999999 is no number of events"),
        ("d", "no place is marked; m marks this one"),
        ("g", "go where? to a position such as 12.3, or a time"),
        ("g 99", "there is no frame 99: this log ends with event 2.0, and frames count from 1"),
        ("g 1.99", "there is no event 1.99: frame 1 ends with event 1.17"),
        ("g soon", "'soon' is no time, such as 2026-09-21T14:03:20Z"),
        ("f", "find what? a type of event, such as closed or node.stopped"),
        ("c c9", "has never heard of c9"),
        ("s c9", "has never heard of c9"),
        (f"c {HOSTILE.split(chr(10))[0]}", "has never heard of [red]x[/red]"),
    ],
)
def test_what_is_wrong_is_one_line(path: Path, command: str, error: str) -> None:
    """A command that cannot be obeyed says why and changes nothing; the next one is."""
    found = answers(path, command, "n")
    assert error in found[0]["error"]
    assert seqs(found) == [0, 2]
    lines = step(path, command).stdout.splitlines()
    assert lines[1].startswith("error: ")
    assert "\x1b" not in lines[1]


def test_a_type_that_is_not_there(path: Path) -> None:
    """It is said that there is none; where nobody knows the type, which are like it."""
    unlike, none = answers(path, "f clsoed", "f stalled")
    assert unlike["note"].startswith(
        "there is no connection.clsoed after this; did you mean closed"
    )
    assert none["note"] == "there is no connection.stalled after this"


def test_a_long_way_can_be_interrupted(path: Path) -> None:
    """Ctrl-C while a command is at work ends that command, and one may go on from there."""
    said: list[str] = []

    class Interrupted(TextTeller):
        def whole(self, _then: Then) -> None:
            raise KeyboardInterrupt

        def note(self, text: str) -> None:
            said.append(text)

    with (
        opened(path) as store,
        contextlib.closing(
            Stepper(store, Interrupted(Screen()), (CONNECTION, NODE), None)
        ) as stepper,
    ):
        stepper.begin(None, None)
        assert stepper.obey("s")
        assert said == ["interrupted"]
        assert stepper.prompt == "1.0 14:13:20.500> "


def test_one_is_told_in_lines(path: Path) -> None:
    """S with an id says what `replay --connection` does, whether that was open or not."""
    lines = step(path, "s c2", "s c1", options=("--at", "1.14")).stdout.splitlines()
    assert "connection c2" in lines
    assert lines[-1].startswith("connection c1  ended 2.0 s before: closed, completed, by client")


def test_before_the_first_event(path: Path) -> None:
    """There is nothing to mark, and nothing is true yet."""
    gone, marked, shown = answers(path, "p", "m", "s")
    assert gone == {"note": "before the first event"}
    assert marked == {"error": "there is nothing to mark before the first event"}
    assert shown["events"] == 0


def test_help_lists_the_commands(path: Path) -> None:
    """? names each, with what it wants and does; so does JSON."""
    lines = step(path, "?", "help").stdout.splitlines()[1:]
    assert lines[:13] == lines[13:]
    assert (
        lines[2]
        == "g, goto           MOMENT  go to a position (12.3), a frame (12) or a time with its zone"
    )
    (told,) = answers(path, "?")
    assert [command[0] for command in told["commands"]][:2] == ["n, next", "p, prev"]


def test_an_illegal_event_is_told_as_such(tmp_path: Path) -> None:
    """It keeps the state, and it is said that there was no way."""
    path = tmp_path / "events.db"
    write_frames(path, *a_life("c1")[:2], ("c1", Closing("kicked", "admin", "streaming")))
    change(path, "UPDATE frames SET body = replace(body, '.activated', '.recovered')")
    (line,) = step(path, options=("--at", "1.3")).stdout.splitlines()
    assert "recovered" in line
    assert "connecting (kept: no way for it)" in line


def test_a_damaged_frame_can_be_walked_around(path: Path) -> None:
    """It is named when one comes to it, and what is before it can still be stepped through."""
    change(path, "UPDATE frames SET body = 'rubbish' WHERE position = 2")
    last, back, again = answers(path, "last", "g 1.3", "n")
    assert "frame 2" in last["error"]
    assert seqs([back, again]) == [4, 5]


def test_an_empty_log(tmp_path: Path) -> None:
    """One can look at it, though there is nothing to see."""
    path = tmp_path / "events.db"
    write_frames(path)
    change(path, "DELETE FROM frames")
    lines = step(path, "n", "p", "last", "s").stdout.splitlines()
    assert lines[:4] == [
        "the log is empty",
        "this is the last event so far",
        "before the first event",
        "the log is empty",
    ]


@pytest.mark.parametrize("option", ["--at=99.0", "--at=2026-01-01T00:00", "--connection=nobody"])
def test_a_beginning_that_is_none(path: Path, option: str) -> None:
    """Where it cannot begin it ends, with one line and exit code 2."""
    result = CliRunner().invoke(cli, ["step", str(path), option])
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(tmp_path: Path, width: int) -> None:
    """No line is longer than the terminal is wide, and nothing hostile is obeyed."""
    path = tmp_path / "events.db"
    write_frames(path, ("c1", Registered(HOSTILE, HOSTILE)), ("c1", Activated(HOSTILE)))
    lines = plain(step(path, "n", "n", "n", "s", "?", "m", "p", "d", width=width).stdout)
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= width


@pytest.mark.slow
def test_while_a_server_writes(tmp_path: Path) -> None:
    """At the end one waits for nothing: the next n finds what has become durable since."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        writer.register("c1")
        with start("step", path, "--json", stdin=subprocess.PIPE) as process:
            assert asked(process) == "w0:1"
            assert asked(process, "last") == "c1"
            assert asked(process, "n") is None
            writer.register("c2")
            assert asked(process, "n") == "c2"
            assert process.communicate() == ("", "")
        assert process.returncode == 0


def asked(process: subprocess.Popen[str], command: str = "") -> str | None:
    """Whose event the answer to a command tells; None where it is no event."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{command}\n")
    process.stdin.flush()
    told = json.loads(process.stdout.readline())
    return told["event"]["stream"][1] if "event" in told else None


class Terminal:
    """A stepper at a terminal."""

    def __init__(self, path: Path) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [*RAT_FSM, "step", str(path)], stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)

    def until(self, text: str) -> str:
        """What it shows until some text."""
        shown = b""
        while text.encode() not in shown:
            shown += os.read(self._ours, 4096)
        return shown.decode()

    def type(self, keys: str) -> None:
        """Types."""
        os.write(self._ours, keys.encode())

    def interrupt(self) -> None:
        """Presses Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Waits for its end; its exit code."""
        try:
            while os.read(self._ours, 4096):
                pass
        except OSError:  # how Linux says that nobody has the other side open
            pass
        os.close(self._ours)
        return self._process.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["q\n", "\x04", "interrupt"])
def test_at_a_terminal(path: Path, end: str) -> None:
    """The prompt says where one is and whom one follows; q, Ctrl-D and Ctrl-C end it cleanly."""
    terminal = Terminal(path)
    terminal.until("1.0 14:13:20.500> ")
    terminal.type("n 2\n")
    assert "new → connecting" in terminal.until("1.2 14:13:21.500> ")
    terminal.type("c c1\n")
    terminal.until("1.2 14:13:21.500 c1> ")
    if end == "interrupt":
        terminal.interrupt()
    else:
        terminal.type(end)
    assert terminal.end() == 0
