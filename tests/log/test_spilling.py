"""What a store does not take while it is away is kept in a local file, and delivered in order."""

from __future__ import annotations

import contextlib
import gc
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rat_fsm import EventLog, read_events, replay
from rat_fsm.errors import (
    FlushTimeout,
    LogUnavailable,
    StoreUnreadable,
    WriterBusy,
    WriterFenced,
)
from rat_fsm.events import Activated, ActivityRecorded, Closed, Closing, Registered, StoreRestored
from rat_fsm.log import commit, delivery, spilling
from rat_fsm.log.recover import end_abandoned, fold_writer
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.spill import SpillFile
from rat_fsm.testing import FaultyStore
from tests.leased import LeasedStore
from tests.processes import PROJECT
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rat_fsm.stores.port import Frame, Store

PATIENCE = 10.0
END = (Closing("normal", "app", "streaming"), Closed("normal", 0, 0, 0, 0, 0.0))


def begin(log: EventLog) -> None:
    """One connection, durable."""
    log.append(("connection", "a"), Registered("10.0.0.1"), Activated())
    log.flush(PATIENCE)


def record(log: EventLog, *amounts: int) -> None:
    """Activities of that connection."""
    for amount in amounts:
        log.append(("connection", "a"), ActivityRecorded(amount, 1))


def wait_until(log: EventLog, spilled: int) -> None:
    """Until so many events are in the file."""
    until(lambda: log.health.spilled >= spilled)


def record_and_flush(log: EventLog, amount: int) -> None:
    """An activity of a connection of its own, durable."""
    log.append(("connection", f"of {amount}"), Registered("10.0.0.1"), Activated())
    log.append(("connection", f"of {amount}"), ActivityRecorded(amount, 1))
    log.flush(PATIENCE)


def refuses(*_: Any) -> None:
    """What a file does whose disk is full."""
    raise StoreUnreadable(28, "No space left on device")


def amounts(events: Any) -> list[int]:
    """What was recorded, in order."""
    return [r.event.bytes_sent for r in events if isinstance(r.event, ActivityRecorded)]


def check(store: Store, log: EventLog) -> None:
    """Live is replay, and every chain is whole."""
    log.flush(PATIENCE)
    assert replay(store, writer=log.writer) == log.read_model
    assert verify_log(store).problems == ()


def test_an_outage_goes_into_the_file_and_out_again(tmp_path: Path) -> None:
    """In order and once; health and the log itself say what happened; the file is gone then."""
    store, path = FaultyStore(), tmp_path / "spill.db"
    with EventLog(store, spill=path) as log:
        begin(log)
        store.away = True
        record(log, *range(100))
        wait_until(log, 100)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        health = log.health
        assert (health.status, health.pending, health.spilled) == ("failing", 100, 100)
        assert health.window == 0.0  # a kill would lose nothing
        with pytest.raises(LogUnavailable, match=f"100 events wait .* kept in {path}"):
            log.flush()
        record(log, *range(100, 200))
        store.away = False
        log.flush(PATIENCE)
        health = log.health
        assert (health.spilled, health.status) == (0, "ok")
        assert amounts(log.read()) == list(range(200))
        (restored,) = [r.event for r in log.read() if isinstance(r.event, StoreRestored)]
        assert (restored.spilled >= 100, "no space left" in restored.error) == (True, True)
        check(store.real, log)
    assert not path.exists()


def test_it_takes_more_than_memory_would(tmp_path: Path) -> None:
    """Beyond the bound of pending events nothing is refused, and nothing is lost."""
    store = FaultyStore()
    with EventLog(store, spill=tmp_path / "spill.db") as log:
        begin(log)
        log._acceptor._room = log._acceptor._limit = 5 * 1000  # a thousand events
        store.away = True
        log.append(("connection", "a"), ActivityRecorded(0, 1))
        for number in range(1, 5000):
            while log.under_pressure:
                time.sleep(0.001)
            record(log, number)
        wait_until(log, 4000)
        store.away = False
        log.flush(PATIENCE)
        assert amounts(log.read()) == list(range(5000))
        check(store.real, log)


def test_what_is_left_at_the_end_is_delivered_by_the_next_opening(tmp_path: Path) -> None:
    """Closing says that not all is stored, and where it is."""
    real, path = MemoryStore(), tmp_path / "spill.db"
    store = FaultyStore(real)
    log = EventLog(store, spill=path)
    begin(log)
    store.away = True
    record(log, 1, 2, 3)
    with pytest.raises(LogUnavailable, match="kept in"):
        log.close(timeout=0.2)
    assert amounts(read_events(path)) == [1, 2, 3]
    store.away = False
    with EventLog(real, spill=path) as again:
        assert amounts(again.read()) == [1, 2, 3]
        ended = [r for r in again.read() if isinstance(r.event, Closing)]
        assert [r.event.ended_by for r in ended] == ["shutdown"]  # the run had ended
        check(real, again)
    assert not path.exists()


def spilled_and_recovered(real: MemoryStore, path: Path) -> None:
    """Two events of a process that was killed, whose slot somebody has recovered since."""
    store = FaultyStore(real)
    log = EventLog(store, spill=path)
    begin(log)
    store.away = True
    record(log, 1, 2)
    wait_until(log, 2)
    store.kill()
    with pytest.raises(WriterFenced):
        log.close()
    end_abandoned(real, "w0", fold_writer(real, "w0", log.read_model.lifecycles))


def test_what_belongs_to_nobody_any_more_is_set_aside(tmp_path: Path) -> None:
    """Where somebody else has ended the writer's streams meanwhile, its events cannot follow."""
    real, path = MemoryStore(), tmp_path / "spill.db"
    spilled_and_recovered(real, path)
    with EventLog(real, spill=path) as again:
        assert amounts(again.read()) == []
        (file,) = tmp_path.glob("*.aside.db")
        assert amounts(read_events(file)) == [1, 2]
        check(real, again)
    assert not path.exists()


class Busy(LeasedStore):
    """Its slot w0 is leased to somebody else, which ``on_claim`` hears of each time it is asked."""

    def __init__(self, on_claim: Callable[[Busy], None]) -> None:
        super().__init__()
        self.refusals = 0
        self._on_claim = on_claim

    def claim(self, writer: str | None) -> str:
        """Counts what is refused."""
        try:
            return super().claim(writer)
        except WriterBusy:
            self.refusals += 1
            self._on_claim(self)
            raise


def left_behind(store: LeasedStore, path: Path) -> None:
    """Two events of a process that was killed while the store was away; its slot is leased."""
    log = EventLog(store, spill=path)
    begin(log)
    store.away = True
    record(log, 1, 2)
    with pytest.raises(LogUnavailable):
        log.close(timeout=0.2)
    store.away = False
    store.claim("w0")


def test_the_lease_of_a_process_that_was_killed_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is: nobody renews it, so what was left can still be delivered."""
    monkeypatch.setattr(spilling, "SLOT_PATIENCE", 0.0)
    monkeypatch.setattr(spilling, "SLOT_RETRY", 0.0)
    store = Busy(lambda busy: busy.give_back("w0") if busy.refusals == 100 else None)
    left_behind(store, tmp_path / "spill.db")
    with EventLog(store, spill=tmp_path / "spill.db") as log:
        assert (store.refusals, amounts(log.read()), log.health.set_aside) == (100, [1, 2], 0)
    assert list(tmp_path.glob("*.db")) == []


def test_what_was_left_is_set_aside_where_somebody_renews_the_lease(tmp_path: Path) -> None:
    """The slot belongs to a process that lives: waiting for it would never end."""
    store = Busy(lambda busy: busy.renewed.update(w0=busy.refusals))
    left_behind(store, tmp_path / "spill.db")
    with EventLog(store, spill=tmp_path / "spill.db") as log:
        assert (store.refusals > 0, amounts(log.read())) == (True, [])
    (aside,) = tmp_path.glob("*.aside.db")
    assert amounts(read_events(aside)) == [1, 2]


def test_a_log_that_is_dropped_leaves_it_as_one_that_is_closed(tmp_path: Path) -> None:
    """Without `close` its thread ends by itself, once the store has taken everything."""
    real, path = MemoryStore(), tmp_path / "spill.db"
    store = FaultyStore(real)
    log = EventLog(store, spill=path)
    begin(log)
    store.away = True
    record(log, 1)
    wait_until(log, 1)
    thread = log._committer._thread
    del log
    gc.collect()
    store.away = False
    assert thread is not None
    thread.join(PATIENCE)
    assert (thread.is_alive(), path.exists()) == (False, False)
    with EventLog(real) as again:
        assert amounts(again.read()) == [1]


WRITER = """
import sys
from rat_fsm import EventLog
from rat_fsm.events import Activated, ActivityRecorded, Registered
from rat_fsm.stores import open_store
from rat_fsm.testing import FaultyStore

store = FaultyStore(open_store(sys.argv[1], writable=True))
log = EventLog(store, spill=sys.argv[2])
log.append(("connection", "a"), Registered("10.0.0.1"), Activated())
log.flush()
store.away = True
number = 0
while True:
    for _ in range(10):
        log.append(("connection", "a"), ActivityRecorded(number, 1))
        number += 1
    while log.health.spilled < number:
        pass
    print(number, flush=True)
"""


def test_a_killed_process_leaves_what_it_spilled(tmp_path: Path) -> None:
    """What was in the file when it was killed is delivered when the next process opens it."""
    path, spill = tmp_path / "log.db", tmp_path / "spill.db"
    command = [sys.executable, "-c", WRITER, str(path), str(spill)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(3)][-1]
        process.send_signal(signal.SIGKILL)
    with EventLog.open(path, spill=spill) as log:
        found = amounts(log.read())
        assert found[:told] == list(range(told))
        assert found == list(range(len(found)))
        check(log.store, log)


def test_processes_that_name_one_file_have_one_each(tmp_path: Path) -> None:
    """The second takes a file beside it."""
    path = tmp_path / "spill.db"
    stores = [FaultyStore(), FaultyStore()]
    logs = [EventLog(store, spill=path) for store in stores]
    for log, store in zip(logs, stores, strict=True):
        begin(log)
        store.away = True
        record(log, 7)
        wait_until(log, 1)
    assert amounts(read_events(path)) == amounts(read_events(tmp_path / "spill.db.1")) == [7]
    for log, store in zip(logs, stores, strict=True):
        store.away = False
        log.close()
    assert [file for file in tmp_path.iterdir() if file.suffix != ".lock"] == []


def test_a_file_that_cannot_be_is_refused_before_anything_else(tmp_path: Path) -> None:
    """Nothing is claimed then."""
    real = MemoryStore()
    (tmp_path / "text").write_text("not a database, but long enough to be taken for one" * 30)
    for path, why in ((tmp_path / "missing" / "spill.db", "no folder"), (tmp_path / "text", "not")):
        with pytest.raises(StoreUnreadable, match=why):
            EventLog(real, spill=path)
    assert real.claim(None) == "w0"


def test_a_full_disk_under_the_file_keeps_everything_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As without a file: the bound of memory counts, and order is kept when there is room again."""
    store = FaultyStore()
    keep, full = SpillFile.keep, [False]

    def sometimes(self: SpillFile, frames: Any) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        keep(self, frames)

    monkeypatch.setattr(SpillFile, "keep", sometimes)
    with EventLog(store, spill=tmp_path / "spill.db") as log:
        begin(log)
        store.away = True
        record(log, 1)
        wait_until(log, 1)
        full[0] = True
        record(log, 2)
        until(lambda: "kept in memory only" in caplog.text)
        health = log.health
        assert (health.pending, health.spilled, health.window > 0.0) == (2, 1, True)
        with pytest.raises(LogUnavailable, match=r"no space left on device [(]refused[)]$"):
            log.flush()  # it does not say that all is kept
        record(log, 3)
        full[0] = False
        wait_until(log, 3)
        assert log.health.window == 0.0
        store.away = False
        log.flush(PATIENCE)
        assert amounts(log.read()) == [1, 2, 3]
        check(store.real, log)


def test_what_neither_store_nor_file_took_is_said_to_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the end of a log, when there is no later any more."""
    store = FaultyStore()
    log = EventLog(store, spill=tmp_path / "spill.db")
    begin(log)
    store.away = True
    record(log, 1)
    wait_until(log, 1)
    monkeypatch.setattr(SpillFile, "keep", refuses)
    record(log, 2, 3)
    with pytest.raises(LogUnavailable):
        log.close(timeout=0.2)
    assert "3 events of w0 are lost: [Errno 28] No space left" in caplog.text  # and the run's end
    assert amounts(read_events(tmp_path / "spill.db")) == [1]


def test_a_file_that_cannot_be_tidied_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk has no room to delete either: what is stored is stored, once."""
    store, drop = FaultyStore(), SpillFile.drop
    with EventLog(store, spill=tmp_path / "spill.db") as log:
        begin(log)
        for first in (0, 100):
            store.away = True
            record(log, *range(first, first + 100))
            wait_until(log, 100)
            monkeypatch.setattr(SpillFile, "drop", refuses)
            store.away = False
            log.flush(PATIENCE)
            assert (log.health.spilled, log.health.status) == (0, "ok")
            monkeypatch.setattr(SpillFile, "drop", drop)
        assert amounts(log.read()) == list(range(200))
        check(store.real, log)
    with EventLog(store.real, spill=tmp_path / "spill.db") as log:
        assert amounts(log.read()) == list(range(200))
    assert list(tmp_path.glob("*.db")) == []


def test_a_file_that_cannot_be_read_holds_up_what_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it can be: the chain has an order. Health says why."""
    store, read = FaultyStore(), SpillFile.next_after
    monkeypatch.setattr(delivery, "MAX_BACKOFF", 0.01)
    with EventLog(store, spill=tmp_path / "spill.db") as log:
        begin(log)
        store.away = True
        record(log, *range(10))
        wait_until(log, 10)
        record(log, *range(10, 20))
        wait_until(log, 20)
        monkeypatch.setattr(SpillFile, "next_after", refuses)
        store.away = False
        until(lambda: "No space left" in (log.health.last_error or ""))
        record(log, 20)
        assert log.health.status == "failing"
        monkeypatch.setattr(SpillFile, "next_after", read)
        log.flush(PATIENCE)
        assert amounts(log.read()) == list(range(21))
        check(store.real, log)


class Hanging(MemoryStore):
    """Its appends do not return, and then fail, while ``hangs`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False
        self.entered, self.goes_on = threading.Event(), threading.Event()

    def append(self, frame: Frame) -> int:
        """Waits for ``goes_on``."""
        if self.hangs:
            self.entered.set()
            assert self.goes_on.wait(PATIENCE)
            raise TimeoutError("no answer")
        return super().append(frame)


@pytest.fixture
def hanging(tmp_path: Path) -> tuple[Hanging, EventLog]:
    """A log whose store hangs while more is pending than it was given."""
    store = Hanging()
    log = EventLog(store, spill=tmp_path / "spill.db")
    begin(log)
    store.hangs = True
    record(log, 1)
    assert store.entered.wait(PATIENCE)
    record(log, 2, 3)
    return store, log


@pytest.mark.parametrize("impatient", [False, True], ids=["it is waited for", "it is left"])
def test_a_store_that_hangs_at_the_end_costs_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hanging: tuple[Hanging, EventLog],
    *,
    impatient: bool,
) -> None:
    """Its slot and the file are held until it has answered, and the file has the rest."""
    store, log = hanging
    if impatient:
        monkeypatch.setattr(commit, "LAST_PATIENCE", 0.05)
    else:
        threading.Timer(0.1, store.goes_on.set).start()
    with pytest.raises(FlushTimeout):
        log.close(timeout=0.05)
    if impatient:
        with pytest.raises(WriterBusy):
            store.claim("w0")
        store.goes_on.set()
        assert log._committer._thread is not None
        log._committer._thread.join(PATIENCE)
    store.hangs = False
    assert amounts(read_events(tmp_path / "spill.db")) == [1, 2, 3]
    with EventLog(store, spill=tmp_path / "spill.db") as again:
        assert amounts(again.read()) == [1, 2, 3]
        check(store, again)


def test_an_interrupted_end_is_an_end(
    monkeypatch: pytest.MonkeyPatch, hanging: tuple[Hanging, EventLog]
) -> None:
    """Whoever presses Ctrl-C twice has the slot and the file back once the store answers."""
    store, log = hanging

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commit.Committer, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        log.close(timeout=0.05)
    store.goes_on.set()
    assert log._committer._thread is not None
    log._committer._thread.join(PATIENCE)
    log.close()
    assert store.claim("w0") == "w0"


def test_no_more_is_spilled_than_is_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while it is being delivered."""
    monkeypatch.setattr(delivery, "SPILL_INTERVAL", 0.005)
    store = FaultyStore()
    with EventLog(store, spill=tmp_path / "spill.db") as log:
        begin(log)
        store.away = True
        for number in range(300):
            record(log, number)
            if not number % 10:
                wait_until(log, number + 1)
        wait_until(log, 300)
        store.away = False
        looks = []
        while (health := log.health).pending:
            looks.append(health.spilled <= health.pending)
        assert all(looks)


@pytest.mark.parametrize(
    "damage", ["body = replace(body, '[', '{')", "count = 'many'", "hash = zeroblob(32)"]
)
def test_what_is_damaged_in_the_file_is_not_delivered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """It would end the chain for everybody; what was before it is stored, the rest set aside."""
    store, path = FaultyStore(), tmp_path / "spill.db"
    log = EventLog(store, spill=path)
    begin(log)
    store.away = True
    for number in range(3):
        record(log, number)
        wait_until(log, number + 1)
    with pytest.raises(LogUnavailable):
        log.close(timeout=0.2)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        positions = [row[0] for row in database.execute("SELECT position FROM frames")]
        database.execute(f"UPDATE frames SET {damage} WHERE position = ?", positions[1:2])  # noqa: S608
    with EventLog(store.real, spill=path) as again:
        assert "is damaged and stays there" in caplog.text
        assert amounts(again.read()) == [0]
        (aside,) = tmp_path.glob("*.aside.db")
        assert amounts(read_events(aside)) == [2]
        check(store.real, again)
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT position FROM frames").fetchall() == [(positions[1],)]


def test_what_cannot_be_set_aside_stays_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is deleted before it is somewhere else; the next opening tries again."""
    real, path = MemoryStore(), tmp_path / "spill.db"
    spilled_and_recovered(real, path)
    with monkeypatch.context() as patch:
        patch.setattr(SpillFile, "keep", refuses)
        with EventLog(real, spill=path) as again:
            record_and_flush(again, 3)
    assert amounts(read_events(path)) == [1, 2]
    store = FaultyStore(real)
    with EventLog(store, spill=path) as again:
        assert amounts(read_events(next(tmp_path.glob("*.aside.db")))) == [1, 2]
    assert not path.exists()


@given(st.lists(st.sampled_from(["record", "away", "back", "wait", "end", "again"]), max_size=20))
def test_whatever_happens_nothing_is_lost_or_out_of_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """Outages, ends and openings in any order: what was accepted is stored once, in order."""
    real, path = MemoryStore(), tmp_path_factory.mktemp("spill") / "spill.db"
    store, number = FaultyStore(real), 0
    log = EventLog(store, spill=path)
    begin(log)
    for step in steps:
        if step == "record":
            log.append(("connection", "a"), ActivityRecorded(number, 1))
            number += 1
        elif step == "wait" and store.away and log.health.pending:
            wait_until(log, log.health.pending)
        elif step == "end":
            with contextlib.suppress(LogUnavailable):  # while it is away
                log.close(timeout=0.05 if store.away else PATIENCE)
            store = FaultyStore(real)
            log = EventLog(store, spill=path)
            begin(log)
        else:
            store.away = step == "away"
    store.away = False
    log.close()
    with EventLog(real) as last:
        assert amounts(last.read()) == list(range(number))
        check(real, last)
