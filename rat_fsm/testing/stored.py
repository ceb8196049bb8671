"""Puts histories into stores, in frames as writers leave them: what readers are tested with."""

from __future__ import annotations

from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from rat_fsm.codec import encode_body, payload_of, seal
from rat_fsm.errors import InvalidArgument
from rat_fsm.events import ActivityRecorded, UnknownEvent
from rat_fsm.projections.record import StreamRecord
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import GENESIS
from rat_fsm.table import EventType, Lifecycle
from rat_fsm.testing import strategies
from rat_fsm.testing.recording import MAX_SIZE, histories

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rat_fsm.events import Recorded
    from rat_fsm.stores.port import Frame
    from rat_fsm.testing.recording import Events

MAX_FRAME: Final = 4


def logs(
    lifecycles: Lifecycle | Sequence[Lifecycle],
    *,
    legal: bool | None = True,
    min_size: int = 0,
    max_size: int = MAX_SIZE,
    ids: Sequence[str] = ("a",),
    writers: Sequence[str] = ("w0", "w1"),
    events: Events = strategies.events,
    max_frame: int = MAX_FRAME,
) -> st.SearchStrategy[MemoryStore]:
    """Stores in memory with a log of several writers: their frames, of any length, by turns.

    The hashes are right, and the fingerprints are of the lifecycles given, so that every reader
    of a store takes them; what it says may be illegal, as `histories` is told. There is no NODE
    run in it unless NODE is one of the lifecycles.

    ::

        from hypothesis import given
        from rat_fsm import CONNECTION, replay
        from rat_fsm.testing import logs

        @given(logs(CONNECTION, ids="ab", max_size=10))
        def test_nothing_of_a_legal_log_is_illegal(store):
            assert replay(store).stats.as_dict()["illegal_events"] == 0

    Args:
        lifecycles: whose events they are; the other arguments too are those of `histories`.
        max_frame: the most events in a frame.

    Raises:
        InvalidArgument, InvalidArgumentType: as `histories`.
    """
    if max_frame < 1:
        raise InvalidArgument(f"no frame has at most {max_frame} events")
    machines = (lifecycles,) if isinstance(lifecycles, Lifecycle) else tuple(lifecycles)
    drawn = histories(
        machines,
        legal=legal,
        min_size=min_size,
        max_size=max_size,
        ids=ids,
        writers=writers,
        events=events,
    )
    return _stores(drawn, tuple(dict.fromkeys(machines)), st.integers(1, max_frame))


class _Drawn(MemoryStore):
    """A store that shows what is in it where a failing example is printed."""

    def __repr__(self) -> str:
        """Its frames: who wrote them, and their bodies."""
        frames = (stored.frame for stored in self.read())
        return f"a log of {[(frame.writer, frame.body.decode()) for frame in frames]}"


@st.composite
def _stores(
    draw: st.DrawFn,
    drawn: st.SearchStrategy[list[Recorded]],
    machines: tuple[Lifecycle, ...],
    sizes: st.SearchStrategy[int],
) -> MemoryStore:
    store = _Drawn()
    last: dict[str, Frame] = {}
    for writer, recorded in groupby(draw(drawn), attrgetter("writer")):
        left = list(recorded)
        while left:
            size = draw(sizes)
            frame = frame_of(left[:size], machines, last.get(writer))
            store.append(frame)
            last[writer], left = frame, left[size:]
    return store


def frame_of(
    some: Sequence[Recorded],
    lifecycles: Sequence[Lifecycle],
    before: Frame | None = None,
) -> Frame:
    """The frame of a writer that holds these events and follows another frame."""
    kinds = {kind.tag: kind for lifecycle in lifecycles for kind in lifecycle.events}
    records: dict[Any, StreamRecord] = {}
    body, _ = encode_body(
        list(chain.from_iterable(_row(records, kinds, recorded) for recorded in some))
    )
    return seal(
        writer=some[0].writer,
        first=some[0].seq,
        count=len(some),
        first_at=some[0].micros,
        last_at=some[-1].micros,
        body=body,
        fingerprints=tuple(lifecycle.fingerprint for lifecycle in lifecycles),
        salt=some[0].seq.to_bytes(16),
        prev=GENESIS if before is None else before.hash,
    )


def _row(
    records: dict[Any, StreamRecord], kinds: Mapping[str, EventType], recorded: Recorded
) -> tuple[Any, ...]:
    """One event as the codec takes it."""
    stream, event = recorded.stream, recorded.event
    record = records.get(stream)
    if record is None:
        record = records[stream] = StreamRecord(stream.lifecycle, stream.id, recorded.writer, "")
        record.born, record.written = int(stream.born.rpartition(":")[2]), recorded.version - 1
    if isinstance(event, UnknownEvent):
        kind = EventType(event.tag, UnknownEvent, event.version, (), {}, {}, stream.lifecycle)
        return recorded.micros, record, kind, (), False
    kind = kinds[recorded.type]
    if isinstance(event, ActivityRecorded):
        return recorded.micros, record, kind, event.bytes_sent, event.messages_sent
    return recorded.micros, record, kind, payload_of(kind, event), False
