"""Tours take every edge, in the fewest steps, and lead a system along them."""

from __future__ import annotations

import re
import sys
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rat_fsm.errors import IllegalEvent, InvalidArgument, InvalidArgumentType, MissingExtra
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.table import Lifecycle
from rat_fsm.testing import Step, Walk, edge_tour, tour
from rat_fsm.testing.postman import ways
from tests.orders import OLD_ORDER, ORDER, Done, New, Noted, Packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    Edge = tuple[str, str]

LIFECYCLES: Final = [CONNECTION, NODE, ORDER, OLD_ORDER, Lifecycle.observed("model")]
PLACED: Final = New.Placed("book", 1200, "EUR")


@pytest.mark.parametrize("lifecycle", LIFECYCLES, ids=[lc.fingerprint[:6] for lc in LIFECYCLES])
def test_a_tour_takes_every_edge(lifecycle: Lifecycle) -> None:
    """Each walk is a whole life, and together they are the whole table and nothing else."""
    walks = edge_tour(lifecycle)
    for walk in walks:
        assert walk.steps[0].source == lifecycle.initial
        assert all(before.dest == after.source for before, after in pairwise(walk))
        assert walk.steps[-1].dest in (lifecycle.final or lifecycle.states)
        assert all(lifecycle.next_state(step.source, step.cls) == step.dest for step in walk)
    assert {(s.tag, s.source, s.dest) for walk in walks for s in walk} == set(lifecycle.rows())


def test_a_tour_is_short() -> None:
    """Each way into a final state ends a walk; walks are numbered, the shortest first."""
    assert [len(walk) for walk in edge_tour(CONNECTION)] == [3, 4, 23]
    assert edge_tour(ORDER) == (
        Walk(
            "order",
            1,
            (
                Step(New.Placed, "order.placed", "new", "open"),
                Step(Packed, "order.packed", "open", "open"),
                Step(Noted, "order.noted", "open", "open"),
                Step(Done, "order.done", "open", "done"),
            ),
        ),
    )


def test_what_a_walk_is_called() -> None:
    """By the states it passes, so that a reader of a test report knows which one failed."""
    assert [str(walk) for walk in edge_tour(NODE)[:3]] == [
        "node-1-stopped",
        "node-2-starting-stopped",
        "node-3-starting-serving-stopped",
    ]
    assert str(edge_tour(ORDER)[0].steps[-1]) == "open -order.done-> done"


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Edge], list[str]]:
    """Edges and ends: every place can be reached from "new", and reaches an end."""
    places = ["a", "b", "c", "d"][: draw(st.integers(1, 4))]
    ends = [*draw(st.lists(st.sampled_from(places), unique=True, max_size=2)), "end"]
    edge = st.tuples(st.sampled_from(["new", *places]), st.sampled_from([*places, "end"]))
    edges = draw(st.lists(edge, max_size=8))
    edges = [("new", "end"), *edges]
    there, back = reached(edges, {"new"}), reached([(b, a) for a, b in edges], set(ends))
    edges = [(a, b) for a, b in edges if a in there and b in back]
    assume(reached(edges, {"new"}) == {place for edge in edges for place in edge})
    return edges, [end for end in ends if end in there]


def reached(edges: Sequence[Edge], found: set[str]) -> set[str]:
    """Every place that can be reached."""
    more = {b for a, b in edges if a in found} - found
    return reached(edges, found | more) if more else found


def fewest(edges: Sequence[Edge], ends: Sequence[str]) -> int:
    """The fewest steps that take every edge, by trying all ways at once."""
    everything = (1 << len(edges)) - 1
    front, seen = deque([("new", 0, 0)]), {("new", 0)}
    while True:
        place, taken, steps = front.popleft()
        if place in ends and taken == everything:
            return steps
        if place in ends and ("new", taken) not in seen:
            seen.add(("new", taken))
            front.appendleft(("new", taken, steps))
        for number, (source, dest) in enumerate(edges):
            after = taken | 1 << number
            if source == place and (dest, after) not in seen:
                seen.add((dest, after))
                front.append((dest, after, steps + 1))


# Where the nearest repetitions are not the cheapest in all, and where more ways are shorter.
@example(([("new", "b"), ("a", "b"), ("b", "a"), ("a", "end")], ["end", "b"]))
@example(([("new", "a"), ("a", "b"), ("b", "c"), ("c", "end"), ("c", "a")], ["end", "a"]))
@given(graphs())
def test_no_ways_are_shorter(graph: tuple[list[Edge], list[str]]) -> None:
    """The ways of any graph take every edge, in as few steps as a search of all ways finds."""
    edges, ends = graph
    found = ways(edges, "new", ends)
    for way in found:
        assert edges[way[0]][0] == "new"
        assert edges[way[-1]][1] in ends
        assert all(edges[before][1] == edges[after][0] for before, after in pairwise(way))
    assert {number for way in found for number in way} == set(range(len(edges)))
    assert sum(map(len, found)) == fewest(edges, ends)


def test_a_large_graph() -> None:
    """A thousand edges are no search: a hundred places in a ring, each with an end."""
    places = [str(number) for number in range(100)]
    edges = [("new", places[0]), *pairwise([*places, places[0]])]
    edges += [(place, "end") for place in places]
    edges += [(place, place) for place in places for _ in range(10)]
    found = ways(edges, "new", ["end"])
    assert len(found) == 100
    # To the end of each place leads no other way; once somebody goes round the whole ring.
    assert sum(map(len, found)) == sum(2 + n for n in range(100)) + 100 + 10 * 100


def test_a_walk_as_events() -> None:
    """They can be appended to a log; only what needs arguments needs a sample."""
    (walk,) = edge_tour(ORDER)
    with EventLog(lifecycles=[ORDER]) as log:
        log.append((ORDER, "o1"), *walk.events(PLACED))
        record = log.read_model.record("order", "o1")
    assert record is not None
    assert (record.state, record.version) == ("done", 4)
    with pytest.raises(
        InvalidArgument,
        match=re.escape("a tour wants a sample of New.Placed, which needs item, cents, currency"),
    ):
        walk.events()


@attrs.define
class Shop:
    """A system that takes orders, and one that `forgets` to note what was packed."""

    state: str = "new"
    forgets: bool = False

    def take(self, step: Step) -> None:
        if self.forgets and step.cls is Packed:
            self.state = "packed"
            return
        self.state = ORDER.evolve(self.state, step.cls)


@tour(ORDER)
def test_a_system_is_led_along(walk: Walk) -> None:
    """This is how a user's test looks."""
    shop = Shop()
    walk.drive(shop.take, lambda: shop.state)
    assert shop.state == "done"


def test_a_system_that_goes_astray() -> None:
    """It is told after which step, and where it is instead."""
    shop = Shop(forgets=True)
    with pytest.raises(AssertionError) as caught:
        edge_tour(ORDER)[0].drive(shop.take, lambda: shop.state)
    assert str(caught.value) == (
        "the system is in 'packed' after step 2 of 4 of order-1-open-done: "
        "open -order.packed-> open"
    )


def test_a_system_that_refuses() -> None:
    """Its error comes out as it is, with a note of where that was."""
    shop = Shop(state="done")
    with pytest.raises(IllegalEvent) as caught:
        edge_tour(ORDER)[0].drive(shop.take, lambda: shop.state)
    assert caught.value.__notes__ == ["step 1 of 4 of order-1-open-done: new -order.placed-> open"]


@pytest.mark.parametrize("wrong", ["order", None, ORDER.definition])
def test_what_is_no_lifecycle(wrong: Any) -> None:
    """A tour needs the event classes, which only a lifecycle has."""
    with pytest.raises(InvalidArgumentType, match="a tour is of a Lifecycle"):
        edge_tour(wrong)
    with pytest.raises(InvalidArgumentType, match="a tour is of a Lifecycle"):
        tour(wrong)


def test_without_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walks need nothing; only the decorator does, and says what to install."""
    monkeypatch.setitem(sys.modules, "pytest", None)
    assert len(edge_tour(ORDER)) == 1
    with pytest.raises(MissingExtra, match=re.escape("pip install 'rat-fsm[testing]'")):
        tour(ORDER)
