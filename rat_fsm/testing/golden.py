"""Holds the logs of past releases against the lifecycles of today.

A golden log is recorded once, when a version of a program is released, and kept with its tests:
whatever the program becomes, its streams must stay legal and its events readable.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from rat_fsm.replay.compatibility import check_against
from rat_fsm.replay.conformance import check
from rat_fsm.runtime.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.replay.compatibility import Break
    from rat_fsm.replay.conformance import Finding
    from rat_fsm.table import Lifecycle

SUFFIXES: Final = frozenset({".db", ".sqlite", ".sqlite3"})


def check_golden(folder: Path | str, *lifecycles: Lifecycle) -> None:
    """Checks every log in a folder and the folders below, as ``rat-fsm check --against`` does.

    Every stream must be legal under the definition that was recorded with it, and under the one
    that is given for its lifecycle. The pytest fixture ``golden_logs`` is the folder that the ini
    option ``rat_golden_logs`` names, ``tests/golden`` by default.

    Args:
        folder: where the logs are: files that end in .db, .sqlite or .sqlite3.
        lifecycles: the definitions of today.

    Raises:
        AssertionError: a stream is not legal: says which, why, and in which log; or there is no
            log at all.
        InvalidArgumentType: one of the lifecycles is none.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: a log cannot be read.
    """
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix in SUFFIXES)
    problems = [f"{path}: {line}" for path in paths for line in _problems(path, lifecycles)]
    if not paths:
        problems = [f"there is no log in {folder}"]
    if problems:
        raise AssertionError("\n".join(map(escape, problems)))


def _problems(path: Path, lifecycles: tuple[Lifecycle, ...]) -> Iterator[str]:
    recorded = check(path)
    yield from map(_finding, recorded.findings)
    more = recorded.illegal + recorded.unknown - len(recorded.findings)
    if more:
        yield f"and {more} more"
    yield from map(_break, check_against(path, *lifecycles).breaks)


def _finding(finding: Finding) -> str:
    recorded = finding.recorded
    why = finding.problem or f"illegal in {finding.state or 'its end'}"
    return f"{recorded.type} of {recorded.stream} at {recorded.position}: {why}"


def _break(one: Break) -> str:
    which = f"streams: {one.streams}, first {one.stream} at {one.position}"
    return f"{one.cause.sentence}; {which}{f': {one.detail}' if one.detail else ''}"
