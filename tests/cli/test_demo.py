"""The demo, as a user runs it: in a process of its own, with real sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rat_fsm import replay
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store

if TYPE_CHECKING:
    from pathlib import Path


def start(log: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts a demo without a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "rat_fsm.cli", "demo", "--log", str(log), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Waits for its exit code, output and errors."""
    try:
        output, errors = process.communicate(timeout=50)
    finally:
        process.kill()
    return process.returncode, output, errors


def run(log: Path, *arguments: str) -> tuple[int, str, str]:
    """Starts a demo and waits for it."""
    return finish(start(log, *arguments))


@pytest.mark.slow
def test_it_ends_by_itself_and_its_replay_equals_what_was_live(tmp_path: Path) -> None:
    """Without a terminal; then the file verifies and a second run continues it."""
    log = tmp_path / "events.db"
    code, output, errors = run(log, "--duration", "2", "--clients", "30", "--seed", "7")
    assert (code, errors) == (0, "")
    assert "the replay equals what was live" in output
    assert "draining" in output
    assert f"rat-fsm verify {log}" in output
    first = replay(log).stats.as_dict()
    assert first["total_connections"] >= 30 * 0.8
    assert first["active_connections"] == 0
    assert first["closed_by_reason"]["completed"] > 0
    store = open_store(log)
    assert verify_log(store).problems == ()
    store.close()
    code, output, errors = run(log, "--duration", "1", "--clients", "10", "--json")
    assert (code, errors) == (0, "")
    told: dict[str, Any] = json.loads(output)
    assert told["replay_equals_live"] is True
    assert told["stats"]["total_connections"] > first["total_connections"]
    assert told["stats"]["total_connections"] == replay(log).totals.registered


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_it(tmp_path: Path, number: int) -> None:
    """Ctrl-C or SIGTERM ends it as the duration would."""
    process = start(tmp_path / "events.db", "--clients", "20")
    assert process.stdout is not None
    while "active" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    code, output, errors = finish(process)
    assert (code, errors) == (0, "")
    assert "the replay equals what was live" in output


@pytest.mark.slow
def test_every_misbehaviour_is_in_the_log(tmp_path: Path) -> None:
    """Clients that vanish, stall, meet a broken upstream, or come when the server is full."""
    log = tmp_path / "events.db"
    code, _, errors = run(log, "--duration", "9", "--clients", "80", "--seed", "3")
    assert (code, errors) == (0, "")
    stats = replay(log).stats.as_dict()
    assert {"completed", "client_disconnect", "stalled"} <= stats["closed_by_reason"].keys()
    assert {"max_connections", "draining"} <= stats["refused_by_cause"].keys()
    assert stats["total_retries"] > 0
    assert stats["total_recoveries"] > 0


def test_a_log_that_is_something_else_is_one_line(tmp_path: Path) -> None:
    """Before any server is started."""
    log = tmp_path / "notes.txt"
    log.write_text("not a log, and long enough to be seen as none " * 50)
    code, output, errors = run(log, "--duration", "1")
    assert code == 2
    assert output == ""
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
