"""All writers of a log at once."""

from __future__ import annotations

import contextlib
import datetime
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm import ClusterView, EventLog, replay
from rat_fsm.errors import WriterFenced
from rat_fsm.events import ErrorRecorded, Registered, Stalled
from rat_fsm.log import tailing
from rat_fsm.log.recover import end_abandoned, fold_writer
from rat_fsm.replay.slots import SlotState
from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import VirtualClock
from tests.leased import LeasedStore
from tests.logs import LIFECYCLES, close_connection, crash, register
from tests.orders import New
from tests.processes import writer_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE: Final = 30.0
ERROR: Final = ErrorRecorded("OSError", "reset", "network_error", retryable=True)


@pytest.fixture(autouse=True, scope="module")
def soon() -> Iterator[None]:
    """Who closes a view does not wait a quarter of a second for its thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tailing, "SLICE", 0.01)
        yield


def caught_up(view: ClusterView) -> ClusterView:
    """The view, once it knows all."""
    assert view.wait(timeout=PATIENCE)
    return view


def without_peak(stats: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on where frames end, or on which run began last."""
    return {k: v for k, v in stats.items() if k not in {"peak_connections", "max_connections"}}


STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from(["w0", "w1", "w2"]),
        st.sampled_from(["register", "error", "stall", "close", "refuse"]),
    ),
    max_size=20,
)


@settings(max_examples=30)
@given(STEPS)
def test_writers_and_totals_are_what_replays_say(steps: list[tuple[str, str]]) -> None:
    """Each writer's statistics are those of its own replay, the totals those of all."""
    store = MemoryStore()
    managers = {w: ConnectionManager(log=EventLog(store, writer=w)) for w in ("w0", "w1", "w2")}
    with ClusterView(store) as view:
        for number, (writer, step) in enumerate(steps):
            do(managers[writer], step, f"c{number}")
            managers[writer].log.flush()
        caught_up(view)
        assert without_peak(view.stats()) == without_peak(replay(store).stats.as_dict())
        for writer, status in view.writers().items():
            model = replay(store, writer=writer)
            assert status.stats == model.stats.as_dict()
            assert (status.drain, status.events) == (model.drain, model.cursor[writer])
            assert status.head == store.heads()[writer].frame.hash.hex()
            assert status.position == store.heads()[writer].position
        expected = {(w, id) for w, m in managers.items() for id in m.connections}
        assert {(one.writer, one.info.connection_id) for one in view.connections()} == expected
    for manager in managers.values():
        manager.shutdown()
        manager.log.close()


def do(manager: ConnectionManager, step: str, name: str) -> None:
    """Does something to the oldest connection, or registers one."""
    oldest = next(iter(manager.connections), None)
    if step == "register":
        manager.register_connection(name, "10.0.0.1", None, {})
        manager.record_activity(name, 100, 1)
    elif step == "refuse" and oldest is not None:
        manager.register_connection(oldest, "10.0.0.1", None, {})
    elif step == "error" and oldest is not None:
        manager.record_error(oldest, OSError("reset"))
    elif step == "stall" and oldest is not None:
        manager.record_stall(oldest, 20.0)
    elif step == "close" and oldest is not None:
        manager.unregister_connection(oldest)


@pytest.mark.slow
def test_slots_are_held_by_processes_that_live(tmp_path: Path) -> None:
    """A writer that was killed is told from one that lives and from one that ended."""
    path = tmp_path / "events.db"
    with writer_process(path, "ended") as process:
        process.end()
    with writer_process(path, "lives") as lives, writer_process(path, "killed") as killed:
        killed.kill()
        before = sorted(tmp_path.iterdir())
        with ClusterView(path) as view:
            found = caught_up(view).writers()
            assert sorted(tmp_path.iterdir()) == before
        lives.run("pass")
    assert list(found) == ["ended", "lives", "killed"]
    held = {name: (status.slot.held, status.died) for name, status in found.items()}
    assert held == {"ended": (False, False), "lives": (True, False), "killed": (False, True)}
    assert {name: status.slot.epoch for name, status in found.items()} == dict.fromkeys(found)


def test_looking_at_a_copy_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """No lock file, where there has been none: nobody can hold it."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        register(log, "c1")
    copy = tmp_path / "copies" / "events.db"
    copy.parent.mkdir()
    shutil.copy(path, copy)
    with ClusterView(copy) as view:
        assert caught_up(view).writers()["w0"].slot.held is False
    assert list(copy.parent.iterdir()) == [copy]


def test_what_is_known_of_a_writer() -> None:
    """Its streams of all lifecycles, its run among them, and when it was heard of last."""
    clock = VirtualClock()
    store = MemoryStore()
    with EventLog(store, lifecycles=LIFECYCLES, clock=clock) as log:
        register(log, "c1", "c2")
        close_connection(log, "c1")
        log.append(("order", "o1"), New.Placed("tea", 250, "EUR"))
        log.flush()
        last = replay(log).last_at["w0"]
        with ClusterView(log) as view:
            status = caught_up(view).writers()["w0"]
    assert (status.open_streams, status.drain.phase) == (3, "serving")
    assert status.slot == SlotState(held=True)
    at = datetime.datetime.fromtimestamp(last / 1e6, datetime.UTC)
    assert (status.last_event, status.last_seen) == (at, at)


@pytest.mark.parametrize("recovered_first", [True, False])
def test_a_connection_that_goes_on_elsewhere_counts_once(recovered_first: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Before its old stream is ended and after, and whichever comes first."""
    store = MemoryStore()
    old, new = EventLog(store, writer="w0"), EventLog(store, writer="w1")
    register(old, "c1", "c2", "c3")
    old.append(("connection", "c1"), ERROR, Stalled(20.0))
    close_connection(old, "c3")
    crash(old)
    born = {r.id: f"w0:{r.born}" for r in old.read_model.open_records()}

    def recover() -> None:
        EventLog(store, writer="w0").close()

    def go_on() -> None:
        new.append(("connection", "c1"), Registered("10.0.0.1", continues=born["c1"]))
        new.append(("connection", "c2"), Registered("10.0.0.1", continues=born["c2"]))
        close_connection(new, "c2", "normal")
        new.flush()

    with ClusterView(store) as view:
        for step in (recover, go_on) if recovered_first else (go_on, recover):
            step()
            stats = caught_up(view).stats()
            if step is go_on and not recovered_first:
                assert (stats["connections_with_errors"], stats["stalled_connections"]) == (0, 0)
                assert stats["closed_by_reason"] == {"normal": 2}
            if step is not recover or not recovered_first:
                assert [(c.writer, c.info.connection_id) for c in view.connections()] == [
                    ("w1", "c1")
                ]
                assert (stats["total_connections"], stats["closed_connections"]) == (3, 2)
                assert (stats["active_connections"], stats["total_errors"]) == (1, 1)
                assert stats["state_distribution"]["connecting"] == 1
                assert sum(stats["state_distribution"].values()) == 1
        stats = view.stats()
        assert stats["closed_by_reason"] == {"normal": 2}
        assert stats["continued_connections"] == 2
        assert view.writers()["w0"].stats["closed_by_reason"] == {"normal": 1, "crash": 2}
    new.close()


@pytest.mark.parametrize("said", ["w0:" + "9" * 5000, "w0:x", "w0:", ":", "w9:1", "w0:²"])
def test_a_stream_that_was_never_begun_is_continued_by_nobody(said: str) -> None:
    """Whatever somebody wrote there, the view goes on."""
    store = MemoryStore()
    with EventLog(store) as log, ClusterView(store) as view:
        log.append(("connection", "c1"), Registered("10.0.0.1", continues=said))
        log.flush()
        caught_up(view)
        assert [c.info.connection_id for c in view.connections()] == ["c1"]
        close_connection(log, "c1")


def test_limits_are_summed_over_what_runs() -> None:
    """None where one that runs has no limit."""
    store = MemoryStore()
    logs = [EventLog(store) for _ in range(3)]
    with ClusterView(store) as view:
        assert caught_up(view).stats()["max_connections"] is None
        for log, limit in zip(logs[:2], (10, 20), strict=True):
            log.begin({"max_connections": limit})
            log.flush()
        assert caught_up(view).stats()["max_connections"] == 30
        logs[0].close()
        assert caught_up(view).stats()["max_connections"] == 20
        logs[2].begin()
        logs[2].flush()
        assert caught_up(view).stats()["max_connections"] is None
    for log in logs[1:]:
        log.close()


def test_the_peak_is_of_all_writers_together() -> None:
    """It is what was open at once, not the sum of each one's peak."""
    store = MemoryStore()
    with EventLog(store) as first, EventLog(store) as second, ClusterView(store) as view:
        for log in (first, second):
            register(log, "c1", "c2")
            log.flush()
            close_connection(log, "c1")
            log.flush()
        assert caught_up(view).stats()["peak_connections"] == 3


@pytest.mark.parametrize("recovers", ["before", "after", "never"])
def test_a_process_that_lost_its_slot_is_counted_once(
    recovers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it goes on with its connections elsewhere, whenever its old slot is recovered."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = LeasedStore()
    log = EventLog(store, lifecycles=LIFECYCLES)
    manager = ConnectionManager(log=log)
    for name in ("a", "b", "c"):
        manager.register_connection(name, "10.0.0.1")
        manager.record_activity(name, 10, 1)
    manager.close_connection("c", reason="normal", ended_by="app")
    log.flush(PATIENCE)
    store.take_away("w0")
    if recovers == "before":
        recover(store)
    manager.record_activity("a", 5, 1)
    manager.register_connection("d", "10.0.0.1")
    with contextlib.suppress(WriterFenced):
        log.flush(PATIENCE)
    log.flush(PATIENCE)
    if recovers == "after":
        recover(store)
    with ClusterView(store, lifecycles=LIFECYCLES) as view:
        stats, found = caught_up(view).stats(), view.writers()
        assert {(c.writer, c.info.connection_id) for c in view.connections()} == {
            (log.writer, name) for name in manager.connections
        }
    assert stats["active_connections"] == len(manager.connections) == 3
    assert (stats["total_connections"], stats["closed_connections"]) == (4, 1)
    assert stats["closed_by_reason"] == {"normal": 1}
    assert found["w0"].slot.epoch == 1
    manager.shutdown()
    log.close()


def recover(store: LeasedStore) -> None:
    """Another process takes the first slot, ends what is open there, and keeps the slot."""
    store.lost.discard("w0")
    lifecycles = {lifecycle.name: lifecycle for lifecycle in LIFECYCLES}
    end_abandoned(store, "w0", fold_writer(store, "w0", lifecycles))
    store.take_away("w0")
