"""Opens a log for reading and hands out what is in it, with a progress bar where it takes long."""

from __future__ import annotations

import contextlib
from threading import Timer
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import InvalidArgument
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.projections.model import ReadModel
from rat_fsm.stores import open_store
from rat_fsm.stores.port import SupportsMentions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rat_fsm.stores.port import Store, StoredFrame

    Advance = Callable[[int], None]

PATIENCE: Final = 1.0


@contextlib.contextmanager
def opened(url: str) -> Iterator[Store]:
    """The store at a URL, for reading.

    Raises:
        InvalidArgument: it is in the memory of some process.
        StoreUnreadable, UnsupportedFormat: see `open_store`.
    """
    if url == "memory:":
        raise InvalidArgument("a memory: log cannot be read from outside its process")
    store = open_store(url)
    try:
        yield store
    finally:
        store.close()


def new_model() -> ReadModel:
    """An empty read model that knows the lifecycles of rat_fsm."""
    return ReadModel((CONNECTION, NODE))


def last_frame(store: Store) -> int:
    """The position of the last frame, 0 where there is none."""
    return max((head.position for head in store.heads().values()), default=0)


def mentioning(store: Store, needle: bytes) -> Iterator[StoredFrame]:
    """The frames whose body contains some bytes, found by the store itself where it can."""
    if isinstance(store, SupportsMentions):
        return store.mentioning(needle)
    return (stored for stored in store.read() if needle in stored.frame.body)


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
