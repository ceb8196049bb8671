"""Other processes that write a log, so that locks and crashes are real."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE: Final = 30.0
PROJECT: Final = Path(__file__).parent.parent
_WRITER: Final = """
import sys
from rat_fsm.events import Activated, ActivityRecorded, Registered
from rat_fsm.log import EventLog
from tests.orders import ORDER

path, writer, count = sys.argv[1], sys.argv[2] or None, int(sys.argv[3])
log = EventLog.open(path, writer=writer)
for number in range(count):
    stream = ("connection", f"{log.writer} {number}")
    log.append(stream, Registered("10.0.0.1", "sse", {}), Activated(), ActivityRecorded(number, 1))
log.flush()
print(log.writer, flush=True)
for line in sys.stdin:
    exec(line)
    log.flush()
    print("done", flush=True)
log.close()
"""


def untraced() -> dict[str, str]:
    """The environment without a coverage tracer.

    Its own code could be interrupted as well, holds locks, and writes files at exit.
    """
    return {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}


class WriterProcess:
    """A process that has registered ``count`` connections and waits for more to do."""

    def __init__(self, path: Path | str, writer: str, count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), writer, str(count)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.writer = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()  # pytest's timeout bounds it
        assert line, "the process has failed; see its stderr"
        return line.strip()

    def run(self, statement: str) -> None:
        """Runs a statement that may use ``log``, and flushes."""
        assert self.process.stdin is not None
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        assert self._line() == "done"

    def kill(self) -> None:
        """Kills it so that it can do nothing about it."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self) -> None:
        """Lets it close its log and end."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0


@contextlib.contextmanager
def writer_process(path: Path | str, writer: str = "", count: int = 1) -> Iterator[WriterProcess]:
    """A writer in a process of its own, which ends with the context at the latest."""
    other = WriterProcess(path, writer, count)
    try:
        yield other
    finally:
        if other.process.poll() is None:
            other.process.kill()
        other.process.communicate(timeout=PATIENCE)
