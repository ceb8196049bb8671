"""How everything here is measured: contenders take turns, medians decide, ratios are quoted.

The speed of a shared machine drifts by half within a minute. Contenders that take turns meet the
same weather, so the ratio of two rates of one round says more than either rate.
"""

from __future__ import annotations

import gc
import importlib
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@attrs.frozen
class Scale:
    """How large a run is.

    Attributes:
        quick: whether it is a smoke test.
        directory: where the files go; what is durable depends on the disk below it.
    """

    quick: bool
    directory: Path

    def of(self, full: int, quick: int) -> int:
        """A number for a full run, another for a quick one."""
        return quick if self.quick else full

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder, removed afterwards."""
        with tempfile.TemporaryDirectory(dir=self.directory, prefix="rat-fsm-bench-") as name:
            yield Path(name)


@attrs.frozen
class Measure:
    """One line of the table.

    Attributes:
        row: the row of DESIGN section 8 that it belongs to; what ``--only`` names.
        unit: of ``value``: events/s, µs, B, s, ms, threads, or x for a ratio.
        budget: what DESIGN allows, None where it says nothing.
        at_least: whether the budget is a floor; else it is a ceiling.
        note: how to read it.
    """

    row: str
    what: str
    value: float
    unit: str
    budget: float | None = None
    at_least: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it is within its budget, None where there is none."""
        if self.budget is None:
            return None
        return self.value >= self.budget if self.at_least else self.value <= self.budget

    @property
    def missed_by(self) -> float:
        """How far from the budget, as a share of it: 0.1 is ten per cent."""
        return 0.0 if not self.budget or self.met else abs(self.value / self.budget - 1)


@attrs.frozen
class Skipped:
    """A contender that could not take part, and why."""

    row: str
    what: str
    reason: str


Result = Measure | Skipped


class Contender(Protocol):
    """Somebody who can do a job many times."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    def rate(self, folder: Path) -> float:
        """Does the job once in an empty folder; how many a second it did."""


def take_turns(
    scale: Scale, contenders: Sequence[Contender], rounds: int
) -> dict[str, list[float]]:
    """The rates of all contenders, A B C A B C …, each with a fresh folder."""
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            gc.collect()
            with scale.folder() as folder:
                rates[contender.name].append(contender.rate(folder))
    return rates


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of the rounds."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def seconds(job: Callable[[], object]) -> float:
    """How long a job takes."""
    gc.collect()
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def module(name: str) -> Any:
    """An optional peer, untyped: its annotations are its own affair.

    Raises:
        ImportError: it is not installed.
    """
    return importlib.import_module(name)


def machine(directory: Path) -> dict[str, str]:
    """What the numbers depend on."""
    return {
        "cpu": f"{_processor()}, {os.cpu_count()} cores",
        "system": platform.system(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "directory": str(directory),
        "sync": f"{_sync_micros(directory):.0f} µs",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _sync_micros(directory: Path) -> float:
    """The median time of syncing 4 KiB to disk: on a file system in memory it tells itself."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(51):
            file.write(bytes(4096))
            file.flush()
            times.append(seconds(lambda: os.fsync(file.fileno())))
    return statistics.median(times) * 1_000_000
