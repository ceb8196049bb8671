"""Graceful shutdown: in virtual time, on an event loop, in a signal handler."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

from rat_fsm import ConnectionManager, GracefulShutdown, ShutdownReport, StreamMonitor, replay
from rat_fsm.testing import VirtualClock


class Stream:
    """A stream that can be closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Stubborn:
    """A stream that cannot."""

    def close(self) -> None:
        raise OSError("still sending")


def server(*streams: Any, timeout: float = 30.0) -> tuple[ConnectionManager, VirtualClock, Any]:
    """A manager with these streams, and its shutdown."""
    clock = VirtualClock()
    manager = ConnectionManager(clock=clock)
    for number, stream in enumerate(streams):
        manager.register_connection(str(number), "x", stream)
    return manager, clock, GracefulShutdown(manager, StreamMonitor(manager), timeout)


def test_streams_that_end_in_time_are_not_forced() -> None:
    """New ones are refused meanwhile, and the wait ends with the last of them."""
    streams = [Stream(), Stream()]
    manager, clock, shutdown = server(*streams)
    refused: list[bool] = []
    ended: list[bool] = []
    clock.schedule(3, lambda: refused.append(manager.register_connection("late", "x")))
    clock.schedule(4, lambda: ended.append(manager.unregister_connection("0")))
    clock.schedule(7, lambda: ended.append(manager.unregister_connection("1")))
    report = shutdown.initiate_shutdown()
    assert report == ShutdownReport(2, 2, 0, (), report.duration, complete=True)
    assert 7.0 <= report.duration < 8.0
    assert (refused, ended) == ([False], [True, True])
    assert manager.log.read_model.totals.refused == {"draining": 1}
    assert shutdown.progress.phase == "stopped"
    assert (shutdown.progress.total, shutdown.progress.closed) == (2, 2)


def test_streams_that_do_not_end_are_forced_and_those_that_cannot_close_are_named() -> None:
    """After the timeout; the report and the log agree."""
    open_stream, stubborn = Stream(), Stubborn()
    manager, _, shutdown = server(open_stream, stubborn, None, timeout=2.0)
    report = shutdown.initiate_shutdown()
    assert (report.total, report.ended, report.forced) == (3, 0, 3)
    assert report.not_closed == ("1", "2")
    assert open_stream.closed
    assert manager.log.read_model.totals.closed_by_reason == {"forced": 3}
    assert replay(manager.log) == manager.log.read_model


def test_everybody_gets_the_same_report() -> None:
    """One shutdown a manager, whoever asks and however often."""
    manager, _, shutdown = server(timeout=0)
    first = shutdown.initiate_shutdown()
    assert shutdown.initiate_shutdown() is first
    assert GracefulShutdown(manager, None).initiate_shutdown() is first


def test_two_threads_shut_down_once() -> None:
    """The second waits for the first's report."""
    manager = ConnectionManager()
    stream = Stream()
    manager.register_connection("a", "x", stream)
    reports: list[ShutdownReport] = []

    def run() -> None:
        reports.append(GracefulShutdown(manager, timeout=0.2).initiate_shutdown())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(reports) == 2
    assert reports[0] is reports[1]


def test_force_ends_the_wait() -> None:
    """Somebody insists."""
    _, clock, shutdown = server(Stream(), timeout=1000.0)
    clock.schedule(5, shutdown.force)
    report = shutdown.initiate_shutdown()
    assert (report.forced, report.complete) == (1, True)
    assert report.duration < 6


def test_on_an_event_loop_it_closes_and_does_not_wait() -> None:
    """Blocking the loop would keep the streams from ever ending; drain() is for waiting."""
    manager = ConnectionManager()
    stream = Stream()
    manager.register_connection("a", "x", stream)
    shutdown = GracefulShutdown(manager, timeout=5.0)

    async def serve() -> tuple[ShutdownReport, ShutdownReport]:
        early = shutdown.initiate_shutdown()
        assert stream.closed
        manager.unregister_connection("a")
        return early, await shutdown.drain()

    early, report = asyncio.run(serve())
    assert not early.complete
    assert (report.total, report.ended, report.forced) == (1, 1, 0)


def test_a_signal_that_interrupts_the_log_shuts_down_without_a_deadlock() -> None:
    """The handler answers at once; the shutdown goes on elsewhere."""
    manager = ConnectionManager()
    manager.register_connection("a", "x")
    shutdown = GracefulShutdown(manager, timeout=0.0)
    reports: list[ShutdownReport] = []

    def decide(_stream: Any, _model: Any) -> tuple[()]:
        signal.raise_signal(signal.SIGUSR1)
        return ()

    previous = signal.signal(
        signal.SIGUSR1, lambda *_arguments: reports.append(shutdown.initiate_shutdown())
    )
    try:
        manager.log.transact("connection", "a", decide)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert [report.complete for report in reports] == [False]
    assert shutdown.initiate_shutdown().complete
    assert manager.closed


def test_a_second_signal_forces_a_second_later_and_not_before() -> None:
    """One Ctrl-C can reach a worker twice; a person who insists takes longer."""
    manager, clock, shutdown = server(Stream(), timeout=1000.0)
    answers: list[bool] = []

    def insist() -> None:
        answers.append(shutdown.initiate_shutdown().complete)

    clock.schedule(0.5, insist)
    clock.schedule(10, insist)
    report = shutdown.initiate_shutdown()
    assert answers == [False, False]
    assert 10.0 <= report.duration < 11
    assert manager.closed
