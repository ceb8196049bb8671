"""What reading a log has found out about it, kept beside nobody's log in a folder of our own.

A log is never written to by who only reads it. What takes long to find out (checkpoints of the
read model, where each stream's events stand) goes into one SQLite file a log, in a cache folder.
It may be deleted at any time, and whatever is odd about it makes it begin anew: it only saves
time. Each entry names the hash of the frame it was made at, so that no other log can use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from rat_fsm.replay.sources import frame_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from rat_fsm.stores.port import Store

BUSY_TIMEOUT: Final = 30.0
_META: Final = "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)"


def default_folder() -> Path:
    """Where caches are kept: ``rat_fsm`` under ``$XDG_CACHE_HOME``, or ``~/.cache`` without one.

    Source: XDG Base Directory Specification 0.8, which wants a relative path to be ignored.
    """
    told = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (told if told.is_absolute() else Path.home() / ".cache") / "rat_fsm"


def cache_file(store: Store, folder: Path | None = None) -> Path | None:
    """Where the cache of a log goes, whether there is one or not; None for one in memory."""
    key = _key(store)
    if key is None:
        return None
    name = hashlib.sha256(key).hexdigest()[:32]
    with contextlib.suppress(RuntimeError):  # a user without a home
        return (default_folder() if folder is None else folder) / f"{name}.db"
    return None


def _key(store: Store) -> bytes | None:
    """What tells a log from all others, with those that are made in its place later as one.

    A server may keep several logs under one address, so their beginning is part of it there.
    """
    where = getattr(store, "path", None)
    if isinstance(where, Path):
        return os.fsencode(where.resolve())
    first = None if store.url == "memory:" else frame_at(store, 1)
    return None if first is None else store.url.encode() + first.frame.hash


class Cache:
    """The cache of one log; a context manager that closes itself.

    Where no file can be kept (an empty log, a log in memory, a folder that may not be written)
    it works in memory and is gone with the process.

    Args:
        store: the log.
        folder: where the file goes; `default_folder` by default.
        kept: False works in memory, however long it takes again the next time.

    Attributes:
        path: the file, None where it is in memory.
    """

    def __init__(self, store: Store, folder: Path | None = None, *, kept: bool = True) -> None:
        self.store = store
        self.path: Path | None = None
        self._connection = self._open(folder, kept=kept)

    def _open(self, folder: Path | None, *, kept: bool) -> sqlite3.Connection:
        path = cache_file(self.store, folder) if kept else None
        first = None if path is None else frame_at(self.store, 1)
        if path is not None and first is not None:
            with contextlib.suppress(OSError, sqlite3.Error):
                return self._open_file(path, first.frame.hash.hex())
        self.path = None
        return _prepared(sqlite3.connect(":memory:", isolation_level=None))

    def _open_file(self, path: Path, identity: str) -> sqlite3.Connection:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        for _ in range(2):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
            try:
                if _belongs(_prepared(connection), identity):
                    return connection
            except sqlite3.DatabaseError as problem:
                if isinstance(problem, sqlite3.OperationalError):  # busy, or a full disk
                    connection.close()
                    raise
            connection.close()
            _delete(path)
        raise sqlite3.DatabaseError(f"{path} is replaced by somebody else")

    def prepare(self, part: str, version: int, tables: Mapping[str, str]) -> sqlite3.Connection:
        """Makes the tables of one part; those of another version are dropped first.

        Args:
            part: whose tables they are.
            version: of what is in them.
            tables: name → CREATE TABLE statement.

        Returns:
            The connection, in autocommit mode; write within `transaction`.
        """
        with self.transaction() as connection:
            key = f"version of {part}"
            found = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchall()
            if found != [(str(version),)]:
                for name, statement in tables.items():
                    connection.execute(f"DROP TABLE IF EXISTS {name}")
                    connection.execute(statement)
                connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(version)))
        return self._connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, with other processes kept from writing meanwhile."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # a full disk has ended it already
                self._connection.execute("ROLLBACK")
            raise

    def is_at(self, position: int, frame_hash: bytes) -> bool:
        """Whether the log still has the frame with this hash at a position."""
        stored = frame_at(self.store, position)
        return stored is not None and stored.frame.hash == frame_hash

    def discard(self) -> None:
        """Deletes a file that turned out to be damaged; who comes next begins anew.

        What has it open, this cache too, goes on with what can still be read of it.
        """
        if self.path is not None:
            with contextlib.suppress(OSError):  # a folder that may only be read keeps it
                _delete(self.path)

    def close(self) -> None:
        """Lets go of the file; idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes it."""
        self.close()


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """A cache may lose its last writes, but not its form."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(_META)
    return connection


def _delete(path: Path) -> None:
    for leftover in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        leftover.unlink(missing_ok=True)


def _belongs(connection: sqlite3.Connection, identity: str) -> bool:
    """Whether a cache is of the log with this first frame; a new one becomes it."""
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('log', ?)", (identity,))
    ((found,),) = connection.execute("SELECT value FROM meta WHERE key = 'log'").fetchall()
    return bool(found == identity)
