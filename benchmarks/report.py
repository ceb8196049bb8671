"""What a run says: a table for people, JSON for programs, Markdown for the README."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs

from benchmarks.measure import Measure, Skipped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.measure import Result

HEADINGS: Final = ("row", "what", "measured", "budget", "", "")
SMALL: Final = 100
WIDTHS: Final = (8, 42, 20, 20, 7, 0)
WIDTH: Final = 160


def rows_of(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The table as text."""
    return [_row(result) for result in results]


def _row(result: Result) -> tuple[str, ...]:
    if isinstance(result, Skipped):
        return (result.row, result.what, "skipped", "", "", result.reason)
    return (
        result.row,
        result.what,
        amount(result.value, result.unit),
        _budget(result),
        {None: "", True: "met", False: "missed"}[result.met],
        result.note,
    )


def _budget(measure: Measure) -> str:
    if measure.budget is None:
        return ""
    return ("≥ " if measure.at_least else "≤ ") + amount(measure.budget, measure.unit)


def amount(value: float, unit: str) -> str:
    """A number with its unit, to three places where it is small."""
    number = f"{value:,.0f}" if abs(value) >= SMALL else f"{value:.3g}"
    return f"{number} {unit}"


def show(facts: dict[str, str], results: Sequence[Result]) -> None:
    """Prints the table, with rich where it is installed."""
    print(_about(facts))
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for row in (HEADINGS, *rows_of(results)):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, WIDTHS, strict=True)))
        return
    table = Table(*HEADINGS)
    for row in rows_of(results):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _about(facts: dict[str, str]) -> str:
    return (
        f"{facts['cpu']}, {facts['system']}, Python {facts['python']}, SQLite {facts['sqlite']}; "
        f"a sync to disk takes {facts['sync']}"
    )


def write_json(path: Path, facts: dict[str, str], results: Sequence[Result]) -> None:
    """Everything, as JSON."""
    plain = {"machine": facts, "results": [_plain(result) for result in results]}
    path.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _plain(result: Result) -> dict[str, Any]:
    met = {"met": result.met} if isinstance(result, Measure) else {}
    return {**attrs.asdict(result), **met}


def write_markdown(path: Path, facts: dict[str, str], results: Sequence[Result]) -> None:
    """The README's section: the table, and by how much each missed budget is missed."""
    lines = [
        f"Measured by `python -m benchmarks` on {_about(facts)}.",
        "Contenders take turns, medians decide, and x is a ratio within one run.",
        "",
        "| what | measured | budget | |",
        "| --- | ---: | ---: | --- |",
    ]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows_of(results)]
    missed = [r for r in results if isinstance(r, Measure) and r.met is False]
    if missed:
        lines += ["", "Missed budgets:", ""]
        lines += [f"- {m.row}, {m.what}: missed by {m.missed_by:.0%}" for m in missed]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cells(row: tuple[str, ...]) -> tuple[str, ...]:
    name, what, measured, budget, met, note = row
    return f"{name}: {what}", measured, budget, ": ".join(filter(None, (met, note)))
