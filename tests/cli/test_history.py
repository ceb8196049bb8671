"""rat-fsm history."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import pytest

from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ErrorRecorded,
    Registered,
    RetryRefused,
    RetryScheduled,
    Started,
)
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.log import EventLog
from rat_fsm.replay.cache import Cache
from rat_fsm.replay.sources import naming, opened
from rat_fsm.stores.port import SupportsNames
from rat_fsm.table import Lifecycle
from tests.cli.logs import ESCAPED, HOSTILE, Writer, a_life, change, plain, run, write

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.stores.port import Store


@attrs.frozen
class Placed:
    """An event of a lifecycle that the command line does not know."""

    price: int


@attrs.frozen
class Paid:
    """Another one."""


ORDER: Final = Lifecycle(
    "order",
    states=("open", "paid"),
    final={"paid"},
    transitions=[[Placed, "new", "open"], [Paid, "open", "paid"]],
)


METADATA: Final = '{"agent":"browser"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log in which one id lives twice and another, whose name begins alike, once."""
    path = tmp_path / "events.db"
    again = [("c1", Registered("10.0.0.2", "websocket")), ("c1", Activated())]
    write(path, *a_life("c1"), *a_life("c10"), *again)
    return path


def columns(output: str) -> list[list[str]]:
    """The columns of the lines that tell a step, without the time."""
    lines = [re.split(r"  +", line) for line in plain(output)]
    return [line[1:] for line in lines if re.match(r"\d{4}-\d\d-\d\d \d\d:", line[0])]


def test_a_life_is_told(path: Path) -> None:
    """Each step: event, state before → after, time in that state, bytes so far, details."""
    result = run("history", path, "c10")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [[*step[:2], *step[3:]] for step in columns(result.stdout)] == [
        ["registered", "new → connecting", "0 B", "sse from 10.0.0.1", METADATA],
        ["activated", "connecting → active", "0 B"],
        ["activity_recorded", "active", "1.5 kB", "2 times in 500 ms, +1.5 kB in 3 messages"],
        [
            *("error_recorded", "active", "1.5 kB"),
            "OSError: reset by peer (network_error, retryable)",
        ],
        [
            *("retry_scheduled", "active → retrying", "1.5 kB"),
            "attempt 1 in 1.0 s (network_error): at most 30.0 s",
        ],
        ["recovered", "retrying → active", "1.5 kB", "after 1 retry"],
        [
            "closing",
            "active → closing",
            "1.5 kB",
            "completed, by client, while streaming, code 1006",
        ],
        [
            *("closed", "closing → closed", "1.5 kB"),
            "completed, after 4.0 s, 1.5 kB in 3 messages, 1 error, 1 retry",
        ],
    ]


def test_time_in_state(path: Path) -> None:
    """The time is how long the state before had lasted; the end sums it up by state."""
    output = run("history", path, "c10").stdout
    waited = {step[1]: step[2] for step in columns(output)}
    assert waited["connecting → active"] == "500 ms"
    assert waited["active → retrying"] == "2.0 s"
    assert waited["retrying → active"] == "500 ms"
    assert plain(output)[-3:] == [
        "ended  completed, by client, while streaming, code 1006",
        "total  4.0 s · 1.5 kB in 3 messages · 1 error, 1 retry",
        "spent  connecting 500 ms · active 2.5 s · retrying 500 ms · closing 500 ms",
    ]


def test_each_life_is_numbered(path: Path) -> None:
    """A reused id has several lives, each with its own bytes and its own end; one is open."""
    lines = plain(run("history", path, "c1").stdout)
    assert [line for line in lines if line.startswith("connection c1")] == [
        "connection c1  life 1 of 2 · writer w0",
        "connection c1  life 2 of 2 · writer w0",
    ]
    assert len([line for line in lines if line.startswith("ended  completed")]) == 1
    assert len([line for line in lines if line.startswith("open   active since 2026-09-21")]) == 1


def test_all_tells_each_activity(path: Path) -> None:
    """--all does not tell a run of activities as one."""
    steps = columns(run("history", path, "c10", "--all").stdout)
    assert [step[3] for step in steps if step[0] == "activity_recorded"] == ["1.0 kB", "1.5 kB"]


def test_json_is_the_lines_of_the_log(path: Path) -> None:
    """With --json it is what `log --json` says about this id, byte for byte."""
    everything = run("log", path, "--json").stdout_bytes.splitlines()
    expected = [line for line in everything if json.loads(line)["stream"][1] == "c1"]
    result = run("history", path, "c1", "--json")
    assert result.stdout_bytes.splitlines() == expected
    assert len(expected) == 11


@pytest.mark.parametrize("options", [(), ("--json",), ("--around", "2026-09-21T14:13:20Z")])
def test_an_unknown_id(path: Path, options: tuple[str, ...]) -> None:
    """An id that is not in the log is one line on stderr and exit 2, also where it is data."""
    near = {'c1"': "c1", "C10": "c10 or c1"}
    for unknown in ("nobody", "browser", "10.0.0.1", *near, "[red]\x1b[31m", "c\udcff"):
        result = run("history", path, unknown, *options)
        escaped = unknown.replace("\x1b", r"\x1b").replace("\udcff", r"\udcff")
        hint = f"; did you mean {near[unknown]}?" if unknown in near else ""
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"error: sqlite:{path} has never heard of {escaped}{hint}\n"


@pytest.mark.parametrize(
    "stream_id", ['quo"te', "back\\slash", "名前", "emoji 🛰", "[red]", "\u202eevil"]
)
def test_any_id_is_found(tmp_path: Path, stream_id: str) -> None:
    """What JSON writes differently is found all the same."""
    path = tmp_path / "events.db"
    write(path, *a_life(stream_id))
    assert run("history", path, stream_id, "--json").stdout.count("\n") == 9
    title = plain(run("history", path, stream_id).stdout)[0]
    assert title == f"connection {stream_id}  writer w0".replace("\u202e", r"\u202e")


def test_an_id_that_two_writers_use(path: Path) -> None:
    """Lives under different writers are told one by one, in the order they began."""
    with EventLog.open(path, writer="other") as log:
        log.append(("connection", "c1"), Registered("10.0.0.9"))
    titles = [line for line in plain(run("history", path, "c1").stdout) if "life" in line]
    assert titles[2] == "connection c1  life 3 of 3 · writer other"


def test_a_life_that_crashed(tmp_path: Path) -> None:
    """What a killed process left open ended by crash, once a server opened the log again."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        writer.register("c1")
        writer.kill()
    EventLog.open(path).close()
    assert "ended  crash, by crash, before the first byte" in run("history", path, "c1").stdout


def test_while_a_server_writes(tmp_path: Path) -> None:
    """A log may be read while another process has it open."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        writer.register("c1")
        assert "open   connecting since" in run("history", path, "c1").stdout


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(tmp_path: Path, width: int) -> None:
    """At 80 and at 120 columns no line is longer, and nothing hostile is obeyed."""
    path = tmp_path / "events.db"
    error = ErrorRecorded(HOSTILE, HOSTILE, "bug", retryable=False)
    write(path, *a_life("c1")[:4], ("c1", error), *a_life("c1", reason=HOSTILE)[-2:])
    lines = plain(run("history", path, "c1", width=width).stdout)
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= width
    squeezed = "".join("".join(lines).split())
    assert squeezed.count("".join(ESCAPED.split())) == 5  # the error twice, the reason thrice


def test_a_life_without_bytes_has_no_column_for_them(tmp_path: Path) -> None:
    """A run of the node is told like a connection, without bytes."""
    path = tmp_path / "events.db"
    write(path, ("c1", Registered("10.0.0.1")))
    steps = columns(run("history", path, "w0:1").stdout)
    assert [step[:2] for step in steps] == [
        ["node.started", "new → starting"],
        ["node.serving", "starting → serving"],
        ["node.stopped", "serving → stopped"],
    ]
    assert plain(run("history", path, "w0:1").stdout)[-3] == "ended  stopped"


def test_a_lifecycle_of_somebody_else(tmp_path: Path) -> None:
    """A lifecycle that nobody here knows is told by the table that its writer recorded.

    What stands where a table should and is none is passed over.
    """
    path = tmp_path / "events.db"
    with EventLog.open(path, lifecycles=(CONNECTION, ORDER)) as log:
        log.append(("node", "n1"), Started([{"name": "order"}, {"edges": 7}], {}))
        log.append(("order", "o1"), Placed(7), Paid())
    lines = plain(run("history", path, "o1").stdout)
    assert lines[0] == "order o1  writer w0"
    assert [step[:2] for step in columns("\n".join(lines))] == [
        ["order.placed", "new → open"],
        ["order.paid", "open → paid"],
    ]
    assert '(unknown tag) {"price":7}' in lines[1]
    assert lines[-2] == "ended  paid"


def test_an_illegal_event_keeps_the_state(tmp_path: Path) -> None:
    """An event for which the table has no way is shown as such, and moves nothing."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1")[:2], ("c1", Closing("kicked", "admin", "streaming")))
    change(path, "UPDATE frames SET body = replace(body, '.activated', '.recovered')")
    steps = columns(run("history", path, "c1").stdout)
    assert [step[:3] for step in steps] == [
        ["registered", "new → connecting", "0 ms"],
        ["recovered", "connecting", "(illegal)"],
        ["closing", "connecting → closing", "1.0 s"],
    ]


def test_a_lifecycle_whose_table_is_gone(tmp_path: Path) -> None:
    """Where no definition is to be found, events are told without states."""
    path = tmp_path / "events.db"
    write(path, *a_life("c1")[:2])
    change(path, "UPDATE frames SET fingerprints = '[\"unheard of\"]'")
    assert [step[:2] for step in columns(run("history", path, "c1").stdout)] == [
        ["registered", "?"],
        ["activated", "?"],
    ]


def test_activities_in_different_states_are_not_one(tmp_path: Path) -> None:
    """A run of activities ends where the state does."""
    path = tmp_path / "events.db"
    activity = ActivityRecorded(10, 1)
    events: list[Any] = [Registered("10.0.0.1"), Activated(), activity, activity]
    events += [Closing("kicked", "admin", "streaming"), activity, activity, activity]
    events += [Closed("kicked", 50, 5, 0, 0, 1.0)]
    write(path, *(("c1", event) for event in events))
    steps = columns(run("history", path, "c1").stdout)
    runs = [(step[1], step[3]) for step in steps if step[0] == "activity_recorded"]
    assert runs == [("active", "20 B"), ("closing", "50 B")]


def test_the_policy_that_decided(tmp_path: Path) -> None:
    """A retry says how its delay came about; where it says no policy, by that of its run."""
    path = tmp_path / "events.db"
    policy = {"max_retries": 2, "base_delay": 1.0, "max_delay": 30.0, "jitter": "full"}
    error = ErrorRecorded("OSError", "reset", "network_error", retryable=True)
    retry = RetryScheduled(2, 0.5, 0.25, 30.0, "network_error")
    with EventLog.open(path) as log:
        log.begin({}, policy)
        for event in (Registered("10.0.0.1"), error, retry, error, RetryRefused("exhausted")):
            log.append(("connection", "c1"), event)
    told = {step[0]: step[-1] for step in columns(run("history", path, "c1").stdout)}
    assert told["retry_scheduled"] == (
        "attempt 2 in 500 ms (network_error): backoff 2.0 s, full jitter with draw 0.25, "
        "2 retries allowed, at most 30.0 s"
    )
    assert told["retry_refused"] == "exhausted: all 2 retries are used up"


AROUND: Final = ("--around", "2026-09-21T14:13:24Z", "--within", "1.5")


def test_neighbours(path: Path) -> None:
    """--around tells to whom else something happened then, and how many were there."""
    lines = plain(run("history", path, "c10", *AROUND).stdout)
    assert lines[-3:] == [
        "around 2026-09-21 14:13:24.000 UTC, 1.5 s before and after it",
        "1 other there · 1 had errors · 1 ended · 0 began",
        "1 error, ended   c1  completed, by client · sse 10.0.0.1 · 1.5 kB · 1 error, 1 retry",
    ]
    lines = plain(run("history", path, "c1", "--around", "2026-09-21T14:13:24Z").stdout)
    assert lines[-1].startswith("1 error, began   c10")


def test_neighbours_as_json(path: Path) -> None:
    """With --json each is an object of its own, after the events."""
    lines = run("history", path, "c10", "--json", *AROUND).stdout.splitlines()
    *events, last = [json.loads(line) for line in lines]
    assert {event["stream"][1] for event in events} == {"c10"}
    assert list(last) == ["neighbour"]
    near = last["neighbour"]
    assert (near["stream"][1], near["began_near"], near["ended_near"], near["errors_near"]) == (
        *("c1", False, True, 1),
    )


def test_many_neighbours(tmp_path: Path) -> None:
    """Twenty are told one by one; how many more there are is said."""
    path = tmp_path / "events.db"
    write(path, *((f"c{number}", Registered("10.0.0.1")) for number in range(40)))
    around = ("--around", "2026-09-21T14:13:30Z", "--within", 99)
    lines = plain(run("history", path, "c0", *around).stdout)
    assert lines[-22] == "39 others there · 0 had errors · 0 ended · 39 began"
    assert lines[-1] == "and 19 more: --json has them all, a smaller --within fewer"


def test_an_index_tells_the_same(path: Path, tmp_path: Path) -> None:
    """What is looked up in an index, which --cache says the place of, is what is found without."""
    folder = tmp_path / "folder"
    with EventLog.open(path) as log, Cache(log.store, folder):
        pass
    for options in ((), ("--json",), AROUND):
        expected = run("history", path, "c1", *options).stdout
        assert run("history", path, "c1", "--cache", folder, *options).stdout == expected


class JustReading:
    """A store without optional capabilities."""

    def __init__(self, store: Store) -> None:
        self.read = store.read


def test_a_store_that_finds_nothing_itself(path: Path) -> None:
    """Where a store cannot search, its frames are searched."""
    with opened(str(path)) as store:
        assert isinstance(store, SupportsNames)
        assert list(naming(cast("Store", JustReading(store)), "c10")) == list(store.naming("c10"))
