"""rat-fsm stats."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from rat_fsm.events import ConnectionRefused, Registered
from rat_fsm.log import EventLog
from rat_fsm.replay import replay
from tests.cli.logs import ESCAPED, HOSTILE, Writer, a_life, change, plain, run, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with two ended connections and an open one."""
    path = tmp_path / "events.db"
    log = EventLog.open(path)
    log.begin({"max_connections": 10})
    for connection_id, event in [*a_life("c1"), *a_life("c2", "kicked"), *a_life("c3")[:3]]:
        log.append(("connection", connection_id), event)
    log.append(("node", log.node_id or ""), ConnectionRefused("per_client", 3))
    log.close()
    return path


def test_json_is_the_replayed_statistics(path: Path) -> None:
    """With --json it is one object: what get_stats() gives for the whole log."""
    result = run("stats", path, "--json")
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    stats = json.loads(result.stdout)
    assert stats == replay(path).stats.as_dict()
    assert (stats["total_connections"], stats["active_connections"]) == (3, 1)
    assert stats["closed_by_reason"] == {"completed": 1, "kicked": 1}


@pytest.mark.parametrize("width", [None, 80, 120])
def test_what_a_person_reads(path: Path, width: int | None) -> None:
    """Numbers in groups, parts with a bar, the same on every width."""
    lines = [line.rstrip() for line in plain(run("stats", path, width=width).stdout)]
    assert lines[0].startswith("1 writer · 25 events · until 20")
    assert lines[1:] == [
        "open now                   1  of at most 10 · peak 1 · node stopped",
        f"  active                   1  {'█' * 32}",
        *lines[3:4],
        "sent                  4.0 kB  in 7 messages",
        "errors                     2",
        "retries                    2  2 recovered, 0 refused",
        "refused                    3",
        f"  per_client               3  {'█' * 32}",
        "ended                      2",
        f"  completed                1  {'█' * 16}",
        f"  kicked                   1  {'█' * 16}",
    ]
    assert lines[3].startswith("ever                       3  active after ")


def test_one_writer(path: Path) -> None:
    """--writer counts what this writer recorded, and no other."""
    with EventLog.open(path, writer="other") as log:
        log.append(("connection", "c9"), Registered("10.0.0.1"))
    of = {
        writer: json.loads(run("stats", path, "--json", "--writer", writer).stdout)
        for writer in ("w0", "other")
    }
    assert of["other"]["total_connections"] == 1
    assert of["w0"] == replay(path, writer="w0").stats.as_dict()
    assert plain(run("stats", path, "--writer", "other").stdout)[0].startswith("writer other · ")


def test_an_unknown_writer(path: Path) -> None:
    """A writer that never wrote is an error that names those that did."""
    result = run("stats", path, "--writer", "w9")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: sqlite:{path} has no writer w9, but w0\n"


def test_an_empty_log(tmp_path: Path) -> None:
    """A log that holds nothing yet has statistics, too."""
    path = tmp_path / "events.db"
    EventLog.open(path).close()
    assert plain(run("stats", path).stdout)[0] == "0 writers · 0 events"
    assert json.loads(run("stats", path, "--json").stdout)["total_connections"] == 0


def test_while_a_server_writes(tmp_path: Path) -> None:
    """What another process has made durable counts at once."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        for number in range(1, 4):
            writer.register(f"c{number}")
            assert json.loads(run("stats", path, "--json").stdout)["active_connections"] == number


def test_hostile_reasons(tmp_path: Path) -> None:
    """A reason of an application is shown as text."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1", reason=HOSTILE))
    for width in (None, 80):
        lines = plain(run("stats", path, width=width).stdout)
        assert all(line.isprintable() for line in lines)
        assert any(ESCAPED in line for line in lines)


def test_oddities_are_shown(tmp_path: Path) -> None:
    """What a sound log does not have has a line of its own when it is there."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1"))
    assert "unknown events" not in run("stats", path).stdout
    change(path, "UPDATE frames SET body = replace(body, 'error_recorded', 'teleported')")
    assert "unknown events             1" in run("stats", path).stdout
