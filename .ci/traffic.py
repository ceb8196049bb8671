# ruff: noqa: INP001 - scripts of this repository, no package
"""Draws the machine of a connection with the traffic of an hour that was made up.

A real manager records it on a virtual clock, from seeded random numbers, so that the picture comes
out the same on every machine.
"""

from __future__ import annotations

import heapq
import random
from itertools import count
from typing import TYPE_CHECKING, Final

from rat_fsm import ConnectionManager, ErrorRecovery, EventLog
from rat_fsm.core import Stall, Unstall, decide
from rat_fsm.diagrams import svg
from rat_fsm.replay.traffic import traffic
from rat_fsm.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS: Final = 600
HOUR: Final = 3600.0
BROKEN: Final = 0.12  # of all pauses end with an error of the upstream
STUCK: Final = 0.03  # or with a client that takes nothing for a while


class Hour:
    """Connections that come, stream, break and leave.

    Each is a generator that does something and yields how many seconds pass until its next step.
    """

    def __init__(self) -> None:
        self._random = random.Random(5)  # noqa: S311 - the same every time is the point
        self._clock = VirtualClock()
        self.log = EventLog.open("memory:", clock=self._clock)
        self._manager = ConnectionManager(CONNECTIONS, log=self.log, clock=self._clock)
        self._recovery = ErrorRecovery(3, log=self.log, jitter="full", random=self._random.random)

    def pass_by(self) -> None:
        """Lets the hour pass."""
        order = count()
        steps = [
            (self._random.random() * HOUR, next(order), self._connection(f"c{number}"))
            for number in range(CONNECTIONS)
        ]
        heapq.heapify(steps)
        now = 0.0
        while steps and steps[0][0] < HOUR:
            at, _, connection = heapq.heappop(steps)
            self._clock.advance(at - now)
            now = at
            wait = next(connection, None)
            if wait is not None:
                heapq.heappush(steps, (at + wait, next(order), connection))
        self.log.flush()

    def _connection(self, name: str) -> Iterator[float]:
        self._manager.register_connection(name, "192.0.2.1", None, {"type": "sse"})
        yield 0.02 + self._random.random() / 5
        if self._random.random() < 0.02:  # noqa: PLR2004 - a few never get through
            self._manager.close_connection(name, reason="client_disconnect", ended_by="client")
            return
        for _ in range(int(self._random.random() * 12) + 1):
            self._manager.record_activity(name, 2_000, 1)
            yield self._random.random() * 40
            if self._random.random() < BROKEN:
                yield from self._break(name)
            elif self._random.random() < STUCK:
                yield from self._stick(name)
            if not self._manager.is_connection_alive(name):
                return
        self._manager.record_activity(name, 200, 1)
        self._manager.close_connection(name, reason="completed", ended_by="app")

    def _break(self, name: str) -> Iterator[float]:
        """The upstream breaks until a retry helps, or the last has failed."""
        while True:
            error = ConnectionResetError("upstream")
            self._manager.record_error(name, error)
            if not self._recovery.should_retry(name, error):
                self._manager.close_connection(name, reason="retries_exhausted", ended_by="app")
                return
            yield self._recovery.get_retry_delay(name)
            if self._random.random() < 0.7:  # noqa: PLR2004 - most retries help
                return

    def _stick(self, name: str) -> Iterator[float]:
        waited = self._random.random() * 20
        yield waited
        self._change(name, Stall(waited))
        yield waited
        self._change(name, Unstall(waited))

    def _change(self, name: str, request: object) -> None:
        self.log.transact("connection", name, lambda stream, model: decide(request, stream, model))


def files() -> dict[str, str]:
    """File name → content."""
    hour = Hour()
    try:
        hour.pass_by()
        return {"connection-traffic.svg": svg(traffic(hour.log))}
    finally:
        hour.log.close()
