"""Tries the tests of the pure groups on mutants: ``python -m tests.mutation``.

A mutant is a module with one thing changed. One that no test notices has survived: either a test
is missing, or the change makes no difference, and then survivors.toml says why. Exits with 1
where a survivor is not explained there, or an explanation is of nothing that survives.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from tests.mutation.operators import mutants_of
from tests.mutation.rows import row_mutants
from tests.mutation.running import PROJECT, Fate, Trial, fates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.mutation.operators import Mutant

    Key = tuple[str, str, str, str]
    Stages = tuple[tuple[str, ...], ...]

EXPLAINED: Final = Path(__file__).with_name("survivors.toml")
_PARTS: Final = ("file", "place", "before", "after")
_STEP: Final = 50
_RUNTIME: Final = tuple(
    f"tests/runtime/test_{name}.py" for name in ("manager", "recovery", "shutdown")
)
# Module, or folder → the tests that its mutants are tried on, group by group.
STAGES: Final[Mapping[str, Stages]] = {
    "rat_fsm/errors.py": (("tests/test_errors.py",),),
    "rat_fsm/events.py": (("tests/test_events.py", "tests/test_lifecycles.py"), _RUNTIME),
    "rat_fsm/table.py": (("tests/test_table.py",), ("tests/test_lifecycles.py",)),
    "rat_fsm/lifecycles.py": (("tests/test_lifecycles.py",),),
    "rat_fsm/core.py": (("tests/test_core.py",), _RUNTIME),
    "rat_fsm/policy.py": (("tests/test_policy.py",), _RUNTIME),
    "rat_fsm/classification.py": (("tests/test_classification.py",), ("tests/test_policy.py",)),
    "rat_fsm/projections/definitions.py": (
        *(("tests/projections/test_definitions.py",), ("tests/replay/test_tables.py",)),
    ),
    "rat_fsm/projections": (
        ("tests/projections/test_model.py",),
        ("tests/projections", "tests/test_core.py"),
        (*_RUNTIME, "tests/log/test_snapshots.py"),
    ),
    "rat_fsm/monitors": (("tests/monitors",),),
}


@attrs.define
class Tally:
    """What became of the mutants of one file."""

    fates: Counter[Fate] = attrs.field(factory=Counter)
    explained: int = 0


def main() -> int:
    """The command."""
    options = _options()
    explained = _explained()
    wanted = [file for file in _files() if not options.files or file in options.files]
    mutants = [one for file in wanted for one in _mutants(file, only_rows=options.rows)]
    if options.list:
        sys.stdout.writelines(f"{_told(one)}\n" for one in mutants)
        return 0
    if not _tests_pass({one.file for one in mutants}, options.workers):
        return 1
    survivors = _try(mutants, options.workers, explained)
    stale = {
        key for key in explained if key in {one.key for one in mutants} - {s.key for s in survivors}
    }
    missing = [one for one in survivors if one.key not in explained]
    for one in missing:
        sys.stdout.write(_entry(one))
    for file, place, before, after in sorted(stale):
        sys.stdout.write(f"no survivor any more: {file}, {place}: {before}  →  {after}\n")
    return 1 if missing or stale else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("files", nargs="*", help="modules to mutate, all by default")
    parser.add_argument("--rows", action="store_true", help="only the tables of lifecycles")
    parser.add_argument("--list", action="store_true", help="list the mutants and run nothing")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    return parser.parse_args()


def _explained() -> dict[Key, str]:
    """The survivors that are known, and why nothing can be done about them."""
    listed = tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))["survivor"]
    return {tuple(one[part] for part in _PARTS): one["reason"] for one in listed}


def _files() -> list[str]:
    paths = [PROJECT / name for name in STAGES]
    found = (file for path in paths for file in ([path] if path.is_file() else path.glob("*.py")))
    return sorted({str(file.relative_to(PROJECT)) for file in found})


def _stages(file: str) -> Stages:
    return next(stages for name, stages in STAGES.items() if file.startswith(name))


def _mutants(file: str, *, only_rows: bool) -> list[Mutant]:
    source = (PROJECT / file).read_text(encoding="utf-8")
    rows = row_mutants(file, source)
    if rows or only_rows:  # of a literal they are all that matters
        return rows
    return mutants_of(file, source)


def _tests_pass(files: Iterable[str], workers: int) -> bool:
    """Whether the tests pass without a mutant: if they do not, they can say nothing."""
    groups = {(stage,) for file in files for stage in _stages(file)}
    failing = [
        trial.stages[0]
        for trial, fate in fates([Trial(None, group) for group in sorted(groups)], workers)
        if fate is not Fate.SURVIVED
    ]
    for group in failing:
        sys.stdout.write(f"these tests fail without any mutant: {' '.join(group)}\n")
    return not failing


def _try(mutants: Sequence[Mutant], workers: int, explained: Mapping[Key, str]) -> list[Mutant]:
    """Tries them all and prints what became of them, file by file; answers with the survivors."""
    started, tallies = time.monotonic(), dict[str, Tally]()
    survivors: list[Mutant] = []
    trials = [Trial(one, _stages(one.file)) for one in mutants]
    for number, (trial, fate) in enumerate(fates(trials, workers), 1):
        mutant = trial.mutant
        assert mutant is not None
        if number % _STEP == 0:
            sys.stderr.write(f"{number} of {len(mutants)}, {len(survivors)} survived\n")
        tally = tallies.setdefault(mutant.file, Tally())
        tally.fates[fate] += 1
        if fate is Fate.SURVIVED:
            survivors.append(mutant)
            tally.explained += mutant.key in explained
    for file, tally in sorted(tallies.items()):
        sys.stdout.write(f"{file}: {_counted(tally)}\n")
    sys.stdout.write(f"{len(mutants)} mutants in {time.monotonic() - started:.0f} s\n")
    return sorted(survivors, key=lambda one: (one.file, one.line))


def _counted(tally: Tally) -> str:
    survived = tally.fates[Fate.SURVIVED]
    return (
        f"{tally.fates.total()} mutants, {tally.fates[Fate.KILLED]} killed, "
        f"{tally.fates[Fate.TIMED_OUT]} timed out, {survived} survived, of which "
        f"{survived - tally.explained} are not explained"
    )


def _told(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line}: {mutant.before}  →  {mutant.after or '(nothing)'}"


def _entry(mutant: Mutant) -> str:
    """A survivor as survivors.toml has it, but for the reason."""
    return (
        f"\n# line {mutant.line}\n[[survivor]]\n"
        + "".join(
            f"{name} = {_literal(part)}\n" for name, part in zip(_PARTS, mutant.key, strict=True)
        )
        + "reason = \n"
    )


def _literal(text: str) -> str:
    """A TOML string in which nothing needs an escape, or else everything has one."""
    if "'" not in text:
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


if __name__ == "__main__":
    sys.exit(main())
