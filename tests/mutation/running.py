"""Runs tests against mutants, each in a forked child that imports the mutant as the module.

The parent has imported pytest and Hypothesis, which takes seconds, and nothing of rat_fsm.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType

    from tests.mutation.operators import Mutant

PROJECT: Final = Path(__file__).parents[2]
PATIENCE: Final = 120.0
_PAUSE: Final = 0.01
_FEW: Final = 6
_LIBRARIES: Final = (
    *("asyncio", "attrs", "filelock", "hypothesis.stateful", "hypothesis.strategies", "msgspec"),
    *("pytest_timeout", "sqlite3", "transitions"),
)
# Nobody reads why a test fails, so no assertion is rewritten, which would take most of the time.
_OPTIONS: Final = (
    *("-x", "-q", "-m", "not slow", "--assert=plain"),
    *("-p", "no:cacheprovider", "-p", "pytest_timeout", "--timeout=30"),
)


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


class _Source(importlib.machinery.SourceFileLoader):
    """Loads a changed source in the place of a file."""

    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - importlib's signature
        return compile(self._source, self.path, "exec", dont_inherit=True)


class Importer(importlib.abc.MetaPathFinder):
    """Finds the mutant where its module is looked for, and nothing else."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        self._path = PROJECT / mutant.file
        parts = Path(mutant.file).with_suffix("").parts
        self._name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> ModuleSpec | None:
        """The mutant's own specification."""
        if fullname != self._name:
            return None
        loader = _Source(fullname, str(self._path), self._mutant.source)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


@attrs.frozen
class Profile:
    """A plugin of pytest: an example that fails is enough, it need not be the smallest.

    Attributes:
        few: whether to try only some examples, which kill most mutants in a fraction of the time.
    """

    few: bool

    def pytest_sessionstart(self) -> None:
        """After the project's own profile, before any test is imported."""
        from hypothesis import Phase, settings

        phases, usual = (Phase.explicit, Phase.generate), settings()
        most = min(_FEW, usual.max_examples) if self.few else usual.max_examples
        settings.register_profile("mutation", parent=usual, phases=phases, max_examples=most)
        settings.load_profile("mutation")


def run_tests(mutant: Mutant | None, tests: Sequence[str], *, few: bool) -> int:
    """Runs tests in this process, which is none that goes on; answers with pytest's exit code."""
    if mutant is not None:
        sys.meta_path.insert(0, Importer(mutant))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    return int(pytest.main([*_OPTIONS, *tests], plugins=[Profile(few)]))


@attrs.frozen
class Trial:
    """A mutant, and the groups of tests that may kill it, the likeliest first.

    Without a mutant it is the tests that are tried.
    """

    mutant: Mutant | None
    stages: tuple[tuple[str, ...], ...]

    def runs(self) -> list[tuple[tuple[str, ...], bool]]:
        """Which tests to run one after the other, each with whether few examples are enough."""
        return [(self.stages[0], True), *((stage, False) for stage in self.stages)]


@attrs.frozen
class Child:
    """A process that does one of the runs of a trial."""

    trial: Trial
    run: int
    started: float

    @property
    def is_last(self) -> bool:
        """Whether no run is left."""
        return self.run + 1 == len(self.trial.runs())


def fates(
    trials: Sequence[Trial], workers: int, patience: float = PATIENCE
) -> Iterator[tuple[Trial, Fate]]:
    """Tries each mutant until tests fail or none are left; answers as the trials end.

    Args:
        trials: what to try; tests that pass without a mutant must be known to.
        workers: how many processes at once.
        patience: how many seconds a group of tests may take; one that takes longer is killed, and
            has found the mutant.
    """
    # The plugins would import rat_fsm: here for all mutants, and there for tests that need none.
    os.environ["HYPOTHESIS_NO_PLUGINS"] = "1"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in _LIBRARIES:
        importlib.import_module(name)
    waiting = [(trial, 0) for trial in reversed(trials)]
    running: dict[int, Child] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            trial, run = waiting.pop()
            running[_fork(trial, run)] = Child(trial, run, time.monotonic())
        for pid, fate in list(_ended(running, patience)):
            child = running.pop(pid)
            if fate is Fate.SURVIVED and not child.is_last:
                waiting.append((child.trial, child.run + 1))
            else:
                yield child.trial, fate


def _fork(trial: Trial, run: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        tests, few = trial.runs()[run]
        code = run_tests(trial.mutant, tests, few=few)
    finally:
        os._exit(code)


def _ended(running: Mapping[int, Child], patience: float) -> Iterator[tuple[int, Fate]]:
    """The children that have ended; one that takes too long is, with all that it has started."""
    time.sleep(_PAUSE)
    for pid, child in running.items():
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            yield pid, Fate.KILLED if status else Fate.SURVIVED
        elif time.monotonic() - child.started > patience:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            yield pid, Fate.TIMED_OUT
