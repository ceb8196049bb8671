"""Turns values into the words, times and sizes that a person reads.

Nothing here knows a terminal, so that errors can be shown before one is set up.
"""

from __future__ import annotations

import re
from typing import Final

from rat_fsm.events import to_datetime
from rat_fsm.runtime.escaping import is_hostile

# Also where a path has lost one of its two slashes.
_USERINFO: Final = re.compile(r"(?<=//)[^/\s]*@|(?<=/)[^/\s:@]+:[^/\s@]*@")
# A path to a SQLite file may well hold a question mark.
_QUERY: Final = re.compile(r"(\b(?!sqlite:)[A-Za-z][A-Za-z0-9+.-]*:/{1,2}[^?\s]*)\?[^\s'\"]*")
_UNITS: Final = ("kB", "MB", "GB", "TB", "PB")
MILLISECOND: Final = 1_000
SECOND: Final = 1_000_000
MOST_DAYS: Final = 1_000_000


def harmless_json(line: bytes) -> bytes:
    r"""The same JSON, with what a terminal might obey written as ``\u202e``."""
    text = line.decode()
    if text.isascii() and text.isprintable():
        return line
    return "".join(f"\\u{ord(c):04x}" if is_hostile(c) else c for c in text).encode()


def without_credentials(text: str) -> str:
    """Text in which URLs have lost their user, their password and their query."""
    return _QUERY.sub(r"\1", _USERINFO.sub("", text))


def moment(micros: int) -> str:
    """A time in full, UTC, to the millisecond."""
    return f"{date(micros)} {clock(micros)}"


def date(micros: int) -> str:
    """The day of a time, UTC."""
    return to_datetime(micros).date().isoformat()


def clock(micros: int) -> str:
    """The time of day, UTC, to the millisecond."""
    return to_datetime(micros).time().isoformat(timespec="milliseconds")


def duration(micros: float) -> str:
    """How long something took, in two units at most."""
    if micros < 0:
        return f"-{duration(-micros)}"
    if micros < 999_500:  # noqa: PLR2004 - what rounds to 1000 ms is a second
        digits = 1 if 0 < micros < 9_950 else 0  # noqa: PLR2004 - likewise for 10 ms
        return f"{micros / MILLISECOND:.{digits}f} ms"
    if micros < 59_950_000:  # noqa: PLR2004 - likewise for a minute
        return f"{micros / SECOND:.1f} s"
    return _long(micros / SECOND)


def _long(value: float) -> str:
    """A minute or more, given in seconds."""
    if value > MOST_DAYS * 86_400:
        return f"over {MOST_DAYS:,} d"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes}m {rest:02}s"
    hours, rest = divmod(round(value / 60), 60)
    if hours < 24:  # noqa: PLR2004 - a day
        return f"{hours}h {rest:02}m"
    days, rest = divmod(round(value / 3600), 24)
    return f"{days:,}d {rest:02}h"


def seconds(value: float) -> str:
    """A duration that is given in seconds."""
    return duration(value * SECOND)


def size(count: int) -> str:
    """A number of bytes, in decimal units."""
    if abs(count) < 1000:  # noqa: PLR2004 - below it no unit is needed
        return f"{count} B"
    power = 1
    while power < len(_UNITS) and abs(count) >= 999.95 * 1000**power:
        power += 1
    return f"{count / 1000**power:,.1f} {_UNITS[power - 1]}"


def counted(count: int, noun: str) -> str:
    """``1 message``, ``1,204 messages``, ``3 retries``."""
    plural = noun if count == 1 else f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {plural}"
