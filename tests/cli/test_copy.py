"""``rat-fsm import`` and ``rat-fsm copy``: the same log somewhere else, or one line."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from rat_fsm import EventLog
from tests.cli.logs import RAT_FSM, Writer, a_life, change, plain, run, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of one connection, each run a frame or more."""
    path = tmp_path / "events.db"
    for _ in range(3):
        write(path, *a_life("c1"))
    return path


def told(path: Path) -> bytes:
    """All that a log says."""
    return run("log", path, "--json").stdout_bytes


def totals(path: Path) -> tuple[int, int]:
    """How many frames and events a log has."""
    verified = json.loads(run("verify", path, "--json").stdout)
    return verified["frames"], verified["events"]


def test_out_and_in(path: Path) -> None:
    """An export comes back as the same log, from a file or through a pipe."""
    file, again = path.with_name("frames"), path.with_name("again.db")
    run("export", path, "--frames", "-o", file)
    frames, events = totals(path)
    result = run("import", file, again)
    assert plain(result.stdout) == [
        f"{again}: {frames} frames with {events} events verified and added"
    ]
    assert told(again) == told(path)
    other = path.with_name("other.db")
    piped = subprocess.run(
        [*RAT_FSM, "import", "-", f"sqlite:{other}", "--json"],
        input=file.read_bytes(),
        capture_output=True,
        check=True,
    )
    assert json.loads(piped.stdout) == {
        "log": f"sqlite:{other}",
        "frames": frames,
        "events": events,
        "before": 0,
        "writers": ["w0"],
    }
    assert told(other) == told(path)
    assert plain(run("import", file, other).stdout) == [
        f"{other}: 0 frames with 0 events verified and added; {frames} had been there"
    ]


def test_imports_that_fail(path: Path) -> None:
    """One line, exit 2, and no log where there was none."""
    target = path.with_name("again.db")
    whole = run("export", path, "--frames").stdout_bytes
    cut = path.with_name("cut")
    cut.write_bytes(whole[:-20])
    for file, message in (
        (path, "error: no export of frames: line 1: JSON is malformed"),
        (cut, "error: no export of frames: line "),
        (path.with_name("none"), f"error: cannot read {path.with_name('none')}: No such file"),
        (path.parent, f"error: cannot read {path.parent}: Is a directory"),
    ):
        result = run("import", file, target)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert result.stderr.startswith(message)
        assert not target.exists()


def test_what_can_be_read_only_once(path: Path) -> None:
    """A pipe that is given by name is refused: it could not be verified first."""
    command = f"{' '.join(RAT_FSM)} import <(cat '{path}') '{path.with_name('again.db')}'"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)  # noqa: S607
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "send it to stdin" in result.stderr


def test_copy(path: Path) -> None:
    """The destination is the same log; what came since is added the next time."""
    copy = path.with_name("copy.db")
    frames, events = totals(path)
    assert plain(run("copy", path, copy).stdout) == [
        f"{copy}: {frames} frames with {events} events verified and added"
    ]
    assert told(copy) == told(path)
    write(path, *a_life("c2"))
    result = json.loads(run("copy", path, f"sqlite:{copy}", "--json").stdout)
    assert (result["before"], result["frames"]) == (frames, totals(path)[0] - frames)
    assert told(copy) == told(path)


def test_copies_that_fail(path: Path) -> None:
    """One line, exit 2, and the destination is what it was."""
    other = path.with_name("other.db")
    write(other, *a_life("c9"))
    before = told(other)
    result = run("copy", path, other)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"error: sqlite:{other} is no earlier copy: its frame 1 is another one\n"
    )
    with EventLog.open(other):
        result = run("copy", path, other)
        assert result.stderr == f"error: writer w0 of {other} is in use by another log\n"
    assert told(other).startswith(before)
    for source, destination, message in (
        (path.with_name("none.db"), other, "error: no log at"),
        (path, "memory:", "error: a memory: log would be gone"),
        (path, path.parent, "error: no log at"),
        (path, "http:x", "error: no store for"),
    ):
        result = run("copy", source, destination)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert result.stderr.startswith(message)


def test_a_damaged_log(path: Path) -> None:
    """The damage is named; what came before it is copied."""
    frames, _ = totals(path)
    change(path, "UPDATE frames SET hash = zeroblob(32) WHERE position = ?", frames)
    copy = path.with_name("copy.db")
    result = run("copy", path, copy)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith(f"error: frame {frames} is damaged")
    assert totals(copy)[0] == frames - 1
    change(path, "UPDATE frames SET count = 'x' WHERE position = ?", frames)
    assert run("copy", path, copy).exit_code == 2


def test_while_a_server_writes(tmp_path: Path) -> None:
    """A log that grows meanwhile is copied as far as it had come, again and again."""
    path, copy = tmp_path / "events.db", tmp_path / "copy.db"
    with Writer(path) as writer:
        for number in range(3):
            writer.register(f"c{number}")
            assert run("copy", path, copy).exit_code == 0
            assert told(copy) == told(path)
