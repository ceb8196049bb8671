"""What became of every life in a log, and where its events stand: found once, then kept up.

The index is a projection that is caught up when somebody asks, into the cache of the log: one row
a life, its errors, and for each frame which life each stream is and which stream each event
belongs to. With it, questions about one connection among ten thousand read nothing of the others.
"""

from __future__ import annotations

import contextlib
import re
from array import array
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from rat_fsm.codec import decode, no_collection
from rat_fsm.projections.definitions import read_table
from rat_fsm.replay.sources import new_model
from rat_fsm.replay.tables import Tables
from rat_fsm.replay.tallies import Tallies
from rat_fsm.replay.tally import COLUMNS, Tally, values_of
from rat_fsm.stores.port import last_frame
from rat_fsm.table import fingerprint_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rat_fsm.codec import Decoded
    from rat_fsm.events import Started
    from rat_fsm.replay.cache import Cache
    from rat_fsm.stores.port import StoredFrame

    Progress = Callable[[int], object]

VERSION: Final = 1
# A step of catching up ends with whichever comes first.
MOST_EVENTS: Final = 1_000_000
MOST_FRAMES: Final = 2_000
MOST_HELD: Final = 50_000

_MUTABLE: Final = COLUMNS[COLUMNS.index("state") :]
_VALUES: Final = ", ".join("?" * len(COLUMNS))
_CHANGES: Final = ", ".join(f"{name} = excluded.{name}" for name in _MUTABLE)
_WRITE: Final = (
    f"INSERT INTO lives VALUES ({_VALUES}) ON CONFLICT (number) DO UPDATE SET {_CHANGES}"  # noqa: S608 - constants only
)
_LIVES: Final = f"SELECT {', '.join(COLUMNS)} FROM lives"  # noqa: S608 - constants only
_TABLES: Final = {
    "lives": f"CREATE TABLE lives (number INTEGER PRIMARY KEY, {', '.join(COLUMNS[1:])}, "
    "UNIQUE (writer, born))",
    "lives_of": "CREATE INDEX lives_of ON lives (id)",
    "texts": "CREATE TABLE texts (number INTEGER PRIMARY KEY, type, message, "
    "UNIQUE (type, message))",
    "errors": "CREATE TABLE errors (life INTEGER, at INTEGER, text INTEGER)",
    "runs": "CREATE TABLE runs (writer, born INTEGER, policy, PRIMARY KEY (writer, born))",
    "definitions": "CREATE TABLE definitions (fingerprint PRIMARY KEY, definition)",
    "frames": "CREATE TABLE frames (position INTEGER PRIMARY KEY, streams BLOB, rows BLOB)",
    "reached": "CREATE TABLE reached (position INTEGER, hash BLOB, last_at INTEGER)",
}
LIFE: Final = 4  # bytes of a life's number
STREAM: Final = 2  # bytes of a stream's number: a body has no room for more than 65 536 of them
_CODES: Final = {LIFE: "I", STREAM: "H"}
_stream: Final = itemgetter(1)
_NOT_SPACES: Final = bytes(c for c in range(256) if c not in b'" \t\n\r')
_STRINGS: Final = re.compile(rb'"[^"]*+"?')


@attrs.frozen
class Directory:
    """Which life each stream of a frame is, and which stream each of its events belongs to.

    Both are empty for a frame that is not written as we write them, which must be decoded.
    """

    position: int
    streams: bytes
    rows: bytes


class Index:
    """The index of one log, as far as it has been caught up.

    Raises what sqlite3 raises; `rat_fsm.replay.indexing` makes one error of it.

    Args:
        cache: where it is kept.
        step: how many frames are taken in at once; others wait so long.
        held: how many lives that go on are held in memory.
    """

    def __init__(self, cache: Cache, step: int = MOST_FRAMES, held: int = MOST_HELD) -> None:
        self._cache = cache
        self._most = step
        self._held = held
        self.store = cache.store
        self.connection = cache.prepare("index", VERSION, _TABLES)
        self._tallies = Tallies(self.tables(), self._find)
        self._texts: dict[tuple[str, str], int] = {}
        self._at: int | None = None  # up to which frame the tallies in memory are right
        self._frames: Iterator[StoredFrame] = iter(())

    @property
    def reached(self) -> int:
        """The last frame that is in it, 0 for none."""
        return self._reached()[0]

    @property
    def last_at(self) -> int:
        """The time of the newest event in it, microseconds."""
        return self._reached()[2]

    def _reached(self) -> tuple[int, bytes, int]:
        found = self.connection.execute("SELECT position, hash, last_at FROM reached").fetchall()
        return found[0] if found else (0, b"", 0)

    def catch_up(self, progress: Progress | None = None) -> None:
        """Takes in what the log has got since, step by step; others may do it at the same time.

        Args:
            progress: is told the last frame after each step.

        Raises:
            UnsupportedFormat, DamagedFrame: a frame cannot be read; those before it are taken in.
        """
        if self._is_current():
            return
        while self._step():
            if progress is not None:
                progress(self.reached)

    def _is_current(self) -> bool:
        position, digest, _ = self._reached()
        return position == last_frame(self.store) and self._cache.is_at(position, digest)

    def _step(self) -> bool:
        """One transaction; whether there may be more to do."""
        with self._cache.transaction(), no_collection():
            self._resume()
            before, events, last = self._at, 0, None
            for count, stored in enumerate(self._frames, 1):
                self._take(decode(stored, new_model()))
                last, events = stored, events + stored.frame.count
                if events >= MOST_EVENTS or count >= self._most:
                    break
            if last is not None:
                self._write(before or 0, last)
        if last is not None:
            self._at = last.position
            self._tallies.forget(self._held)
        return last is not None

    def _resume(self) -> None:
        """Begins where the index ends; another log in the place of the one before begins anew."""
        position, digest, _ = self._reached()
        if self._at is not None and position == self._at:
            return
        if position and not self._cache.is_at(position, digest):
            for name in _TABLES.keys() - {"lives_of"}:
                self.connection.execute(f"DELETE FROM {name}")  # noqa: S608 - constants only
            position = 0
        self._texts = {}
        self._at, self._frames = position, self.store.read(position)
        ((last,),) = self.connection.execute("SELECT coalesce(max(number), 0) FROM lives")
        self._tallies = Tallies(self.tables(), self._find, last)

    def _take(self, decoded: Decoded) -> None:
        lives = self._tallies.fold(decoded)
        blobs = _packed(LIFE, lives), _packed(STREAM, map(_stream, decoded.rows))
        compact = is_compact(decoded.stored.frame.body)
        values = (decoded.stored.position, *(blobs if compact else (b"", b"")))
        self.connection.execute("INSERT INTO frames VALUES (?, ?, ?)", values)

    def _write(self, before: int, last: StoredFrame) -> None:
        tallies = self._tallies
        self.connection.executemany(_WRITE, map(values_of, tallies.changed(before)))
        errors = ((life, at, self._text(*text)) for life, at, *text in tallies.errors)
        self.connection.executemany("INSERT INTO errors VALUES (?, ?, ?)", errors)
        for writer, born, started in tallies.runs:
            self._write_run(writer, born, started)
        last_at = max(self.last_at, last.frame.last_at)
        self.connection.execute("DELETE FROM reached")
        values = last.position, last.frame.hash, last_at
        self.connection.execute("INSERT INTO reached VALUES (?, ?, ?)", values)

    def _write_run(self, writer: str, born: int, started: Started) -> None:
        policy = msgspec.json.encode(started.policy).decode()
        values = writer, born, policy
        self.connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", values)
        definitions = [
            (fingerprint_of(definition), msgspec.json.encode(definition).decode())
            for definition in started.lifecycles
        ]
        insert = "INSERT OR IGNORE INTO definitions VALUES (?, ?)"
        self.connection.executemany(insert, definitions)

    def tables(self) -> Tables:
        """What states are judged by; it need not search the log for what it has."""
        known = {}
        for name, text in self.connection.execute("SELECT * FROM definitions"):
            with contextlib.suppress(msgspec.ValidationError):  # it is not what we would write
                known[name] = read_table(msgspec.json.decode(text))
        return Tables(self.store, known)

    def _text(self, kind: str, message: str) -> int:
        """The number of an error's text, which many errors share."""
        number = self._texts.get((kind, message))
        if number is None:
            if len(self._texts) >= self._held:
                self._texts = {}
            values = kind, message
            insert = "INSERT OR IGNORE INTO texts (type, message) VALUES (?, ?)"
            self.connection.execute(insert, values)
            select = "SELECT number FROM texts WHERE type = ? AND message = ?"
            ((number,),) = self.connection.execute(select, values).fetchall()
            self._texts[values] = number
        return int(number)

    def _find(self, writer: str, born: int) -> Tally | None:
        found = self.lives("WHERE writer = ? AND born = ?", (writer, born))
        return next(found, None)

    def of(self, stream_id: str) -> list[Tally]:
        """Every life of an id, in the order they began."""
        return list(self.lives("WHERE id = ? ORDER BY first_at, number", (stream_id,)))

    def lives(self, where: str, values: Sequence[Any]) -> Iterator[Tally]:
        """The lives that an SQL condition over `COLUMNS` selects."""
        return (Tally(*row) for row in self.connection.execute(f"{_LIVES} {where}", values))

    def ids(self) -> Iterator[str]:
        """Every id."""
        return (name for (name,) in self.connection.execute("SELECT DISTINCT id FROM lives"))

    def policy(self, writer: str, born: int) -> dict[str, Any]:
        """The policy that the run in which something was born recorded."""
        found = self.connection.execute(
            "SELECT policy FROM runs WHERE writer = ? AND born <= ? ORDER BY born DESC LIMIT 1",
            (writer, born),
        ).fetchall()
        return msgspec.json.decode(found[0][0], type=dict[str, Any]) if found else {}

    def directories(self, first: int, last: int) -> Iterator[Directory]:
        """What is known of the events in some frames, in their order."""
        rows = self.connection.execute(
            "SELECT position, streams, rows FROM frames WHERE position BETWEEN ? AND ? "
            "ORDER BY position",
            (first, last),
        )
        return (Directory(*row) for row in rows)


def _packed(width: int, numbers: Iterable[int]) -> bytes:
    return array(_CODES[width], numbers).tobytes()


def is_compact(body: bytes) -> bool:
    """Whether JSON has no space outside of strings, as ours never has; see `too_deep`."""
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    spaces = body.translate(None, _NOT_SPACES).replace(b'""', b"")
    return not _STRINGS.sub(b"", spaces)
