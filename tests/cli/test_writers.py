"""rat-fsm writers: who writes a log, and who still lives."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from rat_fsm import open_store
from tests.cli.logs import Writer, a_life, change, plain, run, write
from tests.processes import writer_process

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log is."""
    return tmp_path / "events.db"


def rows(output: str) -> list[list[str]]:
    """The cells of each line after the first."""
    return [re.split(r"  +", line) for line in plain(output)[1:]]


def test_what_a_person_reads(path: Path) -> None:
    """One that ended, one that lives and one that was killed, each with its head."""
    write(path, *a_life("c1"), writer="ended")
    with writer_process(path, "lives", 2), writer_process(path, "killed", 1) as killed:
        killed.kill()
        before = sorted(path.parent.iterdir())
        result = run("writers", path)
        assert sorted(path.parent.iterdir()) == before
    assert plain(result.stdout)[0] == f"sqlite:{path}: 3 writers, 1 held"
    head, *writers = rows(result.stdout)
    assert head == [
        *("writer", "slot", "phase", "events", "open", "frame", "hash", "last event, UTC"),
        "last seen",
    ]
    with contextlib.closing(open_store(path)) as store:
        heads = store.heads()
    assert [row[:4] for row in writers] == [
        ["ended", "free", "stopped", "12"],
        ["lives", "held", "serving", "8"],
        ["killed", "dead", "serving", "5"],
    ]
    assert [row[4] for row in writers] == ["0", "3", "2"]
    for row in writers:
        assert row[5] == str(heads[row[0]].position)
        assert heads[row[0]].frame.hash.hex().startswith(row[6])
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", row[7])
        assert row[8].endswith(" ago")


def test_on_a_narrow_terminal(path: Path) -> None:
    """Times in full are left out, so that no line is folded."""
    write(path, *a_life("c1"))
    narrow, wide = (plain(run("writers", path, width=width).stdout) for width in (80, 200))
    assert narrow[-2].split()[-2:] == ["last", "seen"]
    assert narrow[-1].startswith("w0      free  stopped      12     0      ")
    assert ("UTC" in narrow[-2], "UTC" in wide[-2]) == (False, True)


def test_json_says_the_same(path: Path) -> None:
    """And the whole hash."""
    with Writer(path) as writer:
        writer.register("c1")
        (told,) = json.loads(run("writers", path, "--json").stdout)["writers"]
    assert told.pop("last_event") == told.pop("last_seen")
    assert len(told.pop("head")) == 64
    assert told == {
        "writer": "w0",
        "held": True,
        "died": False,
        "epoch": None,
        "phase": "serving",
        "events": 3,
        "open_streams": 2,
        "position": told["position"],
    }


def test_an_empty_log_has_none(path: Path) -> None:
    """Which is no error."""
    open_store(path, writable=True).close()
    assert plain(run("writers", path).stdout) == [f"sqlite:{path}: 0 writers, 0 held"]


def test_a_hostile_name_is_shown_as_text(path: Path) -> None:
    """As every string of a log."""
    write(path, *a_life("c1"), writer="[red]x[/red] \u202e")
    told = plain(run("writers", path, width=400).stdout)
    assert told[2].startswith(r"[red]x[/red] \u202e  free")


def test_a_damaged_log_is_named(path: Path) -> None:
    """With where it is damaged; exit 2."""
    write(path, *a_life("c1"))
    change(path, "UPDATE frames SET hash = zeroblob(32)")
    result = run("writers", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: frame 1 is damaged: its hash does not match")
