"""Finds lives by what is known of them: when, how they ended, who, how long, which error."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.events import to_datetime
from rat_fsm.replay.indexing import indexed
from rat_fsm.replay.query import MICROS
from rat_fsm.replay.sources import opened
from rat_fsm.replay.tally import COLUMNS, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from rat_fsm.replay.index import Index, Progress
    from rat_fsm.replay.query import Query
    from rat_fsm.replay.sources import LogSource

NAMES: Final = ", ".join(COLUMNS)
# A life that is open lasts as long as the log.
_UNTIL: Final = "CASE WHEN over THEN last_at ELSE max(last_at, :now) END AS until"
LIVES: Final = f"(SELECT *, {_UNTIL} FROM lives)"  # noqa: S608 - constants only


@attrs.frozen
class Found:
    """A life that was found.

    Attributes:
        tally: all that is known of it.
        life: which life of its id it is, counted from 1.
        until: when its last event was, or where it is open the log's last, microseconds.
    """

    tally: Tally
    life: int
    until: int

    @property
    def lived(self) -> int:
        """How long it lasted, microseconds."""
        return self.until - self.tally.first_at

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, times as in the log's envelopes, durations in seconds."""
        tally = self.tally
        return {
            "stream": [tally.lifecycle, tally.id, f"{tally.writer}:{tally.born}"],
            "life": self.life,
            "state": tally.state,
            "open": not tally.over,
            "began": _iso(tally.first_at),
            "last": _iso(tally.last_at),
            "lived": self.lived / MICROS,
            "client": tally.client,
            "kind": tally.kind,
            "route": tally.route,
            "reason": tally.reason,
            "ended_by": tally.ended_by,
            "phase": tally.phase,
            "code": tally.code,
            "events": tally.events,
            "bytes": tally.bytes_sent,
            "messages": tally.messages_sent,
            "errors": tally.errors,
            "retries": tally.retries,
            "illegal": tally.illegal,
            "frames": [tally.first_frame, tally.last_frame],
        }


def _iso(micros: int) -> str:
    return to_datetime(micros).isoformat().replace("+00:00", "Z")


def find(
    source: LogSource,
    query: Query,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Found]:
    """The lives in a log that a query describes.

    Args:
        source: a URL or path, a store, or a log.
        query: what to look for.
        cache: the folder where the index of a long log is kept, the user's own by default.
        progress: is told the frame that the index has been brought up to.

    Raises:
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    with searching(source, cache=cache, progress=progress) as search:
        yield from search.find(query)


@contextlib.contextmanager
def searching(
    source: LogSource, *, cache: Path | None = None, progress: Progress | None = None
) -> Iterator[Search]:
    """Answers several questions about a log; see `find`."""
    with opened(source) as store, indexed(store, cache, progress) as index:
        yield Search(index)


class Search:
    """Asks an index for lives.

    Attributes:
        now: the time of the log's newest event, microseconds.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self.now = index.last_at

    def count(self, query: Query) -> int:
        """How many lives a query describes, whatever its limit."""
        where, values = self._where(query)
        ((count,),) = self.execute(f"SELECT count(*) FROM {LIVES} WHERE {where}", values)  # noqa: S608 - constants only
        return int(count)

    def find(self, query: Query) -> Iterator[Found]:
        """The lives, in the order the query wants them."""
        where, values = self._where(query)
        limit = "" if query.limit is None else f"LIMIT {int(query.limit)}"
        selection = f"SELECT * FROM {LIVES} WHERE {where} ORDER BY {query.order} {limit}"  # noqa: S608 - constants only
        for row in self.numbered(selection, values, order=query.order):
            yield found_in(row)

    def numbered(
        self, selection: str, values: Mapping[str, Any], *, order: str, more: str = ""
    ) -> Iterator[Any]:
        """The rows that a SELECT finds: lives, their numbers among those of their ids, and more."""
        return self.execute(
            f"""
            WITH found AS ({selection}),
            counted AS (
                SELECT number, row_number() OVER (PARTITION BY id ORDER BY first_at, number) AS life
                FROM lives WHERE id IN (SELECT id FROM found)
            )
            SELECT {NAMES}, life, until{more}
            FROM found JOIN counted USING (number) ORDER BY {order}
            """,  # noqa: S608 - constants only; what is asked for goes in as values
            values,
        )

    def execute(self, sql: str, values: Mapping[str, Any]) -> Iterator[Any]:
        """The rows that SQL finds, which may speak of ``:now``."""
        return self.index.connection.execute(sql, {**values, "now": self.now})

    def _where(self, query: Query) -> tuple[str, Mapping[str, Any]]:
        for name, function in query.functions().items():
            self.index.connection.create_function(name, -1, function)
        return query.conditions()


def found_in(row: Any) -> Found:
    """The life that a row of `Search.numbered` tells of."""
    end = len(COLUMNS)
    return Found(Tally(*row[:end]), *row[end : end + 2])
