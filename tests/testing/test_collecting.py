"""The collector sees every frame that a log of this process writes, and follows its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.events import Activated, Closed, Closing, Registered
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog, observing
from rat_fsm.replay.coverage import counted
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing.collecting import Collector
from tests.logs import crash
from tests.orders import ORDER, Done, New, Noted, Packed

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACED: Final = New.Placed("book", 1200, "EUR")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One that watches while the test runs."""
    one = Collector()
    observing.observe(one)
    yield one
    observing.forget(one)


def check(collector: Collector, store: MemoryStore) -> None:
    """What was collected is what is in the log, of every lifecycle that it has."""
    found = {table.name: edges for _, table, edges in collector.counts()}
    taken = {
        lifecycle: counted(lifecycle.name, store).taken() for lifecycle in (CONNECTION, NODE, ORDER)
    }
    assert found == {lifecycle.name: edges for lifecycle, edges in taken.items() if edges}


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([Packed(), Noted(), Done(), None])),
        max_size=12,
    )
)
def test_what_is_collected_is_what_is_in_the_log(steps: list[tuple[str, object]]) -> None:
    """However it is cut into frames, and however often its writer comes back."""
    store, collector = MemoryStore(), Collector()
    observing.observe(collector)
    log = EventLog(store, lifecycles=[ORDER], writer="w")
    try:
        for stream, event in steps:
            record = log.read_model.record("order", stream)
            if record is None:
                log.append((ORDER, stream), PLACED)
            elif event is None:  # the process comes to its end, and another goes on
                log.close()
                log = EventLog(store, lifecycles=[ORDER], writer="w")
            elif record.state == "open":
                log.append((ORDER, stream), event)
                log.flush()
        log.close()
    finally:
        observing.forget(collector)
    check(collector, store)


def test_what_recovery_ends_is_collected(collector: Collector) -> None:
    """Whoever opens the log after a crash takes the edges that end what was left."""
    store = MemoryStore()
    log = EventLog(store, writer="w0")
    log.append(("connection", "c"), Registered("10.0.0.1"), Activated())
    crash(log)
    with EventLog(store, writer="w1"):
        pass
    check(collector, store)
    (_, table, edges), _node = collector.counts()
    assert table.name == "connection"
    assert edges["connection.closed", "closing", "closed"] == 1


def test_ids_that_come_again(collector: Collector) -> None:
    """Each life of an id is followed for itself, and let go when it ends."""
    store = MemoryStore()
    with EventLog(store) as log:
        for _ in range(3):
            log.append(
                ("connection", "c"),
                *(Registered("10.0.0.1"), Closing("normal", "app", "streaming")),
                Closed("normal", 0, 0, 0, 0, 1.0),
            )
            log.flush()
    check(collector, store)


def test_nothing_is_seen_without_an_observer() -> None:
    """A collector that looks no further counts no more logs."""
    collector = Collector()
    observing.observe(collector)
    observing.forget(collector)
    with EventLog(lifecycles=[ORDER]) as log:
        log.append((ORDER, "o"), PLACED)
    assert collector.counts() == []


def test_counts_go_from_process_to_process() -> None:
    """As text; what two workers counted is added up."""
    first, second = Collector(), Collector()
    edge = ("order.placed", "new", "open")
    first.add(ORDER.fingerprint, ORDER.definition, {edge: 2})
    second.add(ORDER.fingerprint, ORDER.definition, {edge: 3, ("order.done", "open", "done"): 1})
    second.add(NODE.fingerprint, NODE.definition, {("node.serving", "starting", "serving"): 1})
    first.load(second.dump())
    counts = [(name, table.name, edges) for name, table, edges in first.counts()]
    assert counts == [
        (NODE.fingerprint, "node", {("node.serving", "starting", "serving"): 1}),
        (ORDER.fingerprint, "order", {edge: 5, ("order.done", "open", "done"): 1}),
    ]
