"""The events of a log a frame at a time, each with what it did to its stream.

A row here is a tuple and not a `Recorded`: what is written by the million must cost little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from rat_fsm.codec import decode, no_collection
from rat_fsm.events import Stream
from rat_fsm.replay.sources import new_model
from rat_fsm.replay.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rat_fsm.codec import Decoded
    from rat_fsm.exports.selecting import Progress, Selection
    from rat_fsm.projections.definitions import Table
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle


class Row(NamedTuple):
    """An event of a page.

    Attributes:
        offset: its place in the frame.
        micros: when it was accepted.
        stream: whose event it is.
        type: its tag.
        event: what happened.
        version: its number within the stream.
        before: the state it met.
        after: the state it led to; the same where the table had no way for it.
        legal: whether the table had one.
        over: whether the stream has ended.
    """

    offset: int
    micros: int
    stream: Stream
    type: str
    event: Any
    version: int
    before: str
    after: str
    legal: bool
    over: bool


@attrs.frozen(eq=False)
class Page:
    """The selected events of one frame.

    Attributes:
        position: of the frame.
        writer: whose frame it is.
        first: the sequence number of the row with the offset 0.
        rows: in their order.
    """

    position: int
    writer: str
    first: int
    rows: Sequence[Row]


def pages(
    store: Store,
    selection: Selection,
    lifecycles: Iterable[Lifecycle] | None = None,
    progress: Progress | None = None,
) -> Iterator[Page]:
    """The pages of a log that hold something of a selection.

    Reads the log from its beginning whatever is selected, because a state is the sum of all
    before. Each event is judged by the table it was written under, and no code of its lifecycle
    is needed for that. Streams that have ended are forgotten.
    """
    model, judge = new_model(lifecycles), _Judge(store)
    for stored in store.read():
        if selection.ends_before(stored.position):
            return
        with no_collection():
            decoded = decode(stored, model)
            rows = _rows(decoded, judge.judge(decoded), selection)
        if rows:
            yield Page(stored.position, stored.frame.writer, stored.frame.first, rows)
        if progress is not None:
            progress(stored.position)


def _rows(
    decoded: Decoded, verdicts: Sequence[tuple[int, str, str, bool, bool]], selection: Selection
) -> list[Row]:
    frame, readers, released = decoded.stored.frame, decoded.readers, selection.released
    streams = [
        Stream(lifecycle, name, f"{frame.writer}:{born}")
        for lifecycle, name, born, _ in decoded.streams
    ]
    found = []
    for offset in selection.chosen(decoded):
        row = decoded.rows[offset]
        reader = readers[row[2]]
        event = released(reader.read(row[3:]))
        at = frame.first_at + row[0]
        found.append(Row(offset, at, streams[row[1]], reader.tag, event, *verdicts[offset]))
    return found


@attrs.define
class _Life:
    """Where a stream stands."""

    table: Table
    state: str
    version: int


class _Judge:
    """Knows the state of every open stream, by its writer and where it was born."""

    def __init__(self, store: Store) -> None:
        self._tables = Tables(store)
        self._states: dict[tuple[str, int], str] = {}

    def judge(self, decoded: Decoded) -> list[tuple[int, str, str, bool, bool]]:
        """Version, state before and after, legality and end for each row of the next frame."""
        fingerprints = decoded.stored.frame.fingerprints
        names = {lifecycle for lifecycle, *_ in decoded.streams}
        tables = {name: self._tables.of(fingerprints, name) for name in names}
        lives = [
            self._life(decoded.stored.frame.writer, tables[lifecycle], born, version)
            for lifecycle, _, born, version in decoded.streams
        ]
        tags = [reader.tag for reader in decoded.readers]
        verdicts = []
        for row in decoded.rows:
            life = lives[row[1]]
            before, table = life.state, life.table
            after = table.next_state(before, tags[row[2]])
            if after is not None:
                life.state = after
            life.version += 1
            over = life.state in table.final
            verdicts.append((life.version, before, life.state, after is not None, over))
        self._keep(decoded, lives)
        return verdicts

    def _life(self, writer: str, table: Table, born: int, version: int) -> _Life:
        state = self._states.get((writer, born))
        if state is None:
            state = _final(table) if version else table.initial
        return _Life(table, state, version)

    def _keep(self, decoded: Decoded, lives: Sequence[_Life]) -> None:
        writer = decoded.stored.frame.writer
        for (_, _, born, _), life in zip(decoded.streams, lives, strict=True):
            if life.state in life.table.final:
                self._states.pop((writer, born), None)
            else:
                self._states[writer, born] = life.state


def _final(table: Table) -> str:
    """The state of a stream that has ended and was forgotten; which of several nobody knows."""
    return " or ".join(sorted(table.final)) or table.initial
