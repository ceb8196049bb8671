"""``rat-fsm export``: what comes out where, and what is refused in one line."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from rat_fsm.events import Registered
from tests.cli.logs import (
    ESCAPED,
    HOSTILE,
    RAT_FSM,
    Writer,
    a_life,
    change,
    plain,
    run,
    start,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

BINARY = ("--parquet", "--arrow")
TEXT = ("--frames", "--jsonl", "--xes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of a connection that lives, and of the one it is about."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1"), ("c2", Registered("10.0.0.2", HOSTILE)))
    return path


def test_lines_of_json(path: Path) -> None:
    """--jsonl is what `rat-fsm log --json` prints, into a pipe or a file."""
    whole = run("log", path, "--json").stdout_bytes
    assert run("export", path, "--jsonl").stdout_bytes == whole
    assert run("export", path, "--jsonl", "--output", "-").stdout_bytes == whole
    target = path.with_name("out.jsonl")
    result = run("export", path, "--jsonl", "-o", target)
    lines, size = whole.count(b"\n"), f"{len(whole) / 1000:.1f} kB"
    assert plain(result.stdout) == [f"{target}: {lines} events in {lines} lines, {size}"]
    assert target.read_bytes() == whole
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("form", [*BINARY, *TEXT])
def test_a_file_of_each_form(path: Path, form: str) -> None:
    """Each goes into a file, which --json tells about, and the same into a pipe."""
    if form in BINARY:
        pytest.importorskip("pyarrow")
    target = path.with_name("out")
    told = json.loads(run("export", path, form, "-o", target, "--json").stdout)
    length = target.stat().st_size
    assert told == told | {"output": str(target), "format": form[2:], "bytes": length}
    assert told["events"] == len(run("log", path).stdout.splitlines())
    assert told["parts"] >= 1
    piped = subprocess.run([*RAT_FSM, "export", path, form], capture_output=True, check=True)
    assert (piped.stdout, piped.stderr) == (target.read_bytes(), b"")


def test_a_selection(path: Path) -> None:
    """Times, positions and lifecycles choose; personal data may stay behind."""
    events = [json.loads(line) for line in run("log", path, "--json").stdout.splitlines()]

    def exported(*options: object) -> list[str]:
        lines = run("export", path, "--jsonl", *options).stdout.splitlines()
        return [json.loads(line)["position"] for line in lines]

    def expected(first: int, last: int) -> list[str]:
        return [event["position"] for event in events[first : last + 1]]

    assert exported("--since", events[3]["at"], "--until", events[5]["at"]) == expected(3, 5)
    assert exported("--after", events[3]["position"]) == expected(4, 99)
    assert exported("--until", events[3]["position"]) == expected(0, 3)
    assert exported("--after", 0) == expected(0, 99)
    assert exported("--until", events[-1]["position"].partition(".")[0]) == expected(0, 99)
    nodes = [event["position"] for event in events if event["stream"][0] == "node"]
    assert exported("--lifecycle", "node") == nodes
    assert len(exported("--lifecycle", "node", "--lifecycle", "connection")) == len(events)
    for form in ("--xes", "--jsonl"):
        text = run("export", path, form, "--redact").stdout
        assert "completed" in text
        assert not any(secret in text for secret in ("10.0.0.", "browser", "reset by peer"))


def test_a_part_of_the_frames(path: Path) -> None:
    """--after begins with the frame behind it."""
    lines = run("export", path, "--frames", "--after", 1).stdout.splitlines()
    assert json.loads(lines[0])["after"] == 1
    whole = run("export", path, "--frames", "--after", 0).stdout.splitlines()
    assert lines[1:-1] == whole[2:-1]


REFUSED = {
    "no form": ([], "error: say in which form: one of --frames, --jsonl, --parquet, --arrow"),
    "two forms": (["--xes", "--jsonl"], "error: say in which form: one of"),
    "a part of a frame": (["--frames", "--after", "1.0"], "error: frames leave whole"),
    "chosen frames": (["--frames", "--lifecycle", "node"], "error: frames leave as they are"),
    "redacted frames": (["--frames", "--redact"], "error: frames leave as they are"),
    "frames until": (["--frames", "--until", "1.0"], "error: frames leave as they are"),
    "past the end": (["--jsonl", "--until", "999"], "error: there is no frame 999"),
    "after the end": (["--jsonl", "--after", "999.1"], "error: there is no frame 999"),
    "frames after the end": (["--frames", "--after", "999"], "error: there is no frame 999"),
    "a naive time": (["--jsonl", "--since", "2026-09-21"], "has no time zone"),
    "json of stdout": (["--jsonl", "--json"], "error: --json tells about a file"),
    "no folder": (["--jsonl", "-o", "/none/x"], "error: cannot write /none/x: No such file"),
    "a folder": (["--jsonl", "-o", "/tmp", "--force"], "error: /tmp is no file"),  # noqa: S108
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(path: Path, case: str) -> None:
    """One line on stderr, nothing on stdout, exit 2."""
    options, message = REFUSED[case]
    result = run("export", path, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_what_is_there_stays(path: Path) -> None:
    """A file is replaced with --force only, and the log itself never."""
    target = path.with_name("out")
    target.write_bytes(b"before")
    result = run("export", path, "--jsonl", "-o", target)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "is there already" in result.stderr
    assert target.read_bytes() == b"before"
    assert run("export", path, "--jsonl", "-o", target, "--force").exit_code == 0
    before = path.read_bytes()
    result = run("export", path, "--jsonl", "-o", path, "--force")
    assert (result.exit_code, result.stderr) == (2, f"error: {path} is the log itself\n")
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", [*BINARY, *TEXT])
def test_a_damaged_log(path: Path, form: str) -> None:
    """The damage is named, and no file appears."""
    if form in BINARY:
        pytest.importorskip("pyarrow")
    change(path, "UPDATE frames SET body = 'x' WHERE position = 1")
    result = run("export", path, form, "-o", path.with_name("out"))
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("error: frame 1 is damaged")
    assert not path.with_name("out").exists()
    change(path, "UPDATE frames SET count = 'x'")
    assert run("export", path, form).exit_code == 2
    change(path, "DROP TABLE frames")
    result = run("export", path, form, "-o", path.with_name("out"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"error: cannot read {path}")


def test_without_pyarrow(path: Path) -> None:
    """Where the extra is missing, a line says what to install."""
    script = (
        "import sys; sys.modules['pyarrow'] = None; from rat_fsm.cli import main;"
        f"sys.argv = ['rat-fsm', 'export', {str(path)!r}, '--parquet']; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    message = "exporting Arrow or Parquet needs an extra: pip install 'rat-fsm[export]'"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"error: {message}\n")


def on_a_terminal(*args: object) -> tuple[int, str]:
    """Runs the command with a terminal for its output."""
    leader, follower = pty.openpty()
    with start(*args, stdout=follower, stderr=follower, text=False) as process:
        os.close(follower)
        output = io.BytesIO()
        with contextlib.suppress(OSError):  # Linux's way to say that the other end has closed
            while some := os.read(leader, 65536):
                output.write(some)
    os.close(leader)
    return process.returncode, output.getvalue().decode()


def test_on_a_terminal(path: Path) -> None:
    """Text shows nothing that a terminal obeys; what is binary is refused."""
    code, output = on_a_terminal("export", path, "--parquet")
    assert (code, output.count("\n")) == (2, 1)
    assert "say --output FILE" in output
    for form in ("--jsonl", "--xes"):
        code, output = on_a_terminal("export", path, form)
        assert code == 0
        assert not any(character in output for character in "\x1b\x9b\x07\x7f\u202e\u2066")


def test_hostile_ids_and_paths(path: Path) -> None:
    """A report is one line, whatever the file is called."""
    target = path.with_name("[red]\x1b[31m\n.xes")
    result = run("export", path, "--xes", "-o", target)
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert r"[red]\x1b[31m\n.xes: " in result.stdout
    assert ESCAPED not in target.read_text(encoding="utf-8")
    assert ET.parse(target) is not None  # noqa: S314 - our own


def test_a_reader_that_leaves(path: Path) -> None:
    """A closed pipe ends it without a word."""
    process = start("export", path, "--xes")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) in {0, 141}


def test_while_a_server_writes(tmp_path: Path) -> None:
    """A log that grows meanwhile is exported as far as it had come."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        for number in range(3):
            writer.register(f"c{number}")
            result = run("export", path, "--frames")
            assert (result.exit_code, result.stderr) == (0, "")
            assert f'\\"c{number}\\"' in result.stdout
