"""rat-fsm replay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from rat_fsm import ConnectionManager
from rat_fsm.codec import encode_recorded
from rat_fsm.events import ErrorRecorded, Registered, RetryScheduled, Stalled
from rat_fsm.log import EventLog
from rat_fsm.replay import read_events, replay
from rat_fsm.replay.rewinding import Distances
from rat_fsm.replay.sources import last_position, opened
from tests.cli.frames import write_frames
from tests.cli.logs import HOSTILE, Writer, a_life, change, plain, run
from tests.orders import ORDER, New, Packed

if TYPE_CHECKING:
    from pathlib import Path


ENDED: Final = "completed, by client, while streaming, code 1006"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with a life that has ended, one that was retried and goes on, and one just begun."""
    path = tmp_path / "events.db"
    trouble = [*a_life("c2")[:4], ("c2", Stalled(3.0)), *a_life("c2")[4:6]]
    write_frames(path, *a_life("c1"), *trouble, ("c3", Registered("10.0.0.3", "websocket")))
    return path


def times(path: Path) -> list[str]:
    """When each event happened, as one types it."""
    return [recorded.at.isoformat() for recorded in read_events(path)]


def answer(path: Path, *options: object) -> Any:
    """What it says in JSON."""
    result = run("replay", path, "--json", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_every_moment_is_told(path: Path) -> None:
    """At any event and at any time the statistics and connections are those of a replay."""
    for recorded in list(read_events(path))[::4]:
        model = replay(path, recorded.position)
        for moment in (recorded.position, recorded.at.isoformat()):
            told = answer(path, "--at", moment)
            assert told["stats"] == model.stats.as_dict()
            assert told["event"] == json.loads(encode_recorded(recorded))
            assert {c["connection_id"] for c in told["connections"]} == set(model.connections)
            assert (told["open"], told["phase"]) == (len(model.connections), model.drain.phase)
            assert told["events"] == recorded.seq


def test_without_a_moment_it_is_the_end(path: Path) -> None:
    """The end is the last event that is durable now; a whole frame means its last event."""
    with opened(path) as store:
        last = last_position(store)
    assert last is not None
    assert answer(path) == answer(path, "--at", last) == answer(path, "--at", last.frame)


def test_who_was_open_is_told_in_lines(path: Path) -> None:
    """Totals as in `stats`, the last event, and who was open: state, how long, sent, trouble."""
    lines = plain(run("replay", path, "--at", times(path)[15]).stdout)
    assert lines[0] == "as of 2026-09-21 14:13:28.001 UTC · 16 events"
    assert "open now                   1  of at most 10 · peak 1 · node serving" in lines
    assert lines[-4] == "last event"
    assert lines[-3].split("  ")[1:3] == ["2026-09-21 14:13:28.001", "stalled"]
    assert lines[-1] == "c2          active         2.0 s  1.5 kB · sse 10.0.0.1 · stalled"


@pytest.mark.parametrize(
    ("sort", "first"),
    [("oldest", "c2"), ("newest", "c3"), ("idle", "c2"), ("bytes", "c2"), ("errors", "c2")],
)
def test_who_comes_first(path: Path, sort: str, first: str) -> None:
    """The open connections come in the order asked for, at most so many; the others are counted."""
    at = ("--at", times(path)[-2])
    told = answer(path, *at, "--sort", sort, "--limit", 1)
    assert ([c["connection_id"] for c in told["connections"]], told["open"]) == ([first], 2)
    lines = plain(run("replay", path, *at, "--sort", sort, "--limit", 1).stdout)
    assert lines[-2].startswith(first)
    assert lines[-1] == "and 1 more, see --limit and --sort"
    assert plain(run("replay", path, *at, "--limit", 0).stdout)[-1].startswith("and 2 more")


def test_all_that_was_known_of_one(path: Path) -> None:
    """With --connection it is that one: state, client, bytes, errors, retries, what to notice."""
    lines = plain(run("replay", path, "--at", times(path)[-2], "--connection", "c2").stdout)
    assert lines[1:] == [
        "connection c2",
        "state      retrying",
        "open       for 3.5 s, since 2026-09-21 14:13:26.001 UTC",
        "client     sse from 10.0.0.1",
        'metadata   {"agent":"browser"}',
        "sent       1.5 kB in 3 messages",
        "last sent  2.0 s before",
        "trouble    1 error, 1 retry, 1 since the last reset",
        "notice     its client takes nothing",
    ]
    told = answer(path, "--at", times(path)[-2], "--connection", "c2")
    (known,) = told["connections"]
    assert (known["state"], known["total_retries"], told["lives"]) == ("retrying", 1, [])


def test_one_that_sends_nothing_yet(path: Path) -> None:
    """What is not known is left out."""
    lines = plain(run("replay", path, "--at", times(path)[-2], "--connection", "c3").stdout)
    assert lines[-3:] == [
        "client     websocket from 10.0.0.3",
        "sent       0 B in 0 messages",
        "last sent  never",
    ]


def test_one_that_was_not_open_then(tmp_path: Path) -> None:
    """It is said of each life how long before it ended, and how, or how long after it began."""
    path = tmp_path / "events.db"
    write_frames(path, *a_life("c1"), ("c0", Registered("10.0.0.1")), *a_life("c1", "kicked"))
    at = times(path)
    for moment, expected in (
        (
            at[11],
            [
                f"connection c1, life 1 of 2  ended 500 ms before: closed, {ENDED}",
                "connection c1, life 2 of 2  not begun yet: it did 500 ms later",
            ],
        ),
        ("1.1", [f"connection c1, life {n} of 2  not begun yet: it did" for n in (1, 2)]),
    ):
        lines = plain(run("replay", path, "--at", moment, "--connection", "c1").stdout)
        assert all(line.startswith(told) for line, told in zip(lines[1:], expected, strict=True))
    lives = answer(path, "--at", at[11], "--connection", "c1")["lives"]
    assert [life["state"] for life in lives] == ["closed", None]


def test_streams_that_are_no_connections(tmp_path: Path) -> None:
    """Of a run, or of a stream that only its writer knows, the state is told."""
    path = tmp_path / "events.db"
    with EventLog.open(path, lifecycles=(ORDER,)) as log:
        log.append(("order", "o1"), New.Placed("tea", 250, "EUR"))
        log.flush()
        log.append(("order", "o1"), Packed())
    lines = plain(run("replay", path, "--at", 2, "--connection", "o1").stdout)
    assert lines[1] == "order o1  open"
    lines = plain(run("replay", path, "--at", 1, "--connection", "w0:1").stdout)
    assert lines[1] == "node w0:1  serving"
    assert run("replay", path).exit_code == 0


def test_an_id_that_two_writers_have_open(path: Path) -> None:
    """Both are told."""
    with EventLog.open(path, writer="other") as log:
        log.append(("connection", "c9"), Registered("10.0.0.9"))
        log.flush()
        with EventLog.open(path, writer="another") as same:
            same.append(("connection", "c9"), Registered("10.0.0.8"))
            same.flush()
            lines = plain(run("replay", path, "--connection", "c9").stdout)
    assert lines[0].endswith(" of 3 writers")
    assert lines.count("connection c9") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--at", "99.0"), "there is no frame 99: this log ends with event"),
        (("--at", "1.99"), "there is no event 1.99: frame 1 ends with event"),
        (("--at", "2026-01-01T00:00"), "has no time zone"),
        (("--at", "yesterday"), "is no time"),
        (("--connection", "c22"), "has never heard of c22"),
        (("--connection", "[red]\x1b[31m"), r"has never heard of [red]\x1b[31m"),
    ],
)
def test_bad_input_is_one_line(path: Path, options: tuple[str, ...], message: str) -> None:
    """A moment that is none, an id that is not there: one line, exit code 2, nothing on stdout."""
    result = run("replay", path, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr.splitlines()[-1]


def test_a_missing_log(tmp_path: Path) -> None:
    """A log that is not there is one line, too."""
    result = run("replay", tmp_path / "nowhere.db")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_a_damaged_frame(path: Path) -> None:
    """Moments before it are told; behind it, it is named."""
    with EventLog.open(path) as log:
        log.append(("connection", "c4"), Registered("10.0.0.1"))
    with opened(path) as store:
        last = last_position(store)
    assert last is not None
    change(path, "UPDATE frames SET body = 'rubbish' WHERE position = ?", last.frame)
    assert run("replay", path, "--at", "1").exit_code == 0
    result = run("replay", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"frame {last.frame}" in result.stderr


def test_a_log_that_is_written(tmp_path: Path) -> None:
    """Each time it is what is durable by then; before the first event there is nothing."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        writer.register("c1")
        assert answer(path)["open"] == 1
        writer.register("c2")
        assert answer(path)["open"] == 2
    told = answer(path, "--at", "1999-01-01T00:00Z")
    assert (told["at"], told["event"], told["events"]) == (None, None, 0)
    lines = plain(run("replay", path, "--at", "1999-01-01T00:00Z").stdout)
    assert lines[0] == "before the first event"


def test_an_empty_log(tmp_path: Path) -> None:
    """It has nothing to tell, and no moment but its beginning."""
    path = tmp_path / "events.db"
    EventLog.open(path).close()
    assert answer(path)["events"] == 0
    assert run("replay", path, "--at", "1.0").exit_code == 2


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(tmp_path: Path, width: int) -> None:
    """No line is longer than the terminal is wide, and nothing hostile is obeyed."""
    path = tmp_path / "events.db"
    write_frames(
        path,
        ("c1", Registered(HOSTILE, HOSTILE, {"name": HOSTILE})),
        ("c1", ErrorRecorded(HOSTILE, HOSTILE, "bug", retryable=False)),
        ("c1", RetryScheduled(1, 1.0, None, 30.0, "bug")),
    )
    for options in ((), ("--connection", "c1")):
        lines = plain(run("replay", path, "--at", "1", *options, width=width).stdout)
        assert all(line.isprintable() for line in lines)
        assert max(map(len, lines)) <= width


def test_checkpoints_go_where_they_are_told(tmp_path: Path, cache_home: Path) -> None:
    """--cache names the folder; the user's own stays empty."""
    path, mine = tmp_path / "long.db", tmp_path / "mine"
    with EventLog.open(path) as log:
        manager = ConnectionManager(log=log)
        manager.register_connection("c1", "10.0.0.1")
        for _ in range(Distances().checkpoints):
            manager.record_activity("c1", 1)
        manager.shutdown()
    assert answer(path, "--cache", mine) == answer(path, "--cache", mine)
    assert len(list(mine.glob("*.db"))) == 1
    assert not cache_home.exists()


def test_a_short_log_has_no_cache(path: Path, cache_home: Path) -> None:
    """What is folded in no time leaves nothing behind."""
    assert answer(path, "--at", "1")["events"] > 0
    assert not cache_home.exists()
