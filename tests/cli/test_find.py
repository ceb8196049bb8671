"""rat-fsm find."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from rat_fsm.events import Activated, Closing, ErrorRecorded, Registered
from rat_fsm.log import EventLog
from rat_fsm.replay.cache import Cache
from tests.cli.logs import ESCAPED, HOSTILE, Writer, a_life, change, plain, run, write
from tests.orders import ORDER, New

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log in which c1 lives twice, the second time as a websocket that is still open."""
    path = tmp_path / "events.db"
    again = [("c1", Registered("10.0.0.2", "websocket")), ("c1", Activated("/chat/{room}"))]
    write(path, *a_life("c1"), *a_life("c22", "kicked"), *again)
    return path


def test_each_life_is_a_line(path: Path) -> None:
    """When it began, how long it lasted, who, how it stands or ended, and what was sent."""
    result = run("find", path)
    assert (result.exit_code, result.stderr) == (0, "")
    first, second, third, count = plain(result.stdout)
    assert first == (
        "2026-09-21 14:13:21.000    4.0 s  c1           completed, by client  "
        "sse 10.0.0.1 · 1.5 kB · 1 error, 1 retry"
    )
    assert "  c22  " in second
    assert "kicked, by client" in second
    assert third.split()[4:] == [
        *("c1", "(life", "2)", "active", "websocket", "10.0.0.2", "/chat/{room}", "·", "0", "B"),
    ]
    assert count == f"3 connections in sqlite:{path}"


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (("--open",), 1),
        (("--closed",), 2),
        (("--state", "active", "--state", "closed"), 3),
        (("--reason", "kicked"), 1),
        (("--ended-by", "client"), 2),
        (("--kind", "sse"), 2),
        (("--route", "/chat/{room}"), 1),
        (("--client", "10.0.0.0/31"), 2),
        (("--id", "c2*"), 1),
        (("--error", "RESET"), 2),
        (("--longer", "2.5", "--shorter", "4.5"), 2),
        (("--since", "2026-09-21T14:13:30Z"), 1),
        (("--until", "2026-09-21T16:13:22+02:00"), 1),
        (("--lifecycle", "node"), 1),
        (("--lifecycle", "*"), 4),
        (("--lifecycle", "order"), 0),
    ],
)
def test_each_option_is_a_filter(path: Path, options: tuple[str, ...], count: int) -> None:
    """Each says what must hold; nothing found is no error, and --json counts the same."""
    result = run("find", path, *options)
    noun = "stream" if "--lifecycle" in options else "connection"
    assert (result.exit_code, result.stderr) == (0, "")
    assert plain(result.stdout)[-1] == f"{count} {noun}{'' if count == 1 else 's'} in sqlite:{path}"
    assert run("find", path, "--json", *options).stdout.count("\n") == count


def test_json_is_an_object_a_line(path: Path) -> None:
    """Everything that is known, in the order that is asked for, all of it unless limited."""
    lines = [
        json.loads(x) for x in run("find", path, "--json", "--sort", "bytes").stdout.splitlines()
    ]
    assert [(one["stream"][1], one["life"], one["bytes"]) for one in lines] == [
        ("c1", 1, 1500),
        ("c22", 1, 1500),
        ("c1", 2, 0),
    ]
    assert run("find", path, "--json", "--limit", 1).stdout.count("\n") == 1


def test_many(tmp_path: Path) -> None:
    """On the screen a hundred are enough; how many more there are is said."""
    path = tmp_path / "events.db"
    write(path, *((f"c{number}", Registered("10.0.0.1")) for number in range(120)))
    assert len(plain(run("find", path).stdout)) == 101
    *lines, count = plain(run("find", path, "--limit", 2).stdout)
    assert len(lines) == 2
    assert count == (
        f"120 connections in sqlite:{path}; the first 2 are shown, see --limit and --sort"
    )
    assert run("find", path, "--json").stdout.count("\n") == 120


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--since", "2026-09-21T14:13:20"), "has no time zone"),
        (("--client", "10.0.0.0/99"), "is no network, such as 10.0.0.0/8"),
        (("--longer", "nan"), "must be finite"),
        (("--longer", "-1"), "-1"),
        (("--sort", "size"), "'size' is not one of"),
        (("--id", "*" * 2000), "at most 1,000 characters"),
    ],
)
def test_what_cannot_be_asked(path: Path, options: tuple[str, ...], message: str) -> None:
    """Is refused in one line, exit 2."""
    result = run("find", path, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(path: Path, width: int) -> None:
    """At 80 and at 120 columns no line is longer; the day is said once."""
    lines = plain(run("find", path, width=width).stdout)
    assert lines[0] == "2026-09-21 UTC"
    assert [line[:4] for line in lines].count("14:1") == 3
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_hostile_is_obeyed(tmp_path: Path, width: int) -> None:
    """Nor is it cut: whatever is too long for its column pushes what follows."""
    path = tmp_path / "events.db"
    error = ErrorRecorded(HOSTILE, HOSTILE, "bug", retryable=False)
    began: list[Any] = [Registered(HOSTILE, HOSTILE), Activated(HOSTILE), error]
    write(path, *(("c1", event) for event in [*began, Closing(HOSTILE, HOSTILE, "streaming")]))
    lines = plain(run("find", path, "--error", HOSTILE, width=width).stdout)
    assert all(line.isprintable() for line in lines)
    assert "".join("".join(lines).split()).count("".join(ESCAPED.split())) == 5


def test_an_index_is_used_where_there_is_one(path: Path, tmp_path: Path) -> None:
    """--cache says where it is kept; what was added since is found too."""
    folder = tmp_path / "folder"
    with EventLog.open(path) as log, Cache(log.store, folder):
        pass
    assert "3 connections" in run("find", path, "--cache", folder).stdout
    change(path, "UPDATE frames SET body = 'not needed any more' WHERE position = 1")
    write(path, ("c4", Registered("10.0.0.1")))
    assert "4 connections" in run("find", path, "--cache", folder).stdout


def test_while_a_server_writes(tmp_path: Path) -> None:
    """A log may be searched while another process has it open."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        writer.register("c1")
        assert "1 connection in" in run("find", path, "--open").stdout


def test_a_lifecycle_of_somebody_else(tmp_path: Path) -> None:
    """Streams that nobody here knows are found by their ids, times and states."""
    path = tmp_path / "events.db"
    with EventLog.open(path, lifecycles=(ORDER,)) as log:
        log.append(("order", "o1"), New.Placed("tea", 100, "EUR"))
    line = plain(run("find", path, "--lifecycle", "order", "--state", "open").stdout)[0]
    assert line.split()[-2:] == ["o1", "open"]


def test_a_damaged_frame(path: Path) -> None:
    """Is one line, exit 2: whatever stands in it might have been found."""
    change(path, "UPDATE frames SET body = 'x' WHERE position = 1")
    result = run("find", path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: frame 1 is damaged")
