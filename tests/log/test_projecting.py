"""Projections that follow a log: what they get, when, on whose thread, and what may go wrong."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import (
    DamagedFrame,
    FlushTimeout,
    FoldFailed,
    HistoryEvicted,
    InvalidArgument,
    InvalidArgumentType,
    LogClosed,
    LogForked,
)
from rat_fsm.events import Registered, Stopped
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.log import EventLog
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import FaultyStore, VirtualClock
from tests.kept import Kept
from tests.logs import LIFECYCLES, execute, register
from tests.orders import OLD_ORDER, ORDER, Done, New, Noted, Old, Packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rat_fsm.events import Recorded

PATIENCE: Final = 30.0
TEA: Final = New.Placed("tea", 250, "EUR")


@attrs.define
class Calling:
    """Calls something with every event of an order."""

    call: Callable[[Recorded], object]

    def fold(self, recorded: Recorded) -> None:
        """Calls it."""
        if recorded.stream.lifecycle == "order":
            self.call(recorded)


@attrs.define
class Income:
    """The cents of all orders, which can be put away; `folded` is what it was given itself."""

    name: str = "income"
    version: int = 1
    cents: int = 0
    folded: list[str] = attrs.field(factory=list)

    def fold(self, recorded: Recorded) -> None:
        """Adds it up."""
        self.folded.append(recorded.type)
        self.cents += getattr(recorded.event, "cents", 0)

    def dump(self) -> Any:
        """The cents."""
        return {"cents": self.cents}

    def load(self, data: Any) -> None:
        """The cents."""
        self.cents = data["cents"]


class Hearing(logging.Handler):
    """Calls something when it is said that a projection has stopped."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self.call = call

    def emit(self, record: logging.LogRecord) -> None:
        """Calls it."""
        if record.exc_info and "has stopped after frame" in record.getMessage():
            self.call()


@contextlib.contextmanager
def hearing(call: Callable[[], object]) -> Iterator[None]:
    """Calls something when a projection stops."""
    handler, logger = Hearing(call), logging.getLogger("rat_fsm")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def opened(path: Path | str = "memory:", **options: Any) -> EventLog:
    """A log of orders."""
    return EventLog.open(path, **{"lifecycles": LIFECYCLES, "clock": VirtualClock(), **options})


def place(log: EventLog, stream_id: str) -> None:
    """An order, durable."""
    log.append(("order", stream_id), TEA)
    log.flush()


def test_a_projection_catches_up_then_follows() -> None:
    """What was there when it came is folded at once, what comes later when it is durable."""
    with opened() as log:
        place(log, "o1")
        with log.project(Kept()) as live:
            assert live.projection.events == list(log.read())
            place(log, "o2")
            assert live.wait(log.flush(), PATIENCE)
            with live.reading() as kept:
                assert kept.events == list(log.read())
        assert live.ended
        place(log, "o3")
        assert [e.stream.id for e in kept.events if e.event == TEA] == ["o1", "o2"]


@given(steps=st.lists(st.sampled_from(["append", "flush", "project", "other"]), max_size=12))
def test_every_projection_gets_what_the_log_holds(steps: list[str]) -> None:
    """Whenever it came, and whoever writes: each durable event once, in the store's order."""
    store, live = MemoryStore(), []
    logs = [EventLog(store, lifecycles=LIFECYCLES) for _ in range(2)]
    for number, step in enumerate(steps):
        if step == "project":
            live.append(logs[0].project(Kept()))
        elif step == "flush":
            logs[0].flush()
        else:
            logs[step == "other"].append(("order", f"o{number}"), TEA)
    logs[1].close()
    logs[0].close()
    for one in live:
        assert one.projection.events == list(logs[0].read())


def test_another_process_is_followed_too(tmp_path: Path) -> None:
    """Frames that another log puts into the same file come as well."""
    path = tmp_path / "events.db"
    with opened(path) as log, opened(path) as other:
        live = log.project(Kept())
        place(other, "o1")
        assert live.wait(other.flush(), PATIENCE)
        assert [e.writer for e in live.projection.events if e.event == TEA] == ["w1"]


def test_closing_the_log_folds_the_rest() -> None:
    """The last event of the log, too; and the thread ends."""
    log = opened()
    live = log.project(Kept())
    place(log, "o1")
    log.close()
    assert isinstance(live.projection.events[-1].event, Stopped)
    assert live.ended
    assert live.wait(timeout=0)
    live.close()
    with pytest.raises(LogClosed):
        log.project(Kept())


def test_an_exception_ends_one_projection() -> None:
    """It is logged, and told to who waits or reads; the log and others go on."""
    said = threading.Semaphore(0)

    def refuse(recorded: Recorded) -> None:
        raise LookupError(recorded.stream.id)

    with hearing(said.release), opened() as log:
        failing, sound = log.project(Calling(refuse)), log.project(Kept())
        place(log, "o1")
        with pytest.raises(FoldFailed, match=r"Calling has stopped .* LookupError") as caught:
            failing.wait(log.flush(), PATIENCE)
        assert isinstance(caught.value.__cause__, LookupError)
        with pytest.raises(FoldFailed), failing.reading():
            pass
        place(log, "o2")
        assert sound.wait(log.flush(), PATIENCE)
        assert (failing.ended, sound.error) == (True, None)
        assert said.acquire(timeout=PATIENCE)
    assert not said.acquire(blocking=False)


class Deaf(MemoryStore):
    """A store that says nothing of new frames: who closes a projection finds them."""

    def __init__(self) -> None:
        super().__init__()
        self._never = threading.Event()

    def wait(self, after: int, timeout: float) -> bool:
        """There is nothing."""
        self._never.wait(timeout)
        return after < 0


def test_closing_folds_while_there_is_time() -> None:
    """What is left then is for the next time."""
    with EventLog(Deaf(), lifecycles=LIFECYCLES) as log:
        late, soon = log.project(Kept()), log.project(Kept())
        place(log, "o1")
        late.close(timeout=0)
        soon.close()
        assert (late.projection.events, soon.projection.events) == ([], list(log.read()))


def test_an_exception_at_the_end_does_not_keep_a_log_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the code raises when the rest is folded is logged as well."""

    def refuse(_: Recorded) -> None:
        raise LookupError

    log = EventLog(Deaf(), lifecycles=LIFECYCLES)
    live = log.project(Calling(refuse))
    place(log, "o1")
    log.close()
    assert (isinstance(live.error, LookupError), live.ended) == (True, True)
    assert "the projection Calling has stopped after frame 0" in caplog.text


def test_what_is_torn_is_neither_folded_on_nor_saved() -> None:
    """Not even by who closes it at the moment when its code has raised."""

    class Torn(Income):
        def fold(self, recorded: Recorded) -> None:
            super().fold(recorded)
            if recorded.event == TEA:
                raise LookupError

    def close() -> None:
        closing = threading.Thread(target=live.close)
        closing.start()
        closing.join(PATIENCE)
        closed.set()

    store, closed = MemoryStore(), threading.Event()
    with hearing(close), EventLog(store, lifecycles=LIFECYCLES) as log:
        live = log.project(Torn())
        place(log, "o1")
        assert closed.wait(PATIENCE)
        with pytest.raises(FoldFailed):
            live.wait(log.flush(), PATIENCE)
    assert live.projection.folded.count("order.placed") == 1
    assert store.load_snapshot("projection\tincome") is None


def test_what_is_raised_while_it_catches_up_is_the_callers() -> None:
    """As it was raised; nothing follows then."""

    class Fussy:
        def fold(self, _: Recorded) -> None:
            raise LookupError

    with opened() as log:
        place(log, "o1")
        with pytest.raises(LookupError):
            log.project(Fussy())
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if name.endswith("Fussy")] == []


def test_a_projection_may_append(tmp_path: Path) -> None:
    """It holds no lock of the log, even where appending waits for the disk."""
    with opened(tmp_path / "events.db", durability="committed") as log:

        def reply(recorded: Recorded) -> None:
            if recorded.event == TEA:
                log.append(("order", recorded.stream.id), Packed())

        live = log.project(Calling(reply))
        place(log, "o1")
        assert live.wait(timeout=PATIENCE)
        assert [e.event for e in log.read()][-2:] == [TEA, Packed()]


def test_catching_up_ends_where_the_log_ended_when_it_began(tmp_path: Path) -> None:
    """What a projection itself appends meanwhile comes afterwards."""
    with opened(tmp_path / "events.db") as log:
        caught: list[str] = []

        def reply(recorded: Recorded) -> None:
            caught.append(threading.current_thread().name)
            if recorded.event == TEA:
                log.append(("order", recorded.stream.id), Packed())
                log.flush()

        place(log, "o1")
        live = log.project(Calling(reply))
        assert live.wait(timeout=PATIENCE)
        here = threading.current_thread().name
        assert caught == [here, "rat-fsm-projection-Calling"]


def test_a_projection_cannot_wait_for_itself() -> None:
    """Neither in its code nor while somebody holds it still."""
    with opened() as log:
        live = log.project(Calling(lambda _: live.wait()))
        place(log, "o1")
        with pytest.raises(FoldFailed) as caught:
            live.wait(timeout=PATIENCE)
        assert isinstance(caught.value.__cause__, FlushTimeout)
        other = log.project(Kept())
        with other.reading(), pytest.raises(FlushTimeout):
            other.wait()


def test_a_projection_may_close_itself_and_its_log() -> None:
    """The frame that it folds is its last then, and nobody waits for himself."""
    log = opened()
    folded: list[Recorded] = []

    def close(recorded: Recorded) -> None:
        folded.append(recorded)
        log.close()

    live = log.project(Calling(close))
    place(log, "o1")
    live.wait(timeout=PATIENCE)
    assert (live.ended, live.error, len(folded)) == (True, None, 1)
    other = EventLog(Deaf(), lifecycles=LIFECYCLES)
    kept = other.project(Kept())
    place(other, "o1")
    with kept.reading():
        other.close()
    assert (kept.ended, kept.projection.events) == (True, [])


def test_a_projection_that_hangs_is_left() -> None:
    """Whoever waits, or closes it, waits no longer than he said."""
    hold, inside = threading.Event(), threading.Event()

    def hang(_: Recorded) -> None:
        inside.set()
        hold.wait(PATIENCE)

    log = opened()
    live = log.project(Calling(hang))
    place(log, "o1")
    assert inside.wait(PATIENCE)
    assert not live.wait(timeout=0.01)
    live.close(timeout=0.01)
    assert live.ended
    hold.set()
    log.close()


def test_a_snapshot_is_gone_on_from(tmp_path: Path) -> None:
    """Only what came since is folded, as long as the version is the same."""
    path = tmp_path / "events.db"
    with opened(path, writer="w0") as log:
        log.project(Income())
        place(log, "o1")
    with opened(path, writer="w0") as log:
        live = log.project(Income())
        assert (live.projection.cents, live.projection.folded) == (250, [])
        place(log, "o2")
        assert live.wait(log.flush(), PATIENCE)
        assert live.projection.cents == 500
        for new in (Income(version=2), Income(name="other")):
            folded = log.project(new).projection.folded
            assert (new.cents, folded.count("order.placed")) == (500, 2)


def test_a_snapshot_that_fits_nothing_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of other lifecycles, of another log, or damaged: all is folded again."""
    path = tmp_path / "events.db"
    with opened(path, lifecycles=[OLD_ORDER], writer="w0") as log:
        log.project(Income())
        log.append(("order", "o1"), Old.Placed("tea", 2.5))
    with opened(path, writer="w0") as log:  # the events are lifted now
        assert log.project(Income()).projection.cents == 250
    for change, said in (
        ("UPDATE snapshots SET head = x'00'", "is of another log"),
        ("UPDATE snapshots SET data = '{'", "cannot be read"),
        ("UPDATE snapshots SET position = 99", "is of another log"),
        ("UPDATE snapshots SET position = 'x'", "is of another log"),
    ):
        execute(path, f"{change} WHERE writer LIKE 'projection%'")
        with opened(path, writer="w0") as log:
            live = log.project(Income())
            assert (live.projection.cents, live.projection.folded[0]) == (250, "node.started")
        assert said in caplog.text
        caplog.clear()


@pytest.mark.slow
def test_a_long_fold_is_saved_at_once() -> None:
    """So that a process that dies afterwards need not fold it again."""
    store = MemoryStore(max_events=10**6)
    with EventLog(store, lifecycles=LIFECYCLES, clock=VirtualClock()) as log:
        register(log, "c1")
        record: Any = log.read_model.record("connection", "c1")
        for _ in range(100_001):
            log.record_activity(record, 1, 1)
        log.flush()
        log.project(Income())
        assert store.load_snapshot("projection\tincome") is not None


def test_what_cannot_be_saved_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The log closes all the same; and a store without snapshots is none's fault."""

    class Odd(Income):
        def dump(self) -> Any:
            return object()

    with opened() as log:
        log.project(Odd())
        place(log, "o1")
    assert "the snapshot of the projection income cannot be saved" in caplog.text
    with EventLog(FaultyStore(), lifecycles=LIFECYCLES) as log:
        place(log, "o1")
        assert log.project(Income()).projection.cents == 250
    with opened() as log:
        live = log.project(Income())
        live.close()  # there is nothing to save
    assert live.error is None


class Dumping:
    """Has something of a snapshot, and not all."""

    name = "dumping"

    def fold(self, _: Recorded) -> None:
        """Does nothing."""

    def dump(self) -> None:
        """Does nothing."""


@pytest.mark.parametrize(
    ("projection", "error", "said"),
    [
        (object(), InvalidArgumentType, "it has no method fold"),
        (Dumping(), InvalidArgumentType, "Dumping has dump but no version, load"),
        (Income(name="a\n"), InvalidArgument, "a projection's name must not hold control"),
        (Income(version="1"), InvalidArgumentType, "version '1'; it must be an integer"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_projection_is_refused(projection: Any, error: type, said: str) -> None:
    """With what would be right."""
    with opened() as log, pytest.raises(error, match=said):
        log.project(projection)


def test_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    """What cannot be folded is told to who asks for a projection."""
    with EventLog(MemoryStore(max_events=1), lifecycles=LIFECYCLES) as log:
        place(log, "o1")
        place(log, "o2")
        with pytest.raises(HistoryEvicted):
            log.project(Kept())
    path = tmp_path / "events.db"
    with opened(path) as log:
        place(log, "o1")
        execute(path, "UPDATE frames SET body = '{}'")
        with pytest.raises(DamagedFrame):
            log.project(Kept())


class Unsteady(MemoryStore):
    """A store that cannot be asked now and then."""

    failures = 0

    def wait(self, after: int, timeout: float) -> bool:
        """Fails as often as it was told."""
        if self.failures:
            self.failures -= 1
            raise OSError(5, "the device is gone")
        return super().wait(after, timeout)


def test_a_store_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and nothing is missed."""
    store = Unsteady()
    with EventLog(store, lifecycles=LIFECYCLES) as log:
        store.failures = 2
        live = log.project(Kept())
        place(log, "o1")
        assert live.wait(log.flush(), PATIENCE)
        assert live.projection.events == list(log.read())
    assert caplog.text.count("a projection waits for a store that fails") == 1


def test_a_forked_child_has_no_projection() -> None:
    """It says so, and does not wait for a thread that is not there."""
    with opened() as log:
        place(log, "o1")
        live = log.project(Kept())
        child = os.fork()
        if child == 0:
            code = 99
            try:
                with pytest.raises(LogForked):
                    live.wait()
                with pytest.raises(LogForked), live.reading():
                    pass
                live.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        place(log, "o2")
        assert live.wait(log.flush(), PATIENCE)


def test_a_log_that_nobody_holds_is_followed_no_more() -> None:
    """Its thread ends by itself."""
    log = opened()
    live = log.project(Kept())
    del log
    gc.collect()
    assert live.ended


def test_an_old_log_is_projected_by_new_classes(tmp_path: Path) -> None:
    """Upcasters lift what was written under an older definition, and its stream goes on."""
    path = tmp_path / "events.db"
    with opened(path, lifecycles=[CONNECTION, OLD_ORDER], writer="w0") as log:
        log.append(("order", "o1"), Old.Placed("tea", 2.5), Packed())
    with opened(path, lifecycles=[CONNECTION, ORDER], writer="w0") as log:
        live = log.project(Kept())
        log.append(("connection", "c1"), Registered("10.0.0.1"))
        log.append(("order", "o2"), New.Placed("milk", 120, "CHF"), Noted("soon"), Done())
        assert live.wait(log.flush(), PATIENCE)
        orders = [e.event for e in live.projection.events if e.stream.lifecycle == "order"]
    assert orders == [TEA, Packed(), New.Placed("milk", 120, "CHF"), Noted("soon"), Done()]
