"""Row ``history``: one connection among ten thousand, in a long log, once it is indexed."""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.events import require
from benchmarks.longlog import OPEN, write_log
from benchmarks.measure import Measure, seconds
from rat_fsm.replay.cache import Cache
from rat_fsm.replay.index import Index
from rat_fsm.replay.lives import lives_of
from rat_fsm.replay.query import Query
from rat_fsm.replay.search import searching
from rat_fsm.stores import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Result, Scale

BUDGET_MS = 100.0
BUDGET_MB = 300.0
ASKED = 50
FINISHED = Query(ended_by=("server", "client"), limit=10_000)
# In a process of its own, so that nothing else counts; answers with its peak in KiB.
_INDEXING = """
import resource, sys
from pathlib import Path
from rat_fsm.replay.cache import Cache
from rat_fsm.replay.index import Index
from rat_fsm.stores import open_store

with Cache(open_store(sys.argv[1]), Path(sys.argv[2])) as cache:
    Index(cache).catch_up()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def history(scale: Scale) -> list[Result]:
    """How fast a log is indexed, in how much memory, and how long a history takes then."""
    events, at_once = scale.of(10_000_000, 100_000), scale.of(OPEN, OPEN // 10)
    what = f"{events / 1e6:g} million events"
    with scale.folder() as folder:
        path, cache = folder / "long.db", folder / "cache"
        write_log(path, events, at_once)
        took = seconds(lambda: _index(path, cache))
        peak = _peak(path, folder / "again")
        with searching(path, cache=cache) as search:
            wanted = [found.tally for found in search.find(FINISHED)]
        asked = [(t.id, t.events) for t in wanted[:: max(1, len(wanted) // ASKED)]]
        times = [seconds(lambda: _tell(path, cache, *one)) for one in asked]  # noqa: B023 - called at once
        found = seconds(lambda: _search(path, cache))
    note = f"median of {len(asked)} connections, of which {at_once:,} are open at once"
    return [
        Measure("history", f"index {what}", events / took, "events/s"),
        Measure("history", "memory while indexing", peak, "MB", BUDGET_MB, at_least=False),
        Measure(
            *("history", f"of a connection in {what}", statistics.median(times) * 1000, "ms"),
            budget=BUDGET_MS,
            at_least=False,
            note=note,
        ),
        Measure("history", f"find who erred in {what}", found * 1000, "ms"),
    ]


def _index(path: Path, folder: Path) -> None:
    with Cache(open_store(path), folder) as cache:
        Index(cache).catch_up()


def _peak(path: Path, folder: Path) -> float:
    command = [sys.executable, "-c", _INDEXING, str(path), str(folder)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own interpreter
    return int(result.stdout) * 1024 / 1e6


def _tell(path: Path, cache: Path, connection: str, events: int) -> None:
    lives = lives_of(path, connection, cache=cache)
    require(events in {len(life.steps) for life in lives}, expected=True, what="events of a life")


def _search(path: Path, cache: Path) -> None:
    with searching(path, cache=cache) as search:
        search.count(Query(error="timeout"))
