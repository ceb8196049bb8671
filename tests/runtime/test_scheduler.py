"""The two threads of a process: jobs in their order, from wherever they are handed over."""

from __future__ import annotations

import gc
import logging
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.runtime.scheduler import THREADS, Scheduler, Threads, Worker, weak
from tests.processes import untraced

if TYPE_CHECKING:
    import queue
    from collections.abc import Callable, Iterator

    from rat_fsm.runtime.scheduler import Timer

PATIENCE = 20.0
FAR = 10_000.0
MILLIS = st.integers(-1, 4).map(lambda millis: millis / 1000)
TASKS = Path("/proc/self/task")


@pytest.fixture
def scheduler() -> Scheduler:
    """A scheduler with a thread of its own."""
    return Scheduler("test-scheduler")


def settle(scheduler: Scheduler) -> None:
    """Waits until everything that is due has run."""
    done = threading.Event()
    scheduler.schedule(0.0, done.set)
    assert done.wait(PATIENCE)


class Busy:
    """A scheduler whose thread is held, so that what is scheduled meanwhile waits together."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held, self._release = threading.Event(), threading.Event()

    def __enter__(self) -> None:
        """Holds the thread."""
        self._scheduler.schedule(0.0, self._hold)
        assert self._held.wait(PATIENCE)

    def __exit__(self, *_problem: object) -> None:
        """Lets it go."""
        self._release.set()

    def _hold(self) -> None:
        self._held.set()
        self._release.wait(PATIENCE)


@given(
    jobs=st.lists(st.tuples(MILLIS, st.sampled_from([False, False, True])), max_size=20),
    late=st.booleans(),
)
def test_jobs_run_at_their_time_in_order(jobs: list[tuple[float, bool]], *, late: bool) -> None:
    """By due time, then as scheduled, all late ones too; never early, never once cancelled."""
    ran: list[tuple[int, bool]] = []
    timers: list[Timer] = []

    def note(number: int) -> Callable[[], None]:
        return lambda: ran.append((number, time.monotonic() >= timers[number].due))

    with Busy(SHARED):
        for number, (delay, _) in enumerate(jobs):
            timers.append(SHARED.schedule(delay, note(number)))
        for timer, (_, cancelled) in zip(timers, jobs, strict=True):
            if cancelled:
                timer.cancel()
        last = threading.Event()
        SHARED.schedule(0.005, last.set)
        if late:
            threading.Event().wait(0.006)
    assert last.wait(PATIENCE)
    kept = [number for number, (_, cancelled) in enumerate(jobs) if not cancelled]
    assert ran == [(number, True) for number in sorted(kept, key=lambda n: timers[n].due)]


SHARED = Scheduler("test-shared")


def test_a_job_that_comes_late_and_is_due_first_runs_first(scheduler: Scheduler) -> None:
    """Though another one that is due as well was known before it."""
    ran: list[str] = []
    release, known = threading.Event(), threading.Event()

    def hold() -> None:
        known.set()
        release.wait(PATIENCE)

    with Busy(scheduler):
        scheduler.schedule(0.02, lambda: ran.append("second"))
        scheduler.schedule(0.0, hold)
    assert known.wait(PATIENCE)
    scheduler.schedule(0.0, lambda: ran.append("first"))
    threading.Event().wait(0.03)
    release.set()
    settle(scheduler)
    assert ran == ["first", "second"]


def test_a_cancelled_job_does_not_start(scheduler: Scheduler) -> None:
    """Once or twice; to cancel one that has run does nothing."""
    ran: list[str] = []
    with Busy(scheduler):
        timer = scheduler.schedule(0.0, lambda: ran.append("cancelled"))
        other = scheduler.schedule(0.0, lambda: ran.append("kept"))
        timer.cancel()
        timer.cancel()
    settle(scheduler)
    other.cancel()
    assert (ran, timer.job, other.job) == (["kept"], None, None)


def test_cancelled_timers_do_not_pile_up(scheduler: Scheduler) -> None:
    """Ten thousand that are cancelled at once, and ten thousand that were waiting already."""
    for _ in range(10_000):
        scheduler.schedule(FAR, lambda: None).cancel()
    settle(scheduler)
    assert len(scheduler._heap) <= 1_000
    waiting = [scheduler.schedule(FAR, lambda: None) for _ in range(10_000)]
    settle(scheduler)
    assert len(scheduler._heap) >= 10_000
    for timer in waiting:
        timer.cancel()
    settle(scheduler)
    assert len(scheduler._heap) <= 1_000


def test_threads_that_cancel_at_once_do_not_miss_the_sweep(scheduler: Scheduler) -> None:
    """Whatever counts they overwrite of each other."""
    timers = [[scheduler.schedule(FAR, lambda: None) for _ in range(2_000)] for _ in range(4)]
    settle(scheduler)

    def cancel(mine: list[Any]) -> None:
        for timer in mine:
            timer.cancel()

    threads = [threading.Thread(target=cancel, args=(mine,)) for mine in timers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    settle(scheduler)
    assert len(scheduler._heap) <= 2_000


def exploding(problem: BaseException) -> Callable[[], None]:
    """A job that raises."""

    def job() -> None:
        raise problem

    return job


@pytest.mark.parametrize(
    "problem", [ValueError("bang"), SystemExit(1), KeyboardInterrupt()], ids=repr
)
def test_a_job_that_raises_hurts_nobody_else(
    problem: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a timed one nor a callback; it is logged, even if it wanted to end the thread."""
    threads = Threads()
    with caplog.at_level(logging.ERROR, "rat_fsm"):
        threads.scheduler.schedule(0.0, exploding(problem))
        settle(threads.scheduler)
        done = threading.Event()
        threads.callbacks.put(exploding(problem))
        threads.callbacks.put(done.set)
        assert done.wait(PATIENCE)
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert logged == [problem, problem]


def test_a_job_may_schedule_and_cancel_others(scheduler: Scheduler) -> None:
    """On the thread itself, as a periodic check does."""
    ran: list[int] = []
    done = threading.Event()
    victim = scheduler.schedule(FAR, lambda: ran.append(-1))

    def tick() -> None:
        ran.append(len(ran))
        victim.cancel()
        if len(ran) < 100:
            scheduler.schedule(0.0, tick)
        else:
            done.set()

    scheduler.schedule(0.0, tick)
    assert done.wait(PATIENCE)
    assert (ran, victim.job) == (list(range(100)), None)


@pytest.mark.parametrize("delay", [1e9, 1e12, float("inf")])
def test_a_job_in_a_far_future_stops_nobody(scheduler: Scheduler, delay: float) -> None:
    """Beyond what the system can wait for at once."""
    timer = scheduler.schedule(delay, lambda: None)
    settle(scheduler)
    settle(scheduler)
    assert timer.job is not None


@pytest.fixture
def interruptions() -> Iterator[list[Callable[[], None]]]:
    """Runs what is put in the list again and again, in the middle of whatever this thread does."""
    jobs: list[Callable[[], None]] = []
    before = signal.signal(signal.SIGVTALRM, lambda *_: [job() for job in jobs])
    # Not ITIMER_REAL, which pytest-timeout needs.
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0002, 0.0002)
    yield jobs
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def test_a_signal_handler_may_schedule_while_it_interrupts_that(
    scheduler: Scheduler, interruptions: list[Callable[[], None]]
) -> None:
    """Nothing deadlocks and nothing is lost."""
    wanted: list[int] = []
    ran: list[int] = []

    def schedule() -> None:
        wanted.append(len(wanted))
        number = wanted[-1]
        scheduler.schedule(FAR, lambda: None).cancel()
        scheduler.schedule(0.0, lambda: ran.append(number))

    interruptions.append(schedule)
    until = time.monotonic() + PATIENCE
    while len(wanted) < 50 and time.monotonic() < until:
        for _ in range(100):
            scheduler.schedule(0.0, lambda: ran.append(-1))
    interruptions.clear()
    settle(scheduler)
    mine = [number for number in ran if number >= 0]
    assert sorted(mine) == list(range(len(wanted)))
    assert len(ran) - len(mine) >= 100


class Dying:
    """An object in a circle, whose end hands a job over."""

    def __init__(self, hand_over: Callable[[], object]) -> None:
        self.me = self
        self.hand_over = hand_over

    def __del__(self) -> None:
        self.hand_over()


def test_a_finaliser_may_schedule_at_any_moment(scheduler: Scheduler) -> None:
    """With a collection at every allocation, on the scheduler's thread too."""
    ran: list[int] = []

    def allocate() -> None:
        Dying(int)

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(200):
            Dying(lambda number=number: scheduler.schedule(0.0, lambda: ran.append(number)))  # type: ignore[misc]  # mypy cannot infer the type of such a lambda
            scheduler.schedule(0.0, allocate)
    finally:
        gc.set_threshold(*before)
    deadline = time.monotonic() + PATIENCE
    while len(ran) < 200 and time.monotonic() < deadline:
        gc.collect()  # does nothing while the scheduler's thread is still collecting
        settle(scheduler)
    assert sorted(ran) == list(range(200))


def test_nothing_keeps_a_finished_job_alive(scheduler: Scheduler) -> None:
    """Nor what it held, however long nothing else is to be done."""
    owner = Dying(int)
    ended = weakref.ref(owner)
    scheduler.schedule(0.0, lambda owner=owner: owner.hand_over())  # type: ignore[misc]  # likewise
    settle(scheduler)
    settle(scheduler)
    del owner
    gc.collect()
    assert ended() is None


class Owner:
    """Somebody with a method."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def check(self) -> None:
        """What a timer calls."""
        self.calls.append("checked")


def test_a_weak_job_does_not_keep_its_owner(scheduler: Scheduler) -> None:
    """It calls the method while there is an owner, and then does nothing."""
    calls: list[str] = []
    owner = Owner(calls)
    job = weak(owner.check)
    job()
    with Busy(scheduler):
        scheduler.schedule(0.0, job)
        ended = weakref.ref(owner)
        del owner
        assert ended() is None
    settle(scheduler)
    assert calls == ["checked"]


def three(inbox: queue.SimpleQueue[Any]) -> None:
    """Runs three jobs."""
    for _ in range(3):
        inbox.get()()


def test_a_thread_that_cannot_be_had_is_tried_again() -> None:
    """What was handed over meanwhile is not lost."""
    done: list[str] = []
    last = threading.Event()
    worker = Worker("test-worker", three)
    before = threading.stack_size(2**46)  # more than there is
    try:
        for name in ("one", "two"):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                worker.put(lambda name=name: done.append(name))
    finally:
        threading.stack_size(before)
    worker.put(last.set)
    assert last.wait(PATIENCE)
    assert done == ["one", "two"]


def test_a_worker_has_one_thread() -> None:
    """Though Ctrl-C came when it was started, and the next one started it again."""
    seen: list[int] = []
    done = threading.Event()
    worker = Worker("test-single", three)
    for job in (lambda: seen.append(threading.get_ident()),) * 2 + (done.set,):
        worker._started = False  # as an interrupted start leaves it
        worker.put(job)
    assert done.wait(PATIENCE)
    assert (len(seen), len(set(seen))) == (2, 1)


def switches(thread: int) -> int:
    """How often a thread has gone to sleep."""
    status = (TASKS / str(thread) / "status").read_text()
    line = next(x for x in status.splitlines() if x.startswith("voluntary_ctxt_switches"))
    return int(line.split()[1])


@pytest.mark.skipif(not TASKS.exists(), reason="counts context switches as Linux tells them")
def test_idle_threads_do_not_poll() -> None:
    """A thread without work sleeps until there is some, even when a timer waits far away."""
    threads = Threads()
    idents: list[int] = []
    done = threading.Event()
    threads.scheduler.schedule(FAR, lambda: None)
    for hand_over in (lambda job: threads.scheduler.schedule(0.0, job), threads.callbacks.put):
        hand_over(lambda: idents.append(threading.get_native_id()))
    settle(threads.scheduler)
    threads.callbacks.put(done.set)
    assert done.wait(PATIENCE)

    def asleep() -> list[int]:
        return [switches(ident) for ident in idents]

    before: list[int] = []
    while before != (before := asleep()):  # they may be on their way to sleep
        threading.Event().wait(0.02)
    threading.Event().wait(0.3)
    assert (asleep(), len(before)) == (before, 2)


def run_script(script: str) -> list[str]:
    """The lines that a fresh process prints."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        env=untraced(),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return result.stdout.splitlines()


LAZY = """
import threading
def names():
    return sorted(thread.name for thread in threading.enumerate())
import rat_fsm
from rat_fsm.runtime.clock import SYSTEM_CLOCK
print(names())
done = threading.Event()
timer = SYSTEM_CLOCK.schedule(0.0, done.set)
assert done.wait(20)
print(names())
done = threading.Event()
SYSTEM_CLOCK.call(done.set)
assert done.wait(20)
for _ in range(1000):
    SYSTEM_CLOCK.schedule(1000.0, print)
print(names())
"""


def test_threads_start_when_they_are_needed() -> None:
    """None at import, one for the first timer, one for the first callback, and never more."""
    assert run_script(LAZY) == [
        "['MainThread']",
        "['MainThread', 'rat-fsm-scheduler']",
        "['MainThread', 'rat-fsm-callbacks', 'rat-fsm-scheduler']",
    ]


FORKED = """
import os, sys, threading
from rat_fsm.runtime.clock import SYSTEM_CLOCK
from rat_fsm.runtime.scheduler import THREADS

def works():
    done, called = threading.Event(), threading.Event()
    SYSTEM_CLOCK.schedule(0.0, done.set)
    SYSTEM_CLOCK.call(called.set)
    return done.wait(20) and called.wait(20)

assert works()
ran = []
inherited = SYSTEM_CLOCK.schedule(0.2, lambda: ran.append(os.getpid()))
before = THREADS.scheduler
child = os.fork()
if child == 0:
    fresh = threading.active_count() == 1 and THREADS.scheduler is not before
    worked = works()
    threading.Event().wait(0.4)
    inherited.cancel()
    os._exit(0 if fresh and worked and ran == [] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
threading.Event().wait(0.2)
print(works(), ran == [os.getpid()])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="forks")
def test_a_forked_child_starts_afresh() -> None:
    """With threads of its own and without its parent's jobs; the parent goes on."""
    assert run_script(FORKED) == ["0", "True True"]


def test_the_threads_of_the_process_are_shared() -> None:
    """Everybody's jobs run on one thread, which does not keep the process from ending."""
    seen: list[threading.Thread] = []
    for _ in range(3):
        done = threading.Event()
        THREADS.scheduler.schedule(0.0, lambda: seen.append(threading.current_thread()))
        THREADS.scheduler.schedule(0.0, done.set)
        assert done.wait(PATIENCE)
    assert {(thread.name, thread.daemon) for thread in seen} == {("rat-fsm-scheduler", True)}
    assert len(set(seen)) == 1


@pytest.mark.parametrize("callback", [False, True], ids=["schedule", "call"])
def test_a_job_that_forks_keeps_the_rest_for_its_process(*, callback: bool) -> None:
    """The other jobs run in the parent alone; the child's thread ends with the job.

    In a process of its own: what other libraries that were imported here do at such an exit of a
    child, some of them crash, is not what is tested.
    """
    script = f"""
import os, threading, time
from rat_fsm.runtime.scheduler import Threads
threads, children, done = Threads(), [], threading.Event()
held, release = threading.Event(), threading.Event()
readable, writable = os.pipe()

def fork():
    held.set()
    release.wait({PATIENCE})
    if child := os.fork():
        children.append(child)

for job in (fork, lambda: os.write(writable, b"%d " % os.getpid()), done.set):
    if {callback}:
        threads.callbacks.put(job)
    else:
        threads.scheduler.schedule(0.0, job)
assert held.wait({PATIENCE})
release.set()
assert done.wait({PATIENCE})
print(os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]))
os.close(writable)
with os.fdopen(readable) as pipe:
    print(pipe.read().split() == [str(os.getpid())])
"""
    assert run_script(script) == ["0", "True"]


def test_importing_the_clocks_is_cheap() -> None:
    """It starts no thread and imports neither asyncio nor an optional dependency."""
    script = """
import sys, threading, rat_fsm.runtime.clock, rat_fsm.testing
print(sorted({"asyncio", "hypothesis", "multiprocessing"} & set(sys.modules)))
print(threading.active_count())
"""
    assert run_script(script) == ["[]", "1"]
