"""A log in its process: forks, exits, threads, garbage, closing."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from rat_fsm import EventLog, Position, read_events, replay
from rat_fsm.errors import LogClosed, LogForked, WriterBusy
from rat_fsm.events import Activated, ActivityRecorded, Registered
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store
from rat_fsm.testing import FaultyStore

PROJECT = Path(__file__).parents[2]
STREAM = ("connection", "a")


def writers() -> list[str]:
    """The names of the threads that commit."""
    return [t.name for t in threading.enumerate() if t.name.startswith("rat-fsm-log")]


def in_child(work: object) -> int:
    """Runs something in a forked child; answers with its exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = int(work())  # type: ignore[operator]
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def test_a_forked_child_has_no_log_but_may_open_one(tmp_path: Path) -> None:
    """The parent's goes on, and its slot stays its own after the child has ended."""
    path = tmp_path / "events.db"
    log = EventLog.open(path)
    log.append(STREAM, Registered("x"))

    def work() -> int:
        refused = 0
        for attempt in (
            lambda: log.append(STREAM, Activated()),
            lambda: log.flush(1.0),
            lambda: asyncio.run(log.append_async(STREAM, Activated())),
        ):
            try:
                attempt()
            except LogForked:
                refused += 1
        log.close()
        with EventLog.open(path) as own:
            own.append(("connection", "b"), Registered("child"))
            assert own.writer == "w1"
            own.flush(20.0)
        return refused

    assert in_child(work) == 3
    log.append(STREAM, Activated())
    log.flush(20.0)
    with pytest.raises(WriterBusy):
        EventLog.open(path, writer="w0")
    log.close()
    told = [(r.writer, r.stream.id) for r in read_events(path) if r.type == "connection.registered"]
    assert sorted(told) == [("w0", "a"), ("w1", "b")]


def test_parent_and_child_write_one_file_and_lose_nothing(tmp_path: Path) -> None:
    """SQLite's locks do not survive a fork; its handles are closed before and opened anew."""
    path = tmp_path / "events.db"
    log = EventLog.open(path)
    log.append(STREAM, Registered("x"), Activated())
    log.flush(20.0)
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                with EventLog.open(path) as own:
                    own.append(("connection", f"child {number}"), Registered("x"), Activated())
                    for _ in range(20):
                        own.append(("connection", f"child {number}"), ActivityRecorded(1, 1))
                        own.flush(20.0)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
        for _ in range(20):
            log.append(STREAM, ActivityRecorded(1, 1))
            log.flush(20.0)
    log.close()
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 3
    sent = Counter(r.stream.id for r in read_events(path) if r.type.endswith("activity_recorded"))
    assert sent == {"a": 60, "child 0": 20, "child 1": 20, "child 2": 20}
    store = open_store(path)
    assert verify_log(store).problems == ()
    store.close()


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise SystemExit(3)", "1 / 0"])
def test_what_was_accepted_is_flushed_at_exit(tmp_path: Path, end: str) -> None:
    """However the interpreter ends, short of a kill."""
    path = tmp_path / "events.db"
    script = (
        "import sys\nfrom rat_fsm import EventLog\nfrom rat_fsm.events import *\n"
        "log = EventLog.open(sys.argv[1])\nlog.append(('connection', 'a'), Registered('x'))\n"
        "for n in range(5000): log.append(('connection', 'a'), *((Activated(),) if not n else ()),"
        f" ActivityRecorded(n, 1))\n{end}\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, timeout=40, check=False
    )
    model = replay(path)
    assert model.connections["a"].messages_sent == 5000


def test_a_thread_starts_with_the_first_event_and_ends_with_the_log() -> None:
    """One a log at most."""
    before = writers()
    log = EventLog()
    assert writers() == before
    log.append(STREAM, Registered("x"))
    log.flush()
    assert len(writers()) == len(before) + 1
    log.close()
    assert writers() == before


def test_an_unclosed_log_is_flushed_when_it_is_garbage(tmp_path: Path) -> None:
    """Its thread ends, and its slot is free again."""
    path, before = tmp_path / "events.db", threading.enumerate()
    log: EventLog | None = EventLog.open(path)
    assert log is not None
    log.append(STREAM, Registered("x"))
    log.flush(20.0)
    log.append(STREAM, Activated())
    (thread,) = [t for t in threading.enumerate() if t not in before]
    del log
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()
    with EventLog.open(path) as again:
        assert again.writer == "w0"
        assert again.read_model.totals.closed_by_reason == {"crash": 1}


def test_closing_twice_and_from_two_threads_is_closing_once(tmp_path: Path) -> None:
    """And afterwards nothing is accepted."""
    path = tmp_path / "events.db"
    log = EventLog.open(path)
    log.append(STREAM, Registered("x"))
    threads = [threading.Thread(target=log.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    log.close()
    with pytest.raises(LogClosed):
        log.append(STREAM, Activated())
    assert [r.type for r in read_events(path)].count("node.stopped") == 1


def test_a_report_is_recorded_with_the_end_of_the_run(tmp_path: Path) -> None:
    """Given to close, or kept for it before."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        log.begin()
        log.keep_report({"forced": 2})
    assert list(read_events(path))[-1].event.report == {"clean": True, "forced": 2}


def test_append_async_waits_for_the_disk_and_not_the_loop() -> None:
    """Other coroutines run meanwhile; the answer is a position."""
    store = FaultyStore()
    log = EventLog(store)

    async def run() -> Position:
        store.held.clear()
        appending = asyncio.create_task(log.append_async(STREAM, Registered("x")))
        assert await asyncio.to_thread(store.asked.wait, 20)
        assert not appending.done()
        store.held.set()
        return await asyncio.wait_for(appending, 20)

    position = asyncio.run(run())
    registered = next(r for r in log.read() if r.type == "connection.registered")
    assert registered.position is not None
    assert position >= registered.position
    log.close()


def test_cancelling_append_async_takes_nothing_back() -> None:
    """Only the waiting ends."""
    store = FaultyStore()
    log = EventLog(store)

    async def run() -> None:
        store.held.clear()
        appending = asyncio.create_task(log.append_async(STREAM, Registered("x")))
        assert await asyncio.to_thread(store.asked.wait, 20)
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        store.held.set()

    asyncio.run(run())
    log.flush(20.0)
    assert "a" in replay(log).connections
    log.close()


def test_committed_append_is_durable_on_return_and_never_waits_on_a_loop() -> None:
    """On a thread with a running loop it would block everybody."""
    store = FaultyStore()
    log = EventLog(store, durability="committed")
    log.durability = "committed"  # the memory behind it is as durable as it gets
    log.append(STREAM, Registered("x"))
    assert log.health.pending == 0

    async def run() -> None:
        store.held.clear()
        log.append(STREAM, Activated(), ActivityRecorded(1, 1))
        assert log.health.pending == 2
        store.held.set()

    asyncio.run(run())
    log.close()
