"""What happened to others at the same time: one client's trouble, or everybody's?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.events import to_micros
from rat_fsm.replay.query import as_text, in_micros
from rat_fsm.replay.search import LIVES, found_in, searching
from rat_fsm.replay.sources import check_moment

if TYPE_CHECKING:
    import datetime
    from pathlib import Path

    from rat_fsm.replay.index import Progress
    from rat_fsm.replay.search import Found
    from rat_fsm.replay.sources import LogSource

WITHIN: Final = 5.0
_NEAR: Final = "lifecycle <> 'node' AND id <> :but AND first_at <= :to AND until >= :from"
_COUNT: Final = f"SELECT count(*) FROM {LIVES} WHERE {_NEAR}"  # noqa: S608 - constants only
_SELECT: Final = f"""
SELECT *, first_at >= :from AS begins, over AND last_at <= :to AS ends,
       coalesce(happened, 0) AS errs
FROM {LIVES} LEFT JOIN (
    SELECT life AS one, count(*) AS happened FROM errors WHERE at BETWEEN :from AND :to GROUP BY one
) ON one = number
WHERE {_NEAR} AND (begins OR ends OR errs)
"""  # noqa: S608 - constants only
_ORDER: Final = "errs DESC, ends DESC, first_at, number"


@attrs.frozen
class Neighbour:
    """A life to which something happened near a moment.

    Attributes:
        began: whether it began then; ``ended`` likewise.
        errors: how many errors it had then.
    """

    found: Found
    began: bool
    ended: bool
    errors: int


@attrs.frozen
class Neighbours:
    """What happened near a moment.

    Attributes:
        there: how many lives were open at some time of it.
        near: those of them that began, ended or erred then, the erring first.
    """

    there: int
    near: list[Neighbour]

    def how_many(self, what: str) -> int:
        """How many of them ``began``, ``ended`` or had ``errors``."""
        return sum(bool(getattr(one, what)) for one in self.near)


def neighbours(
    source: LogSource,
    moment: datetime.datetime,
    *,
    within: float = WITHIN,
    but: str = "",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Neighbours:
    """The streams, other than runs of the server, that were there at a moment.

    Args:
        source: a URL or path, a store, or a log.
        moment: an aware datetime.
        within: seconds before and after it.
        but: leave this id out.
        cache: the folder where the index of a long log is kept, the user's own by default.
        progress: is told the frame that the index has been brought up to.

    Raises:
        InvalidArgument: the moment has no time zone.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    check_moment(moment, "around")
    at, apart = to_micros(moment), in_micros(within)
    values = {"from": at - apart, "to": at + apart, "but": as_text(but)}
    with searching(source, cache=cache, progress=progress) as search:
        ((there,),) = search.execute(_COUNT, values)
        rows = search.numbered(_SELECT, values, order=_ORDER, more=", begins, ends, errs")
        near = [Neighbour(found_in(row), bool(row[-3]), bool(row[-2]), row[-1]) for row in rows]
        return Neighbours(int(there), near)
