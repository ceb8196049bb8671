"""Writes what happened to others at the time that somebody asks about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rat_fsm.cli.find import about, fate, who
from rat_fsm.cli.text import counted, moment, seconds
from rat_fsm.cli.words import joined
from rat_fsm.events import to_micros

if TYPE_CHECKING:
    import datetime

    from rat_fsm.cli.render import Screen
    from rat_fsm.replay.neighbours import Neighbour, Neighbours

MOST: Final = 20
_WHAT: Final = 15
_WIDEST: Final = 36


class NeighbourLines:
    """Writes the neighbours: how many there were, then those to which something happened."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, around: datetime.datetime, within: float, neighbours: Neighbours) -> None:
        """Writes them, the first `MOST` of them one by one."""
        near = neighbours.near
        when = f"around {moment(to_micros(around))} UTC, {seconds(within)} before and after it"
        self._screen.line((when, "bold"))
        counts = (
            f"{neighbours.how_many(what):,} {told}"
            for what, told in (("errors", "had errors"), ("ended", "ended"), ("began", "began"))
        )
        there = f"{counted(neighbours.there, 'other')} there"
        self._screen.line((joined(there, *counts, by=" · "), ""))
        width = min(_WIDEST, max((len(who(one.found)) for one in near), default=1))
        for one in near[:MOST]:
            self._line(one, width)
        if len(near) > MOST:
            more = f"and {len(near) - MOST:,} more: --json has them all, a smaller --within fewer"
            self._screen.line((more, "dim"))

    def _line(self, one: Neighbour, width: int) -> None:
        what = joined(
            counted(one.errors, "error") if one.errors else "",
            "began" if one.began else "",
            "ended" if one.ended else "",
        )
        self._screen.row(
            (what, _WHAT, "red" if one.errors else "dim"),
            (who(one.found), width, "bold"),
            rest=(joined(fate(one.found), about(one.found), by=" · "), ""),
            under=1,
        )


def as_dict(one: Neighbour) -> dict[str, Any]:
    """What is known of one, as plain values."""
    return {
        "began_near": one.began,
        "ended_near": one.ended,
        "errors_near": one.errors,
        **one.found.as_dict(),
    }
