"""Opens the index of a log: in a file where that saves time, in memory otherwise."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import StoreUnreadable
from rat_fsm.replay.cache import Cache, cache_file
from rat_fsm.replay.index import Index
from rat_fsm.replay.sources import event_count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rat_fsm.replay.index import Progress
    from rat_fsm.stores.port import Store

# From so many events on it is worth a file: a shorter log is searched as fast as it is looked up.
LONG: Final = 500_000


@contextlib.contextmanager
def indexed(store: Store, folder: Path | None, progress: Progress | None = None) -> Iterator[Index]:
    """The index of a log, caught up; of a short log it is made in memory, and gone afterwards.

    Raises:
        UnsupportedFormat, DamagedFrame: a frame cannot be read.
        StoreUnreadable: the cache cannot be used; a damaged one is deleted.
    """
    kept = _is_worth_it(store, folder)
    with Cache(store, folder, kept=kept) as cache, _caught_up(cache, progress) as index:
        yield index


@contextlib.contextmanager
def kept_index(
    store: Store, folder: Path | None, progress: Progress | None = None
) -> Iterator[Index | None]:
    """The index of a log, caught up, if it can be kept and the log is worth it, else None.

    Raises:
        UnsupportedFormat, DamagedFrame, StoreUnreadable: as `indexed` does.
    """
    with contextlib.ExitStack() as stack:
        index = None
        if _is_worth_it(store, folder):
            cache = stack.enter_context(Cache(store, folder))
            if cache.path is not None:
                index = stack.enter_context(_caught_up(cache, progress))
        yield index


@contextlib.contextmanager
def _caught_up(cache: Cache, progress: Progress | None) -> Iterator[Index]:
    try:
        index = Index(cache)
        index.catch_up(progress)
        yield index
    except sqlite3.OperationalError as problem:
        raise StoreUnreadable(
            f"cannot use the cache {cache.path}: {problem}; --cache says where another may be"
        ) from problem
    except sqlite3.DatabaseError as problem:
        cache.discard()
        raise StoreUnreadable(
            f"the cache {cache.path} was damaged and is deleted now, so ask again: {problem}"
        ) from problem


def _is_worth_it(store: Store, folder: Path | None) -> bool:
    """Whether a log is so long that an index of it is worth keeping, or something is kept."""
    path = cache_file(store, folder)
    if path is not None and path.exists():
        return True
    return event_count(store) >= LONG
