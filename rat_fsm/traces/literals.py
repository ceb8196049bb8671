"""Writes values and events as Python literals, laid out as the formatters of Python lay them out.

This is the only way from a log into code: whatever a log says becomes the `repr` of a string, a
number, True, False or None, within lists and dicts. What calls it is named by our own classes.
"""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.codec import payload_of
from rat_fsm.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rat_fsm.table import EventType

WIDTH: Final = 88  # of Black and of ruff where nobody says otherwise
INDENT: Final = "    "


@attrs.frozen
class Code:
    """A piece of code that can be laid out on one line or on several.

    Attributes:
        opening: the whole of it, or what comes before its items.
        items: each with what stands before it, such as ``name=``.
        closing: what comes after its items.
        display: whether items that do not fit on one line always get one each.
    """

    opening: str
    items: tuple[tuple[str, Code], ...] = ()
    closing: str = ""
    display: bool = False

    def flat(self) -> str:
        """All of it on one line."""
        return f"{self.opening}{self._body()}{self.closing}"

    def _body(self) -> str:
        return ", ".join(f"{name}{item.flat()}" for name, item in self.items)

    def lines(self, before: str, after: str = "") -> Iterator[str]:
        """It on as many lines as it takes, between what stands before and after it."""
        line = f"{before}{self.flat()}{after}"
        inner = INDENT + " " * (len(before) - len(before.lstrip(" ")))
        body = f"{inner}{self._body()}"
        if not self.items or _width(line) <= WIDTH:
            yield line
            return
        yield before + self.opening
        if self.display or _width(body) > WIDTH:
            for name, item in self.items:
                yield from item.lines(inner + name, ",")
        else:
            yield body
        yield f"{inner.removesuffix(INDENT)}{self.closing}{after}"


def _width(line: str) -> int:
    """How many columns a line takes: some characters take two, and marks take none."""
    if line.isascii():
        return len(line)
    wide = sum(unicodedata.east_asian_width(c) in {"F", "W"} for c in line)
    return len(line) + wide - sum(unicodedata.combining(c) > 0 for c in line)


def literal(value: Any) -> Code:
    """Plain JSON as a literal.

    Raises:
        InvalidArgument: it is no plain JSON, or has a number that is no literal.
    """
    match value:
        case list():
            return _display("[", ((("", literal(item))) for item in value), "]")
        case dict():
            items = ((f"{literal(key).flat()}: ", literal(item)) for key, item in value.items())
            return _display("{", items, "}")
        case str():
            return Code(_quoted(value))
        case float() if not math.isfinite(value):
            raise InvalidArgument(f"{value} cannot be written as a literal")
        case float():
            return Code(repr(value).replace("e+", "e"))  # as formatters write it
        case None | bool() | int():
            return Code(repr(value))
    raise InvalidArgument(f"a {type(value).__name__} cannot be written as a literal")


def _quoted(text: str) -> str:
    """The `repr` of a string; in double quotes where that needs no other change."""
    quoted = repr(text)
    return f'"{quoted[1:-1]}"' if quoted[0] == "'" and '"' not in quoted else quoted


def _display(opening: str, items: Iterable[tuple[str, Code]], closing: str) -> Code:
    return Code(opening, tuple(items), closing, display=True)


def row(*items: Code) -> Code:
    """A tuple of two or more."""
    return _display("(", (("", item) for item in items), ")")


def construction(name: str, event: Any, kind: EventType | None) -> Code:
    """An event as the call that makes it; fields that have their default go without saying.

    Where the class would not make the same of literals, its JSON is converted as a log does.

    Args:
        name: what the code calls its class.
        event: what is to be made.
        kind: how its lifecycle knows it, None where it does not.

    Raises:
        InvalidArgument: it holds what cannot be written.
    """
    given = dict(_arguments(event))
    if kind is None or _makes(event, given):
        arguments = ((f"{field}=", literal(value)) for field, value in given.items())
        return Code(f"{name}(", tuple(arguments), ")")
    payload = dict(zip(kind.fields, payload_of(kind, event), strict=True))
    return Code("convert(", (("", literal(payload)), ("", Code(name))), ")")


def _arguments(event: Any) -> Iterator[tuple[str, Any]]:
    for field in attrs.fields(type(event)):
        value, default = getattr(event, field.name), field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class, but for mypy
            default = default.factory()
        if (type(value), value) != (type(default), default):
            yield field.alias or field.name, value


def _makes(event: Any, given: dict[str, Any]) -> bool:
    """Whether its class makes an event of such arguments, and they are plain JSON."""
    if not all(map(_is_plain, given.values())):
        return False
    try:
        return bool(type(event)(**given) == event)
    except Exception:  # noqa: BLE001 - it is a class of others
        return False


def _is_plain(value: Any) -> bool:
    cls = type(value)
    if cls is dict:
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    if cls is list:
        return all(map(_is_plain, value))
    return cls in {str, int, float, bool, type(None)}
