"""Reads single keys from a terminal while something is shown on it."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Keys:
    """The keys that are pressed; none where stdin is no terminal."""

    def __init__(self, file: int | None) -> None:
        self._file = file

    def next(self, timeout: float) -> str:
        """The next key, empty where none comes in time."""
        if self._file is None:
            time.sleep(timeout)
            return ""
        ready, _, _ = select.select([self._file], [], [], timeout)
        return os.read(self._file, 1).decode("ascii", errors="replace") if ready else ""


@contextlib.contextmanager
def keys() -> Iterator[Keys]:
    """Keys come at once and are not echoed, until the terminal is given back as it was."""
    if not sys.stdin.isatty():
        yield Keys(None)
        return
    import termios  # not on every system; a terminal like this one is
    import tty

    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    try:
        tty.setcbreak(file)
        yield Keys(file)
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
