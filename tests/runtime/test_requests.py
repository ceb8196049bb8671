"""Requests to drain: who asks, who is asked, and what may go wrong between them."""

from __future__ import annotations

import gc
import logging
import queue
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from rat_fsm import EventLog, Position, read_events, replay
from rat_fsm.errors import InvalidArgument, InvalidArgumentType, StoreUnreadable, WriterBusy
from rat_fsm.events import Activated, DrainRequested, Registered
from rat_fsm.runtime import requests
from rat_fsm.runtime.requests import OPERATOR, DrainRequests, request_drain
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.sqlite import SqliteStore
from tests.logs import crash, execute, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rat_fsm.stores.port import StoredFrame

PATIENCE: Final = 20.0
PROJECT: Final = Path(__file__).parents[2]
NAME: Final = "rat-fsm-requests"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where there is a log, which nobody has open."""
    path = tmp_path / "events.db"
    EventLog.open(path).close()
    return path


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    """A server's log, in this process."""
    with EventLog.open(path) as log:
        yield log


class Heard:
    """Takes the actors of requests."""

    def __init__(self) -> None:
        self._actors: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.take = self._actors.put

    def next(self) -> str:
        """The next actor, however long it takes."""
        return self._actors.get(timeout=PATIENCE)


class Unreliable(SqliteStore):
    """A store that cannot be read while it is ``away``; ``reads`` are the reads it was asked for.

    Attributes:
        failed: released once for every read that has failed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), writable=True)
        self.away = False
        self.failed = threading.Semaphore(0)
        self.reads: list[tuple[int, str | None]] = []

    def read(self, after: int = 0, writer: str | None = None) -> Iterator[StoredFrame]:
        """As told."""
        self._may_fail()
        self.reads.append((after, writer))
        return super().read(after, writer)

    def heads(self) -> dict[str, StoredFrame]:
        """As told."""
        self._may_fail()
        return super().heads()

    def _may_fail(self) -> None:
        if self.away:
            self.failed.release()
            raise OSError(5, "the device is gone")


def following(log: EventLog) -> tuple[DrainRequests, Heard]:
    """What follows a log's requests, started, and what hears of them."""
    heard = Heard()
    followed = DrainRequests(log, heard.take)
    followed.start()
    return followed, heard


def threads() -> int:
    """How many threads follow requests."""
    return sum(thread.name == NAME for thread in threading.enumerate())


def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_garbage(gone: weakref.ref[Any]) -> bool:
    """Whether an object is no more, once whoever looked at it just now has let go."""
    gc.collect()
    return gone() is None


def test_each_request_is_heard_once_and_in_order(path: Path, log: EventLog) -> None:
    """Those of one look, and those of a later one; the thread is one."""
    followed, heard = following(log)
    request_drain(path, "ann")
    request_drain(path, "bob")
    assert [heard.next(), heard.next()] == ["ann", "bob"]
    request_drain(f"sqlite:{path}", "eve")
    assert heard.next() == "eve"
    assert (followed.running, threads()) == (True, 1)
    followed.stop()


def test_what_was_asked_before_the_start_is_not_obeyed(path: Path, log: EventLog) -> None:
    """Neither by the first start nor by one after a stop."""
    request_drain(path, "early")
    followed, heard = following(log)
    request_drain(path, "ann")
    assert heard.next() == "ann"
    followed.stop()
    request_drain(path, "between")
    followed.start()
    request_drain(path, "bob")
    assert heard.next() == "bob"
    followed.stop()


def test_starting_twice_follows_once(path: Path, log: EventLog) -> None:
    """The second start changes nothing."""
    followed, heard = following(log)
    request_drain(path, "ann")
    followed.start()
    assert (heard.next(), threads()) == ("ann", 1)
    followed.stop()


def test_only_the_operators_slot_counts(path: Path, log: EventLog) -> None:
    """Another writer's request is none, whatever it records."""
    followed, heard = following(log)
    with EventLog.open(path, writer="w7") as other:
        other.append_request(DrainRequested("mallory"))
    request_drain(path, "ann")
    assert heard.next() == "ann"
    followed.stop()


def test_the_servers_own_frames_are_not_read(path: Path) -> None:
    """Looking for requests reads what the operator wrote, however much the server writes."""
    store = Unreliable(path)
    with EventLog(store) as log:
        followed, heard = following(log)
        store.reads.clear()
        for number in range(20):
            log.append(("connection", str(number)), Registered("10.0.0.1"))
            log.flush()
        position = request_drain(path, "ann")
        assert heard.next() == "ann"
        until(lambda: store.reads[-1] == (position.frame, OPERATOR))
        assert {writer for _, writer in store.reads} == {OPERATOR}
        followed.stop()


def test_a_callback_that_raises_hurts_nobody(
    path: Path, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, even where it tries to end the thread, and the next request is heard."""
    heard = Heard()
    problems: list[BaseException] = [ValueError("no"), SystemExit(3)]

    def fail(actor: str) -> None:
        heard.take(actor)
        if problems:
            raise problems.pop(0)

    followed = DrainRequests(log, fail)
    followed.start()
    for actor in ("ann", "bob", "eve"):
        request_drain(path, actor)
    assert [heard.next(), heard.next(), heard.next()] == ["ann", "bob", "eve"]
    raised = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert raised == [ValueError, SystemExit]
    followed.stop()


@pytest.mark.slow
def test_an_outage_is_said_once_and_nothing_is_lost_in_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was asked while the store could not be read is heard afterwards, once."""
    store = Unreliable(path)
    with caplog.at_level(logging.WARNING, "rat_fsm"), EventLog(store) as log:
        followed, heard = following(log)
        store.away = True
        request_drain(path, "ann")
        for _ in range(2):
            assert store.failed.acquire(timeout=PATIENCE)
        store.away = False
        assert heard.next() == "ann"
        request_drain(path, "bob")
        assert heard.next() == "bob"
        followed.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "requests to drain cannot be read now, which is retried: [Errno 5] the device is gone",
        "requests to drain can be read again",
    ]


def test_an_outage_at_the_start(path: Path) -> None:
    """It follows once the store can be read, from then on."""
    store = Unreliable(path)
    with EventLog(store) as log:
        request_drain(path, "early")
        store.away = True
        followed, heard = following(log)
        assert store.failed.acquire(timeout=PATIENCE)
        store.reads.clear()
        store.away = False
        until(lambda: bool(store.reads))
        request_drain(path, "ann")
        assert heard.next() == "ann"
        followed.stop()


@pytest.mark.parametrize("damage", ["body = 'x'", "count = 'many'", "format = 99"])
def test_a_request_that_cannot_be_read_is_passed_over(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and those after it are heard."""
    store = Unreliable(path)
    with EventLog(store) as log:
        followed, heard = following(log)
        store.away = True
        position = request_drain(path, "ann")
        request_drain(path, "bob")
        assert store.failed.acquire(timeout=PATIENCE)
        execute(path, f"UPDATE frames SET {damage} WHERE position = {position.frame}")  # noqa: S608 - of ours
        store.away = False
        assert heard.next() == "bob"
        followed.stop()
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith(f"a request to drain cannot be read: frame {position.frame} ")


def test_closing_the_log_ends_the_thread(path: Path) -> None:
    """Nobody needs to stop what follows a log that is closed; starting it does nothing then."""
    log = EventLog.open(path)
    followed, _ = following(log)
    assert threads() == 1
    log.close()
    until(lambda: not threads())
    followed.start()
    assert (followed.running, threads()) == (False, 0)


# From Python 3.13 on SQLite complains that nobody has closed the log: that is what is tested.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_keeps_no_log_alive(path: Path) -> None:
    """A log that nobody refers to any more goes, and the thread with it."""
    log = EventLog.open(path)
    followed, _ = following(log)
    gone = weakref.ref(log)
    del log
    until(lambda: is_garbage(gone) and not threads() and not followed.running)


def test_the_thread_keeps_no_owner_alive(path: Path) -> None:
    """An object that owns what follows and is called by it is garbage once it is dropped."""
    store = Unreliable(path)
    with EventLog(store) as log:

        class Owner:
            def __init__(self) -> None:
                self.requests = DrainRequests(log, self.drain)
                self.requests.start()

            def drain(self, _actor: str) -> None:
                raise AssertionError

        owner = Owner()
        store.reads.clear()
        until(lambda: bool(store.reads))
        gone = weakref.ref(owner)
        del owner
        until(lambda: is_garbage(gone) and not threads())


def test_stop_ends_the_thread_also_from_the_callback(path: Path, log: EventLog) -> None:
    """And nothing is heard after it, though it was asked for in the same look."""
    heard = Heard()

    def once(actor: str) -> None:
        followed.stop()
        heard.take(actor)

    with EventLog.open(path, writer=OPERATOR) as operator:
        followed = DrainRequests(log, once)
        followed.start()
        for actor in ("ann", "bob"):
            operator.append_request(DrainRequested(actor))
        operator.flush()
        assert heard.next() == "ann"
    until(lambda: not threads())
    assert heard._actors.empty()
    followed.stop()


def test_memory_has_nothing_to_follow() -> None:
    """No other process can write there, so there is no thread."""
    with EventLog(MemoryStore()) as log:
        followed, _ = following(log)
        assert (followed.running, threads()) == (False, 0)
        followed.stop()


FORKING: Final = """
import os, queue, sys, warnings
from rat_fsm import EventLog
from rat_fsm.runtime.requests import DrainRequests, request_drain

warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads forks
path = sys.argv[1]
heard = queue.SimpleQueue()
log = EventLog.open(path)
followed = DrainRequests(log, heard.put)
followed.start()
child = os.fork()
if child == 0:
    assert not followed.running
    followed.start()  # of the parent's log there is nothing to follow here
    assert not followed.running
    followed.stop()
    own = EventLog.open(path)
    followed = DrainRequests(own, heard.put)
    followed.start()
    request_drain(path, "child")
    assert heard.get(timeout=20) == "child"
    own.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert heard.get(timeout=20) == "child"
assert followed.running
followed.stop()
log.close()
"""


def test_a_forked_child_follows_by_itself(path: Path) -> None:
    """It has no thread until it starts one for a log of its own; the parent's goes on."""
    result = subprocess.run(
        [sys.executable, "-c", FORKING, str(path)],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (result.returncode, result.stderr) == (0, "")


HOSTILE: Final = {
    "ann@host": "ann@host",
    "名前": "名前",
    "[red]x[/red]": "[red]x[/red]",
    "\x1b[31m\x9b\n\u202e": r"\x1b[31m\x9b\n\u202e",
    "\udc80\ud800": r"\udc80\ud800",
    "x" * 256: "x" * 256,
    "x" * 10_000: "x" * 255 + "…",
    "\x1b" * 10_000: (r"\x1b" * 64)[:255] + "…",
}


def test_whoever_asks_is_recorded_as_harmless_text(path: Path, log: EventLog) -> None:
    """Any string will do: it is recorded escaped and bounded, and so it is heard."""
    followed, heard = following(log)
    for actor in HOSTILE:
        request_drain(path, actor)
    assert [heard.next() for _ in HOSTILE] == list(HOSTILE.values())
    assert [event for writer, _, event in told(read_events(path)) if writer == OPERATOR] == [
        DrainRequested(actor) for actor in HOSTILE.values()
    ]
    followed.stop()


def test_what_others_recorded_is_harmless_too(path: Path, log: EventLog) -> None:
    """An actor that some program wrote into the log is handed on escaped and bounded."""
    followed, heard = following(log)
    with EventLog.open(path, writer=OPERATOR) as operator:
        operator.append_request(DrainRequested("\x1b" + "x" * 200_000))
        operator.append_request(DrainRequested(""))
    assert heard.next() == r"\x1b" + "x" * 251 + "…"
    assert heard.next() == ""
    followed.stop()


def test_a_request_is_durable_and_no_run(path: Path) -> None:
    """It is one event at the position that is answered, and leaves nothing open."""
    positions = [request_drain(path, "ann"), request_drain(path, "bob")]
    recorded = list(read_events(path))
    assert [event.position for event in recorded] == positions == [Position(1, 0), Position(2, 0)]
    assert [(event.writer, event.type) for event in recorded] == 2 * [
        (OPERATOR, "node.drain_requested")
    ]
    assert replay(path).drain.phase == "none"


def test_asking_ends_what_the_dead_left(path: Path) -> None:
    """As every opening for writing does."""
    log = EventLog.open(path)
    log.append(("connection", "a"), Registered("10.0.0.1"), Activated())
    crash(log)
    request_drain(path, "ann")
    model = replay(path)
    assert (model.open_connections, model.drain.phase) == (0, "stopped")


def refused(tmp_path: Path) -> dict[str, tuple[Any, Any, type[Exception], str]]:
    """What cannot be asked: a URL, an actor, and what is said."""
    good, missing = tmp_path / "events.db", tmp_path / "missing.db"
    (tmp_path / "text.db").write_text("no database " * 1000)
    return {
        "memory": ("memory:", "ann", InvalidArgument, "a memory: log cannot be asked"),
        "missing": (missing, "ann", StoreUnreadable, "No such file"),
        "missing URL": (f"sqlite:{missing}", "ann", StoreUnreadable, "No such file"),
        "text": (tmp_path / "text.db", "ann", StoreUnreadable, "not a database"),
        "scheme": ("redis://host/1", "ann", InvalidArgument, "no store for 'redis:'"),
        "nobody": (good, "", InvalidArgument, "actor must say who asks"),
        "a number": (good, 7, InvalidArgumentType, "actor must be a string, not int"),
    }


CASES: Final = ("memory", "missing", "missing URL", "text", "scheme", "nobody", "a number")


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_asked_changes_nothing(path: Path, tmp_path: Path, case: str) -> None:
    """An error says why, and no file is made or written."""
    url, actor, error, message = refused(tmp_path)[case]
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(error, match=message):
        request_drain(url, actor)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert path.name in before


def test_two_operators_at_once(path: Path, log: EventLog) -> None:
    """Each waits for the other, and each request is heard once."""
    followed, heard = following(log)
    actors = ["ann", "bob", "eve", "joe"]
    asking = [threading.Thread(target=request_drain, args=(path, actor)) for actor in actors]
    for thread in asking:
        thread.start()
    assert sorted(heard.next() for _ in actors) == actors
    for thread in asking:
        thread.join(PATIENCE)
    followed.stop()


def test_an_operator_that_takes_too_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else wants to ask is told so after a while."""
    monkeypatch.setattr(requests, "BUSY_PATIENCE", 0.2)
    with (
        EventLog.open(path, writer=OPERATOR),
        pytest.raises(WriterBusy, match=r"somebody else has been writing a request for 0\.2 s"),
    ):
        request_drain(path, "ann")
    request_drain(path, "ann")
