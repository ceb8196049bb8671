"""The tables that definitions in a log describe."""

from __future__ import annotations

from rat_fsm.projections.definitions import UNDEFINED, read_table
from tests.orders import ORDER


def test_a_table_is_what_its_definition_says() -> None:
    """The same edges and states, without the classes."""
    table = read_table(ORDER.definition)
    assert (table.name, table.initial, table.states) == ("order", "new", ORDER.states)
    assert (table.final, table.rows()) == (ORDER.final, ORDER.rows())
    assert table.next_state("open", "order.done") == "done"
    assert table.next_state("done", "order.done") is None


def test_what_nobody_defined() -> None:
    """It has no name and no end, and every event is legal."""
    assert (UNDEFINED.name, UNDEFINED.final, UNDEFINED.rows()) == ("", frozenset(), [])
    assert UNDEFINED.next_state(UNDEFINED.initial, "order.done") == UNDEFINED.initial == "?"
