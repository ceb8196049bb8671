"""Puts rows of text on the screen: the only place where strings from a log meet a terminal.

Whatever is given is escaped here and styled by rich as text, never as markup. On a terminal
lines are folded under their last column; in a pipe they stay whole, so that grep finds them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from rat_fsm.cli.text import harmless_json, without_credentials
from rat_fsm.runtime.escaping import escape

if TYPE_CHECKING:
    from rat_fsm.stores.port import Store

    Part = tuple[str, str]  # text and style
    Cell = tuple[str, int, str]  # text, width (negative: to the right) and style

GAP: Final = "  "
SHORTEST_FOLD: Final = 24
COMFORTABLE: Final = 40
STATE_STYLES: Final = {
    "new": "dim",
    "connecting": "cyan",
    "active": "green",
    "retrying": "yellow",
    "closing": "magenta",
    "closed": "dim",
    "starting": "cyan",
    "serving": "green",
    "draining": "yellow",
    "forcing": "red",
    "stopped": "dim",
}


class _Quiet(Console):
    """A console that leaves a broken pipe to the group of commands."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Screen:
    """Where a command writes its answer.

    Attributes:
        console: rich's, for what is shown in place.
        width: the terminal's, None where the output goes elsewhere.
    """

    def __init__(self) -> None:
        self.console = _Quiet(highlight=False, emoji=False)
        self.width = self.console.width if self.console.is_terminal else None

    def line(self, *parts: Part) -> None:
        """Writes parts of text one after the other, folded at the terminal's width."""
        if self.width is None:
            sys.stdout.write("".join(escape(text) for text, _ in parts).rstrip() + "\n")
        else:
            text = Text.assemble(*((escape(text), style) for text, style in parts))
            text.rstrip()
            self.console.print(text)

    def row(self, *cells: Cell, rest: Part = ("", ""), under: int = 0) -> None:
        """Writes cells in columns and the rest after them.

        A cell that is too long for its column pushes what follows: an id is never cut. On a
        terminal, a rest that does not fit is folded under its own beginning, or, where that
        leaves too little room, under the cell with the number ``under``.
        """
        padded = [_pad(escape(text), width) for text, width, _ in cells]
        text, style = escape(rest[0]), rest[1]
        if self.width is None:
            sys.stdout.write(GAP.join([*padded, text]).rstrip() + "\n")
            return
        head = Text(GAP).join(map(Text, padded, (style for _, _, style in cells)))
        tail = Text(text, style=style)
        if head.cell_len + len(GAP) + tail.cell_len <= self.width:
            self._print(head + Text(GAP) + tail)
        else:
            self._fold(head, tail, self.width, GAP.join([*padded[:under], ""]))

    def _fold(self, head: Text, tail: Text, width: int, before: str) -> None:
        indent = head.cell_len + len(GAP)
        if width - indent < COMFORTABLE:
            self._print(head)
            indent = min(cell_len(before), width - SHORTEST_FOLD)
            head = Text(" " * (indent - len(GAP)))
        for folded in tail.wrap(self.console, max(width - indent, SHORTEST_FOLD)):
            self._print(head + Text(GAP) + folded)
            head = Text(" " * (indent - len(GAP)))

    def _print(self, text: Text) -> None:
        text.rstrip()
        self.console.print(text, soft_wrap=True)

    def json(self, line: bytes) -> None:
        """Writes a line of JSON: its bytes as they are, but on a terminal nothing it obeys."""
        sys.stdout.buffer.write(line if self.width is None else harmless_json(line))
        sys.stdout.buffer.write(b"\n")

    def flush(self) -> None:
        """Hands on what is written, so that whoever follows sees it now."""
        sys.stdout.flush()


def _pad(text: str, width: int) -> str:
    space = " " * (abs(width) - cell_len(text))
    return text + space if width > 0 else space + text


def style_of(state: str) -> str:
    """The colour of a state, the same in every command."""
    return STATE_STYLES.get(state, "bold")


def name_of(store: Store) -> str:
    """What to call a log on the screen."""
    return without_credentials(store.url)
