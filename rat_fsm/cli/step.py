"""``rat-fsm step``: a stepper for logs, line by line, in any terminal or in none."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from rat_fsm.cli.loading import LIFECYCLES
from rat_fsm.cli.moments import MomentType
from rat_fsm.cli.reading import CACHE
from rat_fsm.cli.render import Screen
from rat_fsm.cli.stepper import Stepper
from rat_fsm.cli.telling import JsonTeller, TextTeller
from rat_fsm.replay.sources import opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rat_fsm.replay.sources import Moment
    from rat_fsm.table import Lifecycle


@click.command("step")
@click.argument("url")
@click.option("--at", type=MomentType(), help="Begin there; at the first event by default.")
@click.option("--connection", "stream_id", metavar="ID", help="Follow this one, as c ID does.")
@click.option("--json", "as_json", is_flag=True, help="Each answer is one object of JSON a line.")
@LIFECYCLES
@CACHE
def command(
    url: str,
    *,
    at: Moment | None,
    stream_id: str | None,
    as_json: bool,
    lifecycles: Mapping[str, Lifecycle],
    cache: Path | None,
) -> None:
    """Step through the log at URL, event by event, forward and back.

    Commands are read line by line, from a terminal or from a pipe: n and p go to the next event
    and the one before, g goes to a position or a time, f and b to the next or last event of a
    type, s shows what was true there, m and d what has changed since a place, c follows one
    connection. ? lists them all, q or the end of input leaves.

    What the log gains meanwhile comes into reach; nothing is ever written to it.
    """
    screen = Screen()
    teller = JsonTeller(screen) if as_json else TextTeller(screen)
    with opened(url) as store:
        known = tuple(lifecycles.values())
        with contextlib.closing(Stepper(store, teller, known, cache)) as stepper:
            stepper.begin(at, stream_id)
            for line in _lines(stepper, screen):
                if not stepper.obey(line):
                    return
                screen.flush()


def _lines(stepper: Stepper, screen: Screen) -> Iterator[str]:
    """What is typed, with a prompt where somebody sees it; an interrupted line is the last."""
    screen.flush()
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - it edits the lines that input() reads
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            yield input(stepper.prompt)
