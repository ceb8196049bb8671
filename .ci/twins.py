# ruff: noqa: INP001, T201 - scripts of this repository, no package, and they print
"""Runs the own test-suite of `transitions` with every machine replaced by its event-sourced twin.

``python .ci/twins.py [--processes N]`` downloads the source distribution of the installed
release, which the suite comes with, and changes nothing in it: as a plugin of pytest this file
puts the twins in their place, and after each test it folds every log and compares the result
with the models. A test that fails must fail without the plugin too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

RESULTS: Final = "RAT_FSM_TWINS_RESULTS"
# It lints the sources of transitions, and has no machine.
LEFT_OUT: Final = "tests/test_codestyle.py"
# It looks into the __dict__ of a class, where a derived class has only what is its own.
ITS_OWN_DICT: Final = frozenset({"tests/test_factory.py::TestFactory::test_mixins"})
SECONDS: Final = 900


def pytest_configure() -> None:
    """Puts the twins in place, before a test module is imported."""
    if RESULTS in os.environ:
        _replace()
        _watch()


def _replace() -> None:
    """Rebinds the public names, and lets the classes themselves make twins.

    Not the names in the modules where the classes are written: their ``super(Machine, self)``
    would mean the twin, and never end.
    """
    import transitions
    from transitions import extensions
    from transitions.extensions import factory

    from rat_fsm.integrations.transitions import event_sourced

    machine: Any = transitions.Machine
    for module in (transitions, extensions):
        for name, found in list(vars(module).items()):
            if isinstance(found, type) and issubclass(found, machine):
                setattr(module, name, event_sourced(found))
    for key, found in factory._CLASS_MAP.items():  # noqa: SLF001 - what the factory gives
        factory._CLASS_MAP[key] = event_sourced(found)  # noqa: SLF001 - likewise
    machine.__new__ = lambda cls, *_args, **_options: object.__new__(event_sourced(cls))


MADE: list[Any] = []
# (id of a model, attribute) → the machine that wrote it last: another's log does not know.
WRITERS: dict[tuple[int, str], Any] = {}
FOLDED: Final[dict[str, Any]] = {
    **dict.fromkeys(("machines", "models", "events", "written_by_others", "gone", "untouched"), 0),
    "drifted": [],
    "failed": [],
}


def _watch() -> None:
    """Remembers every machine that is made or unpickled, and whose models it writes."""
    from rat_fsm.integrations.transitions import EventSourced

    cls: Any = EventSourced
    for name in ("__init__", "__setstate__"):
        setattr(cls, name, _remembering(getattr(cls, name)))
    assign = cls.set_state

    def assigning(self: Any, state: Any, model: Any = None) -> None:
        assign(self, state, model)
        models = self.models if model is None else [model]
        WRITERS.update({(id(each), self.model_attribute): self for each in models})

    cls.set_state = assigning


def _remembering(method: Any) -> Any:
    def remembering(self: Any, *args: Any, **options: Any) -> Any:
        MADE.append(self)
        return method(self, *args, **options)

    return remembering


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Folds the log of each machine and compares what comes out with its models."""
    machines = list(MADE)
    MADE.clear()
    for machine in machines:
        recorder = vars(machine).get("_recorder")
        if recorder is not None and recorder._log is not None:  # noqa: SLF001 - to make none
            problems = _problems(machine)
            FOLDED["drifted"] += [f"{item.nodeid}: {problem}" for problem in problems]
            machine.event_log.close()
    WRITERS.clear()


def _problems(machine: Any) -> Iterator[str]:
    """How the log of a machine, folded, differs from what is."""
    from rat_fsm import replay

    log = machine.event_log
    log.flush()
    folded = replay(log, lifecycles=log.read_model.lifecycles.values())
    FOLDED["machines"] += 1
    if folded != log.read_model:
        yield "the replayed model differs from the live one"
    if folded.totals.illegal or folded.totals.unknown:
        yield "the log holds what its lifecycle does not allow"
    for model in machine.models:
        record: Any = folded.record("machine", machine.stream_of(model))
        if record is None:  # unpickled, and nothing has happened to it since
            FOLDED["untouched"] += 1
            continue
        FOLDED["models"] += 1
        FOLDED["events"] += record.version
        yield from _drift(machine, model, record.dest)


def _drift(machine: Any, model: Any, folded: Any) -> Iterator[str]:
    if WRITERS.get((id(model), machine.model_attribute), machine) is not machine:
        FOLDED["written_by_others"] += 1
        return
    try:
        now = machine._told(getattr(model, machine.model_attribute))  # noqa: SLF001 - as events tell it
    except ReferenceError:  # some models of the suite are weak references
        FOLDED["gone"] += 1
        return
    if folded != now:
        yield f"the log says {folded}, the model is in {now}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remembers what failed."""
    if report.failed:
        FOLDED["failed"].append(report.nodeid)


def pytest_sessionfinish() -> None:
    """Writes what came out, each process of pytest-xdist for itself."""
    if RESULTS in os.environ:
        file = Path(os.environ[RESULTS]) / f"{os.getpid()}.json"
        file.write_text(json.dumps(FOLDED), encoding="utf-8")


def main(given: list[str]) -> int:
    """Downloads the suite, runs it, and says what came out."""
    parser = argparse.ArgumentParser(prog=".ci/twins.py", description=__doc__)
    parser.add_argument("--processes", default="0", help="of pytest-xdist; 0 is this one")
    options = parser.parse_args(given)
    version = metadata.version("transitions")
    with tempfile.TemporaryDirectory() as folder:
        suite = _download(version, Path(folder))
        if suite is None:
            print(f"the source distribution of transitions {version} cannot be had: left out")
            return 0
        results = Path(folder) / "results"
        results.mkdir()
        status = _run(suite, results, ["-n", options.processes, "--ignore", LEFT_OUT, "tests"])
        return _judge(suite, results, status)


def _download(version: str, folder: Path) -> Path | None:
    """Where the suite lies now; None where the package index does not give it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    wanted = ["--no-deps", "--no-binary", ":all:", f"transitions=={version}"]
    if subprocess.run([*command, *wanted], check=False).returncode:  # noqa: S603 - pip
        return None
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def _run(suite: Path, results: Path | None, arguments: list[str]) -> int:
    """Runs tests of the suite, with twins where there is a place for results."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    if results is not None:
        environment[RESULTS] = str(results)
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [*command, "-p", Path(__file__).stem, *arguments],
        cwd=suite,
        env=environment,
        timeout=SECONDS,
        check=False,
    )
    return ran.returncode


def _collected(results: Path) -> dict[str, Any]:
    """The sum of what each process wrote."""
    found: dict[str, Any] = {}
    for file in results.glob("*.json"):
        for name, value in json.loads(file.read_text(encoding="utf-8")).items():
            found[name] = found.get(name, type(value)()) + value
    return found


def _judge(suite: Path, results: Path, status: int) -> int:
    """What fails must fail without twins too, and no log may differ from its models."""
    found = _collected(results)
    print(
        "{machines:,} machines, {models:,} models, {events:,} events folded; of the models "
        "{written_by_others} were last written by another machine, {gone} are gone; {untouched} "
        "were only unpickled".format(**found)
    )
    for problem in found["drifted"]:
        print(problem)
    failed = sorted(set(found["failed"]) - ITS_OWN_DICT)
    ours = [test for test in failed if _is_ours(suite, results, test)]
    if ours:
        print("with twins only, these fail:", *ours)
    broken = status not in {0, 1} or not found["models"]
    return int(bool(ours or found["drifted"] or broken))


def _is_ours(suite: Path, results: Path, test: str) -> bool:
    """Whether a test fails again, by itself, and does not without twins.

    Some of the suite measure time to a tenth of a second, which fails on a busy machine.
    """
    print(f"{test} failed; again, and without twins:", flush=True)
    return _run(suite, results, [test]) != 0 and _run(suite, None, [test]) == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
