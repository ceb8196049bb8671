"""rat-fsm check."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from rat_fsm.events import ErrorRecorded
from rat_fsm.log import EventLog
from tests.cli.logs import ESCAPED, HOSTILE, Ticking, Writer, a_life, change, plain, run, write
from tests.orders import ORDER, Done, New, Packed

if TYPE_CHECKING:
    from pathlib import Path

CHANGED = """
import attrs
from rat_fsm import events
from rat_fsm.lifecycles import CONNECTION as TODAY
from rat_fsm.monitors import always, eventually, leads_to, never_after
from rat_fsm.table import Lifecycle

def lifecycle(transitions):
    return Lifecycle(
        "connection", states=TODAY.states, final=TODAY.final, transitions=transitions,
        reusable_ids=True,
    )

def without(*classes):
    return [row for row in TODAY.transitions if row[0] not in classes]

SAME = lifecycle(TODAY.transitions)
NO_RETRIES_WHEN_ACTIVE = lifecycle(
    [*without(events.RetryScheduled),
     [events.RetryScheduled, ["connecting", "retrying"], "retrying"]]
)

@attrs.frozen
class Recovered:
    attempts: str

WORSE = lifecycle(
    [*without(events.ErrorRecorded, events.Recovered), [Recovered, "retrying", "active"]]
)
NUMBER = 3
ends = eventually(events.Closed, within=1)
RULES = [
    always(lambda step: step.state != "retrying", name="no retries"),
    never_after(events.Activated, events.Recovered),
    leads_to(events.Activated, events.Stalled),
    eventually(events.Registered, scope="log"),
    leads_to(events.ErrorRecorded, lambda step: step.event.attempt == 1, name="torn"),
]
soon = [eventually(events.Closed, within=60), leads_to(events.Registered, events.Activated)]
unknown = always(Recovered)
raising = property(lambda self: 1 / 0)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of two connections that were retried, and one that is open."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1"), *a_life("c2"), *a_life("c3")[:2])
    return path


@pytest.fixture(autouse=True)
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of a user in the working directory."""
    (tmp_path / "changed.py").write_text(CHANGED, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "changed", raising=False)


def test_all_legal(path: Path) -> None:
    """How much was judged, and that nothing is wrong; exit 0."""
    result = run("check", path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert plain(result.stdout) == [f"sqlite:{path}  23 events of 4 streams: all legal"]
    assert json.loads(run("check", path, "--json").stdout) == {
        "sound": True,
        "events": 23,
        "streams": 4,
        "illegal": 0,
        "unknown": 0,
        "findings": [],
        "undefined": {},
        "against": {},
        "breaks": [],
        "monitors": {},
        "violations": [],
        "open": 0,
        "failures": [],
    }


def test_what_is_illegal_or_unknown(path: Path) -> None:
    """Each event with its place, its stream, and what would have been legal; exit 1."""
    change(path, "UPDATE frames SET body = replace(body, 'connection.recovered', 'connection.won')")
    change(path, "UPDATE frames SET body = replace(body, 'connection.activated', 'node.started')")
    result = run("check", path)
    assert (result.exit_code, result.stderr) == (1, "")
    lines = plain(result.stdout)
    assert lines[0].endswith("23 events of 4 streams: 4 illegal, 5 unknown")
    assert "  (unknown tag); legal there: activated, closing, error_recorded, retry_" in lines[1]
    assert "activity_recorded  c1            illegal in connecting; legal there: act" in lines[2]
    found = json.loads(run("check", path, "--json", "--limit", 2).stdout)
    assert (found["sound"], found["illegal"], found["unknown"]) == (False, 4, 5)
    assert [one["event"]["type"] for one in found["findings"]] == [
        "node.started",
        "connection.activity_recorded",
    ]
    assert found["findings"][1]["state"] == "connecting"
    assert plain(run("check", path, "--limit", 2).stdout)[-1] == "  and 7 more, see --limit"


def test_a_changed_lifecycle_that_takes_them_all(path: Path) -> None:
    """Nothing breaks: exit 0, for one lifecycle or several."""
    against = ("--against", "changed:SAME", "--against", "tests.orders:ORDER")
    result = run("check", path, *against)
    assert (result.exit_code, result.stderr) == (0, "")
    assert plain(result.stdout)[1:] == [
        "against connection  3 streams: all legal",
        "against order  this log has no stream of it",
    ]


def test_a_removed_transition(path: Path) -> None:
    """Which, how many streams use it, and the first of them; exit 1."""
    result = run("check", path, "--against", "changed:NO_RETRIES_WHEN_ACTIVE")
    assert (result.exit_code, result.stderr) == (1, "")
    against, cause = plain(result.stdout)[1:]
    assert against == "against connection  3 streams: 1 cause of trouble"
    removed = "  transition connection.retry_scheduled from active removed; 2 streams concerned, "
    assert cause.startswith(f"{removed}first c1 at ")
    assert cause.endswith(", 2026-09-21 14:13:23.500 UTC")


def test_every_cause(path: Path) -> None:
    """What concerns most streams first, and with --json as one object."""
    result = run("check", path, "--against", "changed:WORSE", width=80)
    text = " ".join(" ".join(plain(result.stdout)).split())
    assert "event connection.error_recorded removed; 2 streams concerned, first c1 at" in text
    assert "connection.recovered of schema 1 can no longer be read; 2 streams concerned" in text
    assert "Expected `str`, got `int` - at `$.attempts`" in text
    found = json.loads(run("check", path, "--against", "changed:WORSE", "--json").stdout)
    assert found["against"] == {"connection": 3}
    assert [one["cause"]["kind"] for one in found["breaks"]] == ["event_removed", "unreadable"]
    assert found["breaks"][0]["first"]["stream"]["id"] == "c1"
    limited = plain(run("check", path, "--against", "changed:WORSE", "--limit", 1).stdout)
    assert limited[-1] == "  and 1 more, see --limit"


def test_streams_of_users(tmp_path: Path) -> None:
    """They are judged by the definition in the log, or are said to have none."""
    path = tmp_path / "orders.db"
    with EventLog.open(path, lifecycles=(ORDER,), clock=Ticking()) as log:
        log.append(("order", "o1"), New.Placed("book", 1200, "EUR"), Packed(), Done())
    result = run("check", path, "--against", "tests.orders:OLD_ORDER")
    assert result.exit_code == 1
    assert "order.placed of schema 3 is newer than what can be read; 1 stream" in result.stdout
    change(path, "UPDATE frames SET body = replace(body, 'node.started', 'node.begun')")
    result = run("check", path)
    assert "not judged  1 stream of order: the log does not define it" in plain(result.stdout)


def test_monitors_that_hold(path: Path) -> None:
    """That they do, and what may still follow when the log ends; exit 0."""
    result = run("check", path, "--monitor", "changed:soon")
    assert (result.exit_code, result.stderr) == (0, "")
    assert plain(result.stdout)[1:] == [
        "monitor eventually(Closed, within=60): holds, 1 obligation still open",
        "monitor leads_to(Registered, Activated): holds",
    ]


def test_monitors_that_are_violated(path: Path) -> None:
    """Each with its place, its stream, how, and since when; one that raises hurts no other."""
    result = run("check", path, "--monitor", "changed:ends", "--monitor", "changed:RULES")
    assert (result.exit_code, result.stderr) == (1, "")
    lines = plain(result.stdout)[1:]
    assert [line.split("  ")[0] for line in lines if line.startswith("monitor")] == [
        "monitor eventually(Closed, within=1): 3 violations",
        "monitor no retries: 2 violations",
        "monitor never_after(Activated, Recovered): 2 violations",
        "monitor leads_to(Activated, Stalled): 2 violations, 1 obligation still open",
        "monitor eventually(Registered): holds",
        "monitor torn: its predicate raised; it judges nothing from there on",
    ]
    assert lines[1].endswith(
        "deadline  c1            nothing followed registered at 1.2, 2026-09-21 14:13:21.000"
    )
    assert lines[5].endswith("event     c1            retry_scheduled")
    assert lines[8].endswith("recovered after activated at 1.3, 2026-09-21 14:13:21.500")
    assert lines[11].endswith(
        "closed ended what had begun with activated at 1.3, 2026-09-21 14:13:21.500"
    )
    assert lines[-1].split(maxsplit=1)[1] == (
        "AttributeError: 'ErrorRecorded' object has no attribute 'attempt', at error_recorded of "
        "connection/c1"
    )
    assert "  and 2 more, see --limit" in plain(
        run("check", path, "--monitor", "changed:ends", "--limit", 1).stdout
    )


def test_monitors_as_json(path: Path) -> None:
    """All of it, in the same object."""
    result = run("check", path, "--monitor", "changed:RULES", "--json", "--limit", 3)
    found = json.loads(result.stdout)
    assert (result.exit_code, found["sound"], found["open"]) == (1, False, 1)
    assert (found["monitors"]["no retries"], found["monitors"]["torn"]) == (2, 0)
    first, second, _ = found["violations"]
    assert (first["monitor"], first["cause"], first["since"]) == (
        "no retries",
        "event",
        first["by"],
    )
    assert second["by"]["type"] == "connection.recovered"
    assert found["failures"][0]["event"]["stream"][:2] == ["connection", "c1"]


def test_monitors_of_users(tmp_path: Path) -> None:
    """With the classes of a --module, or of the monitor's own lifecycle."""
    (tmp_path / "rules.py").write_text(
        """
from rat_fsm.monitors import eventually
from tests.orders import ORDER, Done

done = eventually(Done, within=1)
own = eventually(Done, within=1, of=ORDER)
""",
        encoding="utf-8",
    )
    path = tmp_path / "orders.db"
    with EventLog.open(path, lifecycles=(ORDER,), clock=Ticking()) as log:
        log.append(("order", "o1"), New.Placed("book", 1200, "EUR"), Packed())
        log.append(("order", "o1"), Done())
        log.append(("order", "o2"), New.Placed("book", 1200, "EUR"))
    told = "monitor eventually(Done, within=1): holds, 1 obligation still open"
    for options in (("rules:own",), ("rules:done", "--module", "tests.orders:ORDER")):
        result = run("check", path, "--monitor", *options)
        assert (result.exit_code, plain(result.stdout)[-1]) == (0, told)
    result = run("check", path, "--monitor", "rules:done")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "no lifecycle here has events of the class Done" in result.stderr


def test_what_is_no_monitor(path: Path) -> None:
    """One line and exit 2, before the log is read."""
    for target, told in (
        ("changed:NUMBER", "changed:NUMBER is no monitor, nor a list of some, but of type int"),
        ("changed:unknown", "always(Recovered): no lifecycle here has events of the class Reco"),
        ("changed:NONE", "cannot import changed:NONE: AttributeError: "),
    ):
        result = run("check", path, "--monitor", target)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert result.stderr.startswith(f"error: {told}")


def test_what_is_no_lifecycle(path: Path) -> None:
    """One line and exit 2, before the log is read."""
    for target, told in (
        ("changed:NUMBER", "changed:NUMBER is no Lifecycle but of type int"),
        ("changed:NONE", "cannot import changed:NONE: AttributeError: "),
        ("no_such_module:X", "cannot import no_such_module:X: ModuleNotFoundError: "),
        ("changed", "'changed' is not of the form module:NAME"),
    ):
        result = run("check", path, "--against", target)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert result.stderr.startswith(f"error: {told}")


def test_hostile_streams(tmp_path: Path) -> None:
    """Ids and tags are shown as text, never obeyed."""
    path = tmp_path / "events.db"
    error = ErrorRecorded("E", HOSTILE, "bug", retryable=False)
    write(path, *a_life("c1")[:2], ("c1", error))
    tag = json.dumps(f"connection.{HOSTILE}")
    change(path, "UPDATE frames SET body = replace(body, '\"connection.error_recorded\"', ?)", tag)
    change(path, "UPDATE frames SET body = replace(body, '\"c1\"', ?)", json.dumps(HOSTILE))
    for width in (None, 80):
        lines = plain(run("check", path, width=width).stdout)
        assert all(line.isprintable() for line in lines)
        assert any(ESCAPED[:12] in line for line in lines)


def test_a_damaged_frame(path: Path) -> None:
    """One line and exit 2."""
    change(path, "UPDATE frames SET body = 'x'")
    result = run("check", path)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("error: frame 1 is damaged: ")


def test_while_a_server_writes(tmp_path: Path) -> None:
    """What another process has made durable is judged."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        for number in range(1, 4):
            writer.register(f"c{number}")
            found = json.loads(run("check", path, "--json").stdout)
            assert (found["sound"], found["streams"]) == (True, number + 1)
