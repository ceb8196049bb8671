"""What a driver's error should say beyond what it does, and what it should not."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from rat_fsm.stores.credentials import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNSUPPLIED: Final = "no password supplied"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def without_user(text: str, problem: BaseException) -> str:
    """A text without who could not get in: the environment or a service file may have told."""
    connection = problem.pgconn if isinstance(problem, psycopg.Error) else None
    user = connection.user.decode(errors="replace") if connection else ""
    return text.replace(f'"{user}"', f'"{HIDDEN}"') if user else text


def with_reason(text: str, parameters: Mapping[str, Any]) -> str:
    """A text with why a password file is not used, which libpq tells only the standard error."""
    path = parameters.get("passfile") or os.environ.get("PGPASSFILE") or "~/.pgpass"
    file = Path(path).expanduser()
    mode = stat.S_IMODE(file.stat().st_mode) if file.is_file() else 0
    if _UNSUPPLIED not in text or not mode & _OTHERS:
        return text
    return f"{text}; the password file is not used, as others may read it (mode {mode:04o})"
