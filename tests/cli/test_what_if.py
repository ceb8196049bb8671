"""rat-fsm what-if."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rat_fsm import RetryPolicy
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ConnectionRefused,
    ErrorRecorded,
    Registered,
    RetryRefused,
    RetryScheduled,
)
from rat_fsm.log import EventLog
from rat_fsm.replay import read_events
from rat_fsm.replay.what_if import what_if
from tests.cli.logs import ESCAPED, HOSTILE, Ticking, Writer, change, plain, run, write

if TYPE_CHECKING:
    from pathlib import Path

POLICY = RetryPolicy(max_retries=2, jitter="full").as_dict()
ERROR = ErrorRecorded("OSError", "reset by peer", "network_error", retryable=True)
POLICIES = r"""
from rat_fsm.policy import RetryPolicy

class Broken:
    def decide(self, error, **facts):
        raise RuntimeError("no\x1b[31m idea")

class Leaving:
    def decide(self, error, **facts):
        raise SystemExit(0)

once = RetryPolicy(max_retries=1)
broken = Broken()
leaving = Leaving()
"""
HELPED = (
    "·  no log says whether a retry that never happened would have helped: the least supposes "
    "that the first would, the most that none"
)
STAYED = (
    "·  2 turned away then are counted and stay out, though up to 1 of them would have found room"
)
UNTOLD = (
    "·  the policy behind 1 decision is not in the log: what you did not give is as each "
    "decision suggests, or else the default"
)
ASKED = "·  a server's Retry-After is known only where it raised a delay or was too long"


def a_life(connection_id: str) -> list[tuple[str, Any]]:
    """What happens to a connection that is retried twice, and given up then."""
    events = [
        Registered("10.0.0.1", "sse"),
        Activated(),
        ActivityRecorded(1000, 1),
        ERROR,
        RetryScheduled(1, 0.25, 0.25, 30.0, "network_error", POLICY),
        ERROR,
        RetryScheduled(2, 1.0, 0.5, 30.0, "network_error", POLICY),
        ERROR,
        RetryRefused("exhausted", POLICY),
        Closing("retries_exhausted", "app", "streaming"),
        Closed("retries_exhausted", 1000, 1, 3, 2, 4.0),
    ]
    return [(connection_id, event) for event in events]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with two ended connections, an open one, and two clients that were turned away."""
    path = tmp_path / "events.db"
    with EventLog.open(path, clock=Ticking()) as log:
        log.begin({"max_connections": 1})
        log.append_node(ConnectionRefused("max_connections", 2))
        for connection_id, event in [*a_life("c1"), *a_life("c2"), *a_life("c3")[:5]]:
            log.append(("connection", connection_id), event)
    return path


def test_json_is_what_the_library_answers(path: Path) -> None:
    """With --json it is one object."""
    result = run("what-if", path, "--max-retries", 1, "--max-connections", 5, "--json")
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    told = json.loads(result.stdout)
    answer = what_if(path, {"max_retries": 1}, max_connections=5)
    assert told["differs"]
    assert told["attempts"] == {"recorded": 5, "least": 3, "most": 3}
    assert told["changed"] == dict(answer.changed) == {"gives_up": 2}
    assert [fate["stream"]["id"] for fate in told["fates"]] == ["c1", "c2"]
    assert told["fates"][0]["now"]["cause"] == "exhausted"
    assert told["refused"] == {"recorded": 2, "least": 0, "most": 2}


@pytest.mark.parametrize("width", [None, 120])
def test_what_a_person_reads(path: Path, width: int | None) -> None:
    """The question, counts beside counts, who would have fared differently, what is left open."""
    lines = plain(run("what-if", path, "--max-retries", 1, width=width).stdout)
    change = "retry 2 in 1.0 s → exhausted; recorded end: retries_exhausted"
    head = next(number for number, line in enumerate(lines) if "recorded" in line)
    assert "".join(lines[:head]).endswith("events.db with --max-retries 1")
    assert [line.rstrip() for line in lines[head:]] == [
        "                recorded         would have been",
        "retries                5                       3  (-2)",
        "given up               2                       2",
        "waiting            2.8 s                  750 ms  (-2.0 s)",
        "let in                 3                       3",
        "turned away            2                       2",
        "2 connections would have fared differently: 2 giving up",
        f"2026-09-21 14:13:24.501  c1  giving up    {change}",
        f"2026-09-21 14:13:30.002  c2  giving up    {change}",
        "waiting would have been shorter for 2; most for",
        "c1  -1.0 s",
        "c2  -1.0 s",
        "·  who gives up earlier ends there: no log says whether it would have come back",
        "·  a server's Retry-After is known only where it raised a delay or was too long",
    ]


def test_nothing_is_wider_than_the_terminal(path: Path) -> None:
    """What does not fit is folded, and none of it is lost."""
    question = ("what-if", path, "--max-retries", 4, "--jitter", "full", "--max-connections", 2)
    narrow, wide = (plain(run(*question, width=width).stdout) for width in (60, None))
    assert max(map(len, narrow)) <= 60
    assert "".join("".join(narrow).split()) == "".join("".join(wide).split())


def test_what_a_log_cannot_say_is_said(path: Path) -> None:
    """Ranges, samples, those who are turned away, and those who were."""
    lines = plain(run("what-if", path, "--max-retries", 4, "--max-connections", 2).stdout)
    assert "retries                5                  7 to 9  (+2 to +4)" in lines
    assert "given up               2                  0 to 2  (-2 to 0)" in lines
    assert "turned away            2                  1 to 2  (-1 to 0)" in lines
    assert lines[-4:] == [
        HELPED,
        STAYED,
        ASKED,
        "·  20 draws stand for each that was not recorded (seed 0)",
    ]


def test_who_is_turned_away_is_listed(tmp_path: Path) -> None:
    """With its cause and its end; the log of an older program says what it does not tell."""
    path = tmp_path / "events.db"
    old = [(name, event) for name in ("c1", "c2") for event in (Registered("10.0.0.1"), ERROR)]
    write(path, *old, ("c1", RetryScheduled(1, 1.0, None, 30.0, "network_error")))
    question = ("--max-per-client", 1, "--jitter", "none", "--limit", 1)
    lines = plain(run("what-if", path, *question).stdout)
    assert lines[6:] == [
        "turned away            0                       1  (+1)",
        "1 connection would have fared differently: 1 turned away",
        "2026-09-21 14:13:22.000  c2  turned away  per_client; recorded as open",
        "·  who is turned away counts for nothing after that; the others leave when they did",
        UNTOLD,
    ]


def test_with_what_was_recorded_nothing_changes(path: Path) -> None:
    """And that is said."""
    lines = plain(run("what-if", path, "--max-retries", 2, "--jitter", "full").stdout)
    assert lines[-1] == "no connection would have fared differently"


def test_whether_to_go_on_once_a_byte_is_out(path: Path) -> None:
    """All of these had sent something."""
    lines = plain(run("what-if", path, "--not-resumable").stdout)
    assert lines[0].endswith("events.db with --not-resumable")
    assert "retries                5                       0  (-5)" in lines
    same = plain(run("what-if", path, "--resumable").stdout)
    assert same[0].endswith("events.db with --resumable")
    assert same[-1] == "no connection would have fared differently"


def test_more_connections_than_fit_are_counted(path: Path) -> None:
    """The first few are listed; none, if so wanted."""
    few = plain(run("what-if", path, "--max-retries", 0, "--limit", 1).stdout)
    assert "3 connections would have fared differently: 3 giving up; the first 1" in few
    none = plain(run("what-if", path, "--max-retries", 0, "--limit", 0).stdout)
    assert not [line for line in none if line.startswith("2026")]
    assert "waiting would have been shorter for 3" in none


def test_a_question_about_a_part_of_the_log(path: Path) -> None:
    """From and to a position, a frame as a whole, or a time."""
    retries = [r for r in read_events(path) if isinstance(r.event, RetryScheduled)]
    last = retries[-1].position
    assert last is not None
    for since, until, count in [
        (1, last.frame, 5),
        (1, retries[1].position, 2),
        (retries[1].position, retries[3].position, 3),
        (retries[1].at.isoformat(), retries[2].at.isoformat(), 2),
    ]:
        options = ("--since", since, "--until", until, "--base-delay", 9, "--json")
        result = run("what-if", path, *options)
        assert json.loads(result.stdout)["attempts"]["recorded"] == count


def test_a_policy_of_ones_own(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any object with decide, by module and name; one that raises is one line."""
    (tmp_path / "policies_of_mine.py").write_text(POLICIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    result = run("what-if", path, "--policy", "policies_of_mine:once")
    assert "with --policy policies_of_mine:once" in result.stdout
    assert "retries                5                       3  (-2)" in plain(result.stdout)
    for name, message in [
        ("broken", r"OSError (network_error): RuntimeError: no\x1b[31m idea"),
        ("leaving", "OSError (network_error): SystemExit: 0"),
    ]:
        failed = run("what-if", path, "--policy", f"policies_of_mine:{name}")
        assert (failed.exit_code, failed.stdout) == (2, "")
        assert failed.stderr == f"error: the policy cannot decide about {message}\n"
    classes = run("what-if", path, "--policy", "policies_of_mine:Broken")
    assert (classes.exit_code, classes.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say what would be different, such as --max-retries 5"),
        (("--policy", "a:b", "--jitter", "full"), "--policy decides everything about retries"),
        (("--policy", "nonsense"), "'nonsense' is not of the form module:NAME"),
        (("--base-delay", "0"), "base_delay must be greater than 0 seconds"),
        (("--max-delay", "nan"), "max_delay must be finite and not negative"),
        (("--max-retries", "1", "--since", "99"), "there is no frame 99"),
        (("--max-retries", "1", "--until", "1.99"), "there is no event 1.99"),
        (("--max-retries", "1", "--until", "2026-09-21T14:00"), "has no time zone"),
        (("--max-connections", "0"), "Invalid value"),
        (("--jitter", "some"), "Invalid value"),
    ],
)
def test_a_question_that_is_none_is_refused(
    path: Path, options: tuple[str, ...], message: str
) -> None:
    """With exit code 2 and what to do instead."""
    result = run("what-if", path, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_log_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """With exit code 2."""
    result = run("what-if", tmp_path / "nothing.db", "--max-retries", 1)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_a_damaged_frame_is_named(path: Path) -> None:
    """With exit code 2, and where to learn more."""
    change(path, "UPDATE frames SET body = CAST(replace(body, 'c1', 'c') || ']' AS BLOB)")
    result = run("what-if", path, "--max-retries", 1)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("error: frame 1 is damaged: ")


def test_hostile_text_from_a_log_is_shown_as_text(tmp_path: Path) -> None:
    """Reasons and causes are whatever somebody sent."""
    path = tmp_path / "events.db"
    events = a_life("c1")[:9]
    closing = Closing(HOSTILE, "app", "streaming"), Closed(HOSTILE, 1000, 1, 3, 2, 4.0)
    write(path, *events, *(("c1", event) for event in closing))
    for width in (None, 300):
        result = run("what-if", path, "--max-retries", 1, width=width)
        assert f"→ exhausted; recorded end: {ESCAPED}" in "\n".join(plain(result.stdout))


def test_it_reads_a_log_that_is_being_written(tmp_path: Path) -> None:
    """And claims nothing: the writer goes on."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        for number, connection_id in enumerate(["a", "b", "c"], 1):
            writer.register(connection_id)
            result = run("what-if", path, "--max-connections", 1, "--json")
            told = json.loads(result.stdout)["let_in"]
            assert told == {"recorded": number, "least": 1, "most": 1}
