"""Reads a log where it takes long: how far that has come, and where what it found is kept."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Final

import click

from rat_fsm.cli.text import without_credentials
from rat_fsm.errors import StoreUnreadable
from rat_fsm.events import Position
from rat_fsm.runtime.escaping import escape
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rat_fsm.replay.following import LogFollower
    from rat_fsm.stores.port import Store, StoredFrame

    Advance = Callable[[int], None]

PATIENCE: Final = 1.0
STEP: Final = 0.1
CACHE: Final = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where checkpoints and the index of a long log are kept (~/.cache/rat_fsm by default).",
)


@contextlib.contextmanager
def progress(what: str, total: int | None) -> Iterator[Advance]:
    """A bar on stderr, if that is a terminal, once the work has taken a second.

    Yields a function that takes how much is done of ``total``; None shows that work goes on.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(what, total=total)
    timer = Timer(PATIENCE, bar.start)
    timer.daemon = True
    if console.is_terminal:
        timer.start()
    try:
        yield lambda done: bar.update(task, completed=done)
    finally:
        timer.cancel()
        if console.is_terminal:
            timer.join()
            bar.stop()


def frames(store: Store, what: str, writer: str | None = None) -> Iterator[StoredFrame]:
    """Every frame, of one writer or of all, with a progress bar."""
    with progress(what, last_frame(store)) as advance:
        for stored in store.read(0, writer):
            yield stored
            advance(stored.position)


@contextlib.contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Shows as text what is logged meanwhile: whose end was recorded, that a store is away."""
    log, handler = logging.getLogger("rat_fsm"), _Warnings(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(escape(without_credentials(record.getMessage())), err=True)


def caught_up(view: LogFollower, store: Store) -> None:
    """Waits, with a progress bar, until a follower has folded what is in its log now.

    Raises:
        StoreUnreadable: the store has gone away meanwhile.
        DamagedFrame, UnsupportedFormat, HistoryEvicted: a frame cannot be folded.
    """
    last = last_frame(store)
    with progress("counting", last) as advance:
        while not view.wait(Position(last, 0), STEP):
            advance(last - view.lag.frames)
            health = view.health
            if health.last_error is not None:
                raise StoreUnreadable(health.last_error)
