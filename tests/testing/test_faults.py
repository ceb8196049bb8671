"""A store that fails on demand: what each fault does, and that no log loses anything by it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from rat_fsm import replay
from rat_fsm.errors import InvalidArgument, LogUnavailable, OutcomeUnknown, WriterBusy, WriterFenced
from rat_fsm.events import Registered
from rat_fsm.log import EventLog
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import FaultyStore, faulty_stores
from rat_fsm.testing.store_contract import StoreContract, make_chain
from tests.histories import some

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.testing.faults import Fault


class TestItIsAStore(StoreContract):
    """Without faults it is as good as any."""

    def make_store(self, tmp_path: Path) -> FaultyStore:  # noqa: ARG002 - the contract has it
        """Over a store in memory."""
        return FaultyStore()


@pytest.mark.parametrize(
    ("fault", "raised", "stored", "reachable"),
    [
        (None, None, True, True),
        ("delayed", None, True, True),
        ("refused", OSError, False, True),
        ("unreported", OSError, True, True),
        ("lost", OSError, False, False),
        ("out_of_reach", OSError, True, False),
        ("killed", WriterFenced, False, True),
        ("killed_late", WriterFenced, True, True),
    ],
)
def test_each_fault(
    fault: Fault | None, raised: type[Exception] | None, *, stored: bool, reachable: bool
) -> None:
    """What is raised, what is stored, and whether the store can be asked at once."""
    store = FaultyStore(faults=[fault], delay=0.0)
    [frame] = make_chain("w0", 1)
    with contextlib.nullcontext() if raised is None else pytest.raises(raised):
        store.append(frame)
    assert len(list(store.read())) == stored
    with contextlib.nullcontext() if reachable else pytest.raises(OSError, match="is gone"):
        store.reopen()
    store.reopen()
    assert store.failed.acquire(blocking=False) is (raised is not None)


def test_a_killed_store_belongs_to_the_next_process(tmp_path: Path) -> None:
    """Its writer's slot is free, and what the old log still does reaches nobody."""
    path = tmp_path / "events.db"
    store = FaultyStore(open_store(path, writable=True), [None, "killed"])
    old = EventLog(store)
    old.append(("connection", "a"), Registered("x"))
    old.flush(10)
    old.append(("connection", "b"), Registered("x"))
    with pytest.raises(WriterFenced, match="the process was killed"):
        old.flush(10)
    with EventLog.open(path, writer="w0") as new:
        new.append(("connection", "c"), Registered("x"))
        with pytest.raises(WriterFenced):
            old.close()
        with pytest.raises(WriterBusy):
            EventLog.open(path, writer="w0")
        new.flush(10)
    totals = replay(path).totals
    assert (totals.registered, totals.closed_by_reason) == (2, {"crash": 1})


def test_killing_twice_is_killing_once() -> None:
    """A test may do it, at any moment, however often."""
    store = FaultyStore()
    log = EventLog(store)
    store.kill()
    EventLog(store.real, writer=log.writer)
    store.kill()
    with pytest.raises(WriterFenced, match="the process was killed"):
        store.append(make_chain("w0", 1)[0])
    with pytest.raises(WriterBusy):
        store.real.claim(log.writer)


def test_a_store_that_is_held_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that forgets to let go of it does not hang for ever."""
    monkeypatch.setattr("rat_fsm.testing.faults._HANG", 0.0)
    store = FaultyStore()
    store.held.clear()
    with pytest.raises(TimeoutError, match="the store was held"):
        store.append(make_chain("w0", 1)[0])


def test_no_such_fault() -> None:
    """It is named, with those that there are."""
    wrong: Any = ["refused", "exploded"]
    problem = "no fault 'exploded', only delayed, refused, lost, unreported"
    with pytest.raises(InvalidArgument, match=problem):
        FaultyStore(faults=wrong)
    with pytest.raises(InvalidArgument, match=problem):
        faulty_stores(faults=wrong)


def test_faults_are_drawn_and_shown() -> None:
    """At any append; a failure prints which there were."""
    store = some(faulty_stores(), lambda store: list(store.faults)[1:2] == ["lost"])
    assert repr(store) == f"FaultyStore(faults={list(store.faults)})"
    only = some(faulty_stores(faults=["killed_late"]), lambda store: any(store.faults))
    assert set(only.faults) - {None} == {"killed_late"}


def test_each_example_has_a_store_of_its_own() -> None:
    """Made by what is given."""
    made: list[MemoryStore] = []

    def make() -> MemoryStore:
        made.append(MemoryStore(10))
        return made[-1]

    assert some(faulty_stores(make)).real is made[-1]


@pytest.mark.slow
@settings(max_examples=25)
@given(faulty_stores())
def test_what_was_flushed_is_there_however_it_ends(store: FaultyStore) -> None:
    """Each once; and one that was not flushed is there or not."""
    log, flushed = EventLog(store), 0
    with contextlib.suppress(WriterFenced):
        for number in range(4):
            log.append(("connection", str(number)), Registered("x"))
            log.flush(30.0)
            flushed += 1
    with contextlib.suppress(WriterFenced):
        log.close()
    if store.killed:
        EventLog(store.real, writer="w0").close()
    found = replay(store.real, writer="w0").totals.registered
    assert flushed <= found <= flushed + store.killed


def test_an_impatient_flush_hears_of_it() -> None:
    """The two kinds of failure, as a log tells them."""
    faults: list[Fault] = ["refused"] * 9
    for fault, error in (("refused", LogUnavailable), ("lost", OutcomeUnknown)):
        store = FaultyStore(faults=[fault] * len(faults))  # type: ignore[list-item]
        log = EventLog(store)
        log.append(("connection", "a"), Registered("x"))
        with pytest.raises(error):
            log.flush()
        store.faults.clear()
        log.close()
