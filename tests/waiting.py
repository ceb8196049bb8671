"""Waits in tests: until something is so, and not for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 30.0


def until(condition: Callable[[], bool]) -> None:
    """Looks again and again; fails where it takes longer than `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
