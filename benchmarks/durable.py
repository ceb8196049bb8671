"""Rows ``durable`` and ``record``: events accepted, and events that are safe on disk."""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING

import attrs

from benchmarks.events import CONNECTIONS, calls, frames_and_events, managed, require
from benchmarks.measure import Measure, Skipped, ratio, take_turns
from benchmarks.peers import BareLoop, EventsourcePy, Eventsourcing, EventsourcingAggregates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.measure import Contender, Result, Scale
    from rat_fsm.runtime.manager import ConnectionManager

RATE = 500_000
TIMES_EVENTSOURCING = 12
TIMES_EVENTSOURCE_PY = 100
CALLS = 700_000
BURST = 150_000  # what fits the log's bound of pending events beside the ends it reserves
BATCHES = (100, 1_000, 10_000)  # over many streams
STREAM_BATCHES = (10, 100, 1_000)  # of one stream each


@attrs.frozen
class Ours:
    """`record_activity` of a manager and `flush`: state machine, read model and chain included."""

    events: int
    name: str = "rat_fsm"

    def rate(self, folder: Path) -> float:
        """Records the events and waits until the last is durable."""
        path = folder / "log.db"
        with managed(path) as manager:
            before = frames_and_events(path)[1]
            elapsed = _record(manager, self.events) + _flush(manager)
            found = frames_and_events(path)[1] - before
            sent = manager.get_stats()["total_messages_sent"]
        require(sent, self.events + CONNECTIONS, "messages counted")
        # Past the log's bound the manager adds up activities: only what is in frames counts.
        return found / elapsed


@attrs.frozen
class Recording:
    """The calls alone, on a log whose store works meanwhile."""

    events: int
    bursts: int
    name: str

    def rate(self, folder: Path) -> float:
        """Calls in bursts, each begun with nothing pending."""
        elapsed = 0.0
        with managed(folder / "log.db") as manager:
            for _ in range(self.bursts):
                elapsed += _record(manager, self.events)
                manager.log.flush()
        return self.events * self.bursts / elapsed


def _record(manager: ConnectionManager, events: int) -> float:
    work, record = calls(events), manager.record_activity
    gc.collect()
    started = time.perf_counter()
    for name, sent in work:
        record(name, sent)
    return time.perf_counter() - started


def _flush(manager: ConnectionManager) -> float:
    started = time.perf_counter()
    manager.log.flush()
    return time.perf_counter() - started


def durable(scale: Scale) -> list[Result]:
    """Durable events a second, against the floor and two libraries."""
    ours, bare = Ours(scale.of(1_000_000, 100_000)), BareLoop(scale.of(500_000, 50_000))
    peers: list[tuple[Contender, float | None]] = []
    skipped: list[Result] = []
    for name, chosen in (("eventsourcing", _eventsourcing), ("eventsource-py", _eventsource_py)):
        try:
            peers += chosen(scale)
        except (ImportError, AttributeError) as missing:
            skipped.append(Skipped("durable", f"against {name}", str(missing)))
    contenders: list[Contender] = [ours, bare, *(peer for peer, _ in peers)]
    rates = take_turns(scale, contenders, scale.of(5, 1))
    own = rates[ours.name]
    head = Measure("durable", "events, record to flush", statistics.median(own), "events/s", RATE)
    return [
        head,
        *(_against(own, rates, peer, budget) for peer, budget in peers),
        _against(own, rates, bare, None),
        *skipped,
    ]


def _against(
    own: list[float], rates: dict[str, list[float]], peer: Contender, budget: float | None
) -> Measure:
    note = f"{statistics.median(rates[peer.name]):,.0f} events/s"
    value = ratio(own, rates[peer.name])
    return Measure("durable", f"against {peer.name}", value, "x", budget, note=note)


def _eventsourcing(scale: Scale) -> list[tuple[Contender, float | None]]:
    events = scale.of(50_000, 10_000)
    best = _best(scale, [Eventsourcing(events, size) for size in BATCHES])
    one = Eventsourcing(scale.of(5_000, 500), 1)
    aggregates = EventsourcingAggregates(scale.of(20_000, 2_000), CONNECTIONS)
    return [(best, TIMES_EVENTSOURCING), (one, None), (aggregates, None)]


def _eventsource_py(scale: Scale) -> list[tuple[Contender, float | None]]:
    events = scale.of(5_000, 1_000)
    best = _best(scale, [EventsourcePy(events, size) for size in STREAM_BATCHES])
    one = EventsourcePy(scale.of(1_000, 100), 1)
    return [(best, TIMES_EVENTSOURCE_PY), (one, None)]


def _best(scale: Scale, tried: Sequence[Contender]) -> Contender:
    """The one with the highest rate in one round."""
    rates = take_turns(scale, tried, 1)
    return max(tried, key=lambda contender: rates[contender.name])


def record(scale: Scale) -> list[Result]:
    """Calls of `record_activity` a second: bursts, and without end."""
    burst = Recording(scale.of(BURST, 50_000), scale.of(6, 2), "bursts")
    sustained = Recording(scale.of(1_000_000, 200_000), 1, "sustained")
    rates = take_turns(scale, [burst, sustained], scale.of(5, 1))
    return [
        Measure(
            "record",
            f"record_activity in bursts of {burst.events:,}",
            statistics.median(rates[burst.name]),
            "calls/s",
            CALLS,
        ),
        Measure(
            "record",
            "record_activity, sustained",
            statistics.median(rates[sustained.name]),
            "calls/s",
            note="held back by the committing thread, which shares the interpreter",
        ),
    ]
