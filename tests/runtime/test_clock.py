"""The system's time, and the threads behind it."""

from __future__ import annotations

import threading
import time

from rat_fsm.runtime.clock import SYSTEM_CLOCK, Clock, SystemClock
from rat_fsm.testing import VirtualClock

PATIENCE = 20.0


def test_there_are_two_clocks_of_one_kind() -> None:
    """What runs on the one runs on the other; the type checker sees it."""
    clocks: list[Clock] = [SYSTEM_CLOCK, VirtualClock()]
    assert [type(clock) for clock in clocks] == [SystemClock, VirtualClock]


def test_now_is_the_system_s_time_in_whole_microseconds() -> None:
    """Between two looks at it."""
    before = time.time_ns() // 1000
    now = SYSTEM_CLOCK.now()
    assert type(now) is int
    assert before <= now <= time.time_ns() // 1000


def test_monotonic_is_the_system_s_too() -> None:
    """Seconds."""
    before = time.monotonic()
    assert before <= SYSTEM_CLOCK.monotonic() <= time.monotonic()


def test_waiting_ends_with_the_event_or_the_time() -> None:
    """And says which."""
    event = threading.Event()
    began = time.monotonic()
    assert SYSTEM_CLOCK.wait(event, 0.01) is False
    assert time.monotonic() - began >= 0.01
    SYSTEM_CLOCK.schedule(0.0, event.set)
    assert SYSTEM_CLOCK.wait(event, PATIENCE) is True
    assert SYSTEM_CLOCK.wait(event, None) is True


def test_a_job_runs_after_its_delay_unless_it_is_cancelled() -> None:
    """Once, on the scheduler's thread."""
    ran: list[tuple[str, bool]] = []
    done = threading.Event()
    due = time.monotonic() + 0.21

    def job() -> None:
        ran.append((threading.current_thread().name, time.monotonic() >= due))

    SYSTEM_CLOCK.schedule(0.2, lambda: ran.append(("cancelled", False))).cancel()
    SYSTEM_CLOCK.schedule(0.21, job)
    SYSTEM_CLOCK.schedule(0.22, done.set)
    assert done.wait(PATIENCE)
    assert ran == [("rat-fsm-scheduler", True)]


def test_a_callback_that_blocks_delays_no_job() -> None:
    """Callbacks have a thread of their own, and run in the order they came."""
    names: list[str] = []
    held, release, done, ran = (threading.Event() for _ in range(4))

    def block() -> None:
        names.append(threading.current_thread().name)
        held.set()
        release.wait(PATIENCE)

    SYSTEM_CLOCK.call(block)
    SYSTEM_CLOCK.call(lambda: names.append("next"))
    SYSTEM_CLOCK.call(done.set)
    assert held.wait(PATIENCE)
    SYSTEM_CLOCK.schedule(0.0, ran.set)
    assert ran.wait(PATIENCE)
    assert (names, done.is_set()) == (["rat-fsm-callbacks"], False)
    release.set()
    assert done.wait(PATIENCE)
    assert names == ["rat-fsm-callbacks", "next"]
