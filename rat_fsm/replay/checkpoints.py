"""Keeps read models of a long log on disk, so that no moment of it is far from one.

They are made in passing, whenever a log is folded for another reason, and are tied to what they
were made of: the frame they end with, the version of the folding code and the lifecycles. None of
them is ever needed: one that cannot be read or written costs time, and nothing else.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rat_fsm.projections.forking import ForkingModel
from rat_fsm.projections.model import FOLD_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.replay.cache import Cache
    from rat_fsm.stores.port import StoredFrame
    from rat_fsm.table import Lifecycle

LEVEL: Final = 1  # of compression: the higher ones save a third and take five times as long
_TABLE: Final = """
CREATE TABLE checkpoints (
    lifecycles TEXT NOT NULL,
    position INTEGER NOT NULL,
    hash BLOB NOT NULL,
    model BLOB NOT NULL,
    PRIMARY KEY (lifecycles, position)
)
"""
_LAST: Final = "SELECT max(position) FROM checkpoints WHERE lifecycles = ? AND position <= ?"
_LOAD: Final = "SELECT hash, model FROM checkpoints WHERE lifecycles = ? AND position = ?"
_FORGET: Final = "DELETE FROM checkpoints WHERE lifecycles = ? AND position = ?"
_SAVE: Final = "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)"
# Somebody else is writing, the disk is full or fails, the file may not be written.
_PASSING: Final = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
}
_ODD: Final = (zlib.error, LookupError, TypeError, ValueError, AttributeError, RecursionError)


class Checkpoints:
    """The checkpoints of one log, for models that know some lifecycles.

    That two sets of lifecycles are the same is told by their fingerprints. These say nothing of
    the code of upcasters: who mends one deletes the cache.
    """

    def __init__(self, cache: Cache, lifecycles: Iterable[Lifecycle]) -> None:
        self._cache = cache
        self._lifecycles = tuple(lifecycles)
        names = sorted(lifecycle.fingerprint for lifecycle in self._lifecycles)
        self._kind = hashlib.sha256(" ".join(names).encode()).hexdigest()
        self._connection: sqlite3.Connection | None = None
        try:
            tables = {"checkpoints": _TABLE}
            self._connection = cache.prepare("checkpoints", FOLD_VERSION, tables)
        except sqlite3.Error as problem:
            self._give_up(problem)

    def last(self, position: int) -> int:
        """The last frame up to this position that a checkpoint ends with, 0 without one."""
        rows = self._ask(_LAST, position)
        return (rows[0][0] or 0) if rows else 0

    def load(self, position: int) -> ForkingModel | None:
        """The model of a checkpoint; None, and the checkpoint is forgotten, where it is none."""
        for frame_hash, packed in self._ask(_LOAD, position):
            model = self._unpack(packed) if self._cache.is_at(position, frame_hash) else None
            if model is not None:
                return model
            self._ask(_FORGET, position)
        return None

    def save(self, stored: StoredFrame, model: ForkingModel) -> None:
        """Keeps a model that has folded everything up to a frame, unless that is kept already."""
        if self._connection is None or self.last(stored.position) == stored.position:
            return
        packed = zlib.compress(msgspec.json.encode(model.dump()), LEVEL)
        values = (self._kind, stored.position, stored.frame.hash, packed)
        try:
            with self._cache.transaction() as connection:
                connection.execute(_SAVE, values)
        except sqlite3.Error as problem:
            self._give_up(problem)

    def _ask(self, sql: str, position: int) -> list[Any]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(sql, (self._kind, position)).fetchall()
        except sqlite3.Error as problem:
            self._give_up(problem)
            return []

    def _give_up(self, problem: sqlite3.Error) -> None:
        """Goes on without checkpoints; a file that will not be better next time goes away."""
        self._connection = None
        if getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _PASSING:
            self._cache.discard()

    def _unpack(self, packed: bytes) -> ForkingModel | None:
        try:
            model = ForkingModel(self._lifecycles)
            model.load(msgspec.json.decode(zlib.decompress(packed)))
        except _ODD:
            return None
        return model
