"""Folds frames into tallies, thousands of lives at a time, as fast as Python lets one."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.codec import MAX_INTEGER
from rat_fsm.errors import DamagedFrame
from rat_fsm.events import ActivityRecorded, ErrorRecorded, Started
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.projections.definitions import UNDEFINED
from rat_fsm.replay.tally import Tally, fold_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rat_fsm.codec import Decoded, Reader
    from rat_fsm.projections.definitions import Table
    from rat_fsm.replay.tables import Tables
    from rat_fsm.stores.port import Frame

_ACTIVITY: Final = "connection.activity_recorded"
_OURS: Final = (CONNECTION.name, NODE.name)


class Tallies:
    """Folds frames into tallies; holds those that may go on, and finds others where they are kept.

    What every activity changes stands in arrays: ten thousand lives that take turns would have
    their objects fetched from memory for each event, which took three times as long.

    Args:
        tables: what states are judged by.
        find: looks a life up by its writer and birth; what it does not know is new.
        last: the number given last.

    Attributes:
        errors: (life, time, type, message) of each error since `forget`.
        runs: (writer, born, what it said) of each run that began since then.
    """

    def __init__(
        self, tables: Tables, find: Callable[[str, int], Tally | None], last: int = 0
    ) -> None:
        self._tables = tables
        self._find = find
        self._last = last
        self.errors: list[tuple[int, int, str, str]] = []
        self.runs: list[tuple[str, int, Started]] = []
        self._hold(())

    def _hold(self, tallies: Iterable[Tally]) -> None:
        """Makes these lives all that is held; each has a slot in every column."""
        self._tallies: list[Tally] = []
        self._slots: dict[str, dict[int, int]] = {}
        self._judged: dict[str, tuple[str, ...]] = {}
        self._numbers, self._names, self._events = array("q"), array("q"), array("q")
        self._sent, self._messages = array("q"), array("q")
        self._last_at, self._last_frame = array("q"), array("q")
        self._flows = bytearray()  # whether an activity would be legal and leave its state
        for tally in tallies:
            self._add(tally)

    def _add(self, tally: Tally) -> int:
        slot = len(self._tallies)
        self._tallies.append(tally)
        self._slots.setdefault(tally.writer, {})[tally.born] = slot
        self._names.append(hash(tally.id))
        self._numbers.append(tally.number)
        self._events.append(tally.events)
        self._sent.append(tally.bytes_sent)
        self._messages.append(tally.messages_sent)
        self._last_at.append(tally.last_at)
        self._last_frame.append(tally.last_frame)
        self._flows.append(0)
        return slot

    def changed(self, after: int) -> Iterator[Tally]:
        """The lives with events in frames after a position."""
        for slot, tally in enumerate(self._tallies):
            if self._last_frame[slot] > after:
                tally.events = self._events[slot]
                tally.bytes_sent, tally.messages_sent = self._sent[slot], self._messages[slot]
                tally.last_at, tally.last_frame = self._last_at[slot], self._last_frame[slot]
                yield tally

    def forget(self, most: int) -> None:
        """Lets go of the lives that are over, and of all where that leaves more than ``most``.

        What has changed is to be kept elsewhere before, see `changed`.
        """
        self.errors, self.runs = [], []
        going_on = [tally for tally in self._tallies if not tally.over]
        self._hold(going_on if len(going_on) <= most else ())

    def fold(self, decoded: Decoded) -> list[int]:
        """Folds the next frame; answers with the life behind each of its streams, 0 for none.

        Raises:
            DamagedFrame: it contradicts what was folded before.
        """
        try:
            slots = self._fold(decoded, self._resolve(decoded))
        except OverflowError as problem:
            raise DamagedFrame(
                f"its numbers need more than 64 bits: {problem}", position=decoded.stored.position
            ) from problem
        numbers = self._numbers
        return [0 if slot < 0 else numbers[slot] for slot in slots]

    def _fold(self, decoded: Decoded, slots: list[int]) -> list[int]:
        frame, position, readers = decoded.stored.frame, decoded.stored.position, decoded.readers
        tables = self._tables.by_name(frame.fingerprints)
        events, sent, messages = self._events, self._sent, self._messages
        last_at, last_frame, flows = self._last_at, self._last_frame, self._flows
        hot, base = [reader.hot for reader in readers], frame.first_at
        for row in decoded.rows:  # activities are told apart here: a call for each would cost most
            slot = slots[row[1]]
            if slot < 0:
                slot = slots[row[1]] = self._begin(decoded, row, tables)
            events[slot] += 1
            last_at[slot] = base + row[0]
            last_frame[slot] = position
            if (
                hot[row[2]]
                and flows[slot]
                and len(row) == 5  # noqa: PLR2004 - offset, stream, type, bytes, messages
                and row[3].__class__ is int
                and row[4].__class__ is int
            ):
                sent[slot] += row[3]
                messages[slot] += row[4]
            else:
                self._take(slot, tables, readers[row[2]], row)
        return slots

    def _resolve(self, decoded: Decoded) -> list[int]:
        """The slots of the lives that a frame goes on with; -1 for those that may begin in it."""
        frame, slots, names = decoded.stored.frame, list[int](), self._names
        held = self._slots.setdefault(frame.writer, {})
        if self._judged.get(frame.writer) != frame.fingerprints:
            self._judge(frame)
        for _, stream_id, born, _ in decoded.streams:
            slot = held.get(born, -1)
            if slot < 0 and born < frame.first:
                slot = self._look_up(frame, born)
            if slot >= 0 and names[slot] != hash(stream_id):
                raise DamagedFrame(
                    f"it calls the stream that began at {born} {stream_id}, "
                    f"which was {self._tallies[slot].id}",
                    position=decoded.stored.position,
                )
            slots.append(slot)
        return slots

    def _judge(self, frame: Frame) -> None:
        """Looks at all lives of a writer by the tables that are in force now."""
        self._judged[frame.writer] = frame.fingerprints
        tables = self._tables.by_name(frame.fingerprints)
        for slot in self._slots[frame.writer].values():
            self._flows[slot] = _flows(self._tallies[slot], tables)

    def _look_up(self, frame: Frame, born: int) -> int:
        tally = self._find(frame.writer, born)
        if tally is None:
            return -1
        slot = self._add(tally)
        self._flows[slot] = _flows(tally, self._tables.by_name(frame.fingerprints))
        return slot

    def _begin(self, decoded: Decoded, row: Sequence[Any], tables: Mapping[str, Table]) -> int:
        """The life that begins with a row."""
        frame, position = decoded.stored.frame, decoded.stored.position
        lifecycle, stream_id, born, _ = decoded.streams[row[1]]
        if abs(born) > MAX_INTEGER or born in self._slots[frame.writer]:
            raise DamagedFrame(f"a second stream begins at {born}", position=position)
        self._last += 1
        state = tables.get(lifecycle, UNDEFINED).initial
        first_at = frame.first_at + row[0]
        values = self._last, lifecycle, stream_id, frame.writer, born, first_at, position, state
        return self._add(Tally(*values))

    def _take(
        self, slot: int, tables: Mapping[str, Table], reader: Reader, row: Sequence[Any]
    ) -> None:
        tally = self._tallies[slot]
        table = tables.get(tally.lifecycle, UNDEFINED)
        after = table.next_state(tally.state, reader.tag)
        if after is None:
            tally.illegal += 1
            return
        if after != tally.state:
            tally.state, tally.over = after, after in table.final
            self._flows[slot] = _flows(tally, tables)
        if tally.lifecycle in _OURS:
            self._read(slot, tally, reader.read(row[3:]))

    def _read(self, slot: int, tally: Tally, event: Any) -> None:
        """What events of our own lifecycles say of a life, beyond its state."""
        if isinstance(event, ActivityRecorded):
            self._sent[slot] += event.bytes_sent
            self._messages[slot] += event.messages_sent
        elif isinstance(event, ErrorRecorded):
            error = event.error_type, event.message
            self.errors.append((tally.number, self._last_at[slot], *error))
        elif isinstance(event, Started):
            self.runs.append((tally.writer, tally.born, event))
        fold_event(tally, event)


def _flows(tally: Tally, tables: Mapping[str, Table]) -> bool:
    """Whether an activity leaves the state of a life as it is."""
    if tally.lifecycle != CONNECTION.name:
        return False
    table = tables.get(CONNECTION.name, UNDEFINED)
    return table.next_state(tally.state, _ACTIVITY) == tally.state
