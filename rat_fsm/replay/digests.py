"""Sums up what happened in each stream of two logs, so that those that differ are soon found.

Of an event only a digest is kept, chained to those before it in its stream: two streams with
equal digests had the same events. It is Python's keyed hash of 64 bits, which finds every
difference that came about by itself; against somebody who hides one there are seals.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from rat_fsm.events import ActivityRecorded, Closed, Stalled, Stopped, Unstalled
from rat_fsm.replay.rows import is_activity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rat_fsm.codec import Decoded

    Key = tuple[str, str, str, str]  # writer, born, lifecycle and id

MOST_IN_MEMORY: Final = 50_000
A: Final = "a"
B: Final = "b"

_LIVES: Final = """
CREATE TABLE lives (
    side TEXT, writer TEXT, born TEXT, lifecycle TEXT, id TEXT,
    began INTEGER, frame INTEGER, "offset" INTEGER, events INTEGER, digest INTEGER,
    PRIMARY KEY (side, writer, born, lifecycle, id)
) WITHOUT ROWID
"""
_KEEP: Final = "INSERT OR REPLACE INTO lives VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FIND: Final = """
SELECT began, frame, "offset", events, digest FROM lives
WHERE side = ? AND writer = ? AND born = ? AND lifecycle = ? AND id = ?
"""
# A stream that had begun where the logs were still the same is the same one in both; others are
# told by their number among the lives of their id.
_PAIRS: Final = """
SELECT lifecycle, id, min(began),
    max(CASE side WHEN 'a' THEN writer END), max(CASE side WHEN 'a' THEN born END),
    max(CASE side WHEN 'a' THEN frame END), max(CASE side WHEN 'a' THEN events END),
    max(CASE side WHEN 'b' THEN writer END), max(CASE side WHEN 'b' THEN born END),
    max(CASE side WHEN 'b' THEN frame END), max(CASE side WHEN 'b' THEN events END)
FROM (
    SELECT *, CASE WHEN began
        THEN row_number() OVER (PARTITION BY side, began, lifecycle, id ORDER BY frame, "offset")
        ELSE writer || ':' || born END AS life
    FROM lives
)
GROUP BY lifecycle, id, life
HAVING count(*) = 1 OR min(digest) <> max(digest)
ORDER BY min(frame), min("offset")
"""

_encode: Final = msgspec.json.Encoder(order="sorted").encode
_DURATIONS: Final = {Closed: "duration", Stalled: "waited", Unstalled: "waited"}


def fact_of(event: Any, *, times: bool) -> Any:
    """What of an event is compared, the same for all schemas that it may be written in.

    Args:
        event: as it was read.
        times: whether measured durations are part of it.
    """
    if isinstance(event, ActivityRecorded):
        return event.bytes_sent, event.messages_sent
    return _encode(event if times else _timeless(event))


def _timeless(event: Any) -> Any:
    if isinstance(event, Stopped):
        return Stopped({name: x for name, x in event.report.items() if name != "duration"})
    name = _DURATIONS.get(type(event))
    return event if name is None else attrs.evolve(event, **{name: 0.0})


@attrs.define
class _Life:
    """What is known of one life, behind where the logs are the same.

    Attributes:
        began: whether it began there.
        frame: where its first event is, with ``offset``.
    """

    began: bool
    frame: int
    offset: int
    events: int = 0
    digest: int = 0


@attrs.frozen
class Side:
    """One side of a life: whose it is there, in which frame what is compared begins, how much."""

    writer: str
    born: int
    frame: int
    events: int


@attrs.frozen
class Pair:
    """A life that two logs tell differently, or that one of them does not tell.

    Attributes:
        shared: whether it had begun where the logs are still the same: then both know it.
    """

    lifecycle: str
    id: str
    shared: bool
    a: Side | None
    b: Side | None

    @property
    def kind(self) -> str:
        """What the difference is called: parted, only_a or only_b."""
        if self.shared or (self.a and self.b):
            return "parted"
        return "only_b" if self.a is None else "only_a"


class Digests:
    """The lives of two logs; beyond the newest they are kept in a temporary file.

    Args:
        times: whether it counts when something happened.
    """

    def __init__(self, *, times: bool) -> None:
        self._times = times
        self._lives: dict[Key, _Life] = {}
        self._side = A
        self._kept = False
        self._database = sqlite3.connect("", isolation_level=None)  # a file that has no name
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(_LIVES)

    def begin(self, side: str) -> None:
        """What is taken from now on is of this side, `A` or `B`."""
        self._keep()
        self._side, self._kept = side, False

    def take(self, decoded: Decoded, rows: Sequence[Sequence[Any]]) -> None:
        """Takes the first rows of the next frame."""
        if len(self._lives) > MOST_IN_MEMORY:
            self._keep()
        lives: list[_Life | None] = [None] * len(decoded.streams)
        first_at, times = decoded.stored.frame.first_at, self._times
        for offset, row in enumerate(rows):
            life = lives[row[1]]
            if life is None:
                life = lives[row[1]] = self._life(decoded, row[1], offset)
            reader = decoded.readers[row[2]]
            if is_activity(reader, row):
                fact: Any = (row[3], row[4])
            else:
                fact = fact_of(reader.read(row[3:]), times=times)
            at = first_at + row[0] if times else 0
            life.digest = hash((life.digest, reader.tag, fact, at))
            life.events += 1

    def _life(self, decoded: Decoded, number: int, offset: int) -> _Life:
        lifecycle, stream_id, born, base = decoded.streams[number]
        key = (decoded.stored.frame.writer, str(born), lifecycle, stream_id)
        life = self._lives.get(key) or self._find(key)
        if life is None:
            life = _Life(base == 0, decoded.stored.position, offset)
        self._lives[key] = life
        return life

    def _find(self, key: Key) -> _Life | None:
        if not self._kept:
            return None
        rows = self._database.execute(_FIND, (self._side, *key)).fetchall()
        return _Life(bool(rows[0][0]), *rows[0][1:]) if rows else None

    def _keep(self) -> None:
        lives = ((self._side, *key, *attrs.astuple(life)) for key, life in self._lives.items())
        self._database.execute("BEGIN")
        self._database.executemany(_KEEP, lives)
        self._database.execute("COMMIT")
        self._kept = True
        self._lives = {}

    def differing(self) -> Iterator[Pair]:
        """The lives that are not the same on both sides, in the order they begin."""
        self._keep()
        for lifecycle, stream_id, began, *sides in self._database.execute(_PAIRS):
            yield Pair(lifecycle, stream_id, not began, _side(*sides[:4]), _side(*sides[4:]))

    def count(self, side: str) -> int:
        """How many lives a side has."""
        self._keep()
        ((count,),) = self._database.execute("SELECT count(*) FROM lives WHERE side = ?", (side,))
        return int(count)

    def close(self) -> None:
        """Gives the file back; idempotent."""
        self._database.close()


def _side(writer: str | None, born: str, frame: int, events: int) -> Side | None:
    return None if writer is None else Side(writer, int(born), frame, events)
