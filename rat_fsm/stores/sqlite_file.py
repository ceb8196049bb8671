"""What a SQLite file must be before frames go into it, and how it is read without being changed."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote_from_bytes

from rat_fsm.errors import StoreUnreadable, UnsupportedFormat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Fetch = Callable[[str], list[Any]]

APPLICATION_ID: Final = 0x52415446  # "RATF", so that `file` and we can tell our files from others
SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT: Final = 10.0
RETRY_INTERVAL: Final = 0.01
FORK_TIMEOUT: Final = 1.0
_FRAMES: Final = """
CREATE TABLE frames (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    writer TEXT NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    fingerprints TEXT NOT NULL,
    salt BLOB NOT NULL,
    body TEXT NOT NULL,
    prev BLOB NOT NULL,
    hash BLOB NOT NULL,
    format INTEGER NOT NULL,
    algorithm TEXT NOT NULL,
    UNIQUE (writer, first)
)
"""
_SNAPSHOTS: Final = """
CREATE TABLE snapshots (
    writer TEXT PRIMARY KEY,
    fold_version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    data BLOB NOT NULL,
    head BLOB
)
"""
# Files are made with it since snapshots carry the head they were folded at.
_HAS_HEAD: Final = "SELECT count(*) FROM pragma_table_info('snapshots') WHERE name = 'head'"
_ADD_HEAD: Final = "ALTER TABLE snapshots ADD COLUMN head BLOB"
_EVENTS: Final = """
CREATE VIEW events AS
SELECT position, at, writer, seq,
       stream ->> '$[0]' AS lifecycle,
       stream ->> '$[1]' AS id,
       writer || ':' || (stream ->> '$[2]') AS born,
       type ->> '$[0]' AS type,
       type ->> '$[2]' AS fields,
       row
FROM (
    SELECT frames.position || '.' || event.key AS position,
           frames.first_at + (event.value ->> '$[0]') AS at,
           frames.writer AS writer,
           frames.first + event.key AS seq,
           json_extract(frames.body, '$.streams[' || (event.value ->> '$[1]') || ']') AS stream,
           json_extract(frames.body, '$.types[' || (event.value ->> '$[2]') || ']') AS type,
           event.value AS row
    FROM frames, json_each(frames.body, '$.events') AS event
)
"""
_SCHEMA: Final = (
    *(_FRAMES, _SNAPSHOTS, _EVENTS),
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class Handle(Protocol):
    """Something that has a SQLite file open, and opens it again when it is next used."""

    lock: Any  # an RLock, held while the file is used

    @property
    def is_open(self) -> bool:
        """Whether it has the file open now."""

    def let_go(self) -> None:
        """Closes the file, until it is needed again; the lock is held."""


# SQLite keeps the locks of a file for the whole process, in memory that a fork copies: a child
# that opened the file would believe in locks that are its parent's alone, and its commits would
# go into a WAL that the parent, closing, deletes. So nothing is open while a process forks.
opening: Final = threading.RLock()  # held while a handle opens its file, and by a fork
_handles: dict[int, weakref.ref[Handle]] = {}
_held: list[Any] = []


def close_while_forking(handle: Handle) -> None:
    """Makes a handle let go of its file before each fork."""
    key = id(handle)
    _handles[key] = weakref.ref(handle, lambda _handle: _handles.pop(key, None))


def _before_fork() -> None:
    deadline = time.monotonic() + FORK_TIMEOUT
    _take(opening, deadline)
    for reference in list(_handles.values()):
        handle = reference()
        # One that is not open needs no lock; its thread may hold it, waiting to open.
        if handle is not None and handle.is_open and _take(handle.lock, deadline):
            handle.let_go()


def _take(lock: Any, deadline: float) -> bool:
    taken: bool = lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
    if taken:
        _held.append(lock)
    return taken


def _after_fork() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )


def create(path: Path) -> None:
    """Makes an empty file that only its owner may read, unless there is one.

    Raises:
        StoreUnreadable: it cannot be made, or what is there is no file.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        _check_regular(path)
    except OSError as problem:
        raise StoreUnreadable(f"cannot create {path}: {problem.strerror}") from problem


def _check_regular(path: Path) -> os.stat_result:
    try:
        found = path.stat()
    except OSError as problem:
        raise StoreUnreadable(f"no log at {path}: {problem.strerror}") from problem
    if not stat.S_ISREG(found.st_mode):
        raise StoreUnreadable(f"no log at {path}: it is no regular file")
    return found


def connect(path: Path, options: str) -> sqlite3.Connection:
    """A connection in autocommit mode, for any thread, with text that is never refused."""
    # Bytes that are no UTF-8 become other text, which the frame's hash then gives away.
    quoted = quote_from_bytes(os.fsencode(path.absolute()))
    try:
        connection = sqlite3.connect(
            f"file://{quoted}?{options}",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as problem:
        raise StoreUnreadable(f"cannot open {path}: {problem}") from problem
    connection.text_factory = lambda text: text.decode(errors="replace")
    return connection


class Reader:
    """A handle for reading that leaves nothing beside the file.

    Reading a file in WAL mode makes a WAL and an index where there are none, and needs the
    right to. So while nobody writes, the file is opened as immutable, and whatever was read
    then counts only if nobody has begun to write meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._quiet: tuple[int, ...] | None = None
        self.lock = threading.RLock()
        close_while_forking(self)

    def fetch(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """The rows that a query finds.

        Raises:
            StoreUnreadable: the file cannot be read.
        """
        while True:
            try:
                with self.lock:
                    connection = self._connection or self._open()
                    rows = connection.execute(sql, values).fetchall()
            except (sqlite3.Error, UnicodeDecodeError) as problem:
                # The second where SQLite's own message quotes a damaged page.
                if self._undisturbed():
                    raise StoreUnreadable(f"cannot read {self._path}: {problem}") from problem
            else:
                if self._undisturbed():
                    return rows
            self.close()

    def _open(self) -> sqlite3.Connection:
        with opening:
            self._quiet = _quiet(self._path)
            mode = "mode=ro" if self._quiet is None else "mode=ro&immutable=1"
            self._connection = connect(self._path, mode)
            return self._connection

    def _undisturbed(self) -> bool:
        return self._quiet is None or self._quiet == _quiet(self._path)

    @property
    def is_open(self) -> bool:
        """Whether it has the file open now."""
        return self._connection is not None

    def let_go(self) -> None:
        """Closes the file, until it is needed again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Lets go of the file."""
        with self.lock:
            self.let_go()


def _quiet(path: Path) -> tuple[int, ...] | None:
    """What tells a file from its later self; None while somebody has it open for writing."""
    found = _check_regular(path)
    if os.path.lexists(f"{path}-wal"):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def check_ours(fetch: Fetch, path: Path, *, new: bool = False) -> bool:
    """Whether a file is a log of ours; with ``new`` it may be an empty file instead.

    Raises:
        StoreUnreadable: it is something else.
        UnsupportedFormat: a newer rat_fsm made it.
    """
    ((tables,),) = fetch("SELECT count(*) FROM sqlite_master")
    ((application,),) = fetch("PRAGMA application_id")
    ((version,),) = fetch("PRAGMA user_version")
    if new and not tables and not application:
        return False
    if application != APPLICATION_ID:
        raise StoreUnreadable(f"{path} is a SQLite file of something else, not a rat_fsm log")
    if version > SCHEMA_VERSION:
        raise UnsupportedFormat(
            f"{path} has schema {version}, newer than this rat_fsm, which reads up to "
            f"{SCHEMA_VERSION}; upgrade to read it"
        )
    return True


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Makes a file ours, with WAL and FULL, which are set and read back.

    What they are by default was decided when SQLite was built.

    Raises:
        StoreUnreadable: it is something else, or SQLite refuses.
        UnsupportedFormat: a newer rat_fsm made it.
    """

    def fetch(sql: str) -> list[Any]:
        return connection.execute(sql).fetchall()

    made = check_ours(fetch, path, new=True)
    _set_wal(fetch)
    fetch("PRAGMA synchronous = FULL")
    fetch("PRAGMA fullfsync = ON")
    if not made or fetch(_HAS_HEAD) == [(0,)]:
        _make(fetch, path)
    ((mode,),) = fetch("PRAGMA journal_mode")
    ((synchronous,),) = fetch("PRAGMA synchronous")
    if (mode, synchronous) != ("wal", 2):
        raise StoreUnreadable(f"SQLite refused WAL with full sync: {mode}, {synchronous}")


def _make(fetch: Fetch, path: Path) -> None:
    """Makes what is missing in one transaction; somebody else may be doing it at the same time."""
    fetch("BEGIN IMMEDIATE")
    try:
        if not check_ours(fetch, path, new=True):
            for statement in _SCHEMA:
                fetch(statement)
        elif fetch(_HAS_HEAD) == [(0,)]:
            fetch(_ADD_HEAD)
    except BaseException:
        fetch("ROLLBACK")
        raise
    fetch("COMMIT")


def _set_wal(fetch: Fetch) -> None:
    """Changing the mode does not wait for a lock as other statements do, so we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            fetch("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_INTERVAL)
        else:
            return
