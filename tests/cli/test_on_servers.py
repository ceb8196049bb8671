"""The command line on logs that servers keep: the same answers, and no password in any of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import pytest

from rat_fsm import EventLog
from tests.cli.logs import a_life, finish, plain, run, start, write
from tests.drainers import serving
from tests.servers.fixtures import fresh, fresh_stream
from tests.servers.postgres import PASSWORD, QUOTED

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

STORES: Final = ("postgres", "nats")
SECRETS: Final = (PASSWORD, QUOTED, "s3cr3t", "max_bytes", "schema=")
# What says the same of the same log, wherever it is; the name of the log is taken out.
COMMANDS: Final = (
    ("log",),
    ("log", "--json"),
    ("log", "--last", "3", "--json"),
    ("history", "c1"),
    ("history", "c1", "--all", "--json"),
    ("find", "--error", "reset"),
    ("find", "--json"),
    ("stats",),
    ("stats", "--json", "--writer", "w0"),
    ("replay", "--json"),
    ("replay", "--at", "2"),
    ("check",),
    ("what-if", "--max-retries", "0"),
    ("diagram", "connection"),
    ("verify", "--json"),
    ("export", "--jsonl"),
)


def new_url(store: str, request: pytest.FixtureRequest) -> str:
    """A log that does not exist yet."""
    if store == "postgres":
        return fresh(request.getfixturevalue("postgres_url"))
    return fresh_stream(request.getfixturevalue("nats_url"))


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest) -> str:
    """A log that does not exist yet, on a server."""
    return new_url(request.param, request)


def answer(url: object, command: tuple[str, ...]) -> str:
    """What a command says of a log, with ``LOG`` for its name."""
    name, *options = command
    where = ["--log", url] if name == "diagram" else [url]
    arguments = [*options, *where] if name == "diagram" else [*where, *options]
    result = run(name, *arguments)
    assert (result.exit_code, result.stderr) == (0, ""), (command, result.stderr)
    assert [secret for secret in SECRETS if secret in result.stdout] == []
    return re.sub(r"(?:sqlite|postgresql|nats):\S+( \(schema \w+\))?", "LOG", result.stdout)


@pytest.mark.parametrize("store", STORES)
def test_every_command_says_the_same(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Of a log in a file and of its copy on a server, and of what comes back from there."""
    path, url, back = tmp_path / "events.db", new_url(store, request), tmp_path / "back.db"
    write(path, *a_life("c1"), *a_life("c2", "idle_timeout"), *a_life("c3")[:4])
    write(path, *a_life("c1"), *a_life("c4")[:5], writer="other")
    for source, destination in ((path, url), (url, back)):
        result = run("copy", source, destination)
        assert (result.exit_code, result.stderr) == (0, "")
        assert [secret for secret in SECRETS if secret in result.stdout] == []
    again = run("copy", path, url, "--json")
    assert (json.loads(again.stdout)["frames"], again.exit_code) == (0, 0)
    for command in COMMANDS:
        if command[0] == "verify":  # a copy has no snapshots
            assert json.loads(answer(url, command))["sound"]
        else:
            expected = answer(back, command)
            assert answer(url, command) == expected, command


def test_a_log_moves_from_one_server_to_another(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Frame by frame, hashes and positions too; and into a log that others write it does not."""
    path = tmp_path / "events.db"
    write_to(path)
    there, elsewhere = new_url("postgres", request), new_url("nats", request)
    for source, destination in ((path, there), (there, elsewhere)):
        assert run("copy", source, destination).exit_code == 0
    assert run("log", elsewhere, "--json").stdout == run("log", path, "--json").stdout
    with EventLog.open(elsewhere):
        result = run("copy", there, elsewhere)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "in use" in result.stderr
    assert [secret for secret in SECRETS if secret in result.stderr] == []


def test_a_head_and_a_checkpoint_are_kept_here(url: str, tmp_path: Path) -> None:
    """Of a log there; what is missing there shows against both."""
    write_to(url)
    head, key = tmp_path / "kept", tmp_path / "key"
    result = run("verify", url, "--keep-head")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "say --head-file FILE" in result.stderr
    assert run("verify", url, "--keep-head", "--head-file", head).exit_code == 0
    assert f"held against the head kept in {head}" in run("verify", url, "--head-file", head).stdout
    assert run("key", "new", "example.com/log", "--output", key).exit_code == 0
    sealed = run("seal", url, "--key", key)
    assert sealed.exit_code == 0
    (tmp_path / "checkpoint").write_text(sealed.stdout)
    proven = run("verify", url, "--checkpoint", tmp_path / "checkpoint")
    assert (proven.exit_code, "extends the checkpoint" in proven.stdout) == (0, True)
    assert [secret for secret in SECRETS if secret in sealed.stdout + proven.stdout] == []


def write_to(log: Path | str) -> None:
    """Some lives, by a clock that ticks."""
    write(log, *a_life("c1"), *a_life("c2")[:4])


def test_servers_there_drain(url: str) -> None:
    """One command for all of them, and nobody else needs to be told."""
    with serving(url), serving(url, count=3):
        result = run("drain", url, "--actor", "ann", "--json")
        assert (result.exit_code, result.stderr) == (0, "")
        told = json.loads(result.stdout)
        assert [(w["writer"], w["closed"]) for w in told["writers"]] == [("w0", 2), ("w1", 3)]
        assert told["complete"]
        assert plain(run("writers", url).stdout)[0].endswith(": 3 writers, 2 held")


def test_writers_and_top(url: str) -> None:
    """Slots with their epochs, and what is open."""
    with EventLog.open(url) as log:
        log.begin()
        log.flush()
        (writer,) = json.loads(run("writers", url, "--json").stdout)["writers"]
        assert (writer["held"], writer["epoch"], writer["phase"]) == (True, 1, "serving")
        shown = run("top", url, "--once", "--interval", "0.1")
        assert plain(shown.stdout)[1] == "1 writer, 1 held · 0 open"
        assert [secret for secret in SECRETS if secret in shown.stdout] == []
    (writer,) = json.loads(run("writers", url, "--json").stdout)["writers"]
    assert (writer["held"], writer["died"], writer["phase"]) == (False, False, "stopped")


def test_new_events_are_followed(url: str) -> None:
    """As they come, until it is interrupted."""
    write_to(url)
    with start("log", url, "--follow", "--json", "--last", "1") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "node.stopped"
        write_to(url)
        types = (json.loads(line)["type"] for line in process.stdout)
        assert "connection.registered" in types
        process.terminate()
        _, errors = finish(process)
    assert (process.returncode, errors) == (0, "")
