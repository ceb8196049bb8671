"""rat-fsm verify."""

from __future__ import annotations

import contextlib
import json
import stat
from typing import TYPE_CHECKING

import pytest

from rat_fsm.events import Registered
from rat_fsm.log import EventLog
from rat_fsm.log.heads import head_path
from rat_fsm.log.snapshots import save_snapshot
from rat_fsm.replay import replay
from rat_fsm.stores import open_store
from tests.cli.logs import ESCAPED, HOSTILE, Writer, a_life, change, plain, run
from tests.logs import LIFECYCLES
from tests.orders import New

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of five frames, four of which hold one registration each, with a snapshot."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        log.begin()
        log.flush()
        for number in range(4):
            log.append(("connection", f"c{number}"), Registered("10.0.0.1"))
            log.flush()
    change(path, "DELETE FROM frames WHERE position > 5")
    change(path, "DELETE FROM snapshots")
    with contextlib.closing(open_store(path, writable=True)) as store:
        head = store.heads()["w0"]
        save_snapshot(store, "w0", replay(path), head.position, head.frame.hash)
    return path


def test_a_sound_log(path: Path) -> None:
    """A log without damage is said to be sound, with what it holds; exit 0."""
    result = run("verify", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert plain(result.stdout) == [
        f"sqlite:{path} is sound",
        "every hash recomputed: 5 frames with 6 events of 1 writer",
        "1 snapshot held against what the frames fold to",
        "held against no head: what is missing at the end would not show (see --keep-head)",
        "held against no checkpoint: a rewritten past would not show (see rat-fsm seal)",
    ]


def test_json(path: Path) -> None:
    """With --json it is one object, sound or not."""
    sound = {"sound": True, "frames": 5, "events": 6, "writers": ["w0"], "problems": []}
    held = {"head": None, "checkpoint": None}
    snapshots = {"refolded": ["w0"], "left_alone": {}}
    assert json.loads(run("verify", path, "--json").stdout) == {
        **sound,
        **held,
        "snapshots": snapshots,
    }
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
        **held,
        "snapshots": {
            "refolded": [],
            "left_alone": {"w0": "the frames before it are damaged"},
        },
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
    assert plain(result.stdout)[-2] == f"held against the head kept in {head}"
    assert stat.S_IMODE(head.stat().st_mode) == 0o600
    assert json.loads(run("verify", path, "--json").stdout)["head"] == str(head)


def test_a_shortened_log_shows_against_its_head(path: Path) -> None:
    """Frames missing at the end are found by a kept head, where there is no snapshot to tell."""
    run("verify", path, "--keep-head")
    change(path, "DELETE FROM snapshots")
    change(path, "DELETE FROM frames WHERE position = 5")
    result = run("verify", path)
    assert result.exit_code == 1
    assert plain(result.stdout)[1] == "w0    frame 5 of w0 is missing"
    assert run("verify", path, "--no-head").exit_code == 0


def test_a_damaged_log_leaves_its_head(path: Path) -> None:
    """--keep-head keeps none of a log that is not sound, or that is not the one it was."""
    run("verify", path, "--keep-head")
    before = head_path(path).read_bytes()
    change(path, "DELETE FROM snapshots")
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


def test_a_head_is_kept_elsewhere(path: Path) -> None:
    """In the --head-file, as a log on a server needs it; one that is asked for must be there."""
    file = path.with_name("kept elsewhere")
    result = run("verify", path, "--head-file", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: no head at {file}: No such file or directory\n"
    result = run("verify", path, "--head-file", file, "--keep-head")
    assert plain(result.stdout)[-2] == f"held against the head kept in {file}"
    assert not head_path(path).exists()
    change(path, "DELETE FROM frames WHERE position = (SELECT max(position) FROM frames)")
    result = run("verify", path, "--head-file", file)
    assert result.exit_code == 1
    assert "is missing" in result.stdout
    # Its snapshot tells as well.
    assert run("verify", path, "--head-file", file, "--no-head").exit_code == 1


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
        *(
            f"the snapshot of writer{number} was not compared: the frames before it are damaged"
            for number in sorted(range(30), key=str)
        ),
        "held against no head: what is missing at the end would not show (see --keep-head)",
        "held against no checkpoint: a rewritten past would not show (see rat-fsm seal)",
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


def test_a_snapshot_that_lies_is_named(path: Path) -> None:
    """A snapshot that is not what the frames fold to is a problem of its writer."""
    lie = "CAST(json_set(CAST(data AS TEXT), '$.model.totals.bytes_sent', 7) AS BLOB)"
    change(path, f"UPDATE snapshots SET data = {lie}")  # noqa: S608 - ours
    result = run("verify", path)
    assert result.exit_code == 1
    assert plain(result.stdout)[1] == (
        "w0    frame 5: the snapshot of w0 is not what its frames fold to"
    )


def test_snapshots_of_lifecycles_of_ones_own(tmp_path: Path) -> None:
    """They are compared once the command is told where those lifecycles are."""
    path = tmp_path / "events.db"
    with EventLog.open(path, lifecycles=LIFECYCLES) as log:
        log.append(("order", "o1"), New.Placed("tea", 250, "EUR"))
    alone = "the snapshot of w0 was not compared: it holds lifecycles that are not known here"
    assert f"{alone} (see --module)" in plain(run("verify", path).stdout)
    result = run("verify", path, "--module", "tests.orders:ORDER")
    assert (result.exit_code, plain(result.stdout)[2]) == (
        0,
        "1 snapshot held against what the frames fold to",
    )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tests.orders", "two lifecycles are called order: tests.orders:OLD_ORDER and tests"),
        ("tests.orders:NONE", "cannot import tests.orders:NONE"),
        ("tests.orders:Done", "tests.orders:Done is no Lifecycle but of type type"),
    ],
)
def test_a_lifecycle_that_is_none(target: str, message: str, path: Path) -> None:
    """Anything else in its place is one line, exit 2."""
    result = run("verify", path, "--module", target)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr


def test_hostile_writers_are_shown_as_text(tmp_path: Path) -> None:
    """A name with control characters in a changed log moves no cursor."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        log.append(("connection", "c1"), Registered("10.0.0.1"))
    change(path, "UPDATE frames SET writer = ?", HOSTILE)
    change(path, "UPDATE snapshots SET writer = ?", HOSTILE)
    assert ESCAPED in run("verify", path).stdout
    output = run("verify", path, width=80).stdout
    assert ("\x1b[31m\x9b" in output, "\u202e" in output, "\x07" in output) == (False,) * 3
