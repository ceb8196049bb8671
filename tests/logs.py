"""Logs with something in them, and logs whose process has died."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.core import Close, decide
from rat_fsm.events import Activated, ActivityRecorded, Recorded, Registered
from rat_fsm.lifecycles import CONNECTION, NODE
from tests.orders import ORDER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rat_fsm.log import EventLog

PATIENCE: Final = 30.0
LIFECYCLES: Final = (CONNECTION, NODE, ORDER)
_crashed: list[EventLog] = []


def begin(log: EventLog) -> None:
    """The first frame of a run; from now on, who flushes after each transaction makes frames."""
    log.begin()
    log.flush()


def register(log: EventLog, *ids: str) -> None:
    """Connections that are active and have sent something."""
    for number, connection_id in enumerate(ids, 1):
        log.append(
            ("connection", connection_id),
            *(Registered("10.0.0.1", "sse", {}), Activated(), ActivityRecorded(number, 1)),
        )


def close_connection(log: EventLog, connection_id: str, reason: str = "normal") -> None:
    """Ends a connection as a manager does."""
    request = Close(reason, "app", 0)
    log.transact("connection", connection_id, functools.partial(decide, request))


def crash(log: EventLog) -> None:
    """Leaves a log as a process does that is killed once everything was durable."""
    log.flush()
    log._committer.stop()
    assert log._committer.join(PATIENCE)
    log.store.release(log.writer)
    _crashed.append(log)  # no finaliser may still do something about it


def told(events: Iterable[Recorded]) -> list[tuple[str, str, Any]]:
    """Whose event, and what happened."""
    return [(recorded.writer, recorded.stream.id, recorded.event) for recorded in events]


def execute(path: Path, *statements: str) -> list[Any]:
    """Runs SQL on a file as any other program would; answers with the last one's rows."""
    rows: list[Any] = []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
    return rows
