"""Reads the command line that a server was started with."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", re.ASCII)
_UNITS: Final = (86_400, 3_600, 60, 1)


def program(argv: Sequence[str]) -> str:
    """The name of what was started: ``uvicorn`` also for ``python -m uvicorn``."""
    path = PurePath(argv[0] if argv else "")
    return path.parent.name if path.name == "__main__.py" else path.stem


def option(argv: Sequence[str], *names: str) -> str | None:
    """The value of an option given by any of its names, the last one; None where it is missing."""
    found = None
    for place, argument in enumerate(argv):
        for name in names:
            if argument == name:
                found = "".join(argv[place + 1 : place + 2])
            elif argument.startswith(_joined(name)):
                found = argument.removeprefix(_joined(name))
    return found


def _joined(name: str) -> str:
    """What stands before a value in the same argument: ``--workers=4``, ``-w4``."""
    return f"{name}=" if name.startswith("--") else name


def seconds(text: str | None) -> float | None:
    """A duration such as ``30``, ``2.5`` or ``1m30s``; None for anything else."""
    found = None if not text else _DURATION.fullmatch(text)
    if found is None:
        return None
    return sum(float(part or 0) * unit for part, unit in zip(found.groups(), _UNITS, strict=True))


def number(text: str | None) -> int | None:
    """An integer from 0; None for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() else None
