"""Row ``machine``: moving a state machine, and what one weighs, against two libraries.

Ours moves by folding an event into a record through the table, statistics included; nothing
smaller in rat_fsm holds a state. Everybody walks active → retrying → active.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from benchmarks.events import require
from benchmarks.measure import Measure, Skipped, module, ratio, take_turns
from rat_fsm.events import Activated, Recovered, Registered, RetryScheduled
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.projections.model import ReadModel

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Result, Scale

STATES = ("connecting", "active", "retrying", "closing", "closed")
MOVES = (
    ("activate", "connecting", "active"),
    ("retry", "active", "retrying"),
    ("recover", "retrying", "active"),
    ("begin_close", "active", "closing"),
    ("close", "closing", "closed"),
)


class Kind(Protocol):
    """One way to have state machines."""

    name: str

    def make(self, count: int) -> list[Any]:
        """So many machines in the state active."""

    def walk(self, machine: Any, times: int) -> None:
        """Moves one to retrying and back, so many times."""

    def state(self, machine: Any) -> str:
        """Where it stands."""


class Ours:
    """Records in a read model, moved by the compiled table."""

    name = "rat_fsm"

    def __init__(self) -> None:
        self.model = ReadModel((CONNECTION, NODE))

    def make(self, count: int) -> list[Any]:
        """Registered and activated connections."""
        records = [self.model.new_record(CONNECTION, f"c{n}", "w0") for n in range(count)]
        for number, record in enumerate(records, 1):
            self._fold(record, Registered("10.0.0.1", "sse", {}), number)
            self._fold(record, Activated(), number)
        return records

    def _fold(self, record: Any, event: Any, seq: int) -> None:
        kind = CONNECTION.event_type(type(event))
        if kind is not None:
            self.model.fold(record, kind, seq, seq, event)

    def walk(self, machine: Any, times: int) -> None:
        """Folds RetryScheduled and Recovered."""
        fold = self.model.fold
        retry, recovered = RetryScheduled(1, 1.0, None, 30.0, "x"), Recovered(1)
        away, back = CONNECTION.event_type(RetryScheduled), CONNECTION.event_type(Recovered)
        if away is None or back is None:
            return
        for _ in range(times):
            fold(machine, away, 1, 1, retry)
            fold(machine, back, 1, 1, recovered)

    def state(self, machine: Any) -> str:
        """The record's."""
        return str(machine.state)


class _Model:
    """What `transitions` decorates."""


class Transitions:
    """`transitions`: one Machine, a model each, as its documentation advises for many."""

    name = "transitions"

    def __init__(self) -> None:
        self._machine = module("transitions").Machine(
            model=None,
            states=list(STATES),
            transitions=[list(move) for move in MOVES],
            initial="active",
            auto_transitions=False,
        )

    def make(self, count: int) -> list[Any]:
        """Models of the machine."""
        models = [_Model() for _ in range(count)]
        for model in models:
            self._machine.add_model(model)
        return models

    def walk(self, machine: Any, times: int) -> None:
        """Calls the triggers."""
        for _ in range(times):
            machine.retry()
            machine.recover()

    def state(self, machine: Any) -> str:
        """The model's."""
        return str(machine.state)


class PythonStatemachine:
    """`python-statemachine`: an instance each."""

    name = "python-statemachine"

    def __init__(self) -> None:
        library = module("statemachine")
        states = {
            name: library.State(initial=name == "active", final=name == "closed")
            for name in STATES
            if name != "connecting"
        }
        moves = {name: states[a].to(states[b]) for name, a, b in MOVES if a != "connecting"}
        self._cls: Any = type(library.StateMachine)(
            "Connection", (library.StateMachine,), {**states, **moves}
        )

    def make(self, count: int) -> list[Any]:
        """Instances."""
        return [self._cls() for _ in range(count)]

    def walk(self, machine: Any, times: int) -> None:
        """Calls the events."""
        for _ in range(times):
            machine.retry()
            machine.recover()

    def state(self, machine: Any) -> str:
        """Its only active state's."""
        return ",".join(state.id for state in machine.configuration)


@attrs.frozen
class Walk:
    """Moves a second of one machine of a kind."""

    kind: Kind
    moves: int

    @property
    def name(self) -> str:
        """The library's."""
        return self.kind.name

    def rate(self, folder: Path) -> float:
        """Walks to and fro."""
        del folder
        (machine,) = self.kind.make(1)
        started = time.perf_counter()
        self.kind.walk(machine, self.moves // 2)
        elapsed = time.perf_counter() - started
        require(self.kind.state(machine), "active", f"{self.name}'s state")
        return self.moves / elapsed


def weight(kind: Kind, count: int) -> float:
    """Bytes a machine, over so many."""
    kind.make(10)  # whatever a library keeps for all of them
    gc.collect()
    tracemalloc.start()
    kept = kind.make(count)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / len(kept)


def machines(scale: Scale) -> list[Result]:
    """Moves a second and bytes an instance."""
    count, ours = scale.of(10_000, 1_000), Ours()
    own = weight(Ours(), count)
    results: list[Result] = []
    for made in (Transitions, PythonStatemachine):
        try:
            peer = made()
        except (ImportError, AttributeError) as missing:
            results.append(Skipped("machine", f"against {made.name}", str(missing)))
            continue
        turns = [Walk(ours, scale.of(400_000, 40_000)), Walk(peer, scale.of(20_000, 2_000))]
        rates = take_turns(scale, turns, scale.of(5, 3))
        mine, theirs = rates[ours.name], rates[peer.name]
        note = f"{statistics.median(mine):,.0f} against {statistics.median(theirs):,.0f} moves/s"
        heavy = weight(peer, count)
        results += [
            Measure("machine", f"moves, against {peer.name}", ratio(mine, theirs), "x", note=note),
            Measure(
                "machine",
                f"memory, less than {peer.name}",
                heavy / own,
                "x",
                note=f"{own:,.0f} B against {heavy:,.0f} B an instance",
            ),
        ]
    return results
