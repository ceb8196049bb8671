"""Stores that hold any history of several writers, cut into frames of any length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rat_fsm.log import EventLog
from rat_fsm.testing import logs
from tests.cli.logs import Ticking, a_life
from tests.histories import IDS, MAX_SIZE, TURNS, WRITERS, few

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hypothesis import strategies as st

    from rat_fsm.stores.memory import MemoryStore
    from rat_fsm.stores.port import Store, StoredFrame


def stores(*, least: int = 0) -> st.SearchStrategy[MemoryStore]:
    """A store with a history of two writers in it."""
    return logs(
        TURNS,
        legal=None,
        min_size=least,
        max_size=MAX_SIZE,
        ids=IDS,
        writers=WRITERS,
        events=few,
    )


def frames_of(store: Store) -> list[StoredFrame]:
    """Everything in a store."""
    return list(store.read())


def written(path: Path, *connections: str, writers: Sequence[str] = ("w0",)) -> Path:
    """A log in a file in which each writer recorded whole lives, each event a frame."""
    for writer in writers:
        with EventLog.open(path, clock=Ticking(), writer=writer) as log:
            log.begin({})
            log.flush()
            for connection_id in connections:
                for name, event in a_life(connection_id):
                    log.append(("connection", name), event)
                    log.flush()
    return path
