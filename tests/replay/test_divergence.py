"""In what two logs differ, stream by stream, and two moments of one log."""

from __future__ import annotations

import datetime
from collections import Counter
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    Position,
    Recorded,
    Registered,
    Serving,
    Stalled,
    Started,
    Stopped,
    Stream,
    Unstalled,
)
from rat_fsm.log import EventLog
from rat_fsm.replay import digests, replay
from rat_fsm.replay.diff import diff_models
from rat_fsm.replay.divergence import Differing, Divergence, LogDiff, diff_logs, diff_moments
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import VirtualClock
from tests.frames import LIFECYCLES, START, frame_with, usual_body
from tests.histories import Recorder, histories
from tests.logs import register
from tests.orders import OLD_ORDER, ORDER, New, Old
from tests.replay.written import events_in, store_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Lives = dict[tuple[str, str, int], list[Recorded]]

CUTS = st.frozensets(st.integers(0, 30))
ALL = 1000


def lives_of(history: Sequence[Recorded]) -> Lives:
    """The events of each life, by lifecycle, id and number of the life."""
    born: dict[Stream, tuple[str, str, int]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    lives: Lives = {}
    for recorded in history:
        stream = recorded.stream
        if stream not in born:
            seen[stream.lifecycle, stream.id] += 1
            born[stream] = (stream.lifecycle, stream.id, seen[stream.lifecycle, stream.id])
        lives.setdefault(born[stream], []).append(recorded)
    return lives


def said(recorded: Recorded | None, *, times: bool) -> Any:
    """What of an event counts."""
    if recorded is None:
        return None
    event = recorded.event
    if times:
        return recorded.type, event, recorded.micros
    if isinstance(event, Closed):
        event = attrs.evolve(event, duration=0.0)
    if isinstance(event, (Stalled, Unstalled)):
        event = attrs.evolve(event, waited=0.0)
    return recorded.type, event


def expected(
    a: Lives, b: Lives, *, times: bool
) -> tuple[set[tuple[Any, ...]], set[Stream], set[Stream]]:
    """What a comparison of everything with everything finds."""
    parted = set()
    for life in a.keys() & b.keys():
        for x, y in zip_longest(a[life], b[life]):
            if said(x, times=times) != said(y, times=times):
                known = x or y
                assert known is not None
                parted.add((known.version, *(e and (e.stream, e.position) for e in (x, y))))
                break
    only_a, only_b = (
        {one[life][0].stream for life in one.keys() - other.keys()}
        for one, other in ((a, b), (b, a))
    )
    return parted, only_a, only_b


def found_in(diff: LogDiff) -> tuple[set[tuple[Any, ...]], set[Stream], set[Stream]]:
    """The same of a diff."""
    parted = {
        (one.version, *(e and (e.stream, e.position) for e in (one.a, one.b)))
        for one in diff.parted.first
    }
    only_a, only_b = ({one.stream for one in lone.first} for lone in (diff.only_a, diff.only_b))
    return parted, only_a, only_b


@given(histories(), CUTS)
def test_a_log_does_not_differ_from_itself(history: list[Recorded], cuts: frozenset[int]) -> None:
    """Nor from the same events in other frames."""
    store = store_of(history, cuts)
    found = diff_logs(store, store, lifecycles=LIFECYCLES)
    assert not found
    assert found.same == (events_in(store)[-1].position if history else None)
    assert (found.streams_a, found.streams_b) == (0, 0)
    assert not diff_logs(store, store_of(history), times=True, lifecycles=LIFECYCLES)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[Recorded], list[Recorded]]:
    """Two histories: alike up to some event, where one is another, is later, or is the last."""
    history = draw(histories())
    manner = draw(st.sampled_from(["other", "shorter", "changed", "later"]))
    if manner == "other" or not history:
        return history, draw(histories())
    index = draw(st.integers(0, len(history) - 1))
    if manner == "shorter":
        return history, history[:index]
    if manner == "later":
        return history, [*history[:-1], attrs.evolve(history[-1], micros=history[-1].micros + 1)]
    changed = attrs.evolve(
        history[index], event=ActivityRecorded(7, 7), type="connection.activity_recorded"
    )
    return history, [*history[:index], changed, *history[index + 1 :]]


@pytest.mark.parametrize("most", [0, pytest.param(digests.MOST_IN_MEMORY, marks=pytest.mark.slow)])
@given(pair=pairs(), cuts_a=CUTS, cuts_b=st.none() | CUTS, times=st.booleans())
def test_each_stream_that_differs_is_found(
    most: int,
    pair: tuple[list[Recorded], list[Recorded]],
    cuts_a: frozenset[int],
    cuts_b: frozenset[int] | None,
    times: bool,  # noqa: FBT001 - Hypothesis calls it by name
) -> None:
    """Every one and no other, at its first event that differs, however much fits into memory."""
    a = store_of(pair[0], cuts_a)
    b = store_of(pair[1], cuts_a if cuts_b is None else cuts_b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "MOST_IN_MEMORY", most)
        found = diff_logs(a, b, times=times, limit=ALL, lifecycles=LIFECYCLES)
    wanted = expected(lives_of(events_in(a)), lives_of(events_in(b)), times=times)
    assert found_in(found) == wanted
    assert (found.parted.count, found.only_a.count, found.only_b.count) == tuple(
        len(one) for one in wanted
    )
    assert bool(found) or not any(wanted)


@given(histories(least=4), CUTS, st.integers(0, 100), st.integers(0, 100), st.booleans())
def test_logs_are_compared_as_they_were(
    history: list[Recorded],
    cuts: frozenset[int],
    first: int,
    second: int,
    by_time: bool,  # noqa: FBT001 - Hypothesis passes it
) -> None:
    """Up to a position or a time, in each log another one."""
    store, events = store_of(history, cuts), events_in(store_of(history, cuts))
    at_a, at_b = (
        events[index % len(events)].at if by_time else events[index % len(events)].position
        for index in (first, second)
    )
    found = diff_logs(
        store, store, at_a=at_a, at_b=at_b, times=True, limit=ALL, lifecycles=LIFECYCLES
    )
    lives = [
        lives_of([one for one in events if (one.at if by_time else one.position) <= at])  # type: ignore[operator]
        for at in (at_a, at_b)
    ]
    assert found_in(found) == expected(*lives, times=True)
    models = [replay(store, at, lifecycles=LIFECYCLES) for at in (at_a, at_b)]
    assert found.models == diff_models(*models, same_log=False)
    assert at_a is not None
    assert diff_moments(store, at_a, at_b, lifecycles=LIFECYCLES) == diff_models(*models)


def log_of(*seconds: float) -> MemoryStore:
    """A connection that sends, after so many seconds each time, and is ended."""
    recorder, at = Recorder(), START
    history = [
        recorder.record("node", "w0:1", Started([], {"python": "3"})),
        recorder.record("node", "w0:1", Serving()),
        recorder.record("connection", "c", Registered("10.0.0.1", "sse", {})),
        recorder.record("connection", "c", Activated()),
    ]
    for wait in seconds:
        at += round(wait * 1_000_000)
        events = (ActivityRecorded(10, 1), Stalled(wait), Unstalled(wait))
        history += [recorder.record("connection", "c", event, at=at) for event in events]
    closed = Closed("normal", 20, 2, 0, 0, sum(seconds))
    history += [
        recorder.record("connection", "c", Closing("normal", "app", "streaming"), at=at),
        recorder.record("connection", "c", closed, at=at),
        recorder.record("node", "w0:1", Stopped({"ended": 1, "duration": sum(seconds)}), at=at),
    ]
    return store_of(history, {2})


def test_times_count_where_that_is_asked_for() -> None:
    """Two runs of the same are the same, though each took its time, and its stalls likewise."""
    a, b = log_of(1, 2), log_of(1, 3)
    found = diff_logs(a, b)
    assert not found
    assert found.same == Position(1, 1)
    later = diff_logs(a, b, times=True)
    assert [(one.stream.id, one.version) for one in later.parted.first] == [("c", 6), ("w0:1", 3)]


def test_a_divergence_tells_both_events() -> None:
    """The first event of a stream that is not the same; none where a log has no more of it."""
    a, b = log_of(1, 2), log_of(1)
    found = diff_logs(a, b)
    (one,) = found.parted.first
    stream = Stream("connection", "c", "w0:3")
    events_a, events_b = events_in(a), events_in(b)
    assert one == Divergence(stream, 6, events_a[7], events_b[7], 10, 7)
    assert (one.a and one.a.event, one.b and one.b.event) == (
        ActivityRecorded(10, 1),
        Closing("normal", "app", "streaming"),
    )
    assert (found.same, found.streams_a, found.streams_b) == (Position(1, 1), 2, 2)
    assert (found.only_a, found.only_b) == (Differing(), Differing())
    shorter = diff_logs(a, a, at_a=events_a[3].position)
    assert shorter.parted.first[0] == Divergence(stream, 3, None, events_a[4], 2, 10)


def test_two_types_may_say_the_same() -> None:
    """What happened counts as well as what was said of it."""
    logs = []
    for event in (Stalled(1.0), Unstalled(1.0)):
        recorder = Recorder()
        events = (Registered("10.0.0.1"), Activated(), event)
        logs.append(store_of([recorder.record("connection", "c", one) for one in events]))
    (one,) = diff_logs(*logs).parted.first
    assert (one.version, one.a and one.a.type) == (3, "connection.stalled")


def test_only_so_many_are_listed() -> None:
    """The first in the order of the log; all are counted."""
    a, b = MemoryStore(), MemoryStore()
    with EventLog(a, clock=VirtualClock()) as log:
        register(log, "c1", "c2", "c3")
    with EventLog(b, clock=VirtualClock()) as log:
        log.begin()
    found = diff_logs(a, b, limit=2)
    assert [one.stream.id for one in found.only_a.first] == ["c1", "c2"]
    assert (found.only_a.count, found.only_b.count) == (3, 0)
    assert diff_logs(b, a, limit=0).only_b == Differing(3, ())


def test_streams_of_users() -> None:
    """They are compared as written, or as read by their lifecycle: then schemas do not matter."""
    old, new = MemoryStore(), MemoryStore()
    for store, lifecycle, event in (
        (old, OLD_ORDER, Old.Placed("book", 12.0)),
        (new, ORDER, New.Placed("book", 1200, "EUR")),
    ):
        with EventLog(store, clock=VirtualClock(), lifecycles=(lifecycle,), writer="w") as log:
            log.append(("order", "o1"), event)
    assert [one.stream.lifecycle for one in diff_logs(old, new).parted.first] == ["node", "order"]
    read = diff_logs(old, new, lifecycles=(ORDER,))
    assert [one.stream.lifecycle for one in read.parted.first] == ["node"]  # its definitions


def test_frames_of_strangers() -> None:
    """Numbers beyond those of SQLite, and two streams that claim one birth, are compared too."""
    body = usual_body()
    body["streams"] = [["order", "o", 2**64 - 1, 2**64 - 2], ["order", "p", 2**64 - 1, 0]]
    for row in body["events"]:
        row[1] %= 2
    a, b = MemoryStore(), MemoryStore()
    a.append(frame_with(body).frame)
    body["events"][-1][4] += 1
    b.append(frame_with(body).frame)
    found = diff_logs(a, b)
    assert found.parted.count == 1


def test_moments_that_are_not_there(tmp_path: Path) -> None:
    """A position past the end, and a time without a zone, are refused before anything is read."""
    path = tmp_path / "events.db"
    with EventLog.open(path) as log:
        register(log, "c")
    with pytest.raises(InvalidArgument, match="there is no frame 99"):
        diff_moments(path, Position(99, 0))
    with pytest.raises(InvalidArgument, match="no time zone"):
        diff_logs(path, path, at_b=datetime.datetime(2026, 1, 1))  # noqa: DTZ001 - the point
    assert not diff_moments(path, Position(1, 0), Position(1, 0))
    assert diff_moments(path, Position(1, 0))


def test_how_far_it_has_come() -> None:
    """Progress counts the frames of both logs."""
    seen: list[int] = []
    diff_logs(log_of(1), log_of(2, 3), progress=seen.append)
    assert seen == list(range(1, len(seen) + 1))
