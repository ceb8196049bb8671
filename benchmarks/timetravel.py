"""Row ``travel``: a long log is replayed, seen at any moment, and stepped through."""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.longlog import write_log
from benchmarks.measure import Measure, seconds
from rat_fsm.codec import no_collection
from rat_fsm.events import Position
from rat_fsm.replay import replay as replay_log
from rat_fsm.replay.sources import last_position, opened
from rat_fsm.replay.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Result, Scale

RATE = 1_000_000
AT_SECONDS = 1.0
JUMP_SECONDS = 1.0
STEP_MS = 50.0
MEGABYTES = 300
MOMENTS = 5
STEPS = 100
WITHIN = 100_000


def travel(scale: Scale) -> list[Result]:
    """Folds a generated log once, leaving checkpoints, and then goes to and fro in it."""
    events, connections = scale.of(10_000_000, 100_000), scale.of(10_000, 500)
    with scale.folder() as folder:
        path = folder / "long.db"
        write_log(path, events, connections)
        rate = events / seconds(lambda: replay_log(path))
        command = [sys.executable, "-m", "benchmarks.timetravel", str(path), str(folder)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - ourselves
        at, jump, step, peak = map(float, told.split())
    what, note = f"{events / 1e6:g} million events", f"{connections:,} connections open"
    steps = f"with its read model, 99 of 100, {WITHIN:,} events back and on again"
    return [
        Measure("travel", f"replay {what}", rate, "events/s", RATE, note=note),
        _ceiling("read model of any moment", at, "s", AT_SECONDS, "with checkpoints"),
        _ceiling("far jump", jump, "s", JUMP_SECONDS, "the slowest of five"),
        _ceiling("step", step * 1000, "ms", STEP_MS, steps),
        _ceiling("memory", peak, "MB", MEGABYTES, "the peak of all that"),
    ]


def _ceiling(what: str, value: float, unit: str, most: float, note: str) -> Measure:
    return Measure("travel", what, value, unit, most, at_least=False, note=note)


def tour(path: Path, cache: Path) -> tuple[float, float, float, float]:
    """Seconds to a moment, for a jump and for a step, and the megabytes this process took."""
    with opened(path) as store:
        last = last_position(store)
    if last is None:
        raise RuntimeError(f"{path} is empty")
    moments = [Position(1 + last.frame * n // (MOMENTS + 1), 7) for n in range(1, MOMENTS + 1)]
    with Timeline(path, cache=cache) as timeline:
        timeline.at(last)
    at = median(seconds(partial(_see, path, cache, moment)) for moment in moments)
    with Timeline(path, cache=cache) as timeline:
        jumps = [_move(timeline, partial(timeline.goto, moment)) for moment in moments]
        steps = _steps(timeline, timeline.previous) + _steps(timeline, timeline.next)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return at, max(jumps), sorted(steps)[len(steps) * 99 // 100], peak


def _see(path: Path, cache: Path, moment: Position) -> None:
    """What `rat-fsm replay --at` does."""
    with no_collection(), Timeline(path, cache=cache) as timeline:
        timeline.at(moment)


def _steps(timeline: Timeline, step: Callable[[int], Any]) -> list[float]:
    """How long single steps take, many events apart."""
    times = []
    for _ in range(STEPS):
        step(WITHIN // STEPS - 1)
        times.append(_move(timeline, partial(step, 1)))
    return times


def _move(timeline: Timeline, move: Callable[[], Any]) -> float:
    """How long it takes until everything is known of the place that was gone to.

    Garbage is collected between the moves, as with `rat-fsm step`.
    """
    with no_collection():
        return seconds(lambda: (move(), timeline.change, timeline.model))


if __name__ == "__main__":
    print(*tour(Path(sys.argv[1]), Path(sys.argv[2])))
