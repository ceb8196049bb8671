"""The embedded store: one SQLite file in WAL mode that any SQL tool can read.

Several processes may write one file, each under its own writer slot: a lock file beside the
database, held for the life of the claim. Nobody opens the database with plain `open()`: closing
it would drop the POSIX locks that SQLite holds in this process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from rat_fsm.errors import DamagedFrame, LogClosed, StoreUnreadable, WriterBusy, WriterFenced
from rat_fsm.stores.port import Frame, Snapshot, StoredFrame, frames_with
from rat_fsm.stores.sqlite_file import (
    Reader,
    check_ours,
    close_while_forking,
    connect,
    create,
    opening,
    prepare,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filelock import FileLock

POLL_INTERVAL: Final = 0.05
BATCH_FRAMES: Final = 16
MAX_NAME: Final = 100
_TYPES: Final = [str, int, int, int, int, str, bytes, bytes, bytes, bytes, int, str]
_COLUMNS: Final = (
    "position, writer, first, count, first_at, last_at, fingerprints, salt,"
    " CAST(body AS BLOB), prev, hash, format, algorithm"
)
SELECT: Final = f"SELECT {_COLUMNS} FROM frames WHERE"  # noqa: S608 - constants only
_HEAD: Final = f"{SELECT} writer = ? ORDER BY first DESC LIMIT 1"
_BATCH: Final = f"{SELECT} position > ? {{where}} ORDER BY position LIMIT ?"
INSERT: Final = """
INTO frames (writer, first, count, first_at, last_at, fingerprints, salt, body, prev, hash,
             format, algorithm)
SELECT ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, ?
"""
_APPEND: Final = f"""
INSERT {INSERT}
WHERE ? = coalesce((SELECT hash FROM frames WHERE writer = ? ORDER BY first DESC LIMIT 1),
                   zeroblob(32))
  AND ? = coalesce((SELECT first + count FROM frames WHERE writer = ?
                    ORDER BY first DESC LIMIT 1), 1)
"""  # noqa: S608 - constants only


class SqliteStore:
    """Frames in one SQLite file. See `rat_fsm.stores.port.Store` for what the methods promise."""

    guarantee = "synced to the disk of this machine"

    def __init__(self, path: str, *, writable: bool = False) -> None:
        self.path = Path(path)
        self.url = f"sqlite:{path}"
        self.writable = writable
        self.lock = threading.RLock()
        self._changed = threading.Event()
        self._locks: dict[str, FileLock] = {}
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        if writable:
            create(self.path)
            self._connect()
            close_while_forking(self)
        else:
            with contextlib.closing(Reader(self.path)) as reader:
                check_ours(reader.fetch, self.path)

    def _connect(self) -> sqlite3.Connection:
        with opening:
            connection = connect(self.path, "mode=rw")
            try:
                prepare(connection, self.path)
            except sqlite3.Error as problem:
                connection.close()
                raise StoreUnreadable(f"{self.path} is not a rat_fsm log: {problem}") from problem
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            return connection

    def _handle(self) -> sqlite3.Connection | None:
        """The handle for writing, opened again where a fork has closed it; None for a reader."""
        if self._connection is None and self.writable and not self._closed:
            self._connect()
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether it has the file open now."""
        return self._connection is not None

    def let_go(self) -> None:
        """Closes the handle, until it is needed again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def append(self, frame: Frame) -> int:
        """Adds a frame in a transaction of its own, synced to disk before it returns."""
        with self.lock:
            connection = self._handle()
            if connection is None:
                raise LogClosed(f"{self.path} is not open for writing")
            try:
                position = self._insert(connection, frame)
            except sqlite3.Error as problem:
                raise OSError(f"cannot append to {self.path}: {problem}") from problem
            self._changed.set()
            return position

    def _insert(self, connection: sqlite3.Connection, frame: Frame) -> int:
        """One statement, so one transaction: checks the chain and extends it.

        Each statement lets go of the interpreter's lock, which a busy server gives back only
        after its switch interval; with four statements the log ran at half the speed.
        """
        fence = (frame.prev, frame.writer, frame.first, frame.writer)
        cursor = connection.execute(_APPEND, (*columns_of(frame), *fence))
        if cursor.rowcount == 1:
            return int(cursor.lastrowid or 0)
        head = self.head(frame.writer)
        if head is not None and head.frame.hash == frame.hash:
            return head.position
        raise WriterFenced(f"the frame does not continue the chain of {frame.writer}")

    def head(self, writer: str) -> StoredFrame | None:
        """The last frame of one writer."""
        rows = self._query(_HEAD, writer)
        return stored_of(rows[0]) if rows else None

    def _query(self, sql: str, *values: Any) -> list[Any]:
        """Asks the open handle; where there is none, a new one for reading."""
        with self.lock:
            connection = self._handle()
            if connection is not None:
                try:
                    return connection.execute(sql, values).fetchall()
                except sqlite3.Error as problem:
                    raise StoreUnreadable(f"cannot read {self.path}: {problem}") from problem
        with contextlib.closing(Reader(self.path)) as reader:
            return reader.fetch(sql, values)

    def read(self, after: int = 0, writer: str | None = None) -> Iterator[StoredFrame]:
        """The frames after a position, in batches, so that no reader holds a long transaction."""
        where, values = ("", ()) if writer is None else ("AND writer = ?", (writer,))
        return self._select(where, values, after)

    def naming(self, name: str, after: int = 0) -> Iterator[StoredFrame]:
        """The frames after a position that hold a name as a JSON string.

        Looked for here and not in SQL, whose ``instr`` over blobs took three times as long.
        """
        return frames_with(name, self.read(after))

    def _select(self, where: str, values: tuple[Any, ...], after: int) -> Iterator[StoredFrame]:
        sql, size = _BATCH.format(where=where), 1  # who wants one frame need not wait for others
        with contextlib.closing(Reader(self.path)) as reader:
            while rows := reader.fetch(sql, (after, *values, size)):
                yield from map(stored_of, rows)
                after, size = rows[-1][0], min(BATCH_FRAMES, 2 * size)

    def heads(self) -> dict[str, StoredFrame]:
        """The last frame of every writer."""
        names = self._query("SELECT DISTINCT writer FROM frames")
        found = [self.head(name) for (name,) in names]
        return {stored.frame.writer: stored for stored in found if stored is not None}

    def wait(self, after: int, timeout: float) -> bool:
        """Polls: another process's commit sends no signal here."""
        deadline = time.monotonic() + timeout
        while True:
            self._changed.clear()
            if self._last() > after:
                return True
            if self._closed:
                raise LogClosed(f"{self.path} was closed")
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._changed.wait(min(left, POLL_INTERVAL))

    def _last(self) -> int:
        ((last,),) = self._query("SELECT coalesce(max(position), 0) FROM frames")
        return int(last)

    def claim(self, writer: str | None) -> str:
        """Takes the lock file of a slot, ``<file>.<writer>.lock``; see the port."""
        if writer is not None:
            if not self._lock_slot(writer):
                raise WriterBusy(f"writer {writer} of {self.path} is in use by another log")
            return writer
        number = 0
        while not self._lock_slot(f"w{number}"):
            number += 1
        return f"w{number}"

    def _lock_slot(self, writer: str) -> bool:
        lock = locked(f"{self.path}.{slot_name(writer)}.lock")
        if lock is not None:
            self._locks[writer] = lock
        return lock is not None

    def release(self, writer: str) -> None:
        """Gives a slot back."""
        lock = self._locks.pop(writer, None)
        if lock is not None:
            lock.release()

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot in place of the writer's older one."""
        self._query(
            "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)",
            *(snapshot.writer, snapshot.fold_version, snapshot.position, snapshot.data),
            snapshot.head,
        )

    def load_snapshot(self, writer: str) -> Snapshot | None:
        """The writer's snapshot."""
        # Files of an older rat_fsm have no head, until they are opened for writing.
        rows = self._query("SELECT * FROM snapshots WHERE writer = ?", writer)
        return Snapshot(*rows[0]) if rows else None

    def reopen(self) -> None:
        """A new handle, with what the WAL holds moved into the file; claims stay."""
        with self.lock:
            if self._closed or not self.writable:
                raise LogClosed(f"{self.path} is not open for writing")
            with contextlib.suppress(sqlite3.Error):  # it failed already; we only let go of it
                self.let_go()
            self._connection = None
            try:
                self._connect().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error as problem:
                raise OSError(f"cannot reopen {self.path}: {problem}") from problem

    def close(self) -> None:
        """Closes the file and gives every slot back."""
        with self.lock:
            self._closed = True
            for writer in list(self._locks):
                self.release(writer)
            self.let_go()
        self._changed.set()


def locked(path: str) -> FileLock | None:
    """A lock file, held until it is released; None where somebody else holds it.

    Raises:
        StoreUnreadable: it cannot be made.
    """
    from filelock import FileLock, Timeout  # it imports asyncio, 40 ms

    lock = FileLock(path, thread_local=False, mode=0o600)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    except OSError as problem:
        raise StoreUnreadable(f"cannot lock {path}: {problem.strerror}") from problem
    return lock


def slot_name(writer: str) -> str:
    """A writer's name as part of a file name: harmless, and never too long."""
    name = quote(writer, safe="")
    return name if len(name) <= MAX_NAME else hashlib.sha256(writer.encode()).hexdigest()


def columns_of(frame: Frame) -> tuple[Any, ...]:
    """A frame as a row, without its position."""
    return (
        frame.writer,
        frame.first,
        frame.count,
        frame.first_at,
        frame.last_at,
        json.dumps(frame.fingerprints),
        frame.salt,
        frame.body,
        frame.prev,
        frame.hash,
        frame.format,
        frame.algorithm,
    )


def stored_of(row: tuple[Any, ...]) -> StoredFrame:
    """The frame in a row; SQLite lets anything stand in any column."""
    position, *columns = row
    if [type(column) for column in columns] != _TYPES:
        raise DamagedFrame("its columns are not of their types", position=position)
    try:
        columns[5] = tuple(msgspec.json.decode(columns[5], type=list[str]))
    except msgspec.MsgspecError as problem:
        raise DamagedFrame(f"its fingerprints: {problem}", position=position) from problem
    return StoredFrame(position, Frame(*columns))
