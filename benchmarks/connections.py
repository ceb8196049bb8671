"""Rows ``memory``, ``stats``, ``bytes`` and ``threads``: what many connections cost."""

from __future__ import annotations

import gc
import sqlite3
import statistics
import threading
import time
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING

from benchmarks.events import CONNECTIONS, IDS, SENT, address, frames_and_events, managed
from benchmarks.measure import Measure
from rat_fsm.log import EventLog
from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.runtime.monitor import StreamMonitor

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Result, Scale

MEMORY = 700
STATS_MICROS = 50
DENSE, SPARSE = 35, 80
THREADS = 4


class Stream:
    """Something to monitor."""

    closed = False


def memory(scale: Scale) -> list[Result]:
    """Bytes an open connection, its id and address included."""
    count = scale.of(100_000, 5_000)
    with scale.folder() as folder, EventLog.open(folder / "log.db") as log:
        manager = ConnectionManager(count, log=log)
        gc.collect()
        tracemalloc.start()
        _register(manager, count)
        log.flush()
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        manager.shutdown()
    note = f"{count:,} open, their ids and addresses included"
    return [
        Measure(
            "memory", "an open connection", used / count, "B", MEMORY, at_least=False, note=note
        )
    ]


def _register(manager: ConnectionManager, count: int) -> None:
    for number in range(count):
        name = f"conn-{number:06d}"
        manager.register_connection(name, address(number), kind="sse")
        manager.record_activity(name, 512)
        if number % CONNECTIONS == 0:
            manager.log.flush()  # what is pending would count


def stats(scale: Scale) -> list[Result]:
    """`get_stats` at many open connections and at a hundred, in turns."""
    many = scale.of(100_000, 5_000)
    with (
        scale.folder() as folder,
        managed(folder / "few.db", 100) as few,
        managed(folder / "many.db", many) as crowd,
    ):
        pairs = [(_micros(few), _micros(crowd)) for _ in range(scale.of(50, 10))]
    at_few, at_many = (statistics.median(column) for column in zip(*pairs, strict=True))
    return [
        Measure(
            "stats",
            f"get_stats at {many:,} open",
            at_many,
            "µs",
            STATS_MICROS,
            at_least=False,
            note=f"{at_many / at_few:.2f} times that at 100",
        )
    ]


def _micros(manager: ConnectionManager, times: int = 100) -> float:
    started = time.perf_counter()
    for _ in range(times):
        manager.get_stats()
    return (time.perf_counter() - started) / times * 1_000_000


def size(scale: Scale) -> list[Result]:
    """Bytes on disk an activity, the file's pages and indexes included."""
    rounds = scale.of(50, 10)
    dense, each = _bytes(scale, rounds, 10)
    sparse, one = _bytes(scale, rounds, 1)
    return [
        Measure(
            "bytes",
            "an activity, many a stream and frame",
            dense,
            "B",
            DENSE,
            at_least=False,
            note=f"{each:.1f} events a stream and frame",
        ),
        Measure(
            "bytes",
            "an activity, one a stream and frame",
            sparse,
            "B",
            SPARSE,
            at_least=False,
            note=f"{one:.1f} events a stream and frame",
        ),
    ]


def _bytes(scale: Scale, rounds: int, each: int) -> tuple[float, float]:
    """Bytes an event, and how many events of a stream its frame held on average."""
    with scale.folder() as folder, managed(folder / "log.db") as manager:
        path = folder / "log.db"
        before, (frames, events_before) = _settled(path), frames_and_events(path)
        for _ in range(rounds):
            # Held, so that the committing thread finds the round whole.
            with manager.log.reading():
                for _ in range(each):
                    for name, sent in zip(IDS, SENT, strict=True):
                        manager.record_activity(name, sent)
            manager.log.flush()
        events = frames_and_events(path)[1] - events_before
        grown = _settled(path) - before
        per_stream = events / _mentions(path, frames)
    return grown / events, per_stream


def _settled(path: Path) -> int:
    """The size of the database once the write-ahead log has been moved into it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return path.stat().st_size


def _mentions(path: Path, after: int) -> int:
    """How often a frame after a position names a stream."""
    query = "SELECT sum(json_array_length(body, '$.streams')) FROM frames WHERE position > ?"
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(query, (after,)).fetchone()[0])


def threads(scale: Scale) -> list[Result]:
    """Threads of ours while many connections are monitored and recorded."""
    count = scale.of(10_000, 1_000)
    before = set(threading.enumerate())
    with scale.folder() as folder, managed(folder / "log.db", count) as manager:
        monitor = StreamMonitor(manager, check_interval=0.05)
        streams = [Stream() for _ in range(count)]
        for number, stream in enumerate(streams):
            monitor.start_monitoring(f"conn-{number:06d}", stream, lambda _id: None)
        streams[0].closed = True
        time.sleep(0.2)  # a check, and a callback: all threads there will be have started
        ours = [t.name for t in threading.enumerate() if t not in before or _ours(t)]
        monitor.shutdown()
    return [
        Measure(
            "threads",
            f"at {count:,} monitored connections",
            len(ours),
            "threads",
            THREADS,
            at_least=False,
            note=", ".join(sorted(ours)),
        )
    ]


def _ours(thread: threading.Thread) -> bool:
    return thread.name.startswith("rat-fsm")
