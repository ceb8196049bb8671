"""A clock that moves when it is told to."""

from __future__ import annotations

import datetime
import gc
import logging
import math
import threading
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from rat_fsm.errors import InvalidArgument
from rat_fsm.testing import VirtualClock

START = 1_767_225_600_000_000
# Whole milliseconds, so that the model can add them up without rounding.
MILLIS = st.integers(0, 50)


@attrs.define(eq=False)
class Planned:
    """A job as the model knows it: in ``again`` milliseconds it schedules itself once more."""

    due: int
    number: int
    again: int | None
    sets: bool
    cancelled: bool = False
    timer: Any = None


class Model(RuleBasedStateMachine):
    """A virtual clock beside the simplest list of jobs that could do the same."""

    timers = Bundle("timers")

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.event = threading.Event()
        self.ran: list[tuple[int, int]] = []
        self.time = 0
        self.planned: list[Planned] = []
        self.expected: list[tuple[int, int]] = []
        self.will_be_set = False
        self.numbers = 0
        self._left = 0

    @rule(target=timers, delay=st.integers(-5, 50), again=st.none() | MILLIS, sets=st.booleans())
    def schedule(self, delay: int, again: int | None, *, sets: bool) -> Planned:
        plan = Planned(self.time + max(0, delay), self.numbers, again, sets)
        self.numbers += 1
        self.planned.append(plan)
        plan.timer = self.clock.schedule(delay / 1000, lambda: self._job(plan.number, again, sets))
        return plan

    def _job(self, number: int, again: int | None, sets: bool) -> None:  # noqa: FBT001 - drawn
        self.ran.append((number, self.clock.now()))
        if again is not None:
            self.clock.schedule(again / 1000, lambda: self._job(-1 - number, None, False))  # noqa: FBT003 - drawn
        if sets:
            self.event.set()

    @rule(plan=consumes(timers))
    def cancel(self, plan: Planned) -> None:
        plan.timer.cancel()
        plan.timer.cancel()
        self.planned = [other for other in self.planned if other is not plan]

    @rule(millis=MILLIS)
    def advance(self, millis: int) -> None:
        self.clock.advance(millis / 1000)
        self._run(self.time + millis, until_set=False)
        self.time += self._left

    @rule()
    def run_due(self) -> None:
        self.clock.run_due()
        self._run(self.time, until_set=False)

    @rule(millis=st.none() | MILLIS)
    def wait(self, millis: int | None) -> None:
        self.event.clear()
        self.will_be_set = False
        was_set = self.clock.wait(self.event, None if millis is None else millis / 1000)
        self._run(None if millis is None else self.time + millis, until_set=True)
        assert was_set == self.will_be_set
        if not was_set:
            self.time += self._left

    def _run(self, target: int | None, *, until_set: bool) -> None:
        """What should happen up to a time; ``_left`` is how much of it then remains."""
        while not (until_set and self.will_be_set):
            plan = min(self.planned, key=lambda p: (p.due, self.planned.index(p)), default=None)
            if plan is None or (target is not None and plan.due > target):
                break
            self.planned.remove(plan)
            self.time = max(self.time, plan.due)
            self.expected.append((plan.number, START + self.time * 1000))
            if plan.again is not None:
                later = Planned(self.time + plan.again, -1 - plan.number, None, sets=False)
                self.planned.append(later)
            self.will_be_set = self.will_be_set or plan.sets
        self._left = 0 if target is None else max(0, target - self.time)

    @invariant()
    def both_agree(self) -> None:
        assert self.ran == self.expected
        assert self.clock.now() == START + self.time * 1000
        assert self.clock.monotonic() == self.time / 1000


TestVirtualClock = Model.TestCase


@pytest.mark.parametrize(
    ("start", "now"),
    [
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), START),
        (datetime.datetime(1970, 1, 1, 0, 0, 0, 7, tzinfo=datetime.UTC), 7),
        (5, 5),
    ],
)
def test_a_clock_starts_where_it_is_told(start: datetime.datetime | int, now: int) -> None:
    """At a datetime, at microseconds, or on New Year's Day of 2026."""
    clock = VirtualClock(start)
    assert (clock.now(), clock.monotonic()) == (now, 0.0)
    assert VirtualClock().now() == START


def test_a_clock_does_not_go_back() -> None:
    """A negative advance is refused, and nothing has happened."""
    clock = VirtualClock()
    clock.schedule(0.0, pytest.fail)
    with pytest.raises(InvalidArgument, match=r"a clock does not go back by 0\.5 seconds"):
        clock.advance(-0.5)
    assert clock.now() == START


def test_half_a_minute_passes_at_once() -> None:
    """Each job sees its own time on the way; jobs may schedule further ones."""
    clock = VirtualClock()
    seen: list[float] = []

    def tick() -> None:
        seen.append(clock.monotonic())
        clock.schedule(10.0, tick)

    clock.schedule(10.0, tick)
    clock.advance(35.0)
    assert (seen, clock.monotonic()) == ([10.0, 20.0, 30.0], 35.0)


def fail() -> None:
    """A job that raises."""
    raise ValueError("bang")


def test_a_job_that_raises_is_logged_and_the_clock_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As on the system's threads; but what stops a test stops it."""
    clock = VirtualClock()
    ran: list[str] = []
    clock.schedule(1.0, fail)
    clock.schedule(2.0, lambda: ran.append("after"))
    with caplog.at_level(logging.ERROR, "rat_fsm"):
        clock.call(fail)
        clock.advance(3.0)
    assert (ran, len(caplog.records)) == (["after"], 2)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clock.call(stop)


def test_a_callback_runs_at_once() -> None:
    """On the thread that moves the clock, so that a test need not wait for it."""
    ran: list[str] = []
    VirtualClock().call(lambda: ran.append(threading.current_thread().name))
    assert ran == [threading.current_thread().name]


def test_waiting_gives_up_when_nothing_can_happen_any_more() -> None:
    """A cancelled job is nothing: the time does not even move to it."""
    clock = VirtualClock()
    clock.schedule(1000.0, lambda: None).cancel()
    assert clock.wait(threading.Event(), None) is False
    assert clock.monotonic() == 0.0
    clock.schedule(2.0, lambda: None)
    assert clock.wait(threading.Event(), None) is False
    assert clock.monotonic() == 2.0


def test_waiting_for_what_has_happened_takes_no_time() -> None:
    """And runs nothing."""
    clock, event = VirtualClock(), threading.Event()
    event.set()
    clock.schedule(0.0, pytest.fail)
    assert clock.wait(event, 5.0) is True
    assert clock.monotonic() == 0.0


def test_a_job_may_move_the_clock_itself() -> None:
    """As a shutdown does that waits within a job: time never goes back after it."""
    clock = VirtualClock()
    seen: list[float] = []
    clock.schedule(1.0, lambda: clock.advance(5.0))
    clock.schedule(2.0, lambda: seen.append(clock.monotonic()))
    clock.advance(3.0)
    assert (seen, clock.monotonic()) == ([2.0], 6.0)


def test_other_threads_may_schedule() -> None:
    """While one drives the clock."""
    clock = VirtualClock()
    ran: list[int] = []

    def schedule() -> None:
        for _ in range(500):
            clock.schedule(0.001, lambda: ran.append(1))

    threads = [threading.Thread(target=schedule) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        clock.advance(0.001)
    clock.advance(0.001)
    assert len(ran) == 2000


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, math.nan])
def test_a_clock_moves_by_a_finite_time(seconds: float) -> None:
    """Anything else is refused, and nothing has happened."""
    clock = VirtualClock()
    clock.schedule(0.0, pytest.fail)
    with pytest.raises(InvalidArgument):
        clock.advance(seconds)
    assert clock.now() == START


def count(kind: type) -> int:
    """How many objects of a class there are."""
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


def test_cancelled_jobs_do_not_pile_up() -> None:
    """Of ten thousand few are left, though time never came to them; others are not lost."""
    clock, ran = VirtualClock(), list[int]()
    for number in range(1_500):
        clock.schedule(1.0, lambda number=number: ran.append(number))  # type: ignore[misc]  # mypy cannot infer the type of such a lambda
    kind = type(clock.schedule(1.0, clock.run_due))
    before = count(kind)
    for _ in range(10_000):
        clock.schedule(3600.0, clock.run_due).cancel()
    assert count(kind) - before < 2_000
    clock.advance(1.0)
    assert ran == list(range(1_500))
