"""What the constructors here refuse, before anything is queued or sent."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import InvalidArgument, InvalidArgumentType

if TYPE_CHECKING:
    from collections.abc import Mapping

# RFC 9110, section 5.6.2: a field name is a token; section 5.5: no line break or NUL in a value.
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
NOT_IN_A_VALUE: Final = re.compile(r"[\r\n\0]")
# RFC 9110, sections 15.3.5 and 15.4.5: these end with their headers.
BODILESS: Final = frozenset({204, 304})


def whole_number(name: str, value: object, lowest: int) -> int:
    """The value, if it is an int of at least ``lowest``; a bool is not one."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{name} must be an int, not {type(value).__name__}"
        raise InvalidArgumentType(msg)
    if value < lowest:
        msg = f"{name} must be at least {lowest}, not {value}"
        raise InvalidArgument(msg)
    return value


def seconds(name: str, value: object) -> float:
    """The value as a float, if it is a finite number of seconds above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} must be a number of seconds, not {type(value).__name__}"
        raise InvalidArgumentType(msg)
    if not (math.isfinite(value) and value > 0):
        msg = f"{name} must be a finite number of seconds above zero, not {value}"
        raise InvalidArgument(msg)
    return float(value)


def final_status(value: object) -> int:
    """The value, if it is an HTTP status that can end a request (200 to 599)."""
    status = whole_number("status", value, 200)
    if status > 599:  # noqa: PLR2004  the last number HTTP gives a meaning to
        msg = f"status must be between 200 and 599, not {status}"
        raise InvalidArgument(msg)
    return status


def header(name: object, value: object) -> tuple[str, str]:
    """The pair with its name in lower case, if HTTP can carry it."""
    if not (isinstance(name, str) and isinstance(value, str)):
        msg = f"a header is two strings, not {type(name).__name__} and {type(value).__name__}"
        raise InvalidArgumentType(msg)
    if not TOKEN.fullmatch(name):
        msg = f"{name!r} is not a header name"
        raise InvalidArgument(msg)
    if NOT_IN_A_VALUE.search(value) or not _is_latin1(value):
        msg = f"header {name} cannot carry {value!r}: no line breaks, NUL or non-Latin-1 characters"
        raise InvalidArgument(msg)
    return name.lower(), value


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Checked headers as ASGI wants them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def utf8(text: str) -> bytes:
    """The text's UTF-8, if it has one."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        msg = f"{error.reason} at character {error.start}: this text has no UTF-8"
        raise InvalidArgument(msg) from error


def _is_latin1(text: str) -> bool:
    return all(character <= "\xff" for character in text)
