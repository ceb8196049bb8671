"""Rows ``replay`` and ``open``: reading what was recorded."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import attrs

from benchmarks.events import CONNECTIONS, address, calls, managed, require
from benchmarks.measure import Measure, Skipped, module, ratio, seconds, take_turns
from rat_fsm.codec import decode
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.projections.model import ReadModel
from rat_fsm.replay import replay as replay_log
from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.stores import open_store
from rat_fsm.stores.port import SupportsNames

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Result, Scale

RATE = 1_000_000
TIMES_EVENTSOURCING = 20
OPEN_SECONDS = 1.0
HISTORY_MS = 100.0
AGGREGATES = 10
CHUNK = 100_000
LIFE = 100  # activities of a connection in the log that is opened


@attrs.frozen
class Ours:
    """`replay` of a file: reading, checking, decoding, folding into the full read model."""

    events: int
    name: str = "rat_fsm"

    def rate(self, folder: Path) -> float:
        """Records the events, then times their replay."""
        path = folder / "log.db"
        with managed(path) as manager:
            for number, (name, sent) in enumerate(calls(self.events)):
                manager.record_activity(name, sent)
                if number % CHUNK == 0:
                    manager.log.flush()  # never so much pending that activities are added up
            manager.log.flush()
            started = time.perf_counter()
            model = replay_log(path)
            elapsed = time.perf_counter() - started
            require(model == manager.log.read_model, expected=True, what="live is replay")
        require(model.totals.messages_sent, self.events + CONNECTIONS, "messages replayed")
        return self.events / elapsed


@attrs.frozen
class Eventsourcing:
    """The `eventsourcing` library's repository: stored events to aggregates."""

    events: int
    name: str = "eventsourcing"

    def rate(self, folder: Path) -> float:
        """Saves aggregates with many events each, then times their reconstruction."""
        path = str(folder / "eventsourcing.db")
        environment = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": path}
        application = module("eventsourcing.application").Application(environment)
        each = self.events // AGGREGATES
        saved = [_aggregate(each) for _ in range(AGGREGATES)]
        application.save(*saved)
        started = time.perf_counter()
        found = [application.repository.get(aggregate.id) for aggregate in saved]
        elapsed = time.perf_counter() - started
        application.close()
        require({aggregate.messages for aggregate in found}, {each}, "messages replayed")
        return self.events / elapsed


def _aggregate(events: int) -> Any:
    """A connection of the library, with so many activities not saved yet."""
    from benchmarks.aggregate import Connection

    connection = Connection()
    for _ in range(events):
        connection.record_activity(bytes_sent=512, messages_sent=1)
    return connection


def replay(scale: Scale) -> list[Result]:
    """Replayed events a second, against the same number of events of a library."""
    events = scale.of(100_000, 10_000)
    ours, peer = Ours(events), Eventsourcing(events)
    long = Ours(scale.of(1_000_000, 100_000))
    rates = take_turns(scale, [long], scale.of(5, 1))
    head = Measure(
        "replay", "events, decode and fold", statistics.median(rates[long.name]), "events/s", RATE
    )
    try:
        both = take_turns(scale, [ours, peer], scale.of(5, 1))
    except ImportError as missing:
        return [head, Skipped("replay", "against eventsourcing", str(missing))]
    note = f"{events:,} events each; {statistics.median(both[peer.name]):,.0f} events/s"
    times = ratio(both[ours.name], both[peer.name])
    return [
        head,
        Measure("replay", "against eventsourcing", times, "x", TIMES_EVENTSOURCING, note=note),
    ]


def opening(scale: Scale) -> list[Result]:
    """Opening a long log that was closed cleanly, and finding one connection's events in it."""
    events = scale.of(10_000_000, 200_000)
    with scale.folder() as folder:
        path = folder / "long.db"
        wanted = _write_lives(path, events)
        opened = statistics.median(seconds(lambda: EventLog.open(path).close()) for _ in range(3))
        found: list[int] = []
        took = statistics.median(
            seconds(lambda: found.append(_history(path, wanted))) for _ in range(3)
        )
    require(set(found), {LIFE + 4}, "events in the history")
    what = f"{events / 1e6:g} million events"
    note = f"a life of {LIFE} activities in the middle; frames that mention it, decoded"
    return [
        Measure("open", f"open {what}", opened, "s", OPEN_SECONDS, at_least=False),
        Measure(
            "open", f"history in {what}", took * 1000, "ms", HISTORY_MS, at_least=False, note=note
        ),
    ]


def _write_lives(path: Path, events: int) -> str:
    """Generations of connections, each of a hundred activities; answers with one in the middle."""
    generations = events // (CONNECTIONS * (LIFE + 4))
    with EventLog.open(path) as log:
        manager = ConnectionManager(CONNECTIONS, log=log)
        for generation in range(generations):
            names = [f"life-{generation}-{number}" for number in range(CONNECTIONS)]
            for number, name in enumerate(names):
                manager.register_connection(name, address(number), kind="sse")
            for _ in range(LIFE):
                for name in names:
                    manager.record_activity(name, 512)
            log.flush()  # within the bound of pending events, so that none is added up
            for name in names:
                manager.unregister_connection(name)
        manager.shutdown()
    return f"life-{generations // 2}-{CONNECTIONS // 2}"


def _history(path: Path, wanted: str) -> int:
    """How many events of one connection there are, read as ``rat-fsm history`` reads them."""
    store = open_store(path)
    if not isinstance(store, SupportsNames):
        raise TypeError(f"{store.url} cannot search")
    model, found = ReadModel((CONNECTION, NODE)), 0
    for stored in store.naming(wanted):
        decoded = decode(stored, model)
        numbers = {number for number, stream in enumerate(decoded.streams) if stream[1] == wanted}
        rows = [row for row in decoded.rows if row[1] in numbers]
        found += len([decoded.readers[row[2]].read(row[3:]) for row in rows])
    store.close()
    return found
