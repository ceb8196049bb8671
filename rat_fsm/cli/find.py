"""``rat-fsm find``: which connections were there at that time, failed like this, lived so long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from rat_fsm.cli.moments import TimeType
from rat_fsm.cli.reading import CACHE, progress
from rat_fsm.cli.render import Screen, name_of, style_of
from rat_fsm.cli.text import clock, counted, date, duration, moment, size
from rat_fsm.cli.words import joined, troubles
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.replay.query import SORTS, Query
from rat_fsm.replay.search import searching
from rat_fsm.replay.sources import opened
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rat_fsm.replay.search import Found, Search

MOST: Final = 100
ANY: Final = "*"
_SECONDS: Final = click.FloatRange(min=0)
_LIVED: Final = 7
_WIDEST: Final = 36  # a UUID


def _several(flag: str, what: str) -> Callable[[Any], Any]:
    name = flag.upper().lstrip("-").replace("-", "_")
    return click.option(flag, multiple=True, metavar=name, help=f"{what}; may be given again.")


@click.command("find")
@click.argument("url")
@click.option("--since", type=TimeType(), metavar="TIME", help="Open at this time or later.")
@click.option("--until", type=TimeType(), metavar="TIME", help="Open at this time or earlier.")
@_several("--state", "In this state now")
@_several("--reason", "Ended for this reason, such as app_error")
@_several("--ended-by", "Ended by client, server, app, timeout …")
@_several("--kind", "Of this kind, such as sse")
@_several("--route", "On this route, such as /rooms/{room}")
@click.option("--client", metavar="ADDRESS", help="From 10.0.0.1, from 10.0.* or 10.0.0.0/8.")
@click.option("--longer", type=_SECONDS, metavar="SECONDS", help="Lasted at least so long.")
@click.option("--shorter", type=_SECONDS, metavar="SECONDS", help="Lasted at most so long.")
@click.option("--error", metavar="TEXT", help="Had an error with this in its type or message.")
@click.option("--open/--closed", "is_open", default=None, help="Those that are open, or are not.")
@click.option("--id", metavar="PATTERN", help="Whose id is like room-*.")
@click.option(
    "--lifecycle",
    default=CONNECTION.name,
    metavar="NAME",
    help="Streams of another lifecycle than connection; * is any.",
)
@click.option(
    "--sort",
    type=click.Choice(list(SORTS)),
    default="began",
    help="What comes first: the oldest (began, by default), the first id, or the most of the rest.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"At most so many; {MOST} by default, with --json all.",
)
@click.option("--json", "as_json", is_flag=True, help="One object of JSON a line.")
@CACHE
def command(
    url: str,
    *,
    is_open: bool | None,
    lifecycle: str,
    limit: int | None,
    as_json: bool,
    cache: Path | None,
    **wanted: Any,
) -> None:
    """Find connections in the log at URL by what is known of them.

    All that is said must hold. Each line is one life of an id: when it began, how long it lasted
    (until now, where it is open), in which state it is or why it ended and by whom, which kind
    of client it was, and what was sent. History tells the rest of each.

    Of a log of half a million events or more an index is kept in the cache folder, so only the
    first question takes time.
    """
    query = Query(
        lifecycle=None if lifecycle == ANY else lifecycle,
        open=is_open,
        limit=limit if as_json or limit is not None else MOST,
        **wanted,
    )
    screen = Screen()
    with (
        opened(url) as store,
        progress("indexing", last_frame(store)) as advance,
        searching(store, cache=cache, progress=advance) as search,
    ):
        if as_json:
            for found in search.find(query):
                screen.json(msgspec.json.encode(found.as_dict()))
        else:
            FoundLines(screen).show(name_of(store), search, query)


class FoundLines:
    """Writes what was found as a table, a line for each life."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._day = ""

    def show(self, name: str, search: Search, query: Query) -> None:
        """Writes it, and how many there are."""
        found = list(search.find(query))
        widths = [_width(found, who), _width(found, fate)]
        for one in found:
            self.line(one, widths)
        self._sum(name, len(found), search.count(query), query)

    def line(self, found: Found, widths: Sequence[int]) -> None:
        """Writes one, its id and its fate in columns so wide."""
        tally = found.tally
        if self._screen.width is not None and date(tally.first_at) != self._day:
            self._day = date(tally.first_at)
            self._screen.line((f"{self._day} UTC", "bold"))
        began = clock(tally.first_at) if self._day else moment(tally.first_at)
        self._screen.row(
            (began, len(began), "dim"),
            (duration(found.lived), -_LIVED, ""),
            (who(found), widths[0], "bold"),
            (fate(found), widths[1], style_of(tally.state)),
            rest=(about(found), ""),
            under=2,
        )

    def _sum(self, name: str, shown: int, count: int, query: Query) -> None:
        noun = "connection" if query.lifecycle == CONNECTION.name else "stream"
        more = "" if shown == count else f"; the first {shown:,} are shown, see --limit and --sort"
        self._screen.line((f"{counted(count, noun)} in {name}{more}", "bold"))


def _width(found: list[Found], text: Callable[[Found], str]) -> int:
    return min(_WIDEST, max((len(text(one)) for one in found), default=1))


def who(found: Found) -> str:
    """Its id, and which life of it where that is not the first."""
    return found.tally.id if found.life == 1 else f"{found.tally.id} (life {found.life})"


def fate(found: Found) -> str:
    """Its state, or why it ended and by whom."""
    tally = found.tally
    if tally.reason is None:
        return tally.state
    return f"{'' if tally.over else 'closing: '}{tally.reason}, by {tally.ended_by}"


def about(found: Found) -> str:
    """Who it was, what it was sent and what went wrong."""
    tally = found.tally
    client = joined(tally.kind, tally.client, tally.route, by=" ")
    total = size(tally.bytes_sent) if tally.lifecycle == CONNECTION.name else ""
    illegal = counted(tally.illegal, "illegal event") if tally.illegal else ""
    return joined(client, total, troubles(tally.errors, tally.retries), illegal, by=" · ")
