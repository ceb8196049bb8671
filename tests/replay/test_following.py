"""Read models that follow a log which others write."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm import EventLog, follow, replay
from rat_fsm.errors import (
    DamagedFrame,
    FlushTimeout,
    HistoryEvicted,
    InvalidArgument,
    InvalidArgumentType,
    LogForked,
    StoreUnreadable,
)
from rat_fsm.events import Position
from rat_fsm.log import tailing
from rat_fsm.replay.following import FollowerHealth, Lag
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing.store_contract import make_frame
from tests.away import AwayStore
from tests.logs import LIFECYCLES, close_connection, execute, register
from tests.orders import New
from tests.processes import writer_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE: Final = 30.0
OK: Final = FollowerHealth("ok")


@pytest.fixture(autouse=True, scope="module")
def soon() -> Iterator[None]:
    """Who closes a follower does not wait a quarter of a second for its thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tailing, "SLICE", 0.01)
        yield


def durable(log: EventLog, *ids: str) -> Position:
    """Registers connections; answers when they are durable."""
    register(log, *ids)
    position = log.flush()
    assert position is not None
    return position


@given(st.lists(st.sampled_from(["w0", "w1", "w2", "follow", "close"]), max_size=12))
def test_a_follower_says_what_a_replay_says(steps: list[str]) -> None:
    """Whenever it came and whoever writes, once it has caught up."""
    store, followers = MemoryStore(), []
    logs = [EventLog(store, writer=writer) for writer in ("w0", "w1", "w2")]
    for number, step in enumerate(steps):
        if step == "follow":
            followers.append(follow(store))
        elif step == "close":
            close_some(logs[0])
        else:
            durable(logs[int(step[1])], f"c{number}")
    for log in logs:
        log.flush()
    expected = replay(store)
    for follower in [*followers, follow(store)]:
        assert follower.wait(timeout=PATIENCE)
        with follower.reading() as model:
            assert model == expected
            assert model.cursor == expected.cursor
        assert (follower.lag, follower.health) == (Lag(0, 0.0), OK)
        follower.close()
    for log in logs:
        log.close()


def close_some(log: EventLog) -> None:
    """Ends the oldest open connection of a writer."""
    for record in log.read_model.open_records()[:1]:
        close_connection(log, record.id)


@pytest.mark.slow
def test_processes_are_followed(tmp_path: Path) -> None:
    """Two that write one file, and one that is killed; nothing is left beside it."""
    path = tmp_path / "events.db"
    with writer_process(path) as first, follow(path) as follower, writer_process(path) as second:
        for process in (first, second):
            process.run("log.append(('connection', 'late'), Registered('10.0.0.2'))")
        assert follower.wait(timeout=PATIENCE)
        with follower.reading() as model:
            assert model == replay(path)
            assert model.cursor.keys() == {first.writer, second.writer}
        second.kill()
        first.end()
        assert follower.wait(timeout=PATIENCE)
        assert follower.read_model == replay(path)
    assert follower.url == f"sqlite:{path}"


def test_a_log_is_followed_with_its_lifecycles() -> None:
    """Those of the log where none are given, and all its writers; the log stays open."""
    with EventLog(lifecycles=LIFECYCLES) as log, EventLog(log.store) as other:
        log.append(("order", "o1"), New.Placed("tea", 250, "EUR"))
        log.flush()
        with follow(log) as follower:
            assert follower.wait(durable(other, "c1"), PATIENCE)
            assert follower.read_model == replay(log.store, lifecycles=LIFECYCLES)
            assert follower.read_model.record("order", "o1") is not None
        durable(log, "c2")


def test_it_survives_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """It says so, waits, and misses nothing when the store is back."""
    store = AwayStore()
    with EventLog(store) as log, follow(store) as follower:
        assert follower.wait(durable(log, "c1"), PATIENCE)
        store.away = True
        assert store.refused.acquire(timeout=PATIENCE)
        while follower.health == OK:
            follower.wait(Position(10**6, 0), 0.01)
        health = follower.health
        assert (health.status, health.last_error, health.ready) == ("failing", "it is away", False)
        assert 0 < health.failing_for < PATIENCE
        with pytest.raises(StoreUnreadable):
            follower.wait()
        position = durable(log, "c2")
        assert not follower.wait(position, 0.0)
        assert 0 < follower.lag.seconds < PATIENCE
        store.away = False
        assert follower.wait(position, PATIENCE)
        assert (follower.health, follower.read_model) == (OK, replay(store))
    assert caplog.text.count("a follower waits for a store that fails: it is away") == 1


def test_the_lag_counts_frames_and_time() -> None:
    """What is outstanding, while somebody holds the follower still."""
    store = MemoryStore()
    with EventLog(store) as log, follow(store) as follower:
        assert follower.wait(durable(log, "c1"), PATIENCE)
        with follower.reading():
            behind = [durable(log, name) for name in ("c2", "c3")]
            assert 1 <= follower.lag.frames <= 2
            assert 0 < follower.lag.seconds < PATIENCE
        assert follower.wait(behind[-1], PATIENCE)
        assert follower.lag == Lag(0, 0.0)


def test_a_damaged_frame_stops_it() -> None:
    """With an error that names the frame; who asks for what stands before it gets it."""
    store, first = MemoryStore(), make_frame()
    store.append(first)
    with (
        follow(store) as follower,
        pytest.raises(DamagedFrame, match="frame 1 is damaged: its rows"),
    ):
        follower.wait(timeout=PATIENCE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("body = '{}'", "its hash does not match its content"),
        ("prev = zeroblob(32)", "it does not continue the chain of w0"),
    ],
)
def test_a_frame_that_does_not_continue_its_chain_stops_it(
    tmp_path: Path, change: str, said: str
) -> None:
    """Though it could be folded; who waits for what stands before it is answered."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        first, second = durable(log, "c1"), durable(log, "c2")
        with follow(path) as follower:
            assert follower.wait(second, PATIENCE)
        execute(path, f"UPDATE frames SET {change} WHERE position = {second.frame}")  # noqa: S608 - ours
        with follow(path) as follower:
            with pytest.raises(DamagedFrame, match=f"frame {second.frame} is damaged: {said}"):
                follower.wait(timeout=PATIENCE)
            assert follower.wait(first, PATIENCE)
            assert follower.health.status == "stopped"
            assert said in str(follower.health.last_error)
            with pytest.raises(DamagedFrame), follower.reading():
                pass


def test_what_a_bounded_log_has_dropped_cannot_be_followed() -> None:
    """That is an error as well, and not a model without its beginning."""
    store = MemoryStore(max_events=1)
    with EventLog(store) as log:
        for number in range(3):
            durable(log, f"c{number}")
        follower = follow(store)
        with pytest.raises(HistoryEvicted):
            follower.wait(timeout=PATIENCE)
        assert follower.health.status == "stopped"


def test_it_ends_where_it_is_when_it_is_closed(tmp_path: Path) -> None:
    """What it knows stays; its thread has ended; closing it again is nothing."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        follower = follow(f"sqlite:{path}")
        assert follower.wait(durable(log, "c1"), PATIENCE)
        expected = replay(path)
        follower.close()
        follower.close()
        position = durable(log, "c2")
        assert not follower.wait(position, PATIENCE)
        assert (follower.health.status, follower.read_model) == ("closed", expected)
        with follower.reading() as model:
            assert list(model.connections) == ["c1"]
    names = [thread.name for thread in threading.enumerate()]
    assert "rat-fsm-follower" not in names


@pytest.mark.parametrize("own", [True, False])
def test_one_that_nobody_holds_ends(tmp_path: Path, own: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Its thread keeps it alive no longer than a frame takes, whoever opened the store."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        follower = follow(path if own else log.store)
        assert follower.wait(durable(log, "c1"), PATIENCE)
        thread = follower._thread
        assert thread is not None
        del follower
        gc.collect()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_it_cannot_wait_for_itself() -> None:
    """While somebody holds it still, nothing is folded."""
    with EventLog() as log, follow(log) as follower:  # noqa: SIM117 - one thing after the other
        with follower.reading(), pytest.raises(FlushTimeout):
            follower.wait()


def test_a_forked_child_has_none(tmp_path: Path) -> None:
    """It is told so, and closing it there is nothing to the parent's."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log, follow(path) as follower:
        assert follower.wait(durable(log, "c1"), PATIENCE)
        child = os.fork()
        if child == 0:
            code = 99
            try:
                with pytest.raises(LogForked):
                    follower.wait()
                with pytest.raises(LogForked), follower.reading():
                    pass
                with pytest.raises(LogForked):
                    _ = follower.lag
                follower.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert follower.wait(durable(log, "c2"), PATIENCE)


def test_what_cannot_be_followed(tmp_path: Path) -> None:
    """The memory of some process, what is no log, and what is not there."""
    with pytest.raises(InvalidArgument, match="memory:"):
        follow("memory:")
    with pytest.raises(InvalidArgumentType):
        follow(3)  # type: ignore[arg-type]
    with pytest.raises(StoreUnreadable):
        follow(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_ones_own_stays_open(tmp_path: Path) -> None:
    """Who opened it closes it."""
    path = tmp_path / "events.db"
    EventLog.open(path).close()
    store = open_store(path, writable=True)
    with follow(store) as follower:
        assert follower.wait(timeout=PATIENCE)
    assert store.append(make_frame("w9")) == 1
    store.close()
