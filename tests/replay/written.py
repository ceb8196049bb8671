"""Puts recorded events into a store, legal or not, in frames of any size."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from rat_fsm.codec import seal
from rat_fsm.events import UnknownEvent
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log.subscription import read_recorded
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import GENESIS
from tests.frames import LIFECYCLES, new_model

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from rat_fsm.events import Recorded
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle


def store_of(
    history: Sequence[Recorded],
    cuts: Collection[int] = (),
    lifecycles: Sequence[Lifecycle] = LIFECYCLES,
    store: MemoryStore | None = None,
) -> MemoryStore:
    """A store with these events in their order; a frame ends with its writer, and at each cut."""
    store = store or MemoryStore()
    versions = {kind.tag: kind.version for lc in lifecycles for kind in lc.events}
    for events in _frames(history, cuts):
        first, last = events[0], events[-1]
        head = store.heads().get(first.writer)
        frame = seal(
            writer=first.writer,
            first=first.seq,
            count=len(events),
            first_at=first.micros,
            last_at=last.micros,
            body=_body(events, versions),
            fingerprints=tuple(lifecycle.fingerprint for lifecycle in lifecycles),
            salt=bytes(16),
            prev=GENESIS if head is None else head.frame.hash,
        )
        store.append(frame)
    return store


def write_file(path: Path, history: Sequence[Recorded], cuts: Collection[int] = ()) -> None:
    """A file with these events, as `store_of` has them."""
    with contextlib.closing(open_store(path, writable=True)) as store:
        for stored in store_of(history, cuts, (CONNECTION, NODE)).read():
            store.append(stored.frame)


def events_in(store: Store) -> list[Recorded]:
    """What is read back."""
    return list(read_recorded(store, new_model(), None))


def _frames(history: Sequence[Recorded], cuts: Collection[int]) -> Iterator[list[Recorded]]:
    frame: list[Recorded] = []
    for index, recorded in enumerate(history):
        if frame and (index in cuts or frame[0].writer != recorded.writer):
            yield frame
            frame = []
        frame.append(recorded)
    if frame:
        yield frame


def _body(events: Sequence[Recorded], versions: dict[str, int]) -> bytes:
    types: dict[Any, int] = {}
    streams: dict[Any, int] = {}
    bases: list[int] = []
    rows = []
    for recorded in events:
        version, data = _payload(recorded, versions)
        number = streams.setdefault(recorded.stream, len(streams))
        if number == len(bases):
            bases.append(recorded.version - 1)
        kind = types.setdefault((recorded.type, version, tuple(data)), len(types))
        rows.append([recorded.micros - events[0].micros, number, kind, *data.values()])
    named = [(s.lifecycle, s.id, int(s.born.rpartition(":")[2])) for s in streams]
    body = {
        "types": list(types),
        "streams": [(*name, base) for name, base in zip(named, bases, strict=True)],
        "events": rows,
    }
    return msgspec.json.encode(body)


def _payload(recorded: Recorded, versions: dict[str, int]) -> tuple[int, dict[str, Any]]:
    event = recorded.event
    if isinstance(event, UnknownEvent):
        return event.version, dict(event.data)
    names = [field.name for field in attrs.fields(type(event))]
    return versions[recorded.type], {name: getattr(event, name) for name in names}
