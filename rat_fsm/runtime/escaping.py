"""Shows text from outside as text: nothing in it moves a cursor, ends a line or turns it round."""

from __future__ import annotations

import unicodedata
from typing import Final

_SHORT: Final = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_CONTROLS: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI: Final = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_MARKS: Final = frozenset("\u200e\u200f\u061c")  # invisible, and they turn text round


def escape(text: str) -> str:
    """Text as one line that no terminal obeys: C0, C1, bidi and surrogates become escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(escaped(c) if is_hostile(c) else c for c in text)


def escaped(character: str) -> str:
    r"""One character as ``\x1b`` or ``\u202e``."""
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")  # noqa: PLR2004 - two digits


def is_hostile(character: str) -> bool:
    """Whether a terminal, or a reader of a log file, could be fooled by it."""
    return (
        unicodedata.category(character) in _CONTROLS
        or unicodedata.bidirectional(character) in _BIDI
        or character in _MARKS
    )
