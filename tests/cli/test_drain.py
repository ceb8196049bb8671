"""rat-fsm drain, with servers that are processes."""

from __future__ import annotations

import contextlib
import getpass
import json
import re
import shutil
import socket
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from rat_fsm import EventLog, read_events, replay
from rat_fsm.cli.watch import Watch
from rat_fsm.events import DrainRequested, Registered
from rat_fsm.replay.sources import opened
from rat_fsm.runtime.requests import OPERATOR
from tests.cli.logs import ESCAPED, HOSTILE, a_life, change, finish, plain, run, start, write
from tests.drainers import Server, serving
from tests.logs import crash
from tests.waiting import until

if TYPE_CHECKING:
    import subprocess

PATIENCE: Final = 30.0
GOLDEN: Final = Path(__file__).parents[1] / "golden" / "0.1.0.sqlite"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the servers' log is."""
    return tmp_path / "events.db"


def asked(path: Path) -> list[str]:
    """Who has asked, in order."""
    recorded = [event.event for event in read_events(path)]
    return [event.actor for event in recorded if isinstance(event, DrainRequested)]


def has_recorded(path: Path, tag: str, count: int = 1) -> bool:
    """Whether there are so many events with a tag."""
    return sum(event.type == tag for event in read_events(path)) >= count


def ended(writer: str, total: int = 2, phase: str = "draining", by: str = "ann") -> dict[str, Any]:
    """What JSON says of a writer whose connections have all ended."""
    counts = {"total": total, "closed": total, "remaining": 0, "stalled": 0}
    return {"writer": writer, "phase": phase, "requested_by": by, **counts, "left": []}


def answer(output: str) -> dict[str, Any]:
    """The one object that --json prints."""
    assert output.count("\n") == 1
    told: dict[str, Any] = json.loads(output)
    return told


def without_times(told: dict[str, Any]) -> dict[str, Any]:
    """The same, with what differs from run to run checked and taken out."""
    assert 0 <= told.pop("waited") < PATIENCE
    assert re.fullmatch(r"\d+\.0", told.pop("requested_at"))
    for writer in told["writers"]:
        assert all(0 < connection.pop("open_for") < PATIENCE for connection in writer["left"])
    return told


def without_position(line: str) -> str:
    """The line that says who asked, without the number of the event."""
    return re.sub(r" \(event \d+\.0\)$", "", line)


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line of a command that runs."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def test_one_command_drains_every_writer(path: Path) -> None:
    """Two processes are asked, drain, and are told of; exit 0."""
    with serving(path) as first, serving(path, count=3) as second:
        result = run("drain", path, "--actor", "ann", "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        writers = [ended("w0"), ended("w1", 3)]
        assert without_times(answer(result.stdout)) == {
            "actor": "ann",
            "complete": True,
            "writers": writers,
        }
        for process in (first, second):
            process.end()
    assert replay(path).totals.closed_by_reason == {"shutdown": 5}


@pytest.mark.slow
def test_what_a_person_reads(path: Path) -> None:
    """A line for each change as it comes, and one at the end."""
    with (
        serving(path, behaviour="keeps") as server,
        start("drain", path, "--actor", "ann") as process,
    ):
        assert without_position(read_line(process)) == f"asked sqlite:{path} to drain, as ann"
        assert read_line(process) == "w0    serving   2 open, not draining yet"
        assert read_line(process) == "w0    draining  2 of 2 connections left"
        server.run("server.manager.record_stall('w0-0', 20.0)")
        assert read_line(process) == "w0    draining  2 of 2 connections left, 1 stalled"
        server.run("server.end('w0-0')")
        assert read_line(process) == "w0    draining  1 of 2 connections left"
        server.run("server.end('w0-1')")
        assert read_line(process) == "w0    draining  0 of 2 connections left"
        out, err = finish(process)
    assert re.fullmatch(r"drained 1 writer in \d+\.\d s\n", out)
    assert (process.returncode, err) == (0, "")


def test_on_a_terminal_it_reads_the_same(path: Path) -> None:
    """Plain lines, in colour."""
    with serving(path):
        assert run("drain", path, "--actor", "ann").exit_code == 0
        piped, shown = run("drain", path), run("drain", path, width=400)
    assert "\x1b[" in shown.stdout
    assert [line.rstrip() for line in plain(shown.stdout)[1:-1]] == plain(piped.stdout)[1:-1]


def test_one_that_does_not_follow(path: Path) -> None:
    """It is named with advice when time is up, the others have drained; exit 1."""
    with serving(path), serving(path, count=1, behaviour="ignores"):
        run("drain", path, "--no-wait", "--actor", "ann")
        until(lambda: has_recorded(path, "connection.closed", 2))
        result = run("drain", path, "--timeout", "0.1")
        assert (result.exit_code, result.stderr) == (1, "")
        lines = plain(result.stdout)
        assert lines[1:3] == [
            "w0    draining  0 of 2 connections left",
            "w1    serving   1 open, not draining yet",
        ]
        assert re.fullmatch(r"NOT drained after \d+ ms: 1 connection left", lines[3])
        assert lines[4] == (
            "w1    did not follow the request: it runs without an adapter that follows requests,"
            " or it hangs"
        )
        assert lines[5].startswith("w1    w1-0      sse /events from 10.0.0.1, active, open for ")
        assert lines[5].endswith("s, 1.0 kB sent")
        told = without_times(answer(run("drain", path, "--timeout", "0", "--json").stdout))
        left: dict[str, Any] = {"id": "w1-0", "kind": "sse", "route": "/events", "state": "active"}
        left |= {"stalled": False, "remote_addr": "10.0.0.1", "bytes_sent": 1000}
        assert told["complete"] is False
        assert told["writers"] == [
            ended("w0"),
            {**ended("w1", 0, "serving", ""), "remaining": 1, "left": [left]},
        ]


def test_those_that_are_left(path: Path) -> None:
    """Of many connections five are shown, those first that take nothing; JSON has a hundred."""
    with serving(path, count=120, behaviour="keeps") as server:
        server.run("server.manager.record_stall('w0-77', 20.0)")
        run("drain", path, "--no-wait")
        until(lambda: has_recorded(path, "node.drain_started"))
        result = run("drain", path, "--timeout", "0")
        assert result.exit_code == 1
        _, progress, end, *shown = plain(result.stdout)
        assert progress == "w0    draining  120 of 120 connections left, 1 stalled"
        assert end.endswith(": 120 connections left")
        assert [line.split()[1] for line in shown[:-1]] == [
            *("w0-77", "w0-0", "w0-1", "w0-2", "w0-3")
        ]
        assert "from 10.0.0.1, stalled, open for " in shown[0]
        assert shown[-1] == "w0    and 115 more, see --json"
        (writer,) = answer(run("drain", path, "--timeout", "0", "--json").stdout)["writers"]
        assert (writer["remaining"], writer["stalled"], len(writer["left"])) == (120, 1, 100)
        assert writer["left"][0]["id"] == "w0-77"


@pytest.mark.slow
def test_a_writer_killed_meanwhile(path: Path) -> None:
    """A process that dies with its connections is not waited for until time is up."""
    with (
        serving(path, behaviour="keeps") as server,
        start("drain", path, "--json", "--actor", "ann", "--timeout", PATIENCE) as process,
    ):
        until(lambda: has_recorded(path, "node.drain_started"))
        server.kill()
        out, err = finish(process)
    assert process.returncode == 0
    assert err == "writer w0 did not end cleanly; ending 3 streams it left\n"
    assert without_times(answer(out))["writers"] == [ended("w0", phase="stopped")]


def test_a_writer_that_restarts_meanwhile(path: Path) -> None:
    """The run that was asked is over; the one after it, in the same slot, was not asked."""
    with (
        serving(path, behaviour="keeps") as server,
        start("drain", path, "--json", "--actor", "ann", "--timeout", PATIENCE) as process,
    ):
        until(lambda: has_recorded(path, "node.drain_started"))
        server.run("server.end('w0-0')")
        server.kill()
        with serving(path, count=1):
            out, _ = finish(process)
    assert process.returncode == 0
    assert without_times(answer(out))["writers"] == [ended("w0", phase="stopped")]


def test_the_dead_are_ended_by_asking(path: Path) -> None:
    """What dead processes left is recorded as ended, which is said, and not waited for."""
    log = EventLog.open(path)
    Server(log, 2, "ignores")
    crash(log)
    result = run("drain", path)
    assert (result.exit_code, result.stderr) == (
        0,
        "writer w0 did not end cleanly; ending 3 streams it left\n",
    )
    assert plain(result.stdout)[1:] == ["nobody was running, so there is nothing to wait for"]
    assert replay(path).open_connections == 0


def test_runs_before_the_last_do_not_count(path: Path) -> None:
    """Only what the runs in progress have recorded is counted, whatever else is in the log."""
    write(path, *a_life("c1"), *a_life("c2")[:3])
    with serving(path) as server:
        server.run("server.ids.append('node.started')")  # an id may be called what it likes
        server.run("server.manager.register_connection('node.started', '10.0.0.1')")
        told = without_times(answer(run("drain", path, "--actor", "ann", "--json").stdout))
        assert told["writers"] == [ended("w0", 3)]


def test_the_runs_in_progress_at_a_frame(path: Path) -> None:
    """A later run is none of them, and what they record later is folded once; w2 before w10."""
    with contextlib.ExitStack() as stack:
        writers = ("w10", "w2")
        logs = [stack.enter_context(EventLog.open(path, writer=writer)) for writer in writers]
        server, _ = [Server(log, 2, "ignores") for log in logs]
        # Either may have been stored last.
        position = max(position for log in logs if (position := log.flush()) is not None)
        Server(stack.enter_context(EventLog.open(path)), 1, "ignores")
        server.end("w10-0")
        for log in logs:
            log.flush()
        with opened(str(path)) as store:
            watch = Watch(store, position.frame)
            before = [(run.writer, run.drain.remaining) for run in watch.runs]
            watch.advance(0.0)
            after = [(run.writer, run.drain.remaining) for run in watch.runs]
    assert before == [("w2", 2), ("w10", 2)]
    assert after == [("w2", 2), ("w10", 1)]


def test_a_second_request(path: Path) -> None:
    """Those that have drained already are done at once; who asked first is remembered."""
    with serving(path):
        run("drain", path, "--actor", "ann")
        told = without_times(answer(run("drain", path, "--actor", "bob", "--json").stdout))
        assert told == {"actor": "bob", "complete": True, "writers": [ended("w0", by="ann")]}
    assert asked(path) == ["ann", "bob"]


def test_two_operators_at_once(path: Path) -> None:
    """Both are served."""
    command = ("drain", path, "--json", "--actor")
    with serving(path):
        with start(*command, "ann") as first, start(*command, "bob") as second:
            answers = [answer(finish(process)[0]) for process in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0)
    assert [told["complete"] for told in answers] == [True, True]
    assert sorted(asked(path)) == ["ann", "bob"]
    assert answers[0]["writers"] == answers[1]["writers"]


def test_without_waiting(path: Path) -> None:
    """--no-wait asks, says who was asked and exits with 0; the servers drain all the same."""
    with serving(path):
        result = run("drain", path, "--actor", "ann", "--no-wait")
        assert (result.exit_code, result.stderr) == (0, "")
        assert [without_position(line) for line in plain(result.stdout)] == [
            f"asked sqlite:{path} to drain, as ann",
            "w0    serving   2 open, not draining yet",
        ]
        until(lambda: has_recorded(path, "connection.closed", 2))
        told = answer(run("drain", path, "--no-wait", "--json").stdout)
        assert told["complete"] is True


def test_without_waiting_there_is_no_finding(path: Path) -> None:
    """With --no-wait and --json it exits with 0, and says that it is not complete."""
    with serving(path, behaviour="ignores"):
        result = run("drain", path, "--no-wait", "--json")
        assert (result.exit_code, answer(result.stdout)["complete"]) == (0, False)


def test_who_asks_by_default(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user and the machine, also where the user has no name, as in many a container."""
    write(path)
    monkeypatch.setenv("LOGNAME", "zoe")
    assert run("drain", path).exit_code == 0
    monkeypatch.setattr(getpass, "getuser", _nameless)
    assert run("drain", path).exit_code == 0
    host = socket.gethostname()
    assert asked(path) == [f"zoe@{host}", f"unknown@{host}"]


def _nameless() -> str:
    raise KeyError("getpwuid(): uid not found: 54321")


@pytest.mark.parametrize(
    "actor", [HOSTILE, "[bold]ann[/bold]", "x" * 10_000, "\udcff\ud800", "名前"]
)
@pytest.mark.parametrize("width", [None, 80])
def test_hostile_actors(path: Path, actor: str, width: int | None) -> None:
    """Any name is shown and recorded as text, never obeyed, and not longer than a line or two."""
    write(path)
    result = run("drain", path, "--actor", actor, width=width)
    assert (result.exit_code, result.stderr) == (0, "")
    assert all(line.isprintable() for line in plain(result.stdout))
    (recorded,) = asked(path)
    assert recorded.isprintable()
    assert len(recorded) <= 256
    assert recorded in "".join(plain(result.stdout)).replace("  ", " ") or width is not None
    if actor == HOSTILE:
        assert recorded == ESCAPED


def test_an_empty_actor(path: Path) -> None:
    """A request says who asks."""
    write(path)
    result = run("drain", path, "--actor", "")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: actor must say who asks, not be empty\n"
    assert asked(path) == []


@pytest.mark.parametrize("timeout", ["-1", "nan", "inf", "soon"])
def test_a_timeout_that_is_none(path: Path, timeout: str) -> None:
    """It is refused before anybody is asked."""
    write(path)
    result = run("drain", path, "--timeout", timeout)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--timeout" in result.stderr
    assert asked(path) == []


def test_where_there_is_no_log(tmp_path: Path) -> None:
    """A missing file, a foreign one, a memory log: one line each, and nothing is made."""
    (tmp_path / "text.db").write_text("This is no database, though it is long enough. " * 30)
    with contextlib.closing(sqlite3.connect(tmp_path / "foreign.db")) as connection:
        connection.execute("CREATE TABLE frames (position)")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    said = {
        tmp_path / "missing.db": "No such file",
        tmp_path / "text.db": "not a database",
        tmp_path / "foreign.db": "something else, not a rat_fsm log",
        tmp_path: "no regular file",
        "memory:": "a memory: log cannot be asked from outside",
        "redis://me:s3cret@host/db": "no store for 'redis:'",
    }
    for url, expected in said.items():
        result = run("drain", url)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert expected in result.stderr
        assert "s3cret" not in result.stderr
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_log_of_an_older_release(tmp_path: Path) -> None:
    """It can be asked; nobody serves it, so that is that."""
    path = tmp_path / "old.sqlite"
    shutil.copy(GOLDEN, path)
    result = run("drain", path, "--actor", "ann", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert without_times(answer(result.stdout)) == {"actor": "ann", "complete": True, "writers": []}
    assert run("verify", path).exit_code == 0


def test_a_damaged_log(path: Path) -> None:
    """What cannot be read is an error in one line, though the request is recorded."""
    write(path, *a_life("c1"))
    change(path, "UPDATE frames SET body = replace(body, '\"events\"', '\"evants\"')")
    with EventLog.open(path, writer="w1") as log:
        log.append(("connection", "c1"), Registered("10.0.0.1"))
        log.flush()
        result = run("drain", path)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: frame 1 is damaged: ")
    assert frames_of(path, OPERATOR) == 1


def frames_of(path: Path, writer: str) -> int:
    """How many frames a writer has in a log that cannot be decoded."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        sql = "SELECT count(*) FROM frames WHERE writer = ?"
        ((count,),) = connection.execute(sql, (writer,))
    return int(count)
