"""Golden logs, and the pytest plugin that knows where they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rat_fsm.events import RetryScheduled
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.table import Lifecycle
from rat_fsm.testing import check_golden
from tests.cli.logs import ESCAPED, HOSTILE, a_life, change, write

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGED = Lifecycle(
    "connection",
    states=CONNECTION.states,
    final=CONNECTION.final,
    transitions=[
        [kind.cls, source, dest]
        for kind in CONNECTION.events
        for source, dest in kind.moves.items()
        if (kind.cls, source) != (RetryScheduled, "active")
    ],
)
OF_A_PROJECT = """
from rat_fsm import CONNECTION
from rat_fsm.testing import check_golden

def test_old_logs(golden_logs):
    check_golden(golden_logs, CONNECTION)
"""


def problems(folder: Path, *lifecycles: Lifecycle) -> Iterator[str]:
    """What is wrong with the logs of a folder, a line each."""
    with pytest.raises(AssertionError) as caught:
        check_golden(folder, *lifecycles)
    yield from str(caught.value).split("\n")


def test_the_logs_of_every_release_are_legal_today(golden_logs: Path) -> None:
    """Ours are where the fixture says by default."""
    assert golden_logs == Path(__file__).parent.parent / "golden"
    check_golden(golden_logs, CONNECTION, NODE)


def test_what_would_break_is_told_for_each_log(tmp_path: Path) -> None:
    """Whatever the logs are called, and however deep they lie."""
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "1.sqlite", *a_life("c1"), *a_life("c2"))
    write(tmp_path / "2.db", *a_life("c3"))
    (tmp_path / "2.txt").write_text("no log", encoding="utf-8")
    check_golden(tmp_path, CONNECTION)
    told = list(problems(tmp_path, CHANGED))
    removed = "transition connection.retry_scheduled from active removed; streams: "
    assert len(told) == 2
    assert told[0].startswith(f"{tmp_path}/2.db: {removed}1, first connection/c3 at ")
    assert told[1].startswith(f"{tmp_path}/deep/1.sqlite: {removed}2, first connection/c1 at ")


def test_what_was_never_legal_is_told(tmp_path: Path) -> None:
    """A log must be legal under its own definitions first; what is hostile in it is escaped."""
    path = tmp_path / "1.db"
    write(path, *(pair for number in range(21) for pair in a_life(f"{HOSTILE[:3]}{number}")))
    change(path, "UPDATE frames SET body = replace(body, 'connection.recovered', 'connection.won')")
    told = list(problems(tmp_path))
    assert len(told) == 21
    assert told[0].startswith(f"{path}: connection.won of connection/{ESCAPED[:3]}0 at ")
    assert told[0].endswith(": unknown tag")
    assert told[-1].startswith(f"{path}: and ")


def test_an_event_out_of_turn(tmp_path: Path) -> None:
    """It is told with the state that could not take it."""
    write(tmp_path / "1.db", *a_life("c1"))
    change(
        tmp_path / "1.db", "UPDATE frames SET body = replace(body, 'activated', 'retries_reset')"
    )
    told = list(problems(tmp_path))
    assert told[0].startswith(f"{tmp_path}/1.db: connection.retries_reset of connection/c1 at ")
    assert told[0].endswith(": illegal in connecting")


def test_no_log_is_no_pass(tmp_path: Path) -> None:
    """A folder without a log, or none at all, would let everything pass."""
    assert list(problems(tmp_path)) == [f"there is no log in {tmp_path}"]
    assert list(problems(tmp_path / "none")) == [f"there is no log in {tmp_path}/none"]


@pytest.mark.slow
def test_the_fixture_is_there_in_any_project(tmp_path: Path) -> None:
    """Installed is enough; the folder is the project's choice, and no warning comes of it."""
    (tmp_path / "logs").mkdir()
    write(tmp_path / "logs" / "1.db", *a_life("c1"))
    (tmp_path / "test_logs.py").write_text(OF_A_PROJECT, encoding="utf-8")
    for folder, code in (("logs", 0), ("tests/golden", 1)):
        (tmp_path / "pytest.ini").write_text(f"[pytest]\nrat_golden_logs = {folder}\n")
        command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-W", "error"]
        result = subprocess.run(
            command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=50
        )
        assert result.returncode == code, result.stdout + result.stderr
