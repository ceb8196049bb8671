"""What may be the name of a key or of a log, in lines that people and programs read."""

from __future__ import annotations

from typing import Final

from rat_fsm.errors import InvalidArgument
from rat_fsm.runtime.escaping import is_hostile

MAX_NAME: Final = 256


def check_origin(origin: str) -> None:
    """Refuses what cannot be the first line of a checkpoint.

    Raises:
        InvalidArgument: it is empty, too long, or holds what ends a line or turns it round.
    """
    if not 1 <= len(origin) <= MAX_NAME or any(map(is_hostile, origin)):
        raise InvalidArgument(
            f"{origin[:MAX_NAME]!r} is no name for a log, which has 1 to {MAX_NAME} characters on "
            "one line, such as example.com/log"
        )


def check_key_name(name: str) -> None:
    """Refuses what cannot stand in a signature line (C2SP signed-note, "Format").

    Raises:
        InvalidArgument: `check_origin` refuses it, or it holds a space or a plus.
    """
    if "+" in name or any(map(str.isspace, name)):
        raise InvalidArgument(
            f"{name[:MAX_NAME]!r} is no name for a key: it holds a space or a plus"
        )
    check_origin(name)
