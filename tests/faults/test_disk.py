"""A disk that is full, and a store that fails in every way a store can."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from rat_fsm import ConnectionManager, EventLog, read_events, replay
from rat_fsm.errors import LogUnavailable, OutcomeUnknown, WriterFenced
from rat_fsm.events import Activated, ActivityRecorded, Registered, StoreRestored
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import FaultyStore

PROJECT = Path(__file__).parents[2]
FAULTS = ("refused", "unreported", "lost", "out_of_reach")

pytestmark = pytest.mark.timeout(300)

# The largest file a process may write is bounded: SQLite gets EFBIG as it would get ENOSPC.
FULL_DISK = """
import json, resource, sys
from rat_fsm import ConnectionManager, EventLog, replay
from rat_fsm.errors import LogUnavailable
from rat_fsm.events import ActivityRecorded

hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
log = EventLog.open(sys.argv[1])
manager = ConnectionManager(log=log)
manager.register_connection("a", "10.0.0.1")
manager.activate_connection("a")
log.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
told, acknowledged = {}, 0
try:
    while True:
        for _ in range(2000):
            seq = log.append(("connection", "a"), ActivityRecorded(1, 1))
        log.flush()
        acknowledged = seq
except LogUnavailable as problem:
    told["error"] = str(problem)
health = log.health
told["status"], told["ready"], told["pending"] = health.status, health.ready, health.pending
told["last_error"] = health.last_error
told["acknowledged"], told["accepted"] = acknowledged, seq
told["still_recording"] = manager.record_activity("a", 1, 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.flush(30.0)
told["after"] = log.health.status
told["equal"] = replay(log) == log.read_model
manager.shutdown()
log.close()
print(json.dumps(told))
"""


def test_a_full_disk_loses_nothing_and_is_visible(tmp_path: Path) -> None:
    """Events wait while it is full, health says so, and they are written when there is room."""
    log = tmp_path / "events.db"
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(log)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["status"], told["ready"]) == ("failing", False)
    assert 0 < told["pending"] <= told["accepted"] - told["acknowledged"]
    assert told["last_error"] in told["error"]
    assert told["still_recording"] is True
    assert (told["after"], told["equal"]) == ("ok", True)
    events = list(read_events(log))
    assert [r.seq for r in events] == list(range(1, len(events) + 1))
    told_of = [r.seq for r in events if isinstance(r.event, StoreRestored)]
    others = 4 + sum(seq <= told["accepted"] for seq in told_of)
    recorded = sum(isinstance(r.event, ActivityRecorded) for r in events)
    assert (recorded, told_of != []) == (told["accepted"] - others + 1, True)
    store = open_store(log)
    assert verify_log(store).problems == ()
    store.close()


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(st.sampled_from(FAULTS), max_size=4))
def test_whatever_fails_nothing_is_lost_and_nothing_comes_twice(faults: list[str]) -> None:
    """Stored or not, reported or not, out of reach or not: each event is there once."""
    store = FaultyStore(faults=faults)  # type: ignore[arg-type]
    log = EventLog(store)
    log.append(("connection", "a"), Registered("x", "sse", {}), Activated())
    for number in range(5):
        log.append(("connection", "a"), ActivityRecorded(number, 1))
        log.flush(30.0)
    sent = [r.event.bytes_sent for r in log.read() if isinstance(r.event, ActivityRecorded)]
    assert sent == [0, 1, 2, 3, 4]
    assert replay(log) == log.read_model
    assert log.health.status == "ok"
    log.close()


@pytest.mark.parametrize(
    ("fault", "error", "unknown"),
    [("refused", LogUnavailable, False), ("lost", OutcomeUnknown, True)],
)
def test_flush_says_at_once_that_the_store_fails(
    fault: str, error: type[Exception], *, unknown: bool
) -> None:
    """Without a timeout; and whether the outcome is known."""
    store = FaultyStore(faults=[fault] * 50)  # type: ignore[list-item]
    log = EventLog(store)
    log.append(("connection", "a"), Registered("x"))
    with pytest.raises(error) as caught:
        log.flush()
    assert type(caught.value) is error
    health = log.health
    assert (health.status, health.ready) == ("failing", False)
    assert health.outcome_unknown == unknown or not unknown
    assert health.pending > 0
    assert health.window > 0
    store.faults.clear()
    log.flush(30.0)
    assert log.health.last_error is None
    log.close()


@pytest.mark.slow
@pytest.mark.timeout(600)  # it fills the whole bound of what may wait
def test_while_the_store_is_away_managers_answer_false_and_ends_still_fit() -> None:
    """Past the bound nothing new is taken, and what was open can still end."""
    store = FaultyStore(MemoryStore(max_events=10_000_000))
    log = EventLog(store)
    manager = ConnectionManager(1_000_000, log=log)
    assert manager.register_connection("first", "x")
    log.flush()
    store.away = True
    number = 0
    while manager.register_connection(str(number), "x"):
        number += 1
    assert not manager.record_error("first", TimeoutError())
    with pytest.raises(LogUnavailable):
        log.append(("connection", "one more"), Registered("x"))
    assert all(manager.unregister_connection(str(n)) for n in range(number))
    store.away = False
    log.flush(50.0)
    manager.shutdown()
    log.close()
    model = replay(store.real)
    assert model.totals.registered == number + 1
    assert model.totals.closed_by_reason == {"normal": number, "shutdown": 1}
    assert model.totals.refused["log_unavailable"] >= 1


def test_a_writer_whose_chain_was_continued_by_another_is_fenced() -> None:
    """It takes nothing more, and says why."""
    store = MemoryStore()
    log = EventLog(store, writer="w0")
    log.append(("connection", "a"), Registered("x"))
    log.flush()
    store.release("w0")
    thief = EventLog(store, writer="w0")
    thief.append(("connection", "b"), Registered("x"))
    thief.flush()
    log.append(("connection", "c"), Registered("x"))
    with pytest.raises(WriterFenced):
        log.flush()
    with pytest.raises(WriterFenced):
        log.append(("connection", "d"), Registered("x"))
    assert log.health.status == "fenced"
    thief.close()


def test_closing_a_log_whose_store_fails_says_what_is_not_durable() -> None:
    """It raises, and the log is closed all the same."""
    store = FaultyStore()
    log = EventLog(store)
    log.append(("connection", "a"), Registered("x"))
    log.flush()
    store.away = True
    log.append(("connection", "a"), Activated())
    with pytest.raises(LogUnavailable):
        log.close(timeout=0.2)
    assert log.health.status == "closed"
    log.close()
