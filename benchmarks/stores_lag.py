"""Row ``lag``: how long after its commit an event is in a follower's read model.

Four processes write; one more folds what they store. A frame counts from the moment that its
append returned to its writer until the follower says that it is folded.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Final

from benchmarks.measure import Measure, Skipped
from benchmarks.remote_servers import MissingServer, places
from benchmarks.serverload import PROJECT
from rat_fsm.events import Position
from rat_fsm.replay.following import follow
from rat_fsm.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Result, Scale
    from rat_fsm.replay.following import Follower

    Noted = list[tuple[int, int]]
    Writer = subprocess.Popen[str]

WRITERS: Final = 4
RATE: Final = 1_000  # events a second and writer, which its log commits every 10 ms
FOLLOWED: Final = ("SQLite", "PostgreSQL", "NATS, synced", "NATS R3, synced")
SLICE: Final = 0.1
PATIENCE: Final = 60.0


def lag(scale: Scale) -> list[Result]:
    """The follower's lag on every store that several processes can write here."""
    results: list[Result] = []
    for place in (place for place in places(scale) if place.name in FOLLOWED):
        try:
            with scale.folder() as folder, place.serving(folder) as server:
                url = server.url(folder)
                open_store(url, writable=True).close()
                results.append(_measure(place.name, url, scale.of(30, 1), scale.of(WRITERS, 2)))
        except MissingServer as missing:
            results.append(Skipped("lag", place.name, str(missing)))
    return results


def _measure(name: str, url: str, seconds: int, count: int) -> Measure:
    with _writers(url, seconds, count) as writers, follow(url) as follower:
        for writer in writers:
            _pipe(writer.stdin).write("\n")
            _pipe(writer.stdin).flush()
        noted, folded = _watched(follower, writers)
    lags = [max(0, folded[position] - at) / 1_000_000 for position, at in noted]
    middle, p99 = statistics.median(lags), statistics.quantiles(lags, n=100)[98]
    return Measure(
        "lag",
        f"{name}: from commit to folded, p99",
        p99,
        "ms",
        note=f"median {middle:.2g} ms, most {max(lags):.3g} ms; {len(lags):,} frames of {count}"
        f" writers, {RATE:,} events/s each, in {seconds} s",
    )


@contextlib.contextmanager
def _writers(url: str, seconds: int, count: int) -> Iterator[list[Writer]]:
    """Processes that are ready to write."""
    command = [sys.executable, "-m", "benchmarks.stores_writer", url, str(seconds), str(RATE)]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(_process(command)) for _ in range(count)]
        for writer in writers:
            _pipe(writer.stdout).readline()
        yield writers


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[Writer]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603 - our own interpreter
        try:
            yield process
        finally:
            process.kill()


def _watched(follower: Follower, writers: list[Writer]) -> tuple[Noted, dict[int, int]]:
    """When each frame was appended, and when it was folded, once the writers have ended."""
    ended = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(_watch, follower, ended)
        try:
            noted = [one for writer in writers for one in _noted(writer)]
            follower.wait(Position(max(position for position, _ in noted), 0), PATIENCE)
        finally:
            ended.set()
        return noted, watching.result()


def _watch(follower: Follower, ended: threading.Event) -> dict[int, int]:
    """When each frame was folded, until there are no more."""
    folded: dict[int, int] = {}
    while True:
        last = ended.is_set()
        while follower.wait(Position(len(folded) + 1, 0), SLICE):
            folded[len(folded) + 1] = time.monotonic_ns()
        if last:
            return folded


def _noted(writer: Writer) -> Noted:
    out, _ = writer.communicate(timeout=PATIENCE)
    return [(position, at) for position, at in json.loads(out)]


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None  # noqa: S101 - it was asked for
    return pipe
