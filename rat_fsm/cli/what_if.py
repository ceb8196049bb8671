"""``rat-fsm what-if``: decides recorded errors and arrivals again, and compares."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import msgspec

from rat_fsm.cli.answers import AnswerLines
from rat_fsm.cli.loading import load
from rat_fsm.cli.moments import MomentType
from rat_fsm.cli.reading import progress
from rat_fsm.cli.render import Screen, name_of
from rat_fsm.codec import MAX_EVENTS
from rat_fsm.events import Position
from rat_fsm.replay.sources import check_within, opened
from rat_fsm.replay.what_if import what_if
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.replay.sources import Moment
    from rat_fsm.stores.port import Store

_RETRIES: Final = ("max_retries", "base_delay", "max_delay", "jitter", "resumable")


@click.command("what-if")
@click.argument("url")
@click.option("--max-retries", type=click.IntRange(0), metavar="N", help="Retries between resets.")
@click.option("--base-delay", type=float, metavar="S", help="Seconds before the first retry.")
@click.option("--max-delay", type=float, metavar="S", help="Seconds that no delay exceeds.")
@click.option("--jitter", type=click.Choice(["none", "full", "equal"]), help="How delays vary.")
@click.option(
    "--resumable/--not-resumable",
    default=None,
    help="Whether to retry once a byte has gone to the client.",
)
@click.option(
    "--policy",
    metavar="MODULE:NAME",
    help="Ask this object instead: a RetryPolicy, or one with its method decide.",
)
@click.option(
    "--max-connections", type=click.IntRange(1), metavar="N", help="Open at once, for each writer."
)
@click.option(
    "--max-per-client", type=click.IntRange(1), metavar="N", help="Open at once, of one address."
)
@click.option("--since", type=MomentType(), help="From this moment on; before, as recorded.")
@click.option("--until", type=MomentType(), help="Look at nothing after this moment.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of draws that are missing.")
@click.option(
    "--samples",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="How many stand for each draw that is missing.",
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    metavar="N",
    default=10,
    show_default=True,
    help="How many connections to list.",
)
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
def command(url: str, *, policy: str | None, as_json: bool, **given: Any) -> None:
    """Ask the log at URL what another retry policy, or other limits, would have decided.

    Recorded errors and arrivals are decided again; what is not given is as recorded, draws
    included. Compared are retries, give-ups, the time spent waiting for retries, and who is let
    in, and the connections that would have fared differently are listed.

    A log knows what was asked and what happened next; it does not know what the world would have
    done about another answer: whether a retry that never happened would have helped, whether a
    connection that gave up earlier would have come back, how long a client that was turned away
    would have stayed. What that leaves open is shown as a range.
    """
    changes = {name: given[name] for name in _RETRIES if given[name] is not None}
    _check_question(policy, changes, given)
    wanted = changes if policy is None else load(policy)
    screen = Screen()
    with opened(url) as store:
        since, until = _within(store, given["since"], first=True), _within(store, given["until"])
        with progress("deciding again", last_frame(store)) as advance:
            answer = what_if(
                store,
                wanted,
                since=since,
                until=until,
                progress=advance,
                **{
                    name: given[name]
                    for name in ("max_connections", "max_per_client", "seed", "samples", "limit")
                },
            )
        if as_json:
            screen.json(msgspec.json.encode({"differs": answer.differs, **attrs.asdict(answer)}))
        else:
            question = _question(policy, changes, given)
            AnswerLines(screen, answer).show(f"{name_of(store)} with {question}")


def _check_question(
    policy: str | None, changes: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    if policy is not None and changes:
        raise click.UsageError("--policy decides everything about retries: give nothing beside it")
    limits = (given["max_connections"], given["max_per_client"])
    if policy is None and not changes and limits == (None, None):
        raise click.UsageError("say what would be different, such as --max-retries 5")


def _within(store: Store, typed: Moment | None, *, first: bool = False) -> Moment | None:
    """A moment that the log has; a frame as a whole is its first event, or its last."""
    if typed is None:
        return None
    if first and isinstance(typed, Position) and typed.offset == MAX_EVENTS:
        typed = Position(typed.frame, 0)
    return check_within(store, typed)


def _question(policy: str | None, changes: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The options again, as they were typed."""
    limits = {name: given[name] for name in ("max_connections", "max_per_client")}
    options = {"policy": policy, **changes, **limits}
    return " ".join(_option(name, value) for name, value in options.items() if value is not None)


def _option(name: str, value: Any) -> str:
    if name == "resumable":
        return "--resumable" if value else "--not-resumable"
    return f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
