"""Writing processes, seen from the test that starts, stops, kills and waits for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from tests.faults.account import AccountReader, Acknowledged, Ended, Sampled
from tests.processes import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE: Final = 90.0
GLANCE: Final = 0.02


class Writer:
    """A process that runs `tests.faults.writing` under a name.

    Attributes:
        name: with which the ids of its connections begin.
        process: the process.
        state: where its log sets aside what nobody stores any more: beside its spill file.
        slot: the writer that its log was at first.
    """

    def __init__(self, url: str, folder: Path, name: str, *, spill: Path | None = None) -> None:
        self.name: Final = name
        self.state = folder / f"{name}.state" if spill is None else spill.parent
        self._account = AccountReader(folder / f"{name}.account")
        command = [sys.executable, "-m", "tests.faults.writing", url]
        command += [str(folder / f"{name}.account"), name, str(spill or "")]
        self.process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, "XDG_STATE_HOME": str(self.state)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.slot = ""

    def ready(self) -> None:
        """Waits until its log is open."""
        assert self.process.stdout is not None
        self.slot = self.process.stdout.readline().strip()  # pytest's timeout bounds it
        assert self.slot, "the process has failed; see its stderr"

    @property
    def acknowledged(self) -> list[Acknowledged]:
        """Every acknowledgement so far."""
        return [e for e in self._account.refresh() if isinstance(e, Acknowledged)]

    @property
    def samples(self) -> list[Sampled]:
        """Everything that its health said so far."""
        return [e for e in self._account.refresh() if isinstance(e, Sampled)]

    @property
    def ended(self) -> Ended | None:
        """How it closed its log."""
        return next((e for e in self._account.refresh() if isinstance(e, Ended)), None)

    def wait(self, told: Callable[[Writer], bool], what: str) -> None:
        """Waits until the process has told something, and no longer than `PATIENCE`."""
        deadline = time.monotonic() + PATIENCE
        while not told(self):
            assert self.process.poll() is None, f"{self.name} has ended before {what}"
            assert time.monotonic() < deadline, f"{self.name}: no {what}; {self.samples[-1:]}"
            time.sleep(GLANCE)

    def wait_for_status(self, status: str) -> None:
        """Waits for a sample taken from now on with this status."""
        seen = len(self.samples)
        self.wait(lambda w: any(s.status == status for s in w.samples[seen:]), f"status {status}")

    def wait_for_acknowledgement(self, more: int = 1) -> None:
        """Waits until so many more records than now were acknowledged."""
        goal = self.last_acknowledged + more
        self.wait(lambda w: w.last_acknowledged >= goal, f"acknowledgement of {goal}")

    def wait_for_records(self, more: int = 1) -> None:
        """Waits until so many more records than now were accepted, durable or not."""
        goal = self.samples[-1].number + more if self.samples else more
        self.wait(lambda w: w.samples[-1].number >= goal, f"record {goal}")

    @property
    def last_acknowledged(self) -> int:
        """The number of the last record that is durable, as far as the process has heard."""
        acknowledged = self.acknowledged
        return acknowledged[-1].number if acknowledged else 0

    def kill(self) -> None:
        """Kills it so that it can do nothing about it."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Stops it as a debugger, a full memory or a moved machine does."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it go on where it was stopped."""
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> Ended:
        """Lets it close its log and end, which must not take longer than `PATIENCE`."""
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        assert self.ended is not None
        return self.ended

    def discard(self) -> None:
        """Whatever happened, the process is gone afterwards."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE)
