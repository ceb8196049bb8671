"""rat-fsm to-test."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rat_fsm.events import Activated, ErrorRecorded, Registered
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.log import EventLog
from tests.cli.logs import HOSTILE, Writer, a_life, change, run, write
from tests.orders import OLD_ORDER, Old, Packed

if TYPE_CHECKING:
    from pathlib import Path

PREDICATES = """
import sys

NUMBER = 7
LIFECYCLE = "no lifecycle"

def retried(stream):
    print("asked")
    return stream.record.total_retries > 0

def picky(stream):
    if len(stream.events) < 9:
        raise LookupError("[red]\\x1b[31m\\n")
    return True
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log in which one id lives twice and another once."""
    path = tmp_path / "events.db"
    again = [("c1", Registered("10.0.0.2", "websocket")), ("c1", Activated())]
    write(path, *a_life("c1"), *a_life("c10"), *again)
    return path


@pytest.fixture
def predicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the working directory."""
    (tmp_path / "rat_fsm_predicates.py").write_text(PREDICATES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "rat_fsm_predicates"


def passes(source: str, folder: Path) -> bool:
    """Whether pytest runs a file green."""
    path = folder / "test_made.py"
    path.write_text(source, encoding="utf-8")
    options = "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(folder)
    command = [sys.executable, "-m", "pytest", *options, str(path)]
    result = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    return "3 passed" in result.stdout


def test_a_test_is_printed(path: Path) -> None:
    """The test goes to stdout, says where it comes from, and names nobody."""
    result = run("to-test", path, "c10")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[:5] == [
        '"""A stream of the lifecycle connection, replayed as recorded."""',
        "",
        f"# From sqlite:{path}: stream w0:12, events 1.11 to 1.19.",
        "# Not as recorded: the id, addresses, metadata, messages.",
        "",
    ]
    compile(result.stdout, "test", "exec")
    for word in ("c10", "10.0.0.1", "browser", "reset by peer"):
        assert word not in result.stdout


@pytest.mark.slow
def test_pytest_runs_it(path: Path, tmp_path: Path) -> None:
    """What is written passes as it stands."""
    assert passes(run("to-test", path, "c10", "--shrink", "retries > 0").stdout, tmp_path)


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("--keep-addresses", "10.0.0.1"),
        ("--keep-metadata", "browser"),
        ("--keep-messages", "reset"),
    ],
)
def test_what_is_kept(path: Path, option: str, word: str) -> None:
    """Each option keeps one thing, and the head of the file no longer calls it replaced."""
    output = run("to-test", path, "c10", option).stdout
    assert word in output
    assert sum(other in output for other in ("10.0.0.1", "browser", "reset by peer")) == 1
    assert option.removeprefix("--keep-") not in output.splitlines()[3]


def test_shrinking(path: Path) -> None:
    """The fewest events for which an expression holds; stderr says how many were tried."""
    condition = "retries >= 1 and bytes_sent > 900"
    result = run("to-test", path, "c10", "--shrink", condition)
    assert result.exit_code == 0
    assert result.stderr.startswith("Shrunk to 4 of 9 events; tried ")
    assert "gave up" not in result.stderr
    head = f"# Shrunk to 4 of 9 events, values made simpler, while this held: {condition}"
    assert result.stdout.splitlines()[3] == head
    assert "ActivityRecorded(bytes_sent=901, messages_sent=0)" in result.stdout


def test_shrinking_by_a_function(path: Path, predicates: str) -> None:
    """A function decides as well; what it prints goes to stderr."""
    result = run("to-test", path, "c10", "--shrink", f"{predicates}:retried")
    assert (result.exit_code, result.stderr.count("asked") > 3) == (0, True)
    assert "asked" not in result.stdout
    assert "Shrunk to 2 of 9 events" in result.stdout


def test_lives(path: Path) -> None:
    """Of several lives it is the last, and says so, unless another is asked for."""
    last = run("to-test", path, "c1")
    assert last.stderr == "this is life 2 of 2; --life takes another\n"
    assert ", life 2 of 2, events 1.20 to 1.21." in last.stdout
    assert 'kind="websocket"' in last.stdout
    assert 'kind="sse"' in run("to-test", path, "c1", "--life", 1).stdout


def test_until(path: Path) -> None:
    """A position, a frame or a time ends what is taken."""
    assert "events 1.11 to 1.12." in run("to-test", path, "c10", "--until", "1.12").stdout
    assert "events 1.11 to 1.19." in run("to-test", path, "c10", "--until", "1").stdout
    early = run("to-test", path, "c10", "--until", "2026-09-21T14:00Z")
    assert (early.exit_code, early.stdout) == (2, "")
    assert early.stderr.startswith("error: connection/c10 had not begun by 2026-09-21 14:00:00")


def test_a_file(path: Path, tmp_path: Path) -> None:
    """A file is its owner's only, is not replaced unasked, and holds what stdout would."""
    output = tmp_path / "test_c10.py"
    result = run("to-test", path, "c10", "--output", output)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"run python -m pytest {output}\n"
    assert output.read_text(encoding="utf-8") == run("to-test", path, "c10").stdout
    assert output.stat().st_mode & 0o777 == 0o600
    again = run("to-test", path, "c1", "--output", output)
    assert (again.exit_code, again.stderr) == (2, f"error: {output} exists; --force replaces it\n")
    assert run("to-test", path, "c1", "--output", output, "--force").exit_code == 0
    assert output.read_text(encoding="utf-8") == run("to-test", path, "c1").stdout
    nowhere = run("to-test", path, "c10", "--output", tmp_path / "missing" / "test.py")
    assert nowhere.exit_code == 2
    assert nowhere.stderr.endswith("test.py: No such file or directory\n")


def test_json(path: Path, tmp_path: Path) -> None:
    """One object says where the test comes from, and holds it unless it is in a file."""
    result = run("to-test", path, "c1", "--life", 1, "--shrink", "retries > 0", "--json")
    told: dict[str, Any] = json.loads(result.stdout)
    source = told.pop("source")
    tried = told["shrunk"].pop("tried")
    assert told == {
        "log": f"sqlite:{path}",
        "lifecycle": "connection",
        "born": "w0:3",
        "life": 1,
        "lives": 2,
        "first": "1.2",
        "last": "1.10",
        "recorded": 9,
        "events": 2,
        "illegal": 0,
        "other_definition": False,
        "kept": [],
        "shrunk": {"while": "retries > 0", "minimal": True},
        "output": None,
    }
    assert (result.stderr, tried > 2) == ("", True)
    assert source == run("to-test", path, "c1", "--life", 1, "--shrink", "retries > 0").stdout
    output = tmp_path / "test_c1.py"
    told = json.loads(run("to-test", path, "c1", "--json", "--output", output).stdout)
    assert (told["output"], told["source"], told["shrunk"]) == (str(output), None, None)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("c2",), "has never heard of c2"),
        (("c10", "--life", 2), "c10 has no life 2 here, only 1"),
        (("c10", "--until", "9.0"), "there is no frame 9"),
        (("c10", "--until", "2026-09-21T14:00"), "has no time zone"),
        (
            ("c10", "--shrink", "retries > 1"),
            "does not hold for the stream as recorded: retries is 1",
        ),
        (("c10", "--shrink", "retries > '1'"), "the predicate raised TypeError"),
        (("c10", "--shrink", "__import__('os')"), "cannot be asked"),
        (("c10", "--shrink", "illegal > 0"), "does not hold"),
        (("c10", "--shrink", "rat_fsm_predicates:picky"), "raised LookupError for a stream of"),
        (("c10", "--shrink", "rat_fsm_predicates:NUMBER"), "is no function but a int"),
        (("c10", "--shrink", "rat_fsm_predicates:nothing"), "cannot import"),
        (("c10", "--module", "rat_fsm_predicates:LIFECYCLE"), "is no Lifecycle but of type str"),
        (("c10", "--module", "rat_fsm_predicates"), "rat_fsm_predicates has no Lifecycle of"),
    ],
)
@pytest.mark.usefixtures("predicates")
def test_bad_input(path: Path, options: tuple[object, ...], problem: str) -> None:
    """Whatever is wrong is one line, exit 2."""
    result = run("to-test", path, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert len([line for line in result.stderr.splitlines() if "rror: " in line]) == 1
    assert "Traceback" not in result.stderr
    assert "\x1b" not in result.stderr


def test_hostile_words(tmp_path: Path) -> None:
    """Ids, messages, metadata and conditions full of markup and controls stay text."""
    path = tmp_path / "events.db"
    hostile = HOSTILE.replace("\n", "").replace("\x07", "").replace("\x7f", "")
    stream_id = "".join(c for c in hostile if c.isprintable()) + "\u202e\"'\\"
    error = ErrorRecorded(HOSTILE, HOSTILE, "bug", retryable=False)
    write(path, (stream_id, Registered(HOSTILE, HOSTILE, {HOSTILE: HOSTILE})), (stream_id, error))
    keep = "--keep-addresses", "--keep-metadata", "--keep-messages"
    for width in (None, 80):
        result = run("to-test", path, stream_id, *keep, "--shrink", "errors > 0", width=width)
        assert result.exit_code == 0
        assert all(line.isprintable() for line in result.stdout.split("\n"))
        assert all(line.isprintable() for line in result.stderr.split("\n"))
    condition = f"errors > 0 and kind == {HOSTILE!a}"
    result = run("to-test", path, stream_id, *keep, "--shrink", condition)
    assert condition in result.stdout
    refused = run("to-test", path, stream_id, "--shrink", f"errors {HOSTILE}")
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr[:-1].isprintable()


def test_what_the_table_has_no_way_for(path: Path) -> None:
    """Unknown and illegal events are written as what they are, and stderr counts them."""
    change(path, "UPDATE frames SET body = replace(body, '.recovered', '.redeemed')")
    result = run("to-test", path, "c10")
    assert result.stderr == "1 event today's table has no way for keep the state\n"
    assert 'UnknownEvent(\n            tag="connection.redeemed",' in result.stdout
    assert json.loads(run("to-test", path, "c10", "--json").stdout)["illegal"] == 1


def test_a_lifecycle_of_somebody_else(tmp_path: Path) -> None:
    """Its streams want --module, and what their events hold is written as it is."""
    path = tmp_path / "events.db"
    with EventLog.open(path, lifecycles=(CONNECTION, OLD_ORDER)) as log:
        log.append(("order", "o1"), Old.Placed("tea", 2.5), Packed(2))
    result = run("to-test", path, "o1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'order', which is not known here" in result.stderr
    result = run("to-test", path, "o1", "--module", "tests.orders:ORDER")
    assert result.exit_code == 0
    assert "# Not as recorded: the id.\n" in result.stdout
    assert "from tests.orders import ORDER, New, Packed\n" in result.stdout
    assert result.stderr.splitlines() == [
        "what events of order hold is written as it is",
        "some of it was written under another definition of its lifecycle",
    ]


def test_a_search_that_gives_up(path: Path) -> None:
    """Where the limit comes first, stderr says that there may be smaller ones."""
    result = run("to-test", path, "c10", "--shrink", "retries > 0", "--effort", 20)
    assert result.stderr.endswith("smaller ones, then gave up: there may be smaller ones\n")


def test_while_a_server_writes(tmp_path: Path) -> None:
    """A log may be read while another process has it open."""
    path = tmp_path / "events.db"
    with Writer(path) as writer:
        writer.register("c1")
        result = run("to-test", path, "c1")
    assert result.exit_code == 0
    assert 'Registered(remote_addr="192.0.2.1", kind="sse"), "connecting"),' in result.stdout


def test_the_calls_of_a_machine(path: Path) -> None:
    """The other form, which is redacted and shrunk alike."""
    result = run("to-test", path, "c10", "--form", "stateful", "--shrink", "retries >= 1")
    assert result.exit_code == 0
    calls = [line.strip() for line in result.stdout.splitlines() if "_from_" in line]
    assert calls[0] == 'state.registered_from_new(event=Registered(remote_addr="", kind=""))'
    assert "retry_scheduled_from_" in calls[-1]
    assert "# Not as recorded: the id, addresses, metadata, messages.\n" in result.stdout
    compile(result.stdout, "test", "exec")


MACHINE = """
from rat_fsm import CONNECTION
from rat_fsm.testing import lifecycle_machine

Connections = lifecycle_machine(CONNECTION)
"""


@pytest.mark.slow
def test_a_machine_of_ones_own(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is imported from the working directory, and pytest runs what is written."""
    (tmp_path / "rat_fsm_machines.py").write_text(MACHINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    machine = "rat_fsm_machines:Connections"
    result = run("to-test", path, "c10", "--form", "stateful", "--machine", machine)
    assert result.exit_code == 0
    assert "from rat_fsm_machines import Connections\n" in result.stdout
    (tmp_path / "test_made.py").write_text(result.stdout)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_made.py"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert "1 passed" in done.stdout


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--machine", "a:B"), "--machine is for --form stateful"),
        (("--form", "stateful", "--machine", "a"), "'a' is not of the form module:NAME"),
        (
            ("--form", "stateful", "--machine", "tests.orders:ORDER"),
            "is no machine of 'connection'",
        ),
    ],
)
def test_what_is_no_machine(path: Path, options: tuple[str, ...], problem: str) -> None:
    """One line says so."""
    result = run("to-test", path, "c10", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1
