"""Columns that are as wide as what stands in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rat_fsm.cli.columns import Column, lay_out
from tests.cli.logs import ESCAPED, HOSTILE

COLUMNS = (Column("name"), Column("count", right=True))


def told(rows: list[list[tuple[str, str]]]) -> list[str]:
    """The text of each line."""
    return ["".join(text for text, _ in line) for line in lay_out(COLUMNS, rows)]


@given(st.lists(st.lists(st.tuples(st.text(max_size=9), st.just("")), min_size=2, max_size=2)))
def test_every_line_is_as_wide_as_the_head(rows: list[list[tuple[str, str]]]) -> None:
    """Whatever stands in it, wide characters and controls too."""
    assert len({cell_len(line) for line in told(rows)}) == 1


def test_numbers_go_to_the_right_and_names_to_the_left() -> None:
    """And styles stay with their cells."""
    rows = [[("a", "bold"), ("1,200", "red")], [("名前", ""), ("7", "")]]
    assert told(rows) == ["name  count", "a     1,200", "名前      7"]
    assert lay_out(COLUMNS, rows)[1] == [("a   ", "bold"), ("  ", ""), ("1,200", "red")]


def test_a_column_with_nothing_in_it_goes() -> None:
    """Its head says nothing then; of no rows at all the heads are left."""
    assert told([[("a", ""), ("", "")], [("b", ""), ("", "")]]) == ["name", "a   ", "b   "]
    assert told([]) == ["name  count"]


def test_nothing_is_obeyed_by_a_terminal() -> None:
    """Controls are escaped before anything is measured."""
    assert told([[(HOSTILE, ""), ("1", "")]])[1].startswith(f"{ESCAPED}  ")
