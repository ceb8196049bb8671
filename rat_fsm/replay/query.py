"""What somebody looks for among the lives of a log, and the SQL that finds it in the index."""

from __future__ import annotations

import ipaddress
import math
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.codec import MAX_INTEGER
from rat_fsm.errors import InvalidArgument
from rat_fsm.events import to_micros
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.replay.sources import check_moment

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Collection, Mapping

MICROS: Final = 1_000_000
SORTS: Final[Mapping[str, str]] = {
    "began": "first_at",
    "ended": "last_at DESC",
    "lived": "until - first_at DESC",
    "bytes": "bytes_sent DESC",
    "messages": "messages_sent DESC",
    "errors": "errors DESC",
    "retries": "retries DESC",
    "id": "id",
}
LONGEST_PATTERN: Final = 1_000
_LISTS: Final = ("state", "reason", "ended_by", "kind", "route")


@attrs.frozen(kw_only=True)
class Query:
    """What a life must be to be found; what is not said does not matter.

    Attributes:
        lifecycle: connections only by default; None is any.
        id: a pattern as in a shell, such as ``room-*``.
        since: it was open at this time or later; ``until``, at this time or earlier.
        state: one of these states, now; ``reason``, ``ended_by``, ``kind`` and ``route`` likewise.
        client: an address, a pattern such as ``10.0.*``, or a network such as ``10.0.0.0/8``.
        longer: it lasted at least so many seconds, up to the log's end where it is open;
            ``shorter``, at most.
        error: part of the type or the message of one of its errors, in any case.
        open: True for those whose end has not been recorded, False for the others.
        sort: one of `SORTS`: by id, the oldest first, or the most of anything else first.
        limit: at most so many.

    Raises:
        InvalidArgument: a time without a zone, an unknown sort, or a network that is none.
    """

    lifecycle: str | None = CONNECTION.name
    id: str | None = None
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    state: Collection[str] = ()
    reason: Collection[str] = ()
    ended_by: Collection[str] = ()
    kind: Collection[str] = ()
    route: Collection[str] = ()
    client: str | None = None
    longer: float | None = None
    shorter: float | None = None
    error: str | None = None
    open: bool | None = None
    sort: str = "began"
    limit: int | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("since", "until"):
            if getattr(self, name) is not None:
                check_moment(getattr(self, name), name)
        for name in ("longer", "shorter"):
            if not 0 <= (getattr(self, name) or 0) < math.inf:
                raise InvalidArgument(f"{name} must be finite and not negative, in seconds")
        if self.sort not in SORTS:
            raise InvalidArgument(f"sort is {self.sort!r}; use {', '.join(SORTS)}")
        if max(len(self.id or ""), len(self.client or "")) > LONGEST_PATTERN:
            raise InvalidArgument(f"a pattern has at most {LONGEST_PATTERN:,} characters")
        matches_client(self.client or "*")

    @property
    def order(self) -> str:
        """How SQL sorts what is found."""
        return f"{SORTS[self.sort]}, number"

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """The SQL condition that a life must fulfil, and the values in it."""
        conditions, values = ["1"], dict[str, Any]()
        for name, (condition, value) in _CONDITIONS.items():
            wanted = getattr(self, name)
            if wanted is not None:
                conditions.append(condition)
                values[name] = value(wanted)
        for name in _LISTS:
            given = {f"{name}_{n}": as_text(one) for n, one in enumerate(getattr(self, name))}
            if given:
                conditions.append(f"{name} IN ({', '.join(f':{key}' for key in given)})")
                values.update(given)
        return " AND ".join(conditions), values

    def functions(self) -> Mapping[str, Callable[..., bool]]:
        """What the condition calls: name → function."""
        return {
            "is_client": matches_client(self.client or "*"),
            "is_error": _mentions(self.error or ""),
        }


def in_micros(seconds: float) -> int:
    """Seconds as microseconds, as many as an integer of SQLite can be."""
    return int(min(seconds * MICROS, MAX_INTEGER))


def as_text(wanted: str) -> str:
    """Text that SQLite takes; no log has what is lost here."""
    return wanted.encode(errors="replace").decode()


_ERRED: Final = """
number IN (SELECT life FROM errors WHERE text IN
           (SELECT number FROM texts WHERE is_error(type, message)))
"""
_CONDITIONS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "lifecycle": ("lifecycle = :lifecycle", as_text),
    "id": ("id GLOB :id", as_text),
    "since": ("until >= :since", to_micros),
    "until": ("first_at <= :until", to_micros),
    "client": ("is_client(client)", as_text),
    "longer": ("until - first_at >= :longer", in_micros),
    "shorter": ("until - first_at <= :shorter", in_micros),
    "open": ("over <> :open", bool),
    "error": (_ERRED, as_text),
}


def matches_client(wanted: str) -> Callable[[str], bool]:
    """Whether an address is the wanted one, fits the pattern, or is in the network.

    Raises:
        InvalidArgument: it has a slash and is no network.
    """
    if "/" not in wanted:
        return lambda client: fnmatchcase(client, wanted)
    try:
        network = ipaddress.ip_network(wanted, strict=False)
    except ValueError as problem:
        raise InvalidArgument(f"{wanted!r} is no network, such as 10.0.0.0/8") from problem

    @lru_cache(maxsize=10_000)
    def is_in(client: str) -> bool:
        try:
            return ipaddress.ip_address(client) in network
        except ValueError:
            return False

    return is_in


def _mentions(wanted: str) -> Callable[[str, str], bool]:
    folded = wanted.casefold()
    return lambda kind, message: folded in f"{kind}: {message}".casefold()
