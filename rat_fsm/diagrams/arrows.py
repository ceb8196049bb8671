"""What there is to draw: one arrow for all events between two states, and what stays in a state."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from rat_fsm.table import Lifecycle

# Controls, formats (among them those that turn text round), what is no character (XML has no way
# to hold some of those), surrogates, separators of lines.
_HOSTILE: Final = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})


@attrs.frozen
class Arrow:
    """Every event that leads from one state to another, by its short name."""

    source: str
    dest: str
    labels: tuple[str, ...]


def arrows(lifecycle: Lifecycle) -> list[Arrow]:
    """The changes of state, in the order of the states, those that begin a stream first."""
    found: dict[tuple[str, str], list[str]] = {}
    for tag, source, dest in lifecycle.rows():
        if source != dest:
            found.setdefault((source, dest), []).append(_short(tag))
    order = {state: n for n, state in enumerate((lifecycle.initial, *lifecycle.states))}
    ends = sorted(found, key=lambda pair: (order[pair[0]], order[pair[1]]))
    return [Arrow(source, dest, tuple(found[source, dest])) for source, dest in ends]


def staying(lifecycle: Lifecycle, state: str) -> tuple[str, ...]:
    """The events that a state takes and stays."""
    rows = lifecycle.rows()
    return tuple(_short(tag) for tag, source, dest in rows if source == dest == state)


def _short(tag: str) -> str:
    """The lifecycle's name is in the title."""
    return tag.partition(".")[2]


def visible(text: str) -> str:
    r"""Text as one line without anything that a program obeys: ``\x1b`` for an escape."""
    return "".join(_escaped(c) if unicodedata.category(c) in _HOSTILE else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - two digits
