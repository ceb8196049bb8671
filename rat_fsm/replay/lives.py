"""Finds every life of an id in a log, and folds each into steps: states, times, bytes so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from rat_fsm.codec import decode
from rat_fsm.events import (
    ActivityRecorded,
    Closing,
    ErrorRecorded,
    Position,
    Recorded,
    RetryScheduled,
    Stream,
)
from rat_fsm.replay.sources import mentioning, new_model
from rat_fsm.replay.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.codec import Decoded
    from rat_fsm.replay.tables import Table
    from rat_fsm.stores.port import Store


@attrs.define
class Step:
    """One event of a life, or a run of activities told as one.

    Attributes:
        micros: when it happened; ``until`` is when the last of a run did.
        before: the state it met; ``after`` is the state it led to.
        legal: whether the table has a way for it.
        waited: how long the stream had been in ``before``, microseconds.
        sent: the bytes of the life so far.
        count: how many events it stands for.
    """

    micros: int
    type: str
    event: Any
    before: str
    after: str
    legal: bool
    waited: int
    sent: int
    until: int
    count: int = 1


@attrs.define
class Life:
    """What happened in one life of an id.

    Attributes:
        entered: when the present state was entered, microseconds.
        spent: state → microseconds, for the states that were left.
        closing: how its end began, None where it has not.
        over: whether the present state is final.
    """

    stream: Stream
    writer: str
    state: str
    entered: int
    steps: list[Step] = attrs.field(factory=list)
    spent: dict[str, int] = attrs.field(factory=dict)
    sent: int = 0
    messages: int = 0
    errors: int = 0
    retries: int = 0
    closing: Closing | None = None
    over: bool = False

    @property
    def lived(self) -> int:
        """From the first event to the last, microseconds."""
        return self.steps[-1].until - self.steps[0].micros

    def fold(self, recorded: Recorded, table: Table, *, merge: bool) -> None:
        """Takes the next event; with ``merge`` an activity may join the step before it."""
        self._count(recorded.event)
        if merge and isinstance(recorded.event, ActivityRecorded) and self._joins(recorded):
            return
        after = table.next_state(self.state, recorded.type)
        self._step(recorded, after)
        if after is not None and after != self.state:
            waited = recorded.micros - self.entered
            self.spent[self.state] = self.spent.get(self.state, 0) + waited
            self.state, self.entered = after, recorded.micros
            self.over = after in table.final

    def _step(self, recorded: Recorded, after: str | None) -> None:
        step = Step(
            micros=recorded.micros,
            type=recorded.type,
            event=recorded.event,
            before=self.state,
            after=self.state if after is None else after,
            legal=after is not None,
            waited=recorded.micros - self.entered,
            sent=self.sent,
            until=recorded.micros,
        )
        self.steps.append(step)

    def _joins(self, recorded: Recorded) -> bool:
        last = self.steps[-1] if self.steps else None
        if last is None or not isinstance(last.event, ActivityRecorded) or not last.legal:
            return False
        last.event = ActivityRecorded(
            last.event.bytes_sent + recorded.event.bytes_sent,
            last.event.messages_sent + recorded.event.messages_sent,
        )
        last.count, last.until, last.sent = last.count + 1, recorded.micros, self.sent
        return True

    def _count(self, event: Any) -> None:
        match event:
            case ActivityRecorded():
                self.sent += event.bytes_sent
                self.messages += event.messages_sent
            case Closing():
                self.closing = event
            case ErrorRecorded():
                self.errors += 1
            case RetryScheduled():
                self.retries += 1


def lives_of(store: Store, stream_id: str, *, merge: bool) -> list[Life]:
    """Every life of an id, in the order they began."""
    tables = Tables(store)
    lives: dict[Stream, Life] = {}
    for fingerprints, recorded in history_of(store, stream_id):
        table = tables.of(fingerprints, recorded.stream.lifecycle)
        life = lives.get(recorded.stream)
        if life is None:
            life = Life(recorded.stream, recorded.writer, table.initial, recorded.micros)
            lives[recorded.stream] = life
        life.fold(recorded, table, merge=merge)
    return sorted(lives.values(), key=lambda life: life.steps[0].micros)


def history_of(store: Store, stream_id: str) -> Iterator[tuple[tuple[str, ...], Recorded]]:
    """The events of every stream with an id, and the fingerprints each was written under."""
    model = new_model()
    for stored in mentioning(store, msgspec.json.encode(stream_id)):
        for recorded in _picked(decode(stored, model), stream_id):
            yield stored.frame.fingerprints, recorded


def _picked(decoded: Decoded, stream_id: str) -> Iterator[Recorded]:
    """The events of one id, without reading those of a thousand others around them."""
    frame, position = decoded.stored.frame, decoded.stored.position
    streams = {
        number: Stream(lifecycle, name, f"{frame.writer}:{born}")
        for number, (lifecycle, name, born, _) in enumerate(decoded.streams)
        if name == stream_id
    }
    versions = {number: decoded.streams[number][3] for number in streams}
    for offset, row in enumerate(decoded.rows):
        if row[1] in streams:
            number, reader = row[1], decoded.readers[row[2]]
            versions[number] += 1
            yield Recorded(
                position=Position(position, offset),
                micros=frame.first_at + row[0],
                stream=streams[number],
                version=versions[number],
                writer=frame.writer,
                seq=frame.first + offset,
                type=reader.tag,
                event=reader.read(row[3:]),
            )
