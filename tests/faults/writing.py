"""A program that records as a server does until its standard input ends, and keeps account of it.

Its records are numbered: every activity says its number as the bytes it sent. So whoever reads the
log can tell which record is missing, or is there twice.
"""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rat_fsm import ConnectionManager, EventLog
from rat_fsm.errors import RatFsmError
from tests.faults.account import Account, Acknowledged, Ended, Sampled

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 10
PAUSE = 0.01
CHURN = 0.02
PATIENCE = 60.0


class Recorder:
    """Records through a manager, waits for durability and looks at health, on a thread each.

    Attributes:
        number: of the last record that was accepted.
    """

    def __init__(self, log: EventLog, account: Account, name: str) -> None:
        self.number = 0
        self._log = log
        self._account = account
        self._manager = ConnectionManager(log=log)
        self._name = name
        self._chance = random.Random(name)  # noqa: S311 - chance, not secrecy
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(work,))
            for work in (self._record, self._acknowledge, self._sample)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _repeat(self, work: Callable[[], None]) -> None:
        while not self._ended.wait(PAUSE):
            work()

    def _record(self) -> None:
        """Some records, each with the next number once the one before was accepted.

        Connections come and go, but for the first, which is there all the time.
        """
        for _ in range(CONNECTIONS):
            number = self._chance.randrange(CONNECTIONS)
            connection = f"{self._name}-{number}"
            if number and self._chance.random() < CHURN:
                self._manager.unregister_connection(connection)
            self._manager.register_connection(connection, "10.0.0.1")
            if self._manager.record_activity(connection, self.number + 1, 1):
                self.number += 1

    def _acknowledge(self) -> None:
        accepted = self.number
        try:
            position = self._log.flush(PATIENCE)
        except RatFsmError:
            return  # health says why, and the next turn asks again
        if position is not None:
            writer = self._log.writer
            entry = Acknowledged(accepted, position.frame, position.offset, writer)
            self._account.add(entry)

    def _sample(self) -> None:
        number, writer, seq = self.number, self._log.writer, self._log.seq
        health = self._log.health
        if writer != self._log.writer:
            return  # what was counted is not of one writer
        self._account.add(
            Sampled(
                number=number,
                claimed=seq - health.pending,
                status=health.status,
                ready=health.ready,
                error=health.last_error,
                spilled=health.spilled,
                set_aside=health.set_aside,
                writer=writer,
            )
        )

    def end(self) -> None:
        """Stops recording, makes everything durable and closes the log."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        error = None
        try:
            self._manager.shutdown()
            self._log.close(timeout=PATIENCE)
        except RatFsmError as problem:
            error = f"{type(problem).__name__}: {problem}"
        self._account.add(Ended(self.number, error))
        self._account.close()


def main(url: str, path: str, name: str, spill: str) -> None:
    """Records until standard input ends."""
    log = EventLog.open(url, spill=spill or None)
    recorder = Recorder(log, Account(Path(path)), name)
    recorder.start()
    print(log.writer, flush=True)  # noqa: T201 - the parent waits for it
    sys.stdin.read()
    recorder.end()


if __name__ == "__main__":
    main(*sys.argv[1:5])
