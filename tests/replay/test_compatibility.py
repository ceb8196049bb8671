"""Which stored streams a changed lifecycle could not take, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgumentType, InvalidLifecycle
from rat_fsm.events import Position, Started, Stream
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.replay.compatibility import Break, Cause, Compatibility, check_against
from rat_fsm.table import Lifecycle
from tests.frames import LIFECYCLES, START
from tests.histories import Recorder, histories
from tests.orders import ORDER, Done, New, Noted, Packed
from tests.replay.written import store_of

if TYPE_CHECKING:
    from rat_fsm.events import Recorded
    from rat_fsm.stores.memory import MemoryStore

CUTS = st.frozensets(st.integers(0, 30))
ROWS = [
    [New.Placed, "new", "open"],
    [Packed, "open", "packed"],
    [Noted, ["open", "packed"], None],
    [Done, "packed", "done"],
]


def order(
    transitions: list[list[Any]], states: tuple[str, ...] = ("open", "packed", "done"), **more: Any
) -> Lifecycle:
    """A lifecycle of orders."""
    return Lifecycle("order", states=states, final={"done"}, transitions=transitions, **more)


RECORDED = order(ROWS)


def log_of(*lives: tuple[str, list[Any]], lifecycle: Lifecycle = RECORDED) -> MemoryStore:
    """A log with these orders, one event a frame, behind the start of its writer."""
    recorder = Recorder((lifecycle, NODE))
    started = Started([dict(lifecycle.definition)], {})
    history = [recorder.record("node", "w0:1", started)]
    for stream_id, events in lives:
        for event in events:
            at = START + len(history)
            history.append(recorder.record("order", stream_id, event, at=at))
    return store_of(history, range(99), (lifecycle, NODE))


PLACED = New.Placed("book", 1200, "EUR")
LOG = log_of(
    ("o1", [PLACED, Packed(2), Done()]),
    ("o2", [PLACED, Noted("gift"), Packed(), Noted("heavy")]),
    ("o3", [PLACED]),
)


def broken(kind: str, what: str, streams: int, first: tuple[str, int], detail: str = "") -> Break:
    """A cause, with the first stream that it concerns and the frame where it does."""
    stream_id, at = first
    stream = Stream("order", stream_id, {"o1": "w0:2", "o2": "w0:5", "o3": "w0:9"}[stream_id])
    cause = Cause(kind, "order", what)
    return Break(cause, streams, stream, Position(at, 0), START + at - 1, detail)


def without(cls: type, *rows: list[Any]) -> list[list[Any]]:
    """The transitions without an event, and with other rows."""
    return [*(row for row in ROWS if row[0] is not cls), *rows]


class Changed:
    """The classes, changed."""

    @attrs.frozen
    class Packed:
        """Nobody counts boxes any more."""

    @attrs.frozen
    class Placed:
        """Cents are a text, and there is an address."""

        item: str
        cents: str
        currency: str


def failing(_data: dict[str, Any]) -> dict[str, Any]:
    """An upcaster with a mistake."""
    raise KeyError("gone")


PLACED_2 = order(
    without(New.Placed, [New.Placed, "new", "open"]),
    versions={New.Placed: 2},
    upcasters={(New.Placed, 1): failing},
)

# What was packed is sent now.
SENT = order(
    [
        [New.Placed, "new", "open"],
        [Packed, "open", "sent"],
        [Noted, ["open", "sent"], None],
        [Done, "sent", "done"],
    ],
    ("open", "sent", "done"),
)


@pytest.mark.parametrize(
    ("changed", "breaks"),
    [
        (RECORDED, ()),
        (order([*ROWS, [Done, "open", "done"]]), ()),
        (
            order(without(Noted, [Noted, "packed", None])),
            (broken("transition_removed", "order.noted from open", 1, ("o2", 6)),),
        ),
        (
            order(without(Noted)),
            (broken("event_removed", "order.noted", 1, ("o2", 6)),),
        ),
        (
            SENT,
            (broken("state_removed", "packed", 1, ("o2", 7)),),
        ),
        (
            order(without(Packed, [Changed.Packed, "open", "packed"])),
            (broken("field_removed", "boxes of order.packed", 2, ("o1", 3)),),
        ),
        (
            order(without(New.Placed, [Changed.Placed, "new", "open"])),
            (
                broken(
                    *("unreadable", "order.placed of schema 1", 3, ("o1", 2)),
                    detail="Expected `str`, got `int` - at `$.cents`",
                ),
            ),
        ),
        (
            PLACED_2,
            (broken("unreadable", "order.placed of schema 1", 3, ("o1", 2), detail="'gone'"),),
        ),
    ],
)
def test_each_kind_of_change(changed: Lifecycle, breaks: tuple[Break, ...]) -> None:
    """What was removed is named, with how many streams use it and the first of them."""
    found = check_against(LOG, changed)
    assert found == Compatibility({"order": 3}, breaks)
    assert found.sound == (not breaks)
    for one in breaks:
        assert one.cause.what in one.cause.sentence


def test_a_schema_from_the_future() -> None:
    """What a newer program wrote cannot be read by an older one."""
    log = log_of(("o1", [PLACED]), lifecycle=ORDER)
    (one,) = check_against(log, RECORDED).breaks
    assert (one.cause.kind, one.cause.what) == ("newer_schema", "order.placed of schema 3")
    assert check_against(log, ORDER).sound


def test_one_removal_does_not_hide_another() -> None:
    """Where a step is gone, the stream goes on as it was recorded."""
    changed = order([[New.Placed, "new", "packed"], [Done, "packed", "done"]], ("packed", "done"))
    found = check_against(LOG, changed)
    assert [(one.cause.kind, one.cause.what, one.streams) for one in found.breaks] == [
        ("event_removed", "order.packed", 2),
        ("event_removed", "order.noted", 1),
        ("state_removed", "open", 1),
    ]


@given(histories(), CUTS)
def test_what_has_not_changed_breaks_nothing(history: list[Recorded], cuts: frozenset[int]) -> None:
    """Not even streams that were illegal when they were recorded: that is another question."""
    found = check_against(store_of(history, cuts), *LIFECYCLES)
    assert found.breaks == ()
    streams = {(one.stream.lifecycle, one.stream) for one in history}
    assert sum(found.streams.values()) == len(streams)


REMOVABLE = [
    (kind.cls, source)
    for kind in CONNECTION.events
    for source in kind.moves
    if source != "new" and kind.tag != "connection.closed"
]


@given(histories(writers=("w0",), least=15), CUTS, st.sampled_from(REMOVABLE))
def test_a_removed_edge_is_found_in_every_stream_that_uses_it(
    history: list[Recorded], cuts: frozenset[int], edge: tuple[type, str]
) -> None:
    """It is the one cause, and counts the streams whose walk through the table takes it."""
    rows = [
        [kind.cls, source, dest]
        for kind in CONNECTION.events
        for source, dest in kind.moves.items()
        if (kind.cls, source) != edge
    ]
    try:
        changed = Lifecycle(
            "connection", states=CONNECTION.states, final={"closed"}, transitions=rows
        )
    except InvalidLifecycle:
        reject()
    using: set[Stream] = set()
    states: dict[Stream, str] = {}
    for one in history:
        if one.stream.lifecycle == "connection":
            state = states.get(one.stream, "new")
            after = CONNECTION.next_state(state, one.event)
            states[one.stream] = state if after is None else after
            if after is not None and (type(one.event), state) == edge:
                using.add(one.stream)
    found = check_against(store_of(history, cuts), changed)
    assert [one.streams for one in found.breaks] == ([len(using)] if using else [])


def test_without_a_definition_the_changed_one_alone_decides() -> None:
    """A log that does not define its streams says only what they did."""
    recorder = Recorder((RECORDED, NODE))
    events = [PLACED, Packed(), Noted(), Done()]
    history = [recorder.record("order", "o1", event) for event in events]
    undefined = store_of(history, {2}, (RECORDED, NODE))
    changed = order(without(Noted, [Noted, "open", None]))
    (one,) = check_against(undefined, changed).breaks
    assert one.cause == Cause("transition_removed", "order", "order.noted from packed")
    assert check_against(undefined, RECORDED).sound


def test_only_a_lifecycle_will_do() -> None:
    """Anything else is refused before the log is opened."""
    with pytest.raises(InvalidArgumentType, match="3 is no Lifecycle"):
        check_against("no such log", 3)  # type: ignore[arg-type]


def test_how_far_it_has_come() -> None:
    """Progress is the position of each frame."""
    seen: list[int] = []
    check_against(LOG, RECORDED, progress=seen.append)
    assert seen == list(range(1, 10))
