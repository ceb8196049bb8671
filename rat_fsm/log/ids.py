"""What may be the id of a stream, or the name of a writer."""

from __future__ import annotations

from typing import Final

from rat_fsm.errors import InvalidArgument, InvalidArgumentType

MAX_ID: Final = 512


def check_id(value: object, what: str) -> None:
    """Refuses what cannot be an id.

    Raises:
        InvalidArgumentType: it is no string.
        InvalidArgument: it is empty, too long, or holds control characters or lone surrogates.
    """
    if not isinstance(value, str):
        raise InvalidArgumentType(f"{what} must be a string, not {type(value).__name__}")
    if not 1 <= len(value) <= MAX_ID:
        raise InvalidArgument(f"{what} must have 1 to {MAX_ID} characters, not {len(value)}")
    if not value.isprintable() and any(_is_control(character) for character in value):
        raise InvalidArgument(f"{what} must not hold control characters: {value!r}")


def _is_control(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000  # noqa: PLR2004 - C0, C1, surrogates
