"""The README: its code runs, its generated sections are current, its links lead somewhere."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click
import pytest

from rat_fsm import replay
from rat_fsm.cli.app import COMMANDS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT: Final = Path(__file__).parent.parent
GENERATOR: Final = PROJECT / ".ci" / "readme.py"
README: Final = (PROJECT / "README.md").read_text(encoding="utf-8")
BLOCK: Final = re.compile(
    r"(?:^<!-- (?P<mark>file|needs|not run): (?P<value>[^\n]+) -->\n)?"
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n<!-- prints -->\n```text\n(?P<prints>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
COMMANDS_TO_RUN: Final = {
    "demo": "pip install '.[all]' && rat-fsm demo --duration 10",
    "tests": "pip install '.[dev]' && python -m pytest -q -n auto -m \"not slow\"",
}


@attrs.frozen
class Block:
    """A Python block.

    Attributes:
        file: the file it stands for.
        code: what it says.
        prints: what that prints, None where nothing is told.
        needs: the packages it imports that are for some readers only.
    """

    file: str
    code: str
    prints: str | None
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """What it needs and is not here."""
        return [name for name in self.needs if find_spec(name) is None]


def blocks() -> list[Block]:
    """Every Python block of the README that is to be run, in order."""
    found = [match for match in BLOCK.finditer(README) if match["mark"] != "not run"]
    return [_block(match, f"block{number}.py") for number, match in enumerate(found)]


def _block(match: re.Match[str], name: str) -> Block:
    value = match["value"] or ""
    file = value if match["mark"] == "file" else name
    needs = tuple(value.split()) if match["mark"] == "needs" else ()
    return Block(file, match["code"], match["prints"], needs)


def write(folder: Path, *, only_files: bool = False) -> list[Block]:
    """Writes the blocks as a reader would, into one folder."""
    written = [b for b in blocks() if not (only_files and b.file.startswith("block"))]
    for block in written:
        (folder / block.file).write_text(block.code, encoding="utf-8")
    return written


@pytest.mark.timeout(300)
def test_every_block_runs(tmp_path: Path) -> None:
    """Each Python block runs to its end and prints what the README says, one after the other."""
    own = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert len(blocks()) == README.count("```python") - README.count("<!-- not run: ")
    for block in write(tmp_path):
        if block.missing:
            continue  # the next test says so
        command = [sys.executable, "-W", "error", block.file]
        result = subprocess.run(
            command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False, timeout=30
        )
        # Some do no more here than open a log, and leave it as a crash would; one breaks a rule.
        lines = result.stderr.splitlines()
        expected = re.compile("did not end cleanly|^monitor violated")
        told = [line for line in lines if not expected.search(line)]
        assert (result.returncode, told) == (0, []), block.file
        assert result.stdout == (block.prints or ""), block.file


def test_no_block_was_left_out() -> None:
    """What some blocks need besides the extra dev is here, or this says what is not."""
    missing = sorted({name for block in blocks() for name in block.missing})
    if missing:
        pytest.skip(f"blocks that need {', '.join(missing)} were left out")


def test_code_comes_first() -> None:
    """By line 40 the reader has seen the recorder whole: recording, an error, a replay."""
    code = blocks()[0].code
    assert code in "".join(README.splitlines(keepends=True)[:40])
    for name in ("EventLog.open", "register_connection", "record_error", "replay("):
        assert name in code


@pytest.mark.parametrize("name", COMMANDS_TO_RUN)
def test_the_marked_commands(name: str) -> None:
    """The two commands that .ci/run takes from here stand behind their marks."""
    assert f"\n<!-- ci: {name} -->\n```sh\n{COMMANDS_TO_RUN[name]}\n```\n" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    """Each command has a heading, and under it each of its options."""
    assert f"#### `rat-fsm {name}" in README, "run python .ci/readme.py"
    section = README.partition(f"#### `rat-fsm {name}")[2].partition("\n#### ")[0]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for option in (param for param in command.params if isinstance(param, click.Option)):
        for flag in (*option.opts, *option.secondary_opts):
            assert re.search(rf"^\| `[^`]*{re.escape(flag)}\b", section, re.MULTILINE), flag


@pytest.mark.skipif(not GENERATOR.exists(), reason="only a checkout has the generator")
def test_the_generated_sections_are_current() -> None:
    """README.md and diagrams/ hold what the code says now; `python .ci/readme.py` writes both."""
    command = [sys.executable, str(GENERATOR), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def anchor(heading: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")


def test_links_lead_somewhere() -> None:
    """Links within the README meet a heading, and links to files a file."""
    text = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    anchors = {anchor(line) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert targets
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (PROJECT / target).is_file(), target


@contextlib.contextmanager
def serving(app: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """One of the README's applications, run by uvicorn, and its port."""
    write(folder, only_files=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--no-access-log"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, port
        finally:
            process.kill()


@contextlib.contextmanager
def get(port: int, path: str) -> Iterator[http.client.HTTPResponse]:
    """A response whose body may never end, once the server answers."""
    with contextlib.closing(_connected(port)) as connection:
        connection.request("GET", path)
        yield connection.getresponse()


def _connected(port: int) -> http.client.HTTPConnection:
    deadline = time.monotonic() + 20
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.connect()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return connection


def test_the_first_server_of_the_readme(tmp_path: Path) -> None:
    """It streams, and ends an open stream cleanly when it gets SIGTERM; its log is complete."""
    with serving("live:app", tmp_path) as (process, port), get(port, "/clock") as clock:
        assert clock.readline() == b"data: tick\n"
        process.send_signal(signal.SIGTERM)
        assert b"event: drain\n" in clock.read()
        process.communicate(timeout=20)
    model = replay(f"sqlite:{tmp_path / 'live.db'}")
    assert model.stats.as_dict()["closed_by_reason"] == {"shutdown": 1}
    assert (model.drain.phase, model.drain.requested_by) == ("stopped", "SIGTERM")


def test_the_relay_of_the_readme(tmp_path: Path) -> None:
    """It retries, gives up, and says so."""
    with serving("relay:app", tmp_path) as (process, port):
        with get(port, "/prices") as prices:
            assert prices.read().count(b'data: {"price": 17}\n') == 3  # once, and two retries
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    stats = replay(f"sqlite:{tmp_path / 'relay.db'}").stats.as_dict()
    assert (stats["total_errors"], stats["total_retries"], stats["active_connections"]) == (3, 2, 0)
    assert stats["closed_by_reason"] == {"app_error": 1}
