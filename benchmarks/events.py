"""The work that every contender gets: the same connections, the same activity, ours set up."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from rat_fsm.log import EventLog
from rat_fsm.runtime.manager import ConnectionManager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONNECTIONS = 1_000
SENT = [200 + 37 * number % 1300 for number in range(CONNECTIONS)]
IDS = [f"conn-{number:06d}" for number in range(CONNECTIONS)]


@contextmanager
def managed(url: Path | str, connections: int = CONNECTIONS) -> Iterator[ConnectionManager]:
    """A manager on a log with so many active connections, everything flushed."""
    logging.getLogger("rat_fsm").setLevel(logging.CRITICAL)
    log = EventLog.open(url)
    manager = ConnectionManager(connections, log=log)
    try:
        for number in range(connections):
            name = f"conn-{number:06d}"
            manager.register_connection(name, address(number), kind="sse")
            manager.record_activity(name, 0)
        log.flush()
        yield manager
    finally:
        manager.shutdown()
        log.close()


def address(number: int) -> str:
    """A client's address, another for each."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def calls(count: int) -> list[tuple[str, int]]:
    """So many (id, bytes) of `record_activity`, round robin over the connections."""
    whole, rest = divmod(count, CONNECTIONS)
    return list(zip(IDS, SENT, strict=True)) * whole + list(zip(IDS, SENT, strict=True))[:rest]


def frames_and_events(path: Path) -> tuple[int, int]:
    """How many frames and events a log holds, by the frames' own bodies."""
    query = "SELECT count(*), sum(json_array_length(body, '$.events')) FROM frames"
    with closing(sqlite3.connect(path)) as connection:
        frames, events = connection.execute(query).fetchone()
    return int(frames), int(events or 0)


def require(found: object, expected: object, what: str) -> None:
    """Stops a benchmark whose contender did not do the work.

    Raises:
        RuntimeError: they differ.
    """
    if found != expected:
        raise RuntimeError(f"{what}: found {found}, expected {expected}")
