"""Row ``twins``: event-sourced models of `transitions`, a hundred thousand of one machine.

Their adding, their triggers and the folding of their log must cost each model the same however
many there are; what one costs beside a plain model is said.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from transitions import Machine

from benchmarks.events import require
from benchmarks.measure import Measure
from rat_fsm import EventLog, Lifecycle, replay
from rat_fsm.integrations.transitions import event_sourced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.measure import Result, Scale

STATES = ("open", "paid", "sent")
MOVES = (["pay", "open", "paid"], ["send", "paid", "sent"])
ORDER = Lifecycle.observed("order")
GROWTH = 2.0


class Order:
    """A model with a name."""

    def __init__(self, number: int) -> None:
        self.id = f"order-{number:06d}"


def _machine(cls: type[Machine], **options: Any) -> Machine:
    return cls(
        model=None,
        states=list(STATES),
        transitions=[*MOVES],
        initial="open",
        auto_transitions=False,
        **options,
    )


def _twin(log: EventLog) -> Machine:
    options = {"event_log": log, "stream_id": attrgetter("id"), "lifecycle": "order"}
    return _machine(event_sourced(Machine), **options)


def _times(folder: Path, count: int) -> list[float]:
    """Microseconds a model: to add it, for its two triggers, to fold its three events."""
    orders: list[Any] = [Order(number) for number in range(count)]
    with EventLog.open(folder / f"{count}.db", lifecycles=(ORDER,)) as log:
        machine = _twin(log)

        def fire() -> None:
            for order in orders:
                order.pay()
                order.send()
            log.flush()

        def fold() -> None:
            model: Any = replay(log, lifecycles=log.read_model.lifecycles.values())
            last = model.record("order", orders[-1].id)
            require((last.version, last.dest), (3, "sent"), "the last order")

        jobs = (lambda: machine.add_model(orders), fire, fold)
        return [_seconds(job) / count * 1_000_000 for job in jobs]


def _seconds(job: Callable[[], object]) -> float:
    """Of processor time, the committing thread's too: what grows must not hide in the weather."""
    gc.collect()
    started = time.process_time()
    job()
    return time.process_time() - started


def _weight(machine: Machine, count: int) -> float:
    """Bytes that a model takes, its own few included."""
    machine.add_model(Order(count))  # whatever there is once
    gc.collect()
    tracemalloc.start()
    machine.add_model([Order(number) for number in range(count)])
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / count


def twins(scale: Scale) -> list[Result]:
    """What a model costs, how that grows with their number, and what it weighs."""
    many, some = scale.of(100_000, 5_000), scale.of(10_000, 1_000)
    with scale.folder() as folder:
        few, all_ = _times(folder, some), _times(folder, many)
        with EventLog.open(folder / "memory.db", lifecycles=(ORDER,)) as log:
            heavy = _weight(_twin(log), some)
    plain = _weight(_machine(Machine), some)
    note = f"{many:,} models on SQLite, beside {some:,}"
    jobs = ("adding a model", "two triggers", "folding three events")
    results: list[Result] = []
    for job, micros, fewer in zip(jobs, all_, few, strict=True):
        growth, rising = f"{job}, growth", f"{fewer:.1f} µs to {micros:.1f} µs"
        results += [
            Measure("twins", job, micros, "µs", note=note),
            Measure("twins", growth, micros / fewer, "x", GROWTH, at_least=False, note=rising),
        ]
    more = f"{plain:,.0f} B plain, {heavy:,.0f} B with its stream"
    return [
        *results,
        Measure("twins", "memory, more than a plain model", heavy - plain, "B", note=more),
    ]
