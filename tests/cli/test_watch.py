"""What `rat-fsm drain` waits for, while processes lose their slots and stores are away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from rat_fsm import ConnectionManager, EventLog
from rat_fsm.cli import drain
from rat_fsm.cli.watch import Watch
from rat_fsm.errors import StoreUnreadable
from rat_fsm.log.recover import end_abandoned, fold_writer
from rat_fsm.stores.port import last_frame
from tests.leased import LeasedStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE = 10.0


def until(watch: Watch, condition: Callable[[], bool]) -> None:
    """Folds what comes until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, [run.as_dict() for run in watch.runs]
        watch.advance(0.01)


def test_a_process_that_lost_its_slot_is_waited_for_under_its_new_one() -> None:
    """It lives and serves on, though its old run was recorded as dead."""
    store = LeasedStore()
    log = EventLog(store)
    manager = ConnectionManager(log=log)
    manager.register_connection("c1", "10.0.0.1")
    log.flush(PATIENCE)
    watch = Watch(store, last_frame(store))
    store.take_away("w0")
    until(watch, lambda: [run.writer for run in watch.runs] == ["w0", "w1"])
    other = store.elsewhere()
    end_abandoned(other, "w0", fold_writer(other, "w0", log.read_model.lifecycles))
    until(watch, lambda: watch.runs[0].done)
    assert not watch.complete
    assert [record.id for record in watch.runs[1].left()] == ["c1"]
    manager.shutdown()
    log.close()
    until(watch, lambda: watch.complete)


def test_a_store_that_is_away_for_a_moment_does_not_end_the_command(tmp_path: Path) -> None:
    """Who has died is recorded the next time."""
    url = f"sqlite:{tmp_path / 'away' / 'events.db'}"
    with pytest.raises(StoreUnreadable):
        EventLog.open(url)
    drain._record_deaths(url)
