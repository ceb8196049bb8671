"""A writer for the row ``lag``: ``python -m benchmarks.stores_writer URL SECONDS RATE``.

It says a line when it is ready, begins at a line, and ends with JSON: the positions of its frames
and when their append returned, in nanoseconds of the clock that all processes of a machine share.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Final

from benchmarks.events import address
from rat_fsm.log import EventLog
from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.stores import open_store
from rat_fsm.testing.faults import FaultyStore

if TYPE_CHECKING:
    from rat_fsm.stores.port import Frame, Store

CONNECTIONS: Final = 100
TICK: Final = 0.01
BYTES: Final = 700


class Noting(FaultyStore):
    """A store without faults that notes when each append returned.

    Attributes:
        noted: position and time.
    """

    def __init__(self, real: Store) -> None:
        super().__init__(real)
        self.noted: list[tuple[int, int]] = []

    def append(self, frame: Frame) -> int:
        """As the real store does."""
        position = self.real.append(frame)
        self.noted.append((position, time.monotonic_ns()))
        return position


def main(url: str, seconds: str, rate: str) -> None:
    """Writes so many events a second."""
    store = Noting(open_store(url, writable=True))
    with EventLog(store) as log:
        manager = ConnectionManager(CONNECTIONS, log=log)
        names = [f"{log.writer}-{number}" for number in range(CONNECTIONS)]
        for number, name in enumerate(names):
            manager.register_connection(name, address(number), kind="sse")
        log.flush()
        print(log.writer, flush=True)
        sys.stdin.readline()
        store.noted.clear()
        _write(manager, names, float(seconds), int(float(rate) * TICK))
        log.flush()
        noted = list(store.noted)
        manager.shutdown()
    print(json.dumps(noted))


def _write(manager: ConnectionManager, names: list[str], seconds: float, each: int) -> None:
    """So many events every tick, whatever they cost."""
    started = time.monotonic()
    for tick in range(int(seconds / TICK)):
        for number in range(each):
            manager.record_activity(names[(tick * each + number) % CONNECTIONS], BYTES)
        time.sleep(max(0.0, started + (tick + 1) * TICK - time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
