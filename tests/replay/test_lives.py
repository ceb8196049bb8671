"""The lives of an id, searched or looked up in an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm.errors import HistoryEvicted, StreamNotFound
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    ErrorRecorded,
    Position,
    Registered,
    RetryScheduled,
)
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.log import EventLog
from rat_fsm.replay.cache import Cache
from rat_fsm.replay.lives import history_of, lives_of
from rat_fsm.stores.memory import MemoryStore
from tests.histories import IDS, Recorder, histories
from tests.logs import begin, register
from tests.orders import OLD_ORDER, Done, Old, Packed
from tests.replay.written import events_in, store_of

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.events import Recorded

FEW: Final = settings(max_examples=25)
SCHEDULED: Final = RetryScheduled(1, 1.0, None, 30.0, "network_error")


@given(histories(least=3), st.sets(st.integers(0, 60)))
@FEW
def test_history_is_what_a_reader_of_everything_finds(
    history: list[Recorded], cuts: set[int]
) -> None:
    """The events of the streams with an id, in their order."""
    store = store_of(history, cuts)
    for name in IDS:
        expected = [recorded for recorded in events_in(store) if recorded.stream.id == name]
        found = [] if not expected else [recorded for _, recorded in history_of(store, name)]
        assert [attrs.evolve(recorded, event=None) for recorded in found] == [
            attrs.evolve(recorded, event=None) for recorded in expected
        ]


@given(histories(least=3))
@FEW
def test_merging_only_tells_runs_as_one(history: list[Recorded]) -> None:
    """Nothing but the number of steps differs: what was sent, when, and in which state."""
    store = store_of(history)
    for name in {recorded.stream.id for recorded in history}:
        for life, merged in zip(
            lives_of(store, name), lives_of(store, name, merge=True), strict=True
        ):
            assert sum(step.count for step in merged.steps) == len(life.steps)
            told = attrs.evolve(merged, steps=life.steps)
            assert told == life


def log_with_an_index(path: Path, folder: Path) -> None:
    """A log whose index is kept, though it is short."""
    with EventLog.open(path, lifecycles=(CONNECTION, OLD_ORDER)) as log:
        begin(log)
        register(log, "c1", "c2")
        log.append(("order", "c1"), Old.Placed("tea", 2.0), Packed(), Done())
        log.flush()
        with Cache(log.store, folder):
            pass


def test_an_index_tells_the_same(tmp_path: Path) -> None:
    """Lives of connections and of a lifecycle that only the log knows, by either way."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    log_with_an_index(path, folder)
    for name in ("c1", "c2", "w0:1"):
        assert lives_of(path, name, cache=folder) == lives_of(path, name, cache=tmp_path / "none")
    assert [life.state for life in lives_of(path, "c1", cache=folder)] == ["active", "done"]


def test_an_unknown_id(tmp_path: Path) -> None:
    """Is not found by either way, and both know what looks like it."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    log_with_an_index(path, folder)
    for cache in (folder, tmp_path / "none"):
        for unknown in ("c3", "c\udcff"):
            with pytest.raises(StreamNotFound) as caught:
                lives_of(path, unknown, cache=cache)
            assert (caught.value.id, caught.value.near) == (unknown, ())
        with pytest.raises(StreamNotFound) as caught:
            list(history_of(path, "W0:1", cache=cache))
        assert caught.value.near == ("w0:1",)


def test_a_log_in_memory() -> None:
    """A server can ask its own log, up to what is durable, without any file."""
    with EventLog() as log:
        begin(log)
        register(log, "c1")
        log.flush()
        (life,) = lives_of(log, "c1")
    assert [step.position for step in life.steps] == [Position(2, n) for n in range(3)]
    assert (life.state, life.sent, life.messages, life.over) == ("active", 1, 1, False)


def test_a_log_that_forgets() -> None:
    """Of what was evicted nothing is told, not even half of it."""
    with EventLog(store=MemoryStore(max_events=10)) as log:
        for number in range(5):
            register(log, f"c{number}")
            log.flush()
        with pytest.raises(HistoryEvicted):
            lives_of(log, "c4")


def test_an_illegal_event_counts_for_nothing() -> None:
    """It is a step, without a state to lead to; what it says was never so."""
    recorder = Recorder()
    error = ErrorRecorded("OSError", "reset", "network_error", retryable=True)
    events: list[Any] = [Registered("10.0.0.1"), ActivityRecorded(5, 1), Activated(), error]
    (life,) = lives_of(store_of([recorder.record("connection", "c1", e) for e in events]), "c1")
    assert [step.legal for step in life.steps] == [True, False, True, True]
    assert (life.sent, life.messages, life.errors) == (0, 0, 1)


def test_illegal_activities_are_not_told_as_one() -> None:
    """Nor is a legal one joined to them."""
    recorder = Recorder()
    early, late = ActivityRecorded(1, 1), ActivityRecorded(2, 1)
    events: list[Any] = [Registered("10.0.0.1"), early, early, Activated(), late, late]
    history = [recorder.record("connection", "c1", event) for event in events]
    (life,) = lives_of(store_of(history), "c1", merge=True)
    assert [step.count for step in life.steps] == [1, 1, 1, 1, 2]
    assert life.sent == 4


@pytest.mark.parametrize("indexed", [True, False])
def test_the_policy_that_the_run_recorded(tmp_path: Path, *, indexed: bool) -> None:
    """Where a decision does not say by which policy it was taken, the run's own is told."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    for policy in ({"max_retries": 1}, {"max_retries": 2}):
        with EventLog.open(path) as log:
            log.begin({}, policy)
            log.append(("connection", "c1"), Registered("10.0.0.1"), SCHEDULED)
            log.append(("connection", "c2"), Registered("10.0.0.1"))
            own = attrs.evolve(SCHEDULED, policy={"max_retries": 9})
            log.append(("connection", "c3"), Registered("10.0.0.1"), own)
            log.flush()
            if indexed:
                with Cache(log.store, folder):
                    pass
    told = {
        name: [x.policy for x in lives_of(path, name, cache=folder)] for name in ("c1", "c2", "c3")
    }
    assert told == {
        "c1": [{"max_retries": 1}, {"max_retries": 2}],
        "c2": [{}, {}],
        "c3": [{}, {}],
    }
