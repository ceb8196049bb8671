"""rat-fsm diff."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from rat_fsm.events import ActivityRecorded, DrainStarted, to_datetime
from rat_fsm.log import EventLog
from tests.cli.logs import ESCAPED, HOSTILE, Ticking, Writer, a_life, change, plain, run

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, *lives: list[tuple[str, object]]) -> Path:
    """A log that holds one frame for each of these lives, behind that of its start."""
    with EventLog.open(path, clock=Ticking()) as log:
        log.begin()
        log.flush()
        for life in lives:
            _, *events = life
            connection_id, first = life[0]
            log.append(("connection", connection_id), first, *(event for _, event in events))
            log.flush()
    return path


@pytest.fixture
def a(tmp_path: Path) -> Path:
    """A log of three connections, one of which is open until the end."""
    return write(tmp_path / "a.db", a_life("c1"), a_life("c2")[:3], a_life("c3"))


@pytest.fixture
def b(tmp_path: Path) -> Path:
    """One that begins likewise, goes on otherwise, and has a connection more."""
    lives = a_life("c1"), a_life("c2")[:2], a_life("c3", "kicked"), a_life("c4")[:1]
    return write(tmp_path / "b.db", *lives)


def test_the_same(a: Path) -> None:
    """A log and itself: nothing but that, and exit 0."""
    result = run("diff", a, a)
    assert (result.exit_code, result.stderr) == (0, "")
    assert plain(result.stdout) == [
        f"A  sqlite:{a}  up to its end",
        f"B  sqlite:{a}  up to its end",
        "the same, byte for byte",
    ]
    assert json.loads(run("diff", a, a, "--json").stdout)["differs"] is False


def test_the_same_but_for_the_times(tmp_path: Path, a: Path) -> None:
    """Two runs of the same are the same until times count."""
    with EventLog.open(tmp_path / "later.db", clock=Ticking(10**15)) as log:
        log.begin()
        for life in (a_life("c1"), a_life("c2")[:3], a_life("c3")):
            for connection_id, event in life:
                log.append(("connection", connection_id), event)
    result = run("diff", a, tmp_path / "later.db")
    assert (result.exit_code, result.stderr) == (0, "")
    assert plain(result.stdout)[-1] == "the same, but for the times (see --times)"
    timed = run("diff", a, tmp_path / "later.db", "--times", "--json")
    assert timed.exit_code == 1
    assert json.loads(timed.stdout)["parted"]["count"] == 4


def test_two_logs(a: Path, b: Path) -> None:
    """What is counted otherwise, and where each stream parts; exit 1."""
    result = run("diff", a, b)
    assert (result.exit_code, result.stderr) == (1, "")
    lines = [line.rstrip() for line in plain(result.stdout)]
    closing = "2026-09-21 14:13:22.000  closing          "
    registered = "2026-09-21 14:13:22.500  registered       "
    assert lines[2:] == [
        "the same, byte for byte, up to 2.8",
        "                                     A             B",
        "active connections                   1             2  +1",
        "total connections                    3             4  +1",
        "total bytes sent                4.0 kB        3.0 kB  -1.0 kB",
        "total messages sent                  7             6  -1",
        "streams by state",
        "  connection.connecting              0             1  +1",
        "ended",
        "  completed                          2             1  -1",
        "  kicked                             0             1  +1",
        "part  2 streams",
        "  connection c2  event 3",
        "    A  3.2     2026-09-21 14:13:21.500  activity_recorded  +1.0 kB",
        "    B  no more of it",
        "  connection c3  event 8",
        f"    A  4.7     {closing}  completed, by client, while streaming, code 1006",
        f"    B  4.7     {closing}  kicked, by client, while streaming, code 1006",
        "only in B  1 stream",
        "  connection c4  1 event",
        f'    B  5.0     {registered}  sse from 10.0.0.1  {{"agent":"browser"}}',
    ]
    folded = plain(run("diff", a, b, width=80).stdout)
    assert max(map(len, folded)) <= 80
    assert "".join(folded).split()[-8:] == lines[-1].split()[-8:]


def test_json(a: Path, b: Path) -> None:
    """With --json it is one object, with whole envelopes."""
    result = run("diff", a, b, "--json", "--limit", 1)
    assert (result.exit_code, result.stdout.count("\n")) == (1, 1)
    found = json.loads(result.stdout)
    assert (found["same_up_to"], found["streams"]) == ("2.8", {"a": 3, "b": 4})
    assert {"name": "total_connections", "before": 3, "after": 4} in found["models"]["counts"]
    assert [one["version"] for one in found["parted"]["first"]] == [3]
    assert found["parted"]["first"][0]["a"]["data"] == {"bytes_sent": 1000, "messages_sent": 1}
    assert (found["parted"]["count"], found["only_a"]) == (2, {"count": 0, "first": []})
    assert found["only_b"]["first"][0]["a"] is None


@pytest.mark.parametrize("width", [None, 80])
def test_two_moments(a: Path, width: int | None) -> None:
    """Of one log: its counts, what is new, what is gone, and what of the others changed."""
    result = run("diff", a, "--at", "3.1", "--to", "4.4", width=width)
    assert (result.exit_code, result.stderr) == (1, "")
    lines = [line.rstrip() for line in plain(result.stdout)]
    assert "".join(lines).startswith(f"sqlite:{a}")
    assert lines[lines.index("                                before         after") :] == [
        "                                before         after",
        "active connections                   1             2  +1",
        "total connections                    2             3  +1",
        "peak connections                     1             2  +1",
        "total bytes sent                1.5 kB        4.0 kB  +2.5 kB",
        "total messages sent                  3             7  +4",
        "total errors                         1             2  +1",
        "connections with errors              0             1  +1",
        "streams by state",
        "  connection.active                  1             2  +1",
        "new  1 stream",
        "  +  c3            active",
        "changed  1 stream",
        "  ~  c2            bytes sent 0 B → 1.0 kB · messages sent 0 → 1 · events +1",
    ]


def test_two_moments_as_json(a: Path) -> None:
    """One object: the difference of the read models; from a moment to the end by default."""
    result = run("diff", a, "--at", "3", "--json")
    assert (result.exit_code, result.stdout.count("\n")) == (1, 1)
    found = json.loads(result.stdout)
    assert found["differs"] is True
    # The node has stopped, and nothing else that was there is gone.
    assert [one["id"] for one in found["models"]["only_a"]] == ["w0:1"]
    assert found["models"]["reasons"] == [{"name": "completed", "before": 1, "after": 2}]


def test_nothing_happened(a: Path) -> None:
    """A moment and itself: the same, exit 0."""
    result = run("diff", a, "--at", "3", "--to", "3.2")
    assert (result.exit_code, plain(result.stdout)[1:]) == (0, ["the same"])


def test_the_times_of_a_moment(a: Path) -> None:
    """A moment may be a time: the title says it in UTC, and last activity by how much later."""
    result = run("diff", a, "--at", "2026-09-21T16:13:21.500+02:00", "--to", "2026-09-21T14:13:22Z")
    assert plain(result.stdout)[0].endswith(
        "from 2026-09-21 14:13:21.500 UTC to 2026-09-21 14:13:22.000 UTC"
    )


def test_changes_of_every_kind(tmp_path: Path) -> None:
    """Numbers by how much, words and what was not there before as both; the telling ones first."""
    path = tmp_path / "events.db"
    with EventLog.open(path, clock=Ticking()) as log:
        log.begin()
        for name in ("c1", "c2"):
            events = [event for _, event in a_life(name)]
            log.append(("connection", name), *events[:3])
            log.flush()
        log.append(("connection", "c1"), ActivityRecorded(1, 1))
        log.append(("connection", "c2"), *[event for _, event in a_life("c2")[4:6]])
        log.append_node(DrainStarted(30.0, 2, "x"))
        log.flush()
        last = log.read_model.drain.started_at
        assert last is not None
        run("diff", path, "--at", "3")
    lines = plain(run("diff", path, "--at", "2026-09-21T14:13:22Z", "--to", _time(last)).stdout)
    changed = lines[lines.index("changed  3 streams") + 1 :]
    assert [line.split()[1] for line in changed] == ["w0:1", "c2", "c1"]
    assert "drain requested by - → x" in changed[0]
    assert "drain started 0 → 2026-09-21 14:13:2" in changed[0]
    assert "state serving → draining" in changed[0]
    assert "delay - → 1.0 s" in changed[1]
    assert "errors 0 → 1" in changed[1]
    assert changed[2].endswith(
        "bytes sent +1 B · last activity 1.0 s later · messages sent +1 · events +1"
    )


def _time(micros: int) -> str:
    return to_datetime(micros).isoformat()


def test_nothing_in_common(tmp_path: Path, a: Path) -> None:
    """Logs that differ from their first event on are the same up to nowhere."""
    with EventLog.open(tmp_path / "other.db", clock=Ticking(10**15)) as log:
        log.begin({"max_connections": 10})
        log.append(("connection", "c9"), a_life("c9")[0][1])
    lines = plain(run("diff", tmp_path / "other.db", a).stdout)
    assert not any("byte for byte" in line for line in lines)
    assert "max connections                     10             -" in lines
    assert "only in A  1 stream" in lines
    assert lines[lines.index("only in A  1 stream") + 2].startswith("    A  ")


def test_lists_end_somewhere(a: Path, b: Path) -> None:
    """What is left out of a list is said; nothing is left out of the count."""
    two = plain(run("diff", a, b, "--limit", 1).stdout)
    assert "  and 1 more, see --limit and --json" in two
    one = plain(run("diff", b, "--at", "1", "--limit", "1").stdout)
    assert "  and 1 more, see --limit and --json" in one


def test_hostile_streams(tmp_path: Path) -> None:
    """Ids, reasons and messages are shown as text, never obeyed."""
    path = write(tmp_path / "a.db", a_life("c1"), a_life("c2", HOSTILE)[:1])
    other = write(tmp_path / "b.db", a_life("c1", HOSTILE), a_life("c2")[:1])
    change(path, "UPDATE frames SET body = replace(body, '\"c2\"', ?)", json.dumps(HOSTILE))
    for arguments in ((path, other), (path, "--at", "2")):
        for width in (None, 80):
            result = run("diff", *arguments, width=width)
            assert result.exit_code == 1
            assert all(line.isprintable() for line in plain(result.stdout))
            assert ESCAPED[:12] in result.stdout


def test_bad_input(tmp_path: Path, a: Path) -> None:
    """One line on stderr and exit 2, whatever is wrong."""
    end = "this log ends with event 5.0, and frames count from 1"
    for arguments, told in (
        ((a,), "error: name a second log to compare with, or a moment of this one: --at"),
        ((a, tmp_path / "no.db"), f"error: no log at {tmp_path}/no.db: No such file or directory"),
        (
            (a, "--at", "99"),
            f"error: there is no frame 99: {end}",
        ),
        ((a, a, "--to", "1.7"), "error: there is no event 1.7: frame 1 ends with event 1.1"),
    ):
        result = run("diff", *arguments)
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{told}\n")


def test_a_damaged_frame(a: Path, b: Path) -> None:
    """Is an error of its own, wherever it stands."""
    change(b, "UPDATE frames SET body = 'x' WHERE position = 3")
    for arguments in ((a, b), (b, a), (b, "--at", "4")):
        result = run("diff", *arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: frame 3 is damaged: ")
        assert result.stderr.count("\n") == 1


def test_while_a_server_writes(tmp_path: Path) -> None:
    """What another process has made durable counts at once."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        writer.register("c1")
        before = json.loads(run("log", path, "--json", "--last", 1).stdout)["position"]
        assert run("diff", path, "--at", before).exit_code == 0
        writer.register("c2")
        result = run("diff", path, "--at", before)
        assert "  +  c2            connecting" in plain(result.stdout)
