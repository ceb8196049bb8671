"""``rat-fsm top``: the writers of a log and their connections, as they are now."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

import click
import msgspec
from rich.console import Group
from rich.live import Live
from rich.text import Text

from rat_fsm.cli.keys import keys
from rat_fsm.cli.loading import LIFECYCLES
from rat_fsm.cli.panels import panels
from rat_fsm.cli.reading import caught_up
from rat_fsm.cli.render import Screen, name_of
from rat_fsm.cli.sampling import ORDERS, Sampler
from rat_fsm.replay.cluster import ClusterView
from rat_fsm.replay.sources import opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rat_fsm.cli.columns import Line
    from rat_fsm.cli.sampling import Sample
    from rat_fsm.table import Lifecycle

MOST: Final = 20  # connections, where no terminal says how many fit
SHORTEST: Final = 0.1
_KEYS: Final = "q ends, s sorts the connections otherwise"


@click.command("top")
@click.argument("url")
@click.option(
    "--interval",
    type=click.FloatRange(min=SHORTEST, max=3600),
    default=1.0,
    metavar="SECONDS",
    help="How often to look (1 by default).",
)
@click.option(
    "--sort",
    "order",
    type=click.Choice(list(ORDERS)),
    default="busiest",
    help="Which connections come first (busiest by default).",
)
@click.option("--once", is_flag=True, help="Look for one interval, print that, and end.")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON a look.")
@LIFECYCLES
def command(
    url: str,
    *,
    interval: float,
    order: str,
    once: bool,
    as_json: bool,
    lifecycles: Mapping[str, Lifecycle],
) -> None:
    """Watch what all writers of the log at URL are doing, with rates, from any machine.

    Who writes and lives, what is open and stalled, what is sent, errors, retries, drains, and the
    busiest connections, or the stalled, oldest or failing ones. On a terminal the screen is kept
    up to date until q or Ctrl-C; elsewhere each look is printed. A store that goes away is asked
    again until it is back, and what was last known stays on the screen. Nothing is written.
    """
    screen = Screen()
    with opened(url) as store, ClusterView(store, lifecycles=lifecycles.values()) as view:
        caught_up(view, store)
        top = Top(screen, name_of(store), Sampler(view), interval)
        with _quiet():
            if as_json or once or screen.width is None:
                top.print(order, as_json=as_json, once=once)
            else:
                top.show(order)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what is logged off the screen, which says it itself."""
    log = logging.getLogger("rat_fsm")
    handler = logging.NullHandler()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class Top:
    """Looks again and again, and shows what it finds."""

    def __init__(self, screen: Screen, name: str, sampler: Sampler, interval: float) -> None:
        self._screen = screen
        self._name = name
        self._sampler = sampler
        self._interval = interval

    def print(self, order: str, *, as_json: bool, once: bool) -> None:
        """Writes look after look, or one; what is said of rates is from the interval before."""
        self._sampler.look(order, 0)
        while True:
            time.sleep(self._interval)
            sample = self._sampler.look(order, MOST)
            if as_json:
                self._screen.json(msgspec.json.encode({"log": self._name, **sample.as_dict()}))
            else:
                self._write(panels(self._name, sample, order))
            self._screen.flush()
            if once:
                return

    def _write(self, lines: list[Line]) -> None:
        for line in lines:
            self._screen.line(*line)
        self._screen.line()

    def show(self, order: str) -> None:
        """Keeps the terminal up to date until q is pressed."""
        orders = list(ORDERS)
        console = self._screen.console
        self._sampler.look(order, 0)
        with keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
            key = pressed.next(min(self._interval, SHORTEST))
            while key != "q":
                if key == "s":
                    order = orders[(orders.index(order) + 1) % len(orders)]
                sample = self._sampler.look(order, console.height)
                live.update(self._drawn(sample, order, console.height), refresh=True)
                key = pressed.next(self._interval)

    def _drawn(self, sample: Sample, order: str, height: int) -> Group:
        lines = [*panels(self._name, sample, order, height - 2), [], [(_KEYS, "dim")]]
        return Group(*map(_text, lines))


def _text(line: Line) -> Text:
    """A line that is cut where the terminal ends."""
    return Text.assemble(*line, no_wrap=True, overflow="ellipsis")
