"""Row ``stores``: events that are durable, through each store, against its bare client."""

from __future__ import annotations

import contextlib
import statistics
import time
from typing import TYPE_CHECKING

import attrs

from benchmarks.events import CONNECTIONS, calls, managed, require
from benchmarks.measure import Measure, Skipped, ratio, take_turns
from benchmarks.remote_peers import EventsourcingPostgres
from benchmarks.remote_servers import MissingServer, places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.measure import Contender, Result, Scale
    from benchmarks.remote_servers import Server
    from rat_fsm.runtime.manager import ConnectionManager

TIMES_EVENTSOURCING = 8
BATCHES = (100, 1_000, 10_000)

Rates = dict[str, list[float]]


@attrs.frozen
class Through:
    """`record_activity` of a manager and `flush`, through a store at an address of its own.

    Attributes:
        url: a new address, which may lie in a folder.
    """

    name: str
    events: int
    url: Callable[[Path], str]

    def rate(self, folder: Path) -> float:
        """Records the events and waits until the last is durable."""
        with managed(self.url(folder)) as manager:
            before = _stored(manager)
            started = time.perf_counter()
            for name, sent in calls(self.events):
                manager.record_activity(name, sent)
            manager.log.flush()
            elapsed = time.perf_counter() - started
            found = _stored(manager) - before
            sent = manager.get_stats()["total_messages_sent"]
        require(sent, self.events + CONNECTIONS, "messages counted")
        # Past the log's bound the manager adds up activities: only what is in frames counts.
        return found / elapsed


def _stored(manager: ConnectionManager) -> int:
    """How many events the log's own writer has in its store."""
    head = manager.log.store.head(manager.log.writer)
    return 0 if head is None else head.frame.first + head.frame.count - 1


@attrs.frozen
class Group:
    """Those who store the same on one server: ours, the store's bare client, others."""

    ours: Contender
    bare: Contender
    peers: tuple[Contender, ...]

    @property
    def everybody(self) -> tuple[Contender, ...]:
        """All contenders."""
        return (self.ours, self.bare, *self.peers)

    def results(self, rates: Rates) -> Iterator[Measure]:
        """Our rate, and by how much it is that of the others."""
        own, name = rates[self.ours.name], self.ours.name
        yield Measure("stores", f"{name}: record to flush", statistics.median(own), "events/s")
        for other in (self.bare, *self.peers):
            budget = TIMES_EVENTSOURCING if other in self.peers else None
            note = f"{statistics.median(rates[other.name]):,.0f} events/s"
            value = ratio(own, rates[other.name])
            yield Measure("stores", f"{name}: against {other.name}", value, "x", budget, note=note)


def stores(scale: Scale) -> list[Result]:
    """Durable events a second through every store that can be had here, taking turns."""
    groups: list[Group] = []
    skipped: list[Result] = []
    with contextlib.ExitStack() as stack:
        for place in places(scale):
            try:
                server = stack.enter_context(place.serving(stack.enter_context(scale.folder())))
            except MissingServer as missing:
                skipped.append(Skipped("stores", place.name, str(missing)))
            else:
                peers = _peers(scale, server, skipped) if server.address else ()
                groups.append(_group(scale, place.name, server, peers))
        everybody = [contender for group in groups for contender in group.everybody]
        rates = take_turns(scale, everybody, scale.of(5, 1))
    return [*(one for group in groups for one in group.results(rates)), *skipped]


def _group(scale: Scale, name: str, server: Server, peers: tuple[Contender, ...]) -> Group:
    events = scale.of(1_000_000, 50_000)
    return Group(Through(name, events, server.url), server.bare(events), peers)


def _peers(scale: Scale, server: Server, skipped: list[Result]) -> tuple[Contender, ...]:
    """A library on the same server, at its best: which batch, and whether by functions."""
    tried = [
        EventsourcingPostgres(scale.of(50_000, 2_000), size, server.address, functions=functions)
        for size in (BATCHES[-1:] if scale.quick else BATCHES)
        for functions in (False, True)
    ]
    try:
        rates = take_turns(scale, tried, 1)
    except ImportError as missing:
        skipped.append(Skipped("stores", "PostgreSQL: against eventsourcing", str(missing)))
        return ()
    return (max(tried, key=lambda contender: rates[contender.name]),)
