"""Stores that hold any history of several writers, cut into frames of any length."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from rat_fsm.codec import encode_body, seal
from rat_fsm.events import UnknownEvent
from rat_fsm.log import EventLog
from rat_fsm.projections.record import StreamRecord
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import GENESIS
from rat_fsm.table import EventType
from tests.cli.logs import Ticking, a_life
from tests.frames import LIFECYCLES, flat, row
from tests.histories import histories

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rat_fsm.events import Recorded
    from rat_fsm.stores.port import Frame, Store, StoredFrame

_KINDS = {kind.tag: kind for lifecycle in LIFECYCLES for kind in lifecycle.events}


@st.composite
def stores(draw: st.DrawFn, *, least: int = 0) -> MemoryStore:
    """A store with a history of two writers in it."""
    store = MemoryStore()
    last: dict[str, Frame] = {}
    for writer, recorded in groupby(draw(histories(least=least)), attrgetter("writer")):
        left = list(recorded)
        while left:
            size = draw(st.integers(1, 4))
            frame = frame_of(left[:size], last.get(writer))
            store.append(frame)
            last[writer], left = frame, left[size:]
    return store


def frame_of(some: Sequence[Recorded], before: Frame | None = None) -> Frame:
    """The frame of a writer that holds these events."""
    records: dict[Any, StreamRecord] = {}
    rows = [_row(records, recorded) for recorded in some]
    body, _ = encode_body(flat(rows))
    return seal(
        writer=some[0].writer,
        first=some[0].seq,
        count=len(some),
        first_at=some[0].micros,
        last_at=some[-1].micros,
        body=body,
        fingerprints=tuple(lifecycle.fingerprint for lifecycle in LIFECYCLES),
        salt=some[0].seq.to_bytes(16),
        prev=GENESIS if before is None else before.hash,
    )


def _row(records: dict[Any, StreamRecord], recorded: Recorded) -> Any:
    stream, event = recorded.stream, recorded.event
    record = records.get(stream)
    if record is None:
        record = records[stream] = StreamRecord(stream.lifecycle, stream.id, recorded.writer, "")
        record.born, record.written = int(stream.born.partition(":")[2]), recorded.version - 1
    if isinstance(event, UnknownEvent):
        kind = EventType(event.tag, UnknownEvent, event.version, (), {}, {}, stream.lifecycle)
        return recorded.micros, record, kind, (), False
    return row(record, _KINDS[recorded.type], event, at=recorded.micros)


def frames_of(store: Store) -> list[StoredFrame]:
    """Everything in a store."""
    return list(store.read())


def written(path: Path, *connections: str, writers: Sequence[str] = ("w0",)) -> Path:
    """A log in a file in which each writer recorded whole lives, each event a frame."""
    for writer in writers:
        with EventLog.open(path, clock=Ticking(), writer=writer) as log:
            log.begin({})
            log.flush()
            for connection_id in connections:
                for name, event in a_life(connection_id):
                    log.append(("connection", name), event)
                    log.flush()
    return path
