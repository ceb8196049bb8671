"""Frames of any events, made by the codec itself."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
from hypothesis import strategies as st

from rat_fsm import events
from rat_fsm.codec import encode_body, hash_of, payload_of, seal
from rat_fsm.events import Position, Recorded, Stream
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.projections.model import ReadModel
from rat_fsm.projections.record import StreamRecord
from rat_fsm.stores.port import GENESIS, StoredFrame
from rat_fsm.testing import recording, strategies
from tests.orders import ORDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rat_fsm.table import EventType, Lifecycle

START: Final = recording.START
LIFECYCLES: Final = (CONNECTION, NODE, ORDER)


@st.composite
def accepted(
    draw: st.DrawFn, lifecycles: Sequence[Lifecycle] = LIFECYCLES
) -> tuple[list[Any], list[Any]]:
    """Rows of several streams, legal or not, as the codec is given them, and their events."""
    records = [
        _record(lifecycle, f"{lifecycle.name} {number}", draw(st.integers(0, 9)))
        for number, lifecycle in enumerate(draw(st.lists(st.sampled_from(lifecycles), min_size=1)))
    ]
    drawn: list[Any] = []
    happened: list[Any] = []
    at = START
    for record in draw(st.lists(st.sampled_from(records), min_size=1, max_size=12)):
        lifecycle = next(lc for lc in lifecycles if lc.name == record.lifecycle)
        kind = draw(st.sampled_from(lifecycle.events))
        happened.append(draw(strategies.events(kind.cls)))
        at += draw(st.integers(0, 10**7))
        drawn.append(row(record, kind, happened[-1], at=at))
    return drawn, happened


def _record(lifecycle: Lifecycle, stream_id: str, version: int) -> StreamRecord:
    record = StreamRecord(lifecycle.name, stream_id, "w0", lifecycle.initial)
    record.born, record.written = version + 1, version
    return record


def row(record: StreamRecord, kind: EventType, event: Any, *, at: int) -> Any:
    """One accepted event; activities in their short form, as the hot path has them."""
    if isinstance(event, events.ActivityRecorded):
        return at, record, kind, event.bytes_sent, event.messages_sent
    return at, record, kind, payload_of(kind, event), False


def flat(rows: Sequence[Any]) -> list[Any]:
    """Rows as a log keeps them."""
    return list(chain.from_iterable(rows))


def frame_of(rows: Sequence[Any], lifecycles: Sequence[Lifecycle] = LIFECYCLES) -> StoredFrame:
    """The first frame of a log, with these rows in it."""
    body, _ = encode_body(flat(rows))
    frame = seal(
        writer="w0",
        first=1,
        count=len(rows),
        first_at=rows[0][0],
        last_at=rows[-1][0],
        body=body,
        fingerprints=tuple(lifecycle.fingerprint for lifecycle in lifecycles),
        salt=bytes(range(16)),
        prev=GENESIS,
    )
    return StoredFrame(1, frame)


def frame_with(body: Any, **header: Any) -> StoredFrame:
    """A frame with any body and a header that fits a usual one, its hash made right."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    count = len(body["events"]) if isinstance(body, dict) else _USUAL.frame.count
    frame = attrs.evolve(_USUAL.frame, body=raw, count=count)
    frame = attrs.evolve(frame, **header)
    return StoredFrame(1, attrs.evolve(frame, hash=hash_of(frame)))


def usual_body() -> dict[str, Any]:
    """A body as a server writes it: a connection, its activity, and what the node says."""
    body: dict[str, Any] = msgspec.json.decode(_USUAL.frame.body)
    return body


def _usual_rows() -> list[Any]:
    node, connection = _record(NODE, "w0:1", 0), _record(CONNECTION, "c1", 2)
    described = [
        (node, NODE, events.Started([dict(CONNECTION.definition)], {"python": "3"})),
        (node, NODE, events.Serving()),
        (connection, CONNECTION, events.Registered("10.0.0.1", "sse", {"user": "ü"})),
        (connection, CONNECTION, events.Activated()),
        (connection, CONNECTION, events.ActivityRecorded(100, 1)),
        (connection, CONNECTION, events.RetryScheduled(1, 1e-7, 0.5, 30.0, "network_error")),
        (connection, CONNECTION, events.Recovered(1)),
        (connection, CONNECTION, events.ActivityRecorded(50, 2)),
    ]
    made = []
    for number, (record, lifecycle, event) in enumerate(described):
        kind = lifecycle.event_type(type(event))
        assert kind is not None
        made.append(row(record, kind, event, at=START + number))
    node.written, connection.written = 0, 0
    return made


_USUAL: Final = frame_of(_usual_rows())


def recorded_as(rows: Sequence[Any], happened: Sequence[Any]) -> list[Recorded]:
    """The envelopes that rows must be read back as."""
    versions = {id(record): record.written for _, record, *_ in rows}
    envelopes = []
    for offset, ((at, record, kind, *_), event) in enumerate(zip(rows, happened, strict=True)):
        versions[id(record)] += 1
        envelopes.append(
            Recorded(
                position=Position(1, offset),
                micros=at,
                stream=Stream(record.lifecycle, record.id, f"w0:{record.born}"),
                version=versions[id(record)],
                writer="w0",
                seq=1 + offset,
                type=kind.tag,
                event=event,
            )
        )
    return envelopes


def new_model(lifecycles: Sequence[Lifecycle] = LIFECYCLES) -> ReadModel:
    """An empty read model."""
    return ReadModel(lifecycles)
