"""rat-fsm verify."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

from rat_fsm.events import Registered
from rat_fsm.log import EventLog
from rat_fsm.log.heads import head_path
from tests.cli.logs import Writer, a_life, change, plain, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of five frames, four of which hold one registration each."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        log.begin()
        log.flush()
        for number in range(4):
            log.append(("connection", f"c{number}"), Registered("10.0.0.1"))
            log.flush()
    change(path, "DELETE FROM frames WHERE position > 5")
    return path


def test_a_sound_log(path: Path) -> None:
    """A log without damage is said to be sound, with what it holds; exit 0."""
    result = run("verify", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert plain(result.stdout) == [
        f"sqlite:{path} is sound",
        "every hash recomputed: 5 frames with 6 events of 1 writer",
        "held against no head: what is missing at the end would not show (see --keep-head)",
    ]


def test_json(path: Path) -> None:
    """With --json it is one object, sound or not."""
    sound = {"sound": True, "frames": 5, "events": 6, "writers": ["w0"], "problems": []}
    assert json.loads(run("verify", path, "--json").stdout) == sound | {"head": None}
    change(path, "UPDATE frames SET last_at = last_at + 1 WHERE position = 3")
    result = run("verify", path, "--json")
    assert (result.exit_code, result.stdout.count("\n")) == (1, 1)
    message = "frame 3 is damaged: its hash does not match its content"
    assert json.loads(result.stdout) == {
        "sound": False,
        "frames": 2,
        "events": 3,
        "writers": ["w0"],
        "problems": [{"position": 3, "writer": "w0", "message": message}],
        "head": None,
    }


DAMAGES = {
    "another body": "UPDATE frames SET body = replace(body, '10.0.0.1', '10.0.0.2')",
    "no JSON": "UPDATE frames SET body = 'x'",
    "a blob": "UPDATE frames SET body = x'ff00'",
    "another hash": "UPDATE frames SET hash = zeroblob(32)",
    "a short hash": "UPDATE frames SET hash = x'00'",
    "another chain": "UPDATE frames SET prev = zeroblob(32)",
    "another writer": "UPDATE frames SET writer = 'w7'",
    "no number": "UPDATE frames SET count = 'many'",
    "a large number": "UPDATE frames SET count = 9223372036854775807",
    "another time": "UPDATE frames SET first_at = 9223372036854775807",
    "no fingerprints": "UPDATE frames SET fingerprints = '['",
    "numbers for fingerprints": "UPDATE frames SET fingerprints = '[1]'",
    "another salt": "UPDATE frames SET salt = x''",
    "a text for a salt": "UPDATE frames SET salt = 'salt'",
    "a newer format": "UPDATE frames SET format = 99",
    "another hash function": "UPDATE frames SET algorithm = 'md5'",
    "a missing frame": "DELETE FROM frames",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_named(path: Path, damage: str) -> None:
    """Whatever was done to a frame, verify names it first and exits 1."""
    change(path, f"{DAMAGES[damage]} WHERE position = 3")
    result = run("verify", path)
    assert (result.exit_code, result.stderr) == (1, "")
    lines = plain(result.stdout)
    assert lines[0] == f"sqlite:{path} is DAMAGED"
    assert "frame 3 " in lines[1] or "frame 3:" in lines[1] or "frames 3 " in lines[1]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "command", ["log", "log --json", "log --last 9", "stats", "history", "history --json"]
)
def test_damage_is_one_line_elsewhere(path: Path, damage: str, command: str) -> None:
    """A command that meets the damage says so in one line, exit 2, never with a traceback."""
    change(path, f"{DAMAGES[damage]} WHERE position = 3")
    name, *options = command.split()
    result = run(name, path, *(["c3"] if name == "history" else []), *options)
    assert result.exit_code in {0, 2}
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stderr.count("\n") == (result.exit_code == 2)
    assert result.stderr.startswith("error: ") == (result.exit_code == 2)


@pytest.mark.parametrize("start", [0, 16, 100, 4096, 5000, 9000])
def test_bytes_that_rotted(path: Path, start: int) -> None:
    """Bytes of the file that changed are reported or an error, never a traceback."""
    content = bytearray(path.read_bytes())
    content[start : start + 64] = bytes(byte ^ 0xA5 for byte in content[start : start + 64])
    path.write_bytes(content)
    for command in (["verify", path], ["log", path], ["stats", path], ["history", path, "c1"]):
        result = run(*command)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert result.stderr.count("\n") <= 1


def test_a_head_is_kept(path: Path) -> None:
    """--keep-head notes the last frames in FILE.head, for its owner only."""
    result = run("verify", path, "--keep-head")
    head = head_path(path)
    assert plain(result.stdout)[-1] == f"held against the head kept in {head}"
    assert stat.S_IMODE(head.stat().st_mode) == 0o600
    assert json.loads(run("verify", path, "--json").stdout)["head"] == str(head)


def test_a_shortened_log_shows_against_its_head(path: Path) -> None:
    """Frames missing at the end are found by a kept head, and by nothing else."""
    run("verify", path, "--keep-head")
    change(path, "DELETE FROM frames WHERE position = 5")
    result = run("verify", path)
    assert result.exit_code == 1
    assert plain(result.stdout)[1] == "w0    frame 5 of w0 is missing"
    assert run("verify", path, "--no-head").exit_code == 0


def test_a_damaged_log_leaves_its_head(path: Path) -> None:
    """--keep-head keeps none of a log that is not sound, or that is not the one it was."""
    run("verify", path, "--keep-head")
    before = head_path(path).read_bytes()
    change(path, "DELETE FROM frames WHERE position = 5")
    assert run("verify", path, "--keep-head").exit_code == 1
    result = run("verify", path, "--keep-head", "--no-head")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert head_path(path).read_bytes() == before


def test_a_head_that_is_none(path: Path) -> None:
    """A head file that cannot be read is an error, and no head."""
    head_path(path).write_text("x")
    assert run("verify", path, "--no-head").exit_code == 0
    assert run("verify", path, "--no-head", "--keep-head").exit_code == 2
    result = run("verify", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {head_path(path)} is no head file")


def test_a_head_that_cannot_be_kept(path: Path) -> None:
    """Where the head cannot be written one line says so."""
    long = path.with_name("x" * 246)  # the name of a temporary file beside it would be too long
    path.rename(long)
    result = run("verify", long, "--keep-head")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: cannot keep {head_path(long)}: File name too long\n"


def test_many_problems(tmp_path: Path) -> None:
    """Of many problems the first twenty are shown, and the others counted."""
    path = tmp_path / "events.db"
    for number in range(30):
        with EventLog.open(path, writer=f"writer{number}") as log:
            log.append(("connection", "c1"), Registered("10.0.0.1"))
    change(path, "UPDATE frames SET hash = zeroblob(32)")
    lines = plain(run("verify", path).stdout)
    assert lines[21:] == [
        "and 10 more problems, see --json",
        "sound before that: 0 frames with 0 events of 30 writers",
        "held against no head: what is missing at the end would not show (see --keep-head)",
    ]


def test_while_a_server_writes(tmp_path: Path) -> None:
    """A log that grows meanwhile is sound, and so is its head."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        for number in range(3):
            writer.register(f"c{number}")
            assert run("verify", path, "--keep-head").exit_code == 0


def test_a_life_survives(tmp_path: Path) -> None:
    """Verifying changes nothing: the log reads the same before and after."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        for connection_id, event in a_life("c1"):
            log.append(("connection", connection_id), event)
    before = run("log", path, "--json").stdout_bytes
    run("verify", path, "--keep-head")
    assert run("log", path, "--json").stdout_bytes == before
