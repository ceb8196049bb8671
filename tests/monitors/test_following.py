"""What each of the four monitors says, stream by stream."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    DrainStarted,
    ErrorRecorded,
    Recorded,
    Registered,
    RetryScheduled,
    Serving,
    Started,
    Stopped,
)
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.monitors import Cause, always, eventually, leads_to, never_after
from tests.histories import histories
from tests.monitors.told import SECOND, Seen, found, still_open, told
from tests.orders import ORDER, Done, New, Noted, Packed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rat_fsm.monitors import Monitor

    Said = tuple[Cause, int, int, int | None]
    Rule = tuple[Monitor, Callable[["History", int], list[Said | None]]]

PLACED = New.Placed("book", 1200, "EUR")
ERROR = ErrorRecorded("OSError", "reset", "network_error", retryable=True)
CLOSED = Closed("normal", 0, 0, 0, 0, 1.0)
CLOSING = Closing("normal", "client", "streaming")


def test_always() -> None:
    """Of events one after the other that break it, the first is the violation."""
    notes = [Noted(1), Noted(1), Noted(0), Noted(1)]
    events = told((0, "order/o1", PLACED), *((n, "order/o1", e) for n, e in enumerate(notes, 1)))
    monitor = always(lambda step: getattr(step.event, "note", 0) == 0)
    verdict = monitor.check(events, lifecycles=[ORDER])
    assert found(verdict) == [("event", "o1", 2, 2, 1.0), ("event", "o1", 5, 5, 4.0)]
    assert (verdict.counts, verdict.holds, verdict.events) == ({monitor.name: 2}, False, 5)
    assert still_open(verdict) == []


def test_always_a_class() -> None:
    """Only the streams of lifecycles that have the class are asked for it."""
    events = told((0, "node/n1", Serving()), (1, "order/o1", PLACED), (2, "order/o1", Noted()))
    verdict = always(New.Placed, of=ORDER).check(events)
    assert found(verdict) == [("event", "o1", 3, 3, 2.0)]
    assert found(always(New.Placed).check(events, lifecycles=[ORDER])) == found(verdict)


def test_eventually_in_time() -> None:
    """The event may come at the deadline itself; after it, it is too late."""
    monitor = eventually(Done, within=10, of=ORDER)
    begun = (0, "order/o1", PLACED)
    assert monitor.check(told(begun, (10, "order/o1", Done()))).holds
    late = monitor.check(told(begun, (10.000001, "order/o1", Done())))
    assert found(late) == [("deadline", "o1", 1, None, 10.0)]


def test_the_end_of_a_log() -> None:
    """What may still follow is open; what is overdue by anybody's time is not."""
    monitor = eventually(Done, within=10, of=ORDER)
    events = told((0, "order/o1", PLACED), (5, "order/o2", PLACED), (10, "w1:order/o3", PLACED))
    verdict = monitor.check(events)
    assert verdict.holds
    assert still_open(verdict) == [("o1", 1, 10.0), ("o2", 2, 15.0), ("o3", 1, 20.0)]
    verdict = monitor.check([*events, *told((16, "w1:connection/c1", Registered("a")))])
    assert found(verdict) == [("deadline", "o1", 1, None, 10.0), ("deadline", "o2", 2, None, 15.0)]
    assert still_open(verdict) == [("o3", 1, 20.0)]
    assert verdict.counts == {monitor.name: 2}


def test_a_slow_writer_is_not_judged_by_another() -> None:
    """What it recorded in time counts, though the store had it after a later event of another."""
    events = told(
        (0, "w0:order/o1", PLACED), (60, "w1:order/o2", PLACED), (5, "w0:order/o1", Done())
    )
    assert eventually(Done, within=10, of=ORDER).check(events).holds


def test_the_end_of_a_stream() -> None:
    """Nothing can follow it: that is a violation though no time has passed."""
    monitor = eventually(Activated, within=60)
    events = told(
        (0, "connection/c1", Registered("a")),
        (1, "connection/c1", CLOSING),
        (2, "connection/c1", CLOSED),
    )
    assert found(monitor.check(events)) == [("end", "c1", 1, 3, 2.0)]
    assert still_open(eventually(Activated).check(events[:2])) == [("c1", 1, None)]


def test_a_stream_whose_beginning_is_missing() -> None:
    """It is not known when it began: `eventually` says nothing of it, and its state is found."""
    events = told(
        (0, "connection/c1", Registered("a")),
        *((1, "connection/c1", Activated()), (2, "connection/c1", ERROR)),
        *((2, "connection/c1", CLOSING), (3, "connection/c1", CLOSED)),
    )
    assert eventually(Activated, within=0).check(events[1:]).holds
    seen = Seen()
    assert always(seen).check(events[2:]).holds
    assert [(step.before, step.state) for step in seen.steps] == [
        ("?", "?"),
        ("?", "closing"),
        ("closing", "closed"),
    ]


def test_leads_to() -> None:
    """Each time anew, from the first event that was not answered."""
    monitor = leads_to(Noted, Packed, within=10, of=ORDER)
    events = told(
        (0, "order/o1", PLACED),
        *((1, "order/o1", Noted()), (5, "order/o1", Noted()), (11, "order/o1", Packed())),
        *((20, "order/o1", Noted()), (29, "order/o1", Noted()), (31, "order/o1", Packed())),
        (40, "order/o1", Noted()),
    )
    verdict = monitor.check(events)
    assert found(verdict) == [("deadline", "o1", 5, None, 30.0)]
    assert still_open(verdict) == [("o1", 8, 50.0)]


def test_what_was_missed_is_told_once() -> None:
    """It is not open any more, and the end of its stream adds nothing."""
    monitor = leads_to(Noted, Packed, within=10, of=ORDER)
    events = told(
        *((0, "order/o1", PLACED), (1, "order/o1", Noted()), (20, "order/o1", Noted())),
        (21, "order/o1", Done()),
    )
    missed = [("deadline", "o1", 2, None, 11.0)]
    for seen in (events[:3], events):
        verdict = monitor.check(seen)
        assert (found(verdict), still_open(verdict)) == (missed, [])


def test_leads_to_itself() -> None:
    """An event that does both has answered itself."""
    events = told((0, "order/o1", PLACED), (1, "order/o1", Done()))
    assert leads_to(Done, Done | Packed, of=ORDER).check(events).holds
    assert found(leads_to(Done, Packed, of=ORDER).check(events)) == [("end", "o1", 2, 2, 1.0)]


def test_never_after() -> None:
    """The first that comes after it, once a stream; with one class twice: at most once."""
    events = told(
        (0, "order/o1", PLACED),
        *((1, "order/o1", Noted()), (2, "order/o1", Packed()), (3, "order/o1", Packed())),
        *((4, "order/o2", PLACED), (5, "order/o2", Packed()), (6, "order/o2", Noted())),
    )
    assert found(never_after(Noted, Packed, of=ORDER).check(events)) == [("event", "o1", 2, 3, 2.0)]
    assert found(never_after(Packed, Packed, of=ORDER).check(events)) == [
        ("event", "o1", 3, 4, 3.0)
    ]


def test_a_run() -> None:
    """All that one writer records from its start to its stop is one thing."""
    started = Started([], {})
    events = told(
        (0, "node/n1", started),
        *((1, "node/n1", Serving()), (2, "node/n1", DrainStarted(5.0, 0))),
        *((2, "w1:node/n1", started), (3, "w1:connection/c1", Registered("a"))),
        *((4, "node/n1", Stopped()), (5, "node/n2", started)),
        *((6, "connection/c2", Registered("a")), (6, "node/n2", Serving())),
        *((7, "node/n2", DrainStarted(5.0, 1)), (8, "connection/c3", Registered("a"))),
    )
    assert found(never_after(DrainStarted, Registered, scope="run").check(events)) == [
        ("event", "n2", 8, 9, 8.0)
    ]
    served = eventually(Registered, scope="run", of=CONNECTION)
    assert found(served.check(events)) == [("end", "n1", 1, 4, 4.0)]


def test_the_log() -> None:
    """All that anybody records is one thing, which begins with the first event and never ends."""
    events = told(
        (0, "node/n1", Started([], {})),
        *((1, "w1:connection/c1", Registered("a")), (2, "node/n1", Stopped())),
        (9, "node/n2", Started([], {})),
    )
    monitor = eventually(Registered, scope="log", within=1)
    assert monitor.check(events).holds
    assert found(eventually(Activated, scope="log", within=3).check(events)) == [
        ("deadline", "n1", 1, None, 3.0)
    ]
    assert still_open(eventually(Activated, scope="log", of="connection").check(events)) == [
        ("n1", 1, None)
    ]
    assert found(never_after(Registered, Started, scope="log").check(events)) == [
        ("event", "c1", 1, 3, 9.0)
    ]


@attrs.frozen
class History:
    """Events of one stream up to its end, or to that of the log."""

    events: list[Recorded]
    ended: bool

    def first(self, holds: Callable[[Recorded], bool], after: int = -1) -> int | None:
        """The place of the first event after another one."""
        return next((n for n, e in enumerate(self.events) if n > after and holds(e)), None)


def split(events: Iterable[Recorded]) -> list[History]:
    """What was recorded, stream by stream; what an ended stream still got stands by itself."""
    seen = Seen()
    always(seen).check(events, lifecycles=[ORDER])
    found, parts = [], dict[str, list[Recorded]]()
    for step in seen.steps:
        parts.setdefault(step.stream.born, []).append(step.recorded)
        if step.ended:
            found.append(History(parts.pop(step.stream.born), ended=True))
    return [*found, *(History(part, ended=False) for part in parts.values())]


WITHIN = 4


def is_noise(recorded: Recorded) -> bool:
    """Something that is common in the histories below."""
    return isinstance(recorded.event, ActivityRecorded | ErrorRecorded)


def is_change(recorded: Recorded) -> bool:
    """Something else that is."""
    return isinstance(recorded.event, RetryScheduled | Activated | ErrorRecorded)


def judged(history: History, since: int, answer: int | None, now: int) -> Said | None:
    """What becomes of an obligation, by the definition: answered in time, missed, or open."""
    begun, last = history.events[since], history.events[-1]
    deadline = begun.micros + WITHIN * SECOND
    told_at = now if answer is None else history.events[answer].micros
    ended_at = last.micros if history.ended and answer is None else None
    if (ended_at if ended_at is not None else told_at) > deadline:
        return (Cause.DEADLINE, begun.seq, deadline, None)
    return None if ended_at is None else (Cause.END, begun.seq, ended_at, last.seq)


def expected_eventually(history: History, now: int) -> list[Said | None]:
    """One obligation for each stream, which its first event begins."""
    if history.events[0].version > 1:
        return []
    return [judged(history, 0, history.first(is_change), now)]


def expected_leads_to(history: History, now: int) -> list[Said | None]:
    """One for the first event that obliges after each answer."""
    said: list[Said | None] = []
    place: int | None = -1
    while place is not None:
        since = history.first(lambda e: is_noise(e) and not is_change(e), after=place)
        if since is None:
            break
        place = history.first(is_change, after=since)
        said.append(judged(history, since, place, now))
    return said


def expected_always(history: History, _now: int) -> list[Said | None]:
    """The first of each row of events that break it."""
    return [
        (Cause.EVENT, after.seq, after.micros, after.seq)
        for before, after in itertools.pairwise([None, *history.events])
        if after is not None and is_noise(after) and (before is None or not is_noise(before))
    ]


def expected_never_after(history: History, _now: int) -> list[Said | None]:
    """The first event after the first that forbids it."""
    since = history.first(is_noise)
    by = None if since is None else history.first(is_change, after=since)
    if since is None or by is None:
        return []
    last = history.events[by]
    return [(Cause.EVENT, history.events[since].seq, last.micros, last.seq)]


RULES: Final[list[Rule]] = [
    (always(lambda s: not is_noise(s.recorded), name="always"), expected_always),
    (
        eventually(lambda s: is_change(s.recorded), within=WITHIN, name="eventually"),
        expected_eventually,
    ),
    (
        leads_to(
            lambda s: is_noise(s.recorded),
            lambda s: is_change(s.recorded),
            within=WITHIN,
            name="leads_to",
        ),
        expected_leads_to,
    ),
    (
        never_after(
            lambda s: is_noise(s.recorded), lambda s: is_change(s.recorded), name="never_after"
        ),
        expected_never_after,
    ),
]


@settings(max_examples=60)
@given(histories(), st.sampled_from(RULES))
def test_any_history(events: list[Recorded], rule: Rule) -> None:
    """Over whatever was recorded, a monitor says what its definition says of whole streams."""
    monitor, expected = rule
    now = max((recorded.micros for recorded in events), default=0)
    wanted = [s for history in split(events) for s in expected(history, now) if s is not None]
    verdict = monitor.check(events, lifecycles=[ORDER])
    assert Counter(
        (one.cause, one.since.seq, one.micros, None if one.by is None else one.by.seq)
        for one in verdict.violations
    ) == Counter(wanted)
    assert (verdict.counts, verdict.failures) == ({monitor.name: len(wanted)}, ())
