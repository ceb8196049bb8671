"""``rat-fsm replay``: the read model of a log as it was at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from rat_fsm.cli.loading import LIFECYCLES
from rat_fsm.cli.moments import MomentType
from rat_fsm.cli.reading import CACHE, progress
from rat_fsm.cli.render import Screen
from rat_fsm.cli.stats import stats_of
from rat_fsm.cli.then import SHOWN, SORTS, Then, ThenLines, state_of
from rat_fsm.codec import no_collection
from rat_fsm.events import to_datetime
from rat_fsm.replay.lives import lives_of
from rat_fsm.replay.sources import check_within, last_position, opened
from rat_fsm.replay.timeline import Timeline
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rat_fsm.projections.connections import ConnectionInfo
    from rat_fsm.replay.lives import Life
    from rat_fsm.replay.sources import Moment
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle


@click.command("replay")
@click.argument("url")
@click.option("--at", type=MomentType(), help="As it was then, inclusive; its end by default.")
@click.option(
    "--connection", "stream_id", metavar="ID", help="Tell all that was known of this one."
)
@click.option(
    "--sort",
    type=click.Choice(list(SORTS)),
    default="oldest",
    show_default=True,
    help="Which of the open connections come first.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"List N of the open connections; {SHOWN} by default, with --json all.",
)
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@LIFECYCLES
@CACHE
def command(
    url: str,
    *,
    at: Moment | None,
    stream_id: str | None,
    sort: str,
    limit: int | None,
    as_json: bool,
    lifecycles: Mapping[str, Lifecycle],
    cache: Path | None,
) -> None:
    """Show what was true at a moment of the log at URL: a time, or the position of an event.

    How much had happened, who was connected and for how long, what was sent and what went wrong,
    exactly as the server knew it then; of lifecycles that a --module has, how many streams were in
    which state. With --connection, all that was known of one connection, or how long before or
    after that moment it was there.

    Of a long log, checkpoints are kept in the cache folder, so only the first question takes time.
    """
    screen = Screen()
    with opened(url) as store:
        then = _then(store, at, lifecycles.values(), cache)
        if stream_id is not None:
            found = one(then, store, stream_id, cache)
            _show_one(screen, then, stream_id, found, as_json=as_json)
        elif as_json:
            screen.json(msgspec.json.encode(whole(then, sort, limit)))
        else:
            most = SHOWN if limit is None else limit
            ThenLines(screen, then).show(sort, most, ", see --limit and --sort")


def _then(
    store: Store, at: Moment | None, lifecycles: Iterable[Lifecycle], cache: Path | None
) -> Then:
    moment = last_position(store) if at is None else check_within(store, at)
    with (
        no_collection(),  # nothing here is for it to find, and it would look again and again
        progress("folding", last_frame(store)) as advance,
        Timeline(store, lifecycles=lifecycles, cache=cache, progress=advance) as timeline,
    ):
        if moment is None:
            return Then(None, None, timeline.model)
        return Then(moment, timeline.goto(moment), timeline.at(moment))


def whole(then: Then, sort: str, limit: int | None) -> dict[str, Any]:
    """A moment in JSON."""
    infos = then.infos(sort)
    return {
        **then.as_dict(),
        "phase": then.model.drain.phase,
        "stats": stats_of(then.model),
        "open": len(infos),
        "connections": infos[:limit],
    }


def one(
    then: Then, store: Store, stream_id: str, cache: Path | None
) -> tuple[list[ConnectionInfo], list[Life]]:
    """What was known of a connection, or every life of an id that was none then.

    Raises:
        StreamNotFound: the log has no such id.
    """
    infos = [info for info in then.infos("oldest") if info.connection_id == stream_id]
    if infos:
        return infos, []
    with progress("indexing", last_frame(store)) as advance:
        return [], lives_of(store, stream_id, cache=cache, progress=advance)


def one_as_dict(then: Then, infos: list[ConnectionInfo], lives: list[Life]) -> dict[str, Any]:
    """The same in JSON; the state of a life is null before it began."""
    told = [
        {
            "stream": (life.stream.lifecycle, life.stream.id, life.stream.born),
            "began": to_datetime(life.steps[0].micros),
            "state": state_of(life, then),
        }
        for life in lives
    ]
    return {**then.as_dict(), "connections": infos, "lives": told}


def _show_one(
    screen: Screen,
    then: Then,
    stream_id: str,
    found: tuple[list[ConnectionInfo], list[Life]],
    *,
    as_json: bool,
) -> None:
    infos, lives = found
    if as_json:
        screen.json(msgspec.json.encode(one_as_dict(then, infos, lives)))
    elif infos:
        ThenLines(screen, then).connection(infos)
    else:
        ThenLines(screen, then).lives(stream_id, lives)
