"""Lays cells out in columns as wide as what stands in them, numbers to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from rich.cells import cell_len

from rat_fsm.runtime.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rat_fsm.cli.render import Part

    Line = list[Part]

GAP: Final = "  "


@attrs.frozen
class Column:
    """A column: its head, and whether what stands in it goes to the right."""

    head: str
    right: bool = False


def lay_out(columns: Sequence[Column], rows: Iterable[Sequence[Part]]) -> list[Line]:
    """The head and every row as lines of text with styles; columns with nothing in them go.

    Whatever is given is escaped here.
    """
    cells = [[(escape(text), style) for text, style in row] for row in rows]
    kept = [n for n in range(len(columns)) if not cells or any(row[n][0] for row in cells)]
    heads = [(columns[n].head, "dim") for n in kept]
    lines = [heads, *([row[n] for n in kept] for row in cells)]
    widths = [max(cell_len(line[n][0]) for line in lines) for n in range(len(kept))]
    right = [columns[n].right for n in kept]
    return [_line(line, widths, right) for line in lines]


def _line(cells: Sequence[Part], widths: Sequence[int], right: Sequence[bool]) -> Line:
    line: Line = []
    for (text, style), width, to_right in zip(cells, widths, right, strict=True):
        space = " " * (width - cell_len(text))
        line.append((space + text if to_right else text + space, style))
        line.append((GAP, ""))
    return line[:-1]
