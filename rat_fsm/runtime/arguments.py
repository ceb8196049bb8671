"""Checks what callers pass, before anything changes."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rat_fsm.codec import too_deep
from rat_fsm.errors import InvalidArgument, InvalidArgumentType

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_COUNT: Final = 2**53 - 1  # the largest integer that every JSON and SQL reader keeps exactly
MAX_METADATA: Final = 16 * 1024
MAX_METADATA_DEPTH: Final = 12
MAX_ADDRESS: Final = 512
MAX_KIND: Final = 64
MAX_ROUTE: Final = 1024


def check_count(value: object, what: str) -> int:
    """A count of bytes or messages as an int.

    Raises:
        InvalidArgumentType: it is no integer; booleans are none.
        InvalidArgument: it is negative or beyond 2**53 - 1.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidArgumentType(f"{what} must be an integer, not {type(value).__name__}")
    count = operator.index(value)
    if not 0 <= count <= MAX_COUNT:
        raise InvalidArgument(f"{what} must be between 0 and 2**53 - 1, not {count}")
    return count


def check_text(value: object, what: str, most: int) -> str:
    """A string of at most ``most`` characters that can be written as UTF-8.

    Raises:
        InvalidArgumentType: it is no string.
        InvalidArgument: it is too long or holds lone surrogates.
    """
    if not isinstance(value, str):
        raise InvalidArgumentType(f"{what} must be a string, not {type(value).__name__}")
    if len(value) > most:
        raise InvalidArgument(f"{what} must have at most {most} characters, not {len(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as problem:
        raise InvalidArgument(f"{what} holds a lone surrogate: {value!r}") from problem
    return value


def check_metadata(metadata: object) -> dict[str, Any]:
    """Metadata as it will be read back from the log.

    Raises:
        InvalidArgumentType: it is no mapping, has keys that are no strings, or holds values that
            are no JSON.
        InvalidArgument: it takes over 16 KiB, is nested too deep, or holds NaN or infinities.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise InvalidArgumentType(f"metadata must be a dict, not {type(metadata).__name__}")
    _check_inner(metadata)
    try:
        encoded = msgspec.json.encode(metadata)
    except (TypeError, NotImplementedError, RecursionError) as problem:
        raise InvalidArgumentType(f"metadata must be plain JSON: {problem}") from problem
    except (ValueError, OverflowError) as problem:
        raise InvalidArgument(f"metadata must be plain JSON: {problem}") from problem
    if len(encoded) > MAX_METADATA:
        raise InvalidArgument(f"metadata takes {len(encoded)} bytes, at most {MAX_METADATA}")
    if too_deep(encoded, MAX_METADATA_DEPTH):
        raise InvalidArgument(f"metadata is nested deeper than {MAX_METADATA_DEPTH}")
    plain: dict[str, Any] = msgspec.json.decode(encoded)
    return plain


def _check_inner(value: object, depth: int = 0) -> None:
    if depth > MAX_METADATA_DEPTH:
        raise InvalidArgument(f"metadata is nested deeper than {MAX_METADATA_DEPTH}")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidArgumentType(f"metadata keys must be strings, not {key!r}")
            _check_inner(inner, depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_inner(inner, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(f"metadata holds {value}, which JSON cannot express")


def check_positive(value: object, what: str, *, zero: bool = False) -> float:
    """A finite number of seconds greater than zero, or at least zero.

    Raises:
        InvalidArgumentType: it is no number.
        InvalidArgument: it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentType(f"{what} must be a number, not {type(value).__name__}")
    within = 0 <= value < float("inf") and (zero or value > 0)
    if not within:
        least = "at least 0" if zero else "greater than 0"
        raise InvalidArgument(f"{what} must be finite and {least}, not {value}")
    return float(value)


def check_limit(value: object, what: str) -> int:
    """How many connections are allowed: an integer of at least 1."""
    limit = check_count(value, what)
    if limit < 1:
        raise InvalidArgument(f"{what} must be at least 1, not {limit}")
    return limit


def check_choice(value: str, what: str, choices: Mapping[str, Any]) -> str:
    """One of some words.

    Raises:
        InvalidArgument: it is another.
    """
    if value not in choices:
        raise InvalidArgument(f"{what} is {value!r}; use one of {', '.join(sorted(choices))}")
    return value
