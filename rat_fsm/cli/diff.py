"""``rat-fsm diff``: in what two logs, or two moments of one, differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from rat_fsm.cli.app import FOUND
from rat_fsm.cli.differences import LogLines, MomentLines
from rat_fsm.cli.loading import LIFECYCLES
from rat_fsm.cli.moments import MomentType
from rat_fsm.cli.reading import CACHE, progress
from rat_fsm.cli.render import Screen
from rat_fsm.codec import encode_recorded
from rat_fsm.errors import InvalidArgument
from rat_fsm.replay.divergence import LISTED, diff_logs, diff_moments
from rat_fsm.replay.sources import check_within, opened
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rat_fsm.replay.divergence import Differing, Divergence, LogDiff
    from rat_fsm.replay.sources import Moment
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle


@click.command("diff")
@click.argument("a")
@click.argument("b", required=False)
@click.option("--at", type=MomentType(), help="Compare A as it was then; its end by default.")
@click.option("--to", type=MomentType(), help="Compare B, or else A, as it was then.")
@click.option("--times", is_flag=True, help="Between logs it counts when and how long, too.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=LISTED,
    show_default=True,
    metavar="N",
    help="List N streams of each kind; all are counted.",
)
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@LIFECYCLES
@CACHE
@click.pass_context
def command(
    ctx: click.Context,
    a: str,
    b: str | None,
    *,
    at: Moment | None,
    to: Moment | None,
    times: bool,
    limit: int,
    as_json: bool,
    lifecycles: Mapping[str, Lifecycle],
    cache: Path | None,
) -> None:
    """Tell in what the log at A differs from the log at B; exit with 1 if it does.

    What they count, how many streams are in which state, how connections ended, and for each
    stream the first event that is not the same. Streams are matched by id and number of the life;
    how those of different streams are interleaved does not count.

    Without B, two moments of A are compared: --at and --to, the latter its end by default.
    """
    screen, known = Screen(), lifecycles.values()
    if b is None:
        most = None if as_json else limit
        differs = _moments(screen, a, (at, to), most, lifecycles=known, cache=cache)
    else:
        show = None if as_json else LogLines(screen, times=times)
        differs = _logs(screen, (a, at), (b, to), show, lifecycles=known, times=times, limit=limit)
    if differs:
        ctx.exit(FOUND)


def _moments(
    screen: Screen,
    url: str,
    moments: tuple[Moment | None, Moment | None],
    limit: int | None,
    *,
    lifecycles: Iterable[Lifecycle],
    cache: Path | None,
) -> bool:
    at, to = moments
    if at is None:
        raise InvalidArgument("name a second log to compare with, or a moment of this one: --at")
    with opened(url) as store:
        at, to = check_within(store, at), _within(store, to)
        with progress("comparing", last_frame(store)) as advance:
            found = diff_moments(
                store, at, to, lifecycles=lifecycles, cache=cache, progress=advance
            )
        if limit is None:
            screen.json(msgspec.json.encode({"differs": bool(found), "models": found}))
        else:
            MomentLines(screen, limit).show(store, (at, to), found)
    return bool(found)


def _logs(
    screen: Screen,
    a: tuple[str, Moment | None],
    b: tuple[str, Moment | None],
    lines: LogLines | None,
    *,
    lifecycles: Iterable[Lifecycle],
    times: bool,
    limit: int,
) -> bool:
    with opened(a[0]) as store_a, opened(b[0]) as store_b:
        at_a, at_b = _within(store_a, a[1]), _within(store_b, b[1])
        with progress("comparing", last_frame(store_a) + last_frame(store_b)) as advance:
            found = diff_logs(
                *(store_a, store_b),
                at_a=at_a,
                at_b=at_b,
                lifecycles=lifecycles,
                times=times,
                limit=limit,
                progress=advance,
            )
        if lines is None:
            screen.json(_as_json(found))
        else:
            lines.show((store_a, at_a), (store_b, at_b), found)
    return bool(found)


def _within(store: Store, at: Moment | None) -> Moment | None:
    return None if at is None else check_within(store, at)


def _as_json(found: LogDiff) -> bytes:
    return msgspec.json.encode(
        {
            "differs": bool(found),
            "models": found.models,
            "same_up_to": None if found.same is None else str(found.same),
            "streams": {"a": found.streams_a, "b": found.streams_b},
            "parted": _listed(found.parted),
            "only_a": _listed(found.only_a),
            "only_b": _listed(found.only_b),
        }
    )


def _listed(differing: Differing) -> dict[str, Any]:
    return {"count": differing.count, "first": [_divergence(one) for one in differing.first]}


def _divergence(one: Divergence) -> dict[str, Any]:
    a, b = (None if x is None else msgspec.Raw(encode_recorded(x)) for x in (one.a, one.b))
    events = {"events_a": one.events_a, "events_b": one.events_b}
    return {"stream": one.stream, "version": one.version, "a": a, "b": b, **events}
