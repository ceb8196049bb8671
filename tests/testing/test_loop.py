"""An event loop in virtual time: what jumps, what is waited for, and what never comes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm import ConnectionManager
from rat_fsm.errors import Deadlock, Refused
from rat_fsm.log import EventLog
from rat_fsm.testing import VirtualClock
from rat_fsm.testing.loop import VirtualLoop
from rat_fsm.testing.stepping import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

HOUR = 3600.0
SECONDS = st.floats(0.0, 1e5, allow_subnormal=False)


def runner(clock: VirtualClock, **options: Any) -> asyncio.Runner:
    """What runs on a loop of the clock that is made with these options."""
    return asyncio.Runner(loop_factory=lambda: clock.loop_factory(**options))


def test_an_hour_passes_at_once() -> None:
    """Sleeps, timeouts and callbacks come at their times, and in their order."""
    clock = VirtualClock()
    came: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        came.append((name, clock.monotonic()))

    async def main() -> None:
        asyncio.get_running_loop().call_later(
            HOUR, lambda: came.append(("call", clock.monotonic()))
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2 * HOUR):
                await asyncio.gather(sleep("b", 0.2), sleep("a", 0.1), sleep("c", 3 * HOUR))

    clock.run(main())
    assert came == [("a", 0.1), ("b", 0.2), ("call", HOUR)]
    assert clock.monotonic() == 2 * HOUR


@given(st.lists(SECONDS, min_size=1, max_size=8))
def test_nobody_wakes_early(delays: list[float]) -> None:
    """Nor more than a microsecond late, as asyncio counts: a nanosecond is nothing."""
    clock = VirtualClock()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delay in delays:
            due = loop.time() + delay
            await asyncio.sleep(delay)
            assert due - 1e-9 <= loop.time() <= due + 2e-6

    clock.run(main())


def test_ticks_do_not_drift() -> None:
    """What floats add up to wrongly stays below a microsecond, and is none."""
    clock = VirtualClock()

    async def main() -> None:
        for _ in range(20):
            await asyncio.sleep(0.05)

    clock.run(main())
    assert clock.monotonic() == 1.0


def test_a_deadline_between_two_microseconds_is_reached() -> None:
    """Who looks again because it is not quite there yet does not look for ever."""

    async def main() -> None:
        loop, deadline = asyncio.get_running_loop(), 0.1234560005
        while loop.time() < deadline:  # noqa: ASYNC110 - the point is to look again
            await asyncio.sleep(deadline - loop.time())

    with runner(VirtualClock(), rounds=100) as one:
        one.run(main())


def test_jobs_of_the_clock_and_coroutines_share_one_time() -> None:
    """What a job wakes goes on at the job's time, not at that of the next timer."""
    clock = VirtualClock()
    times: list[float] = []

    async def main() -> None:
        event = asyncio.Event()
        clock.schedule(5.0, event.set)
        clock.schedule(7.0, lambda: times.append(clock.monotonic()))
        async with asyncio.timeout(60.0):
            await event.wait()
        times.append(clock.monotonic())
        await asyncio.sleep(5.0)

    clock.run(main())
    assert times == [5.0, 7.0]


def test_a_manager_on_the_same_clock() -> None:
    """A connection is stale when as much time has passed for the coroutine that forgot it."""
    clock = VirtualClock()

    async def main() -> ConnectionManager:
        manager = ConnectionManager(clock=clock, stale_after=300.0, cleanup_interval=30.0)
        manager.register_connection("a", "x")
        await asyncio.sleep(299)
        assert manager.is_connection_alive("a")
        await asyncio.sleep(31)
        return manager

    manager = clock.run(main())
    assert manager.get_stats()["closed_by_reason"] == {"stale": 1}


def test_a_runner_takes_the_factory_as_it_is() -> None:
    """Several runs of one runner go on in one time; the loop knows its clock."""
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=clock.loop_factory) as one:
        one.run(asyncio.sleep(1))
        one.run(asyncio.sleep(2))
        loop = one.get_loop()
        assert isinstance(loop, VirtualLoop)
        assert loop.clock is clock
    assert clock.monotonic() == 3.0


def test_what_main_answers_and_raises_comes_out() -> None:
    """As of asyncio.run."""

    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise LookupError("no")

    assert VirtualClock().run(answer()) == 7
    with pytest.raises(LookupError, match="no"):
        VirtualClock().run(fail())


# What never comes.


async def _lock_twice() -> None:
    lock = asyncio.Lock()
    async with lock:
        await lock.acquire()


async def _wait_for_each_other() -> None:
    first: asyncio.Task[Any]

    async def wait() -> None:
        await asyncio.sleep(1)
        await first

    first = asyncio.create_task(asyncio.Event().wait(), name="the first")
    await wait()


@pytest.mark.parametrize(
    ("main", "line"),
    [
        (_lock_twice, "in _lock_twice: await lock.acquire()"),
        (_wait_for_each_other, "in _wait_for_each_other.<locals>.wait: await first"),
    ],
)
def test_a_deadlock_is_an_error(main: Callable[[], Coroutine[Any, Any, None]], line: str) -> None:
    """At once, and it says where everybody waits."""
    factory = partial(VirtualClock().loop_factory, patience=0.1)  # other tests leave threads
    with (
        pytest.raises(Deadlock, match="nothing is left that could wake one") as caught,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        runner.run(main())
    assert caught.value.waiting[0].endswith(line)
    assert "tests/testing/test_loop.py:" in caught.value.waiting[0]


def test_jobs_that_come_again_and_wake_nobody_are_a_deadlock_too() -> None:
    """A manager looks for stale connections for ever: that alone is no life."""
    clock = VirtualClock()

    async def main() -> None:
        manager = ConnectionManager(clock=clock)
        await asyncio.Event().wait()
        manager.shutdown()

    with pytest.raises(Deadlock):
        clock.run(main())
    assert clock.monotonic() > 24 * HOUR


@pytest.mark.parametrize("pause", [0.0, 1.0])
def test_a_task_that_goes_round_for_ever(pause: float) -> None:
    """It is found out after so many rounds, which may be more, and ends as it would anyway."""
    ended: list[bool] = []

    async def main() -> None:
        try:
            for _ in itertools.count():
                await asyncio.sleep(pause)
        finally:
            await asyncio.sleep(pause)
            ended.append(True)

    with (
        pytest.raises(Deadlock, match=r"after 500 rounds .* loop_factory\(rounds=…\)"),
        runner(VirtualClock(), rounds=500) as one,
    ):
        one.run(main())
    assert ended == [True]


def test_threads_that_wake_nobody_are_waited_for_a_while() -> None:
    """Any thread might; after the loop's patience it is a deadlock."""
    clock, done = VirtualClock(), threading.Event()
    bystander = threading.Thread(target=done.wait)
    bystander.start()
    try:
        with pytest.raises(Deadlock), runner(clock, patience=0.05) as one:
            one.run(_lock_twice())
    finally:
        done.set()
        bystander.join()


def test_one_loop_drives_a_clock() -> None:
    """A second one at the same time is refused."""
    clock = VirtualClock()
    other = clock.loop_factory()

    def run_other() -> str:
        with pytest.raises(Refused) as caught:
            other.run_forever()
        return caught.value.cause

    async def main() -> str:
        return await asyncio.to_thread(run_other)

    assert clock.run(main()) == "clock_is_driven"
    other.close()


# What is real.


def test_a_thread_that_works_holds_the_clock() -> None:
    """A timeout does not come before what it waits for."""
    clock = VirtualClock()

    async def main() -> None:
        async with asyncio.timeout(1.0):
            await asyncio.to_thread(time.sleep, 0.05)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        assert not loop.busy

    clock.run(main())
    assert clock.monotonic() == 0.0


def test_a_thread_that_works_for_too_long_holds_it_no_more() -> None:
    """The patience is real seconds."""
    clock, release = VirtualClock(), threading.Event()

    async def main() -> None:
        waiting = asyncio.create_task(asyncio.to_thread(release.wait))
        await asyncio.sleep(HOUR)
        release.set()
        await waiting

    with runner(clock, patience=0.02) as one:
        one.run(main())
    assert clock.monotonic() == HOUR


def test_any_thread_may_wake_the_loop() -> None:
    """With call_soon_threadsafe, where nothing else is left."""
    clock = VirtualClock()

    async def main() -> float:
        event, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            time.sleep(0.05)  # the loop has nothing to do by then
            loop.call_soon_threadsafe(event.set)

        thread = threading.Thread(target=wake)
        thread.start()
        await event.wait()
        thread.join()
        return loop.time()

    assert clock.run(main()) == 0.0


def test_a_thread_waits_on_the_clock_while_the_loop_moves_it() -> None:
    """Both see one time: a thread's poll and a task's sleep alternate as they should."""
    clock = VirtualClock()
    seen: list[tuple[str, float]] = []

    def poll(event: threading.Event) -> bool:
        while not clock.wait(event, 2.5):
            seen.append(("thread", clock.monotonic()))
        return True

    async def main() -> bool:
        event = threading.Event()
        polling = asyncio.create_task(asyncio.to_thread(poll, event))
        for _ in range(2):
            await asyncio.sleep(3.0)
            seen.append(("task", clock.monotonic()))
        event.set()
        return await polling

    assert clock.run(main())
    assert seen == [("thread", 2.5), ("task", 3.0), ("thread", 5.0), ("task", 6.0)]


def test_a_thread_waits_without_a_timeout() -> None:
    """For as long as it takes."""
    clock = VirtualClock()

    async def main() -> bool:
        event = threading.Event()
        asyncio.get_running_loop().call_later(HOUR, event.set)
        return await asyncio.to_thread(clock.wait, event, None)

    assert clock.run(main())
    assert clock.monotonic() == HOUR


def test_a_thread_that_outlives_the_loop_moves_the_clock_itself() -> None:
    """It is not left waiting for a loop that is gone."""
    clock, answers = VirtualClock(), list[bool]()
    asleep = threading.Event()

    def wait() -> None:
        clock.schedule(1.0, asleep.set)
        answers.append(clock.wait(threading.Event(), HOUR))

    thread = threading.Thread(target=wait)

    async def main() -> None:
        thread.start()
        await asyncio.to_thread(asleep.wait)

    with runner(clock, patience=0.2) as one:
        one.run(main())
    thread.join(10)
    assert answers == [False]
    assert clock.monotonic() == HOUR


def test_a_thread_that_comes_too_late_moves_the_clock_itself() -> None:
    """The loop is closed before it could be told that somebody sleeps."""
    clock = VirtualClock()
    loop = clock.loop_factory()
    answers: list[bool] = []

    def wait() -> None:
        with clock.sleepers.asleep(threading.Event()) as sleeper:
            loop.nudge()
            answers.append(sleeper.wait())

    loop.close()
    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(10)
    assert answers == [False]


def test_the_coroutine_s_own_thread_moves_the_clock() -> None:
    """Waiting blocks the loop, as it would in real time, and time passes all the same."""
    clock = VirtualClock()

    async def main() -> bool:
        return clock.wait(threading.Event(), HOUR)

    assert clock.run(main()) is False
    assert clock.monotonic() == HOUR


def test_the_disk_is_waited_for_inside_hold() -> None:
    """An append is durable after some real milliseconds, and no timeout is due before."""
    clock = VirtualClock()

    async def main() -> Any:
        with EventLog(clock=clock) as log, clock.hold():
            assert clock.held
            async with asyncio.timeout(0.001):
                return await log.append_async(("connection", "a"), _registered())

    assert clock.run(main()) is not None
    assert not clock.held


def _registered() -> Any:
    from rat_fsm.events import Registered

    return Registered("x", "sse", {})


def test_sockets_work() -> None:
    """What was sent is there before time goes on; a timeout still comes where nothing was."""
    clock = VirtualClock()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await asyncio.sleep(HOUR)
        writer.write(b"late\n")
        writer.close()
        await writer.wait_closed()

    async def main() -> list[Any]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            lines: list[Any] = [await asyncio.wait_for(reader.readline(), 5.0)]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readline(), 5.0)
            lines.append(await reader.readline())
            writer.close()
            await writer.wait_closed()
        return lines

    assert clock.run(main()) == [b"hello\n", b"late\n"]
    assert HOUR <= clock.monotonic() < HOUR + 10


def test_a_socket_alone_is_waited_for() -> None:
    """Its other end may be a thread that this loop knows nothing of."""
    clock = VirtualClock()
    ours, theirs = socket.socketpair()

    def answer() -> None:
        theirs.sendall(b"x")
        theirs.close()

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(sock=ours)
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
            thread.join()

    assert clock.run(main()) == b"x"


# Order.


async def _racers() -> str:
    arrived: list[str] = []

    async def run(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        arrived.append(name)

    await asyncio.gather(*map(run, "abc"))
    return "".join(arrived)


def test_without_a_seed_order_is_asyncio_s() -> None:
    """Who comes first goes first."""
    assert VirtualClock().run(_racers()) == asyncio.run(_racers()) == "abc"


def test_seeds_reach_every_order_and_each_has_one() -> None:
    """The same seed runs the same way."""
    first = [VirtualClock().run(_racers(), seed=seed) for seed in range(60)]
    assert set(first) == {"abc", "acb", "bac", "bca", "cab", "cba"}
    assert first == [VirtualClock().run(_racers(), seed=seed) for seed in range(60)]


@pytest.mark.parametrize("seed", range(5))
def test_a_cancellation_arrives_whoever_overtakes(seed: int) -> None:
    """Also where the task was about to go on."""

    async def main() -> list[str]:
        said: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                said.append("cancelled")
                raise

        task = asyncio.create_task(work())
        asyncio.get_running_loop().call_later(1, task.cancel)
        await asyncio.wait({task})
        assert task.cancelled()
        return said

    assert VirtualClock().run(main(), seed=seed) in (["cancelled"], [])


@pytest.mark.parametrize("seed", range(10))
def test_a_cancellation_is_not_lost_behind_an_error(seed: int) -> None:
    """Which a task is about to hear when it is cancelled."""

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()

        async def work() -> None:
            with contextlib.suppress(LookupError):
                await future
            await asyncio.sleep(10)

        task = asyncio.create_task(work())
        await asyncio.sleep(1)
        future.set_exception(LookupError())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    VirtualClock().run(main(), seed=seed)


def test_a_task_looks_like_its_coroutine() -> None:
    """To debuggers, to inspect, and to frameworks that look at it as anyio does."""

    async def main() -> None:
        async def work() -> None:
            await asyncio.sleep(1)

        task = asyncio.create_task(work())
        coroutine: Any = task.get_coro()
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
        await asyncio.sleep(0)
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
        assert not coroutine.cr_running
        assert coroutine.cr_await is not None
        assert coroutine.cr_code.co_name == "work"
        assert "main.<locals>.work" in repr(task)
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["work"]
        await task
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
        assert place_of(coroutine) == f"in {coroutine.__qualname__}"

    VirtualClock().run(main())


def test_what_is_no_coroutine_is_refused_as_ever() -> None:
    """By asyncio."""

    async def main() -> None:
        with pytest.raises(TypeError, match="a coroutine was expected"):
            asyncio.get_running_loop().create_task(asyncio.sleep)  # type: ignore[arg-type]  # wrong on purpose

    VirtualClock().run(main())


def test_a_task_s_coroutine_may_be_closed_or_awaited() -> None:
    """By whoever takes it from its task."""

    async def main() -> None:
        async def work() -> int:
            return 7

        task = asyncio.create_task(work())
        coroutine: Any = task.get_coro()
        assert await coroutine == 7
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await task
        coroutine.close()

    VirtualClock().run(main())
