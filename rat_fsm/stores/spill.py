"""A local file for frames that another store has not taken: a log of its own, without a fence.

Its frames are those of a chain's middle. Any reader of logs reads them, and SQL tools as well.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import LogClosed, StoreUnreadable, WriterBusy
from rat_fsm.stores.sqlite import INSERT, SELECT, SqliteStore, columns_of, locked, stored_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rat_fsm.stores.port import Frame, StoredFrame

_NEXT: Final = f"{SELECT} position > ? AND first > ? ORDER BY position LIMIT 1"
_DROP: Final = "DELETE FROM frames WHERE position > ? AND first + count - 1 <= ?"
_REMOVE: Final = "DELETE FROM frames WHERE position = ?"
_LAST: Final = "SELECT coalesce(max(position), 0) FROM frames"
_COUNT: Final = "SELECT coalesce(sum(count), 0) FROM frames"


class SpillFile(SqliteStore):
    """Frames in order, for one process, until they are delivered.

    Args:
        path: where; made, and readable by its owner only.

    Attributes:
        events: how many events are in it.

    Raises:
        StoreUnreadable: it cannot be made, or is something else.
        UnsupportedFormat: a newer rat_fsm made it.
        WriterBusy: another process has it.
    """

    def __init__(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise StoreUnreadable(f"cannot make {path}: there is no folder {path.parent}")
        # Before the file is opened: whoever has it now may delete it.
        lock = locked(f"{path}.lock")
        if lock is None:
            raise WriterBusy(f"{path} is in use by another process")
        self._lock = lock
        try:
            super().__init__(str(path), writable=True)
            self._count()
        except BaseException:
            lock.release()
            raise

    def keep(self, frames: Sequence[Frame]) -> None:
        """Adds frames, all or none, synced to disk before it returns.

        Raises:
            OSError: the disk does not take them.
        """
        with self.lock:
            connection = self._handle()
            if connection is None:
                raise LogClosed(f"{self.path} is not open for writing")
            try:
                with _transaction(connection):
                    connection.executemany(f"INSERT {INSERT}", map(columns_of, frames))
            except sqlite3.Error as problem:
                raise OSError(f"cannot spill to {self.path}: {problem}") from problem
            self.events += sum(frame.count for frame in frames)

    @property
    def last(self) -> int:
        """The position of the last frame, 0 where there is none."""
        ((last,),) = self._query(_LAST)
        return int(last)

    def next_after(self, seq: int, base: int) -> StoredFrame | None:
        """The first frame past a position that begins after an event, None where there is none."""
        rows = self._query(_NEXT, base, seq)
        return stored_of(rows[0]) if rows else None

    def drop(self, seq: int, base: int) -> None:
        """Deletes the frames up to an event, of those past a position."""
        self._query(_DROP, base, seq)
        self._count()

    def remove(self, positions: Iterable[int]) -> None:
        """Deletes the frames at some positions."""
        for position in positions:
            self._query(_REMOVE, position)
        self._count()

    def _count(self) -> None:
        ((self.events,),) = self._query(_COUNT)

    def close(self) -> None:
        """Lets go of the file, and deletes it where nothing is in it."""
        with self.lock:
            empty = not self._closed and self._is_empty()
            self.let_go()
            if empty:
                for name in (self.path, f"{self.path}-wal", f"{self.path}-shm"):
                    Path(name).unlink(missing_ok=True)
            super().close()
            self._lock.release()

    def _is_empty(self) -> bool:
        with contextlib.suppress(StoreUnreadable):  # then somebody should look at it
            return not self.last
        return False


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


def open_spill(path: Path) -> SpillFile:
    """Opens the file at a path, or ``path.1``, ``path.2`` … where other processes have those.

    Raises:
        StoreUnreadable, UnsupportedFormat: see `SpillFile`.
    """
    number, candidate = 0, path
    while True:
        try:
            return SpillFile(candidate)
        except WriterBusy:
            number += 1
            candidate = path.with_name(f"{path.name}.{number}")
