"""rat-fsm log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Final

import pytest

from rat_fsm.cli.log import closed_by_signals
from rat_fsm.codec import encode_recorded
from rat_fsm.events import Activated, ErrorRecorded, Registered
from rat_fsm.log import EventLog
from rat_fsm.log.subscription import Subscription
from rat_fsm.replay.sources import new_model, opened
from tests.cli.logs import (
    ESCAPED,
    HOSTILE,
    RAT_FSM,
    Writer,
    a_life,
    change,
    finish,
    plain,
    run,
    start,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

ENVELOPE: Final = ["position", "at", "stream", "version", "writer", "seq", "type", "data"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of one life and the run around it: 12 events."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1"))
    return path


def types(lines: str) -> list[str]:
    """The types of the envelopes in lines of JSON."""
    return [json.loads(line)["type"] for line in lines.splitlines()]


def test_json_is_the_codecs(path: Path) -> None:
    """With --json each line is the envelope exactly as the codec writes it, in order."""
    with EventLog.open(path) as log:
        expected = [encode_recorded(recorded) for recorded in log.read()]
    result = run("log", path, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout_bytes.splitlines() == expected
    assert list(json.loads(expected[0])) == ENVELOPE


def test_a_url_and_a_path_name_the_same_log(path: Path) -> None:
    """A bare path means SQLite."""
    assert run("log", f"sqlite:{path}", "--json").output == run("log", path, "--json").output


def test_a_line_in_a_pipe(path: Path) -> None:
    """In a pipe an event is one line: position, time in full, what, who and what it says."""
    lines = run("log", path).stdout.splitlines()
    assert len(lines) == 12
    assert [line.split()[3] for line in lines[:3]] == [
        *("node.started", "node.serving", "registered")
    ]
    recorded = json.loads(run("log", path, "--json").stdout.splitlines()[6])
    at = recorded["at"].replace("T", " ")[:23]
    assert re.split(r"  +", lines[6]) == [
        *(recorded["position"], at, "error_recorded", "c1"),
        "OSError: reset by peer (network_error, retryable)",
    ]


def test_a_terminal_folds(path: Path) -> None:
    """On a terminal no line is wider than it, nothing is cut, and the day is said once."""
    write(path, ("c" * 36, Registered("2001:db8::1", "websocket", {"agent": "x" * 90})))
    for width in (80, 120):
        output = run("log", path, width=width).stdout
        lines = plain(output)
        assert max(map(len, lines)) <= width
        assert lines.count("2026-09-21 UTC") == 1
        joined = "".join(line.strip() for line in lines)
        assert "c" * 36 in joined
        assert "x" * 90 in joined


def test_after_begins_behind_a_position(path: Path) -> None:
    """--after leaves out everything up to an event, or up to the end of a frame."""
    everything = run("log", path, "--json").stdout.splitlines()
    position = json.loads(everything[4])["position"]
    assert run("log", path, "--json", "--after", position).stdout.splitlines() == everything[5:]
    frame = position.partition(".")[0]
    later = [e for e in everything if int(json.loads(e)["position"].partition(".")[0]) > int(frame)]
    assert run("log", path, "--json", "--after", frame).stdout.splitlines() == later


@pytest.mark.parametrize("position", ["x", "1.", "-1", "1.x", ".1", "1.2.3", "²"])
def test_what_is_no_position(path: Path, position: str) -> None:
    """Something else than a position is refused with its form, exit 2."""
    result = run("log", path, f"--after={position}")
    assert result.exit_code == 2
    assert "is neither a position, such as 12.3, nor a frame" in result.stderr


def test_limit_and_last(path: Path) -> None:
    """--limit stops after so many events, --last begins with so many before the end."""
    write(path, ("c2", Registered("10.0.0.1")))
    everything = run("log", path, "--json").stdout.splitlines()
    assert run("log", path, "--json", "--limit", 3).stdout.splitlines() == everything[:3]
    assert run("log", path, "--json", "--last", 3).stdout.splitlines() == everything[-3:]
    assert run("log", path, "--json", "--last", 99).stdout.splitlines() == everything
    assert run("log", path, "--json", "--limit", 0).stdout == ""
    assert run("log", path, "--json", "--last", 0).stdout == ""
    both = run("log", path, "--json", "--last", 3, "--limit", 2)
    assert both.stdout.splitlines() == everything[-3:-1]
    position = json.loads(everything[-3])["position"]
    later = run("log", path, "--json", "--last", 9, "--after", position)
    assert later.stdout.splitlines() == everything[-2:]


@pytest.mark.parametrize("width", [None, 80, 120])
def test_hostile_strings_are_text(tmp_path: Path, width: int | None) -> None:
    """Markup, escape sequences and bidi controls of a log come out escaped, nowhere obeyed."""
    path = tmp_path / "events.db"
    error = ErrorRecorded(HOSTILE, HOSTILE, HOSTILE, retryable=False)
    evil_id = "[bold]c1 \u202egnp.exe"
    write(path, (evil_id, Registered(HOSTILE, HOSTILE, {HOSTILE: HOSTILE})), (evil_id, error))
    lines = plain(run("log", path, width=width).stdout)
    assert all(line.isprintable() for line in lines)
    squeezed = "".join("".join(lines).split())
    assert r"[bold]c1\u202egnp.exe" in squeezed
    assert squeezed.count("".join(ESCAPED.split())) == 5  # twice in words, three times in the error


def test_json_on_a_terminal_is_harmless(tmp_path: Path) -> None:
    """On a terminal JSON keeps its meaning but shows controls as escapes."""
    path = tmp_path / "events.db"
    write(path, ("c1", Registered(HOSTILE, "sse")))
    piped, shown = run("log", path, "--json"), run("log", path, "--json", width=80)
    assert all(line.isprintable() for line in shown.stdout.splitlines())
    assert list(map(json.loads, shown.stdout.splitlines())) == [
        json.loads(line) for line in piped.stdout_bytes.splitlines()
    ]


def test_unknown_events_are_shown(tmp_path: Path) -> None:
    """An event whose tag nobody here knows is shown with its data, and says so."""
    path = tmp_path / "events.db"
    write(path, ("c1", Registered("10.0.0.1")), ("c1", Activated()))
    change(path, "UPDATE frames SET body = replace(body, ?, ?)", "activated", "teleported")
    line = next(line for line in run("log", path).stdout.splitlines() if "teleported" in line)
    assert line.endswith('c1    (unknown tag) {"route":""}')


def test_follow_goes_on(tmp_path: Path) -> None:
    """--follow shows what another process writes, a whole line at once, until SIGTERM."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        writer.register("first")
        with start("log", path, "--follow", "--json") as follower:
            assert follower.stdout is not None
            seen = [json.loads(follower.stdout.readline())["type"] for _ in range(3)]
            assert seen == ["node.started", "node.serving", "connection.registered"]
            for number in range(3):
                writer.register(f"c{number}")
                assert json.loads(follower.stdout.readline())["stream"][1] == f"c{number}"
            follower.send_signal(signal.SIGTERM)
            assert finish(follower) == ("", "")
            assert follower.returncode == 0


def test_follow_from_the_newest(path: Path) -> None:
    """--last and --follow are tail -f; Ctrl-C ends it without a word."""
    with start("log", path, "--follow", "--last", 1) as follower:
        assert follower.stdout is not None
        assert "node.stopped" in follower.stdout.readline()
        with Writer(path) as writer:
            writer.register("later")
            lines = [follower.stdout.readline() for _ in range(3)]
        assert "registered          later  sse from 10.0.0.1" in lines[2]
        follower.send_signal(signal.SIGINT)
        rest, errors = finish(follower)
        assert (follower.returncode, errors) == (0, "")
        assert all("node.stopped" in line for line in rest.splitlines())


def test_follow_only_what_is_new(path: Path) -> None:
    """--follow --last 0 begins with what comes after it started, and is told once."""
    with Writer(path) as writer:
        writer.register("0")
        with start("log", path, "-f", "--last", 0, "--json") as follower:
            assert follower.stdout is not None
            output = follower.stdout
            lines: list[str] = []
            reader = threading.Thread(target=lambda: lines.append(output.readline()))
            reader.start()
            written = 0
            while reader.is_alive():
                written += 1
                writer.register(str(written))
            follower.send_signal(signal.SIGTERM)
            lines += finish(follower)[0].splitlines()
    numbers = [int(json.loads(line)["stream"][1]) for line in lines]
    assert numbers[0] > 0
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_follow_with_a_limit_ends(path: Path) -> None:
    """--follow --limit waits for so many events and no longer."""
    assert types(run("log", path, "--follow", "--json", "--limit", 2).stdout) == [
        *("node.started", "node.serving")
    ]


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A log that fills a pipe many times over."""
    path = tmp_path / "long.db"
    with EventLog.open(path) as log:
        for number in range(5000):
            log.append(("connection", f"c{number}"), Registered("10.0.0.1", "sse", {"a": "x" * 50}))
    return path


@pytest.mark.parametrize("options", [("--json",), ()])
@pytest.mark.parametrize("forced", [{}, {"FORCE_COLOR": "1"}])
def test_a_closed_pipe_is_quiet(
    long: Path, options: tuple[str, ...], forced: dict[str, str]
) -> None:
    """`rat-fsm log | head -1` says nothing on stderr and exits as SIGPIPE would."""
    with start("log", long, *options, env=os.environ | forced) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(30) == 141


def test_ctrl_c_while_nobody_reads(long: Path) -> None:
    """A pipe that nobody reads keeps nothing from being interrupted: exit 130, no traceback."""
    with start("log", long) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_is_not_ours(path: Path, number: signal.Signals) -> None:
    """The first Ctrl-C closes what is followed; after it signals do what they did before."""
    before = signal.getsignal(number)
    with opened(str(path)) as store, Subscription(store, new_model(), None) as subscription:
        with closed_by_signals(subscription):
            assert signal.getsignal(number) is not before
            signal.raise_signal(number)
            assert signal.getsignal(number) is before
        assert list(subscription) == []


def test_a_real_terminal(path: Path) -> None:
    """On a pseudo-terminal the output has colours and lines that end as a terminal's do."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [*RAT_FSM, "log", str(path)], stdout=theirs, env=os.environ | {"TERM": "xterm-256color"}
    ) as process:
        os.close(theirs)
        output = b""
        while chunk := read_terminal(ours):
            output += chunk
    os.close(ours)
    assert process.returncode == 0
    assert b"\x1b[31merror_recorded" in output


def read_terminal(number: int) -> bytes:
    """What a terminal shows next; nothing once the other side is closed."""
    try:
        return os.read(number, 65536)
    except OSError:
        return b""
