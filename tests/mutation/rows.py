"""Makes the mutants of a lifecycle's literal: each row without, from, and to somewhere else."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.mutation.operators import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mutation.operators import Mutant


def row_mutants(file: str, source: str) -> list[Mutant]:
    """Every mutant of the tables in a module: all that could be wrong in one row.

    Of each row: the row is missing, each source is missing, each state that is no source is one,
    and every other destination, unchanged among them. Of each lifecycle, what it declares beside:
    another final state, other flags.
    """
    text = Text(file, source)
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            said = {keyword.arg: keyword.value for keyword in node.keywords}
            if node.func.id == "Lifecycle" and {"states", "transitions"} <= said.keys():
                found += list(_of_lifecycle(said, text))
    return found


def _of_lifecycle(said: dict[str | None, ast.expr], text: Text) -> Iterator[Mutant]:
    states = tuple(ast.literal_eval(said["states"]))
    rows = said["transitions"]
    assert isinstance(rows, ast.List)
    for row in rows.elts:
        yield from _of_row(row, states, text)
    for state in states:
        if "final" in said and ast.literal_eval(said["final"]) != {state}:
            yield text.replace(said["final"], f"{{{state!r}}}")
    if "reusable_ids" in said:
        yield text.replace(said["reusable_ids"], "False")
    if "abandon" in said:
        yield text.replace(said["abandon"], "None")


def _of_row(row: ast.expr, states: tuple[str, ...], text: Text) -> Iterator[Mutant]:
    assert isinstance(row, ast.List)
    yield text.remove(row)
    _, source, dest = row.elts
    told = ast.literal_eval(source)
    sources = [told] if isinstance(told, str) else told
    for other in _other_sources(sources, states):
        yield text.replace(source, repr(other))
    current = ast.literal_eval(dest)
    for state in (*states, None):
        if state != current:
            yield text.replace(dest, repr(state))


def _other_sources(sources: list[str], states: tuple[str, ...]) -> Iterator[list[str]]:
    for missing in sources:
        if len(sources) > 1:
            yield [state for state in sources if state != missing]
    for state in states:
        if state not in sources:
            yield [*sources, state]
            if len(sources) == 1:
                yield [state]
