"""Coverage holds what logs took against the table, and against what another log took."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgumentType, StoreUnreadable
from rat_fsm.log import EventLog
from rat_fsm.replay.coverage import TransitionCoverage, covered, transition_coverage
from rat_fsm.stores.memory import MemoryStore
from tests.orders import OLD_ORDER, ORDER, Done, New, Noted, Old, Packed

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.replay.counting import Edge
    from rat_fsm.table import Lifecycle

SAMPLES: Final[dict[type, Any]] = {
    Old.Placed: Old.Placed("book", 12.0),
    New.Placed: New.Placed("book", 1200, "EUR"),
    Packed: Packed(),
    Noted: Noted(),
    Done: Done(),
}
PLACED: Final = ("order.placed", "new", "open")
PACKED: Final = ("order.packed", "open", "open")
NOTED: Final = ("order.noted", "open", "open")
DONE: Final = ("order.done", "open", "done")
STEPS: Final = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=12)


def write(store: MemoryStore, steps: list[tuple[str, int]], lifecycle: Lifecycle = ORDER) -> None:
    """Each step is the next event of a stream, whichever the number chooses of the legal ones."""
    with EventLog(store, lifecycles=[lifecycle]) as log:
        for stream, choice in steps:
            record = log.read_model.record(lifecycle.name, stream)
            state = lifecycle.initial if record is None else record.state
            legal = [kind for kind in lifecycle.events if state in kind.moves]
            if legal:
                log.append((lifecycle, stream), SAMPLES[legal[choice % len(legal)].cls])


def folded(store: MemoryStore, lifecycle: Lifecycle = ORDER) -> Counter[Edge]:
    """The edges that a plain fold of the events takes."""
    states: dict[Any, str] = {}
    edges: Counter[Edge] = Counter()
    for recorded in EventLog(store, lifecycles=[lifecycle]).read():
        if recorded.stream.lifecycle == lifecycle.name:
            source = states.get(recorded.stream, lifecycle.initial)
            dest = states[recorded.stream] = lifecycle.evolve(source, recorded.event)
            edges[recorded.type, source, dest] += 1
    return edges


@given(STEPS, STEPS, STEPS)
def test_every_edge_is_counted(
    first: list[tuple[str, int]], second: list[tuple[str, int]], busy: list[tuple[str, int]]
) -> None:
    """Over all logs, as a plain fold counts; what no test takes is missed, or untested."""
    stores = [MemoryStore(), MemoryStore(), MemoryStore()]
    for store, steps in zip(stores, (first, second, busy), strict=True):
        write(store, steps)
    coverage = transition_coverage(ORDER, *stores[:2], production=stores[2])
    tests, production = folded(stores[0]) + folded(stores[1]), folded(stores[2])
    assert coverage.edges == {edge: tests[edge] for edge in ORDER.rows()}
    assert coverage.production == {edge: production[edge] for edge in ORDER.rows()}
    assert coverage.foreign == {}
    assert {*coverage.taken, *coverage.missed} == set(ORDER.rows()) == set(coverage.rows())
    assert set(coverage.untested) == {edge for edge in production if not tests[edge]}
    assert coverage.states == {"open": tests[PLACED], "done": tests[DONE]}
    assert coverage.missed_states == [state for state, n in coverage.states.items() if not n]
    assert coverage.percent == 25 * len(coverage.taken)


def test_a_coverage() -> None:
    """The whole of it: what production takes most stands first."""
    tests = {PLACED: 3, NOTED: 1}
    assert covered(ORDER, tests, {PACKED: 2, DONE: 7, ("order.lost", "open", "gone"): 4}) == (
        TransitionCoverage(
            name="order",
            initial="new",
            states={"open": 3, "done": 0},
            final=frozenset({"done"}),
            edges={PLACED: 3, PACKED: 0, NOTED: 1, DONE: 0},
            production={PLACED: 0, PACKED: 2, NOTED: 0, DONE: 7},
            foreign={("order.lost", "open", "gone"): 4},
        )
    )
    assert covered(ORDER, tests, {PACKED: 2, DONE: 7}).untested == [DONE, PACKED]
    assert covered(ORDER, tests, None).untested == []


def test_a_log_of_another_definition() -> None:
    """Each event takes the edge it took when it was written, in the table of today or not."""
    store = MemoryStore()
    write(store, [("a", 0), ("a", 0), ("a", 0), ("a", 1)], OLD_ORDER)
    coverage = transition_coverage(ORDER, store)
    assert coverage.taken == [PLACED]
    assert coverage.foreign == {
        ("order.packed", "open", "packed"): 1,
        ("order.noted", "packed", "packed"): 1,
        ("order.done", "packed", "done"): 1,
    }


def test_no_logs(tmp_path: Path) -> None:
    """Nothing is covered by no log, nor by one in which nobody wrote of this lifecycle."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        log.begin()
    for logs in ((), (path,), (str(path), MemoryStore())):
        assert transition_coverage(ORDER, *logs).taken == []


def test_what_cannot_be_covered(tmp_path: Path) -> None:
    """Neither the name of a lifecycle, nor what is no log."""
    with pytest.raises(InvalidArgumentType, match=re.escape("of a Lifecycle, not of 'order'")):
        transition_coverage("order")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentType, match="source must be"):
        transition_coverage(ORDER, 7)  # type: ignore[arg-type]
    with pytest.raises(StoreUnreadable):
        transition_coverage(ORDER, production=tmp_path / "none.db")
