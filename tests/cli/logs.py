"""Logs for the tests of the command line, and ways to run it: in this process and in others."""

from __future__ import annotations

import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
from click.testing import CliRunner

from rat_fsm.cli.app import cli
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ErrorRecorded,
    Recovered,
    Registered,
    RetryScheduled,
)
from rat_fsm.log import EventLog

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

START: Final = 1_790_000_000_000_000  # 2026-09-21 14:13:20 UTC
HOSTILE: Final = "[red]x[/red] \x1b[31m\x9b2J \u202egnp.exe\u2066\n\x07\x7f"
ESCAPED: Final = r"[red]x[/red] \x1b[31m\x9b2J \u202egnp.exe\u2066\n\x07\x7f"
RAT_FSM: Final = (sys.executable, "-m", "rat_fsm.cli")

# Registers each id it is told, once it is durable says so, and ends when it is told no more.
WRITER: Final = """
import sys
from rat_fsm.events import Registered
from rat_fsm.log import EventLog

with EventLog.open(sys.argv[1]) as log:
    for line in sys.stdin:
        log.append(("connection", line.strip()), Registered("10.0.0.1", "sse"))
        log.flush()
        print("durable", flush=True)
"""


@attrs.define
class Ticking:
    """A clock that is about half a second further each time it is read."""

    micros: int = START

    def now(self) -> int:
        """Microseconds since the epoch."""
        self.micros += 500_123
        return self.micros


def write(path: Path | str, *streams: tuple[str, Any], **options: Any) -> None:
    """Appends one event after the other, each given with the id of its connection."""
    with EventLog.open(path, clock=Ticking(), **options) as log:
        log.begin({"max_connections": 10})
        for connection_id, event in streams:
            log.append(("connection", connection_id), event)


def a_life(connection_id: str, reason: str = "completed") -> list[tuple[str, Any]]:
    """What happens to a connection that works, breaks once, recovers and ends."""
    events = [
        Registered("10.0.0.1", "sse", {"agent": "browser"}),
        Activated(),
        ActivityRecorded(1000, 1),
        ActivityRecorded(500, 2),
        ErrorRecorded("OSError", "reset by peer", "network_error", retryable=True),
        RetryScheduled(1, 1.0, None, 30.0, "network_error"),
        Recovered(1),
        Closing(reason, "client", "streaming", 1006),
        Closed(reason, 1500, 3, 1, 1, 4.0),
    ]
    return [(connection_id, event) for event in events]


def run(*args: object, width: int | None = None) -> Result:
    """Runs a command; with a width as if on a terminal of so many columns."""
    terminal = {} if width is None else {"FORCE_COLOR": "1", "COLUMNS": str(width), "LINES": "24"}
    hidden = {"FORCE_COLOR": None, "COLUMNS": None, "NO_COLOR": None, "TERM": "xterm-256color"}
    return CliRunner(env={**hidden, **terminal}).invoke(cli, [str(arg) for arg in args])


def plain(output: str) -> list[str]:
    """The lines of an output without the colours that rich gave them."""
    return re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines()


def change(path: Path, sql: str, *values: object) -> None:
    """Changes a log behind its back."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql, values)


def start(*args: object, **options: Any) -> subprocess.Popen[str]:
    """Starts the command line in a process of its own, with pipes."""
    command = [*RAT_FSM, *(str(arg) for arg in args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **{**pipes, **options})


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What is left of both outputs of a process that ends.

    `communicate` would pass over what has been read ahead of the lines read so far.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    left = process.stdout.read(), process.stderr.read()
    process.wait(30)
    return left


class Writer:
    """Another process that writes to a log while it is read."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._code = 0

    def register(self, connection_id: str) -> None:
        """Returns when it is durable."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{connection_id}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "durable\n"

    def kill(self) -> None:
        """Ends it as a crash would."""
        self._process.kill()
        self._code = -signal.SIGKILL

    def __enter__(self) -> Self:
        """Itself, running."""
        return self

    def __exit__(self, *_: object) -> None:
        """Lets it close the log and end."""
        assert self._process.communicate(timeout=30)[0] == ""
        assert self._process.returncode == self._code
