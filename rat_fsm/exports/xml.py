"""Any text as XML text: what XML cannot hold is escaped so that it can be had back."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from rat_fsm.runtime.escaping import is_hostile

# XML 1.0 (fifth edition), section 2.2: what no document may hold, not even as a reference.
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Section 2.3, without the colon, which XES keeps for its extensions.
_NO_NAME: Final = re.compile(r"[^\w.\-]", re.ASCII)
_LOOKS_ESCAPED: Final = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
_ESCAPED: Final = re.compile("_x([0-9A-Fa-f]{4})_")
_MARKUP: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


@lru_cache(maxsize=4096)
def xml_text(text: str) -> str:
    """Text as the value of an attribute in double quotes.

    Characters that XML cannot hold become ``_xHHHH_``, and an underscore that would look like
    the beginning of one becomes ``_x005F_``, as in ISO/IEC 29500-1, section 22.4.2.4; everything
    that a reader of the raw file could be fooled by becomes a character reference.
    """
    unambiguous = _LOOKS_ESCAPED.sub("_x005F_", text)
    if text.isascii() and text.isprintable():
        return unambiguous.translate(_MARKUP)
    return "".join(map(_reference, _ILLEGAL.sub(_code, unambiguous)))


@lru_cache(maxsize=4096)
def xml_name(text: str) -> str:
    """Text as the rest of a name, with such escapes for every character that none may have."""
    return _NO_NAME.sub(_codes, _LOOKS_ESCAPED.sub("_x005F_", text))


def plain_text(text: str) -> str:
    """What `xml_text` and `xml_name` escaped, once XML's own escapes are undone."""
    units = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _code(match: re.Match[str]) -> str:
    return f"_x{ord(match[0]):04X}_"


def _codes(match: re.Match[str]) -> str:
    """A character as its UTF-16 code units, of which most have one."""
    units = match[0].encode("utf-16-be", "surrogatepass").hex().upper()
    return "".join(f"_x{units[at : at + 4]}_" for at in range(0, len(units), 4))


def _reference(character: str) -> str:
    if is_hostile(character):
        return f"&#x{ord(character):x};"
    return character.translate(_MARKUP)
