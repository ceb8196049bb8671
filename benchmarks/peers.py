"""Other event stores as contenders, each storing the same facts through its own API.

All of them write one SQLite file in WAL mode with synchronous=FULL, read back before the clock
starts; encoding the facts counts, as it does for ours. What ours does besides (the state machine,
the read model, the hash chain) they are not asked to do.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from benchmarks.events import CONNECTIONS, IDS, SENT, require
from benchmarks.measure import module

if TYPE_CHECKING:
    from pathlib import Path

FULL = 2
FRAME = 10_000
STREAMS = [uuid.uuid5(uuid.NAMESPACE_URL, name) for name in IDS]


@attrs.frozen
class BareLoop:
    """The floor: encode, hash and insert the same frames, with nothing in between."""

    events: int
    name: str = "bare loop"

    def rate(self, folder: Path) -> float:
        """Stores the events, ten thousand a frame."""
        with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("CREATE TABLE frames (count INTEGER, body TEXT, hash BLOB)")
            started = time.perf_counter()
            for first in range(0, self.events, FRAME):
                self._store(connection, min(FRAME, self.events - first))
            elapsed = time.perf_counter() - started
            (found,) = connection.execute("SELECT sum(count) FROM frames").fetchone()
        require(found, self.events, self.name)
        return self.events / elapsed

    def _store(self, connection: sqlite3.Connection, count: int) -> None:
        body, digest = encoded(count)
        connection.execute(
            "INSERT INTO frames VALUES (?, CAST(? AS TEXT), ?)", (count, body, digest)
        )


def encoded(count: int) -> tuple[bytes, bytes]:
    """The body of a frame of so many activities, made now, and its hash."""
    base = time.time_ns() // 1000
    rows = []
    for number in range(count):
        stream = number % CONNECTIONS
        rows.append((time.time_ns() // 1000 - base, stream, 0, SENT[stream], 1))
    types = [("connection.activity_recorded", 1, ("bytes_sent", "messages_sent"))]
    streams = [("connection", name, number, 2) for number, name in enumerate(IDS)]
    body = msgspec.json.encode({"types": types, "streams": streams, "events": rows})
    return body, hashlib.sha256(body).digest()


@attrs.frozen
class Eventsourcing:
    """The `eventsourcing` library's SQLite application recorder, events of many streams a save."""

    events: int
    batch: int

    @property
    def name(self) -> str:
        """With its batch size."""
        return f"eventsourcing, {self.batch} a save"

    def rate(self, folder: Path) -> float:
        """Stores the events, one transaction a batch."""
        sqlite, persistence = module("eventsourcing.sqlite"), module("eventsourcing.persistence")
        store = sqlite.SQLiteDatastore(str(folder / "eventsourcing.db"), pool_size=1)
        recorder = sqlite.SQLiteApplicationRecorder(store)
        recorder.create_table()
        _require_full(_pragmas(store))
        started = time.perf_counter()
        for first in range(0, self.events, self.batch):
            size = min(self.batch, self.events - first)
            recorder.insert_events(stored_events(persistence, first, size))
        elapsed = time.perf_counter() - started
        require(recorder.max_notification_id(), self.events, self.name)
        store.close()
        return self.events / elapsed


def stored_events(persistence: Any, first: int, count: int) -> list[Any]:
    """So many of the library's stored events, of many streams, from a number on."""
    return [
        persistence.StoredEvent(
            originator_id=STREAMS[number % CONNECTIONS],
            originator_version=number // CONNECTIONS + 1,
            topic="connection.activity_recorded",
            state=_facts(SENT[number % CONNECTIONS]),
        )
        for number in range(first, first + count)
    ]


@attrs.frozen
class EventsourcingAggregates:
    """The same library as its documentation uses it: aggregates, which fold, saved together.

    Folding makes it the like for like of a state machine and a read model. ``events`` is a
    multiple of ``batch``.
    """

    events: int
    batch: int

    @property
    def name(self) -> str:
        """With its batch size."""
        return f"eventsourcing's aggregates, {self.batch} a save"

    def rate(self, folder: Path) -> float:
        """Triggers and saves the events."""
        path = str(folder / "aggregates.db")
        environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": path}
        application = module("eventsourcing.application").Application(environment)
        made = module("benchmarks.aggregate").Connection
        aggregates = [made() for _ in range(CONNECTIONS)]
        application.save(*aggregates)
        _require_full(_pragmas(application.recorder.datastore))
        started = time.perf_counter()
        for first in range(0, self.events, self.batch):
            chosen = [number % CONNECTIONS for number in range(first, first + self.batch)]
            for number in chosen:
                aggregates[number].record_activity(bytes_sent=SENT[number], messages_sent=1)
            application.save(*(aggregates[number] for number in dict.fromkeys(chosen)))
        elapsed = time.perf_counter() - started
        found = application.recorder.max_notification_id() - CONNECTIONS
        application.close()
        require(found, self.events, self.name)
        return self.events / elapsed


def _facts(sent: int) -> bytes:
    """An activity as JSON, as the library's own transcoder writes it."""
    plain = {"at": time.time_ns() // 1000, "bytes_sent": sent, "messages_sent": 1}
    return json.dumps(plain, separators=(",", ":")).encode()


def _pragmas(store: Any) -> tuple[Any, Any]:
    with store.transaction(commit=False) as cursor:
        cursor.execute("PRAGMA journal_mode")
        mode = cursor.fetchone()[0]
        cursor.execute("PRAGMA synchronous")
        return mode, cursor.fetchone()[0]


def _require_full(found: tuple[Any, Any]) -> None:
    require(found, ("wal", FULL), "journal mode and synchronous")


@attrs.frozen
class EventsourcePy:
    """`eventsource-py`'s SQLite store; an append holds events of one stream."""

    events: int
    batch: int

    @property
    def name(self) -> str:
        """With its batch size."""
        return f"eventsource-py, {self.batch} an append"

    def rate(self, folder: Path) -> float:
        """Stores the events, one transaction an append."""
        return asyncio.run(self._run(str(folder / "eventsource.db")))

    async def _run(self, path: str) -> float:
        library, ports = module("eventsource"), module("eventsource.ports")
        store = library.SQLiteEventStore(path)
        connection = await store._conn()  # noqa: SLF001 - to read back what it is set to
        await connection.execute("PRAGMA synchronous = FULL")
        pragmas = [f"PRAGMA {name}" for name in ("journal_mode", "synchronous")]
        mode, full = [await (await connection.execute(p)).fetchone() for p in pragmas]
        _require_full((mode[0], full[0]))
        event = _activity_class(library)
        started = time.perf_counter()
        for first in range(0, self.events, self.batch):
            stream = STREAMS[first // self.batch % CONNECTIONS]
            size = min(self.batch, self.events - first)
            events = [event(aggregate_id=stream, bytes_sent=SENT[0]) for _ in range(size)]
            name = library.StreamId(stream, "Connection")
            await store.append(name, events, ports.ExpectedVersion.any_())
        elapsed = time.perf_counter() - started
        found = await (await connection.execute("SELECT count(*) FROM events")).fetchone()
        await store.close()
        require(found[0], self.events, self.name)
        return self.events / elapsed


def _activity_class(library: Any) -> Any:
    """Its event class; the store needs no registry to append."""
    known: Any = _CLASSES.get(library)
    if known is None:
        annotations = {"aggregate_type": str, "bytes_sent": int, "messages_sent": int}
        body = {"__annotations__": annotations, "aggregate_type": "Connection", "messages_sent": 1}
        body["__module__"] = __name__
        known = _CLASSES[library] = type("ActivityRecorded", (library.DomainEvent,), body)
    return known


_CLASSES: dict[Any, Any] = {}
