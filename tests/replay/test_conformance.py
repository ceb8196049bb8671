"""Whether every stream of a log is legal under the definition that was recorded with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.events import (
    Closed,
    Closing,
    Registered,
    Started,
    UnknownEvent,
)
from rat_fsm.lifecycles import NODE
from rat_fsm.log import EventLog
from rat_fsm.replay import replay
from rat_fsm.replay.conformance import Finding, check
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import VirtualClock
from tests.frames import START, frame_with, usual_body
from tests.histories import Recorder, histories
from tests.orders import OLD_ORDER, ORDER, Done, New, Noted, Old, Packed
from tests.replay.written import events_in, store_of

if TYPE_CHECKING:
    from rat_fsm.events import Recorded

CUTS = st.frozensets(st.integers(0, 30))


def recorded_again(history: list[Recorded]) -> list[Recorded]:
    """The events of rat_fsm's own lifecycles, as if there had been no others."""
    recorder = Recorder()
    return [
        recorder.record(
            one.stream.lifecycle, one.stream.id, one.event, at=one.micros, writer=one.writer
        )
        for one in history
        if one.stream.lifecycle != "order"
    ]


@given(histories(), CUTS)
def test_it_counts_what_the_fold_counts(history: list[Recorded], cuts: frozenset[int]) -> None:
    """Illegal and unknown events are those that the fold passes over."""
    store = store_of(recorded_again(history), cuts)
    found, model = check(store, limit=1000), replay(store)
    assert (found.illegal, found.unknown) == (model.totals.illegal, model.totals.unknown)
    assert len(found.findings) == found.illegal + found.unknown
    assert found.sound == (not found.findings)
    events = events_in(store)
    assert found.events == len(events)
    assert found.streams == len({recorded.stream for recorded in events})
    for finding in found.findings:
        assert finding.recorded in events
        assert bool(finding.problem) == isinstance(finding.recorded.event, UnknownEvent)
        assert finding.problem or finding.recorded.type not in finding.legal


def test_a_finding_says_everything() -> None:
    """Which event of which stream, where it stood, and what it could have taken."""
    recorder = Recorder()
    history = [
        recorder.record("connection", "c", event)
        for event in (
            Registered("10.0.0.1"),
            UnknownEvent("connection.novelty", 1, {"a": 1}, "unknown tag"),
            Closed("normal", 0, 0, 0, 0, 0.0),
            Closing("normal", "app", "handshake"),
        )
    ]
    store = store_of(history)
    events = events_in(store)
    legal = tuple(
        f"connection.{name}"
        for name in ("activated", "closing", "error_recorded", "retry_refused", "retry_scheduled")
    )
    found = check(store)
    assert found.findings == (
        Finding(events[1], "connecting", "unknown tag", legal),
        Finding(events[2], "connecting", "", legal),
    )
    assert (found.illegal, found.unknown, found.sound) == (1, 1, False)
    assert check(store, limit=1).findings == found.findings[:1]


def test_what_comes_after_the_end() -> None:
    """A stream that has ended takes nothing, in the same frame or in a later one."""
    recorder = Recorder()
    history = [
        recorder.record("connection", "c", event)
        for event in (
            Registered("10.0.0.1"),
            Closing("normal", "app", "handshake"),
            Closed("normal", 0, 0, 0, 0, 0.0),
        )
    ]
    for seq in (4, 5):
        history.append(attrs.evolve(history[0], seq=seq, version=seq))
    for cuts, states in ((set[int](), ["closed", "closed"]), ({4}, ["closed", ""])):
        found = check(store_of(history, cuts))
        assert [(one.state, one.legal) for one in found.findings] == [(s, ()) for s in states]


def test_a_payload_that_cannot_be_read() -> None:
    """An event of ours whose payload is none is unknown, and its stream stays where it was."""
    body = usual_body()
    body["events"][3].append("too much")
    body["events"][4][3:] = ["x", 1]
    store = MemoryStore()
    store.append(frame_with(body).frame)
    found = check(store)
    assert [(one.recorded.type, one.problem.split(":")[0]) for one in found.findings[:2]] == [
        ("connection.activated", "unreadable"),
        ("connection.activity_recorded", "unreadable"),
    ]
    assert (found.unknown, found.illegal) == (2, 0)


def order_log(*, begin: bool = True) -> MemoryStore:
    """An order of a user, written by its program's first version, and by its second."""
    store = MemoryStore()
    with EventLog(store, clock=VirtualClock(), lifecycles=(OLD_ORDER,), writer="w") as log:
        if begin:
            log.begin()
        log.append(("order", "o1"), Old.Placed("book", 12.0), Packed())
        log.append(("order", "o2"), Old.Placed("pen", 1.0), Packed(), Done())
    with EventLog(store, clock=VirtualClock(), lifecycles=(ORDER,), writer="w") as log:
        log.append(("order", "o3"), New.Placed("cup", 300, "EUR"), Packed(), Done())
    return store


def test_streams_of_users_need_no_code() -> None:
    """Each is judged by the definition that was in force, which the log has."""
    found = check(order_log())
    assert (found.sound, found.undefined, found.streams) == (True, {}, 5)


def test_a_stream_goes_on_under_another_definition() -> None:
    """Its state is what the old one made of it; where the new one lacks that, all is illegal."""
    recorder = Recorder((OLD_ORDER, NODE))
    definitions = [dict(OLD_ORDER.definition), dict(ORDER.definition)]
    history = [recorder.record("node", "w0:1", Started(definitions, {}))]
    placed = Old.Placed("book", 1.0)
    for name, events in (("o", (placed, Packed(), Done())), ("p", (placed, Noted()))):
        history += [recorder.record("order", name, event) for event in events]
    old, new = (OLD_ORDER, NODE), (ORDER, NODE)
    store = store_of(history[3:], lifecycles=new, store=store_of(history[:3], lifecycles=old))
    (finding,) = check(store).findings
    assert (finding.recorded.stream.id, finding.recorded.type) == ("o", "order.done")
    assert (finding.state, finding.legal) == ("packed", ())


def test_streams_that_nobody_defined() -> None:
    """Without a definition nothing is judged, and how many there are is said."""
    recorder = Recorder()
    history = [
        recorder.record("order", "o1", New.Placed("cup", 300, "EUR")),
        recorder.record("order", "o1", Done(), at=START + 1),
        recorder.record("order", "o1", Done(), at=START + 2),
        recorder.record("order", "o2", Done(), at=START + 3),
    ]
    found = check(store_of(history, {1}))
    assert (found.sound, found.undefined, found.streams) == (True, {"order": 2}, 2)
    assert found.events == 4


def test_how_far_it_has_come() -> None:
    """Progress is the position of each frame."""
    seen: list[int] = []
    recorder = Recorder()
    history = [recorder.record("connection", name, Registered("10.0.0.1")) for name in "abc"]
    check(store_of(history, {1, 2}), progress=seen.append)
    assert seen == [1, 2, 3]
