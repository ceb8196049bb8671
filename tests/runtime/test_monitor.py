"""The stream monitor, in virtual time."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from rat_fsm import ConnectionManager, StreamMonitor
from rat_fsm.errors import InvalidArgument
from rat_fsm.testing import VirtualClock


class Stream:
    """A stream that knows whether it is closed."""

    is_closed = False


class ClosedByMethod:
    """A stream whose ``closed`` is a method, as some have it."""

    def __init__(self) -> None:
        self.answer = False

    def closed(self) -> bool:
        return self.answer


def monitored(stream: Any, interval: float = 1.0) -> tuple[Any, VirtualClock, Any, list[str]]:
    """One connection whose stream is watched."""
    clock, ended = VirtualClock(), list[str]()
    manager = ConnectionManager(clock=clock)
    monitor = StreamMonitor(manager, check_interval=interval)
    manager.register_connection("a", "x", stream)
    assert monitor.start_monitoring("a", stream, ended.append)
    return manager, clock, monitor, ended


def test_a_closed_stream_ends_its_connection_and_calls_back() -> None:
    """Found at the next check."""
    stream = Stream()
    manager, clock, monitor, ended = monitored(stream, interval=2.0)
    clock.advance(10)
    assert ended == []
    stream.is_closed = True
    clock.advance(1.9)
    assert ended == []
    clock.advance(0.2)
    assert ended == ["a"]
    assert manager.get_stats()["closed_by_reason"] == {"stream_closed": 1}
    assert not monitor.is_monitoring("a")


def test_a_method_can_say_that_a_stream_is_closed() -> None:
    """``closed()`` and ``is_closed()`` work like the attributes."""
    stream = ClosedByMethod()
    _, clock, monitor, ended = monitored(stream)
    clock.advance(3)
    assert monitor.is_monitoring("a")
    stream.answer = True
    clock.advance(1)
    assert ended == ["a"]


def test_a_lost_stream_ends_its_connection() -> None:
    """A stream nobody holds cannot be sent to."""
    stream = Stream()
    manager, clock, monitor, ended = monitored(stream)
    del stream
    gc.collect()
    clock.advance(1)
    assert not monitor.is_monitoring("a")
    assert ended == ["a"]
    assert manager.get_stats()["closed_by_reason"] == {"reference_lost": 1}


def test_a_healthy_stream_activates_its_connection_and_keeps_it_fresh() -> None:
    """The first healthy check ends the handshake; later ones postpone staleness."""
    stream = Stream()
    manager, clock, monitor, _ = monitored(stream)
    clock.advance(1)
    assert monitor.is_monitoring("a")
    assert manager.get_connection_info("a").state.value == "active"
    clock.advance(1000)
    assert manager.is_connection_alive("a")


def test_unregistering_calls_back_too_and_once() -> None:
    """However it ends."""
    stream = Stream()
    manager, clock, _, ended = monitored(stream)
    manager.unregister_connection("a")
    stream.is_closed = True
    clock.advance(5)
    assert ended == ["a"]


def test_after_stop_monitoring_nobody_calls_back() -> None:
    """The one way to take a callback back; unknown ids do nothing."""
    stream = Stream()
    manager, clock, monitor, ended = monitored(stream)
    monitor.stop_monitoring("a")
    monitor.stop_monitoring("nobody")
    manager.unregister_connection("a")
    clock.advance(5)
    assert ended == []


def test_after_shutdown_callbacks_stay_until_the_manager_closes() -> None:
    """Monitoring ends, the promise to call back does not."""
    stream = Stream()
    manager, clock, monitor, ended = monitored(stream)
    monitor.shutdown()
    stream.is_closed = True
    clock.advance(5)
    assert ended == []
    assert not monitor.start_monitoring("a", stream)
    manager.shutdown()
    assert ended == ["a"]


def test_a_stream_whose_check_fails_hides_no_other() -> None:
    """One bad object is logged, the rest are checked."""

    class Broken:
        @property
        def is_closed(self) -> bool:
            raise RuntimeError("no answer")

    broken, stream = Broken(), Stream()
    manager, clock, monitor, ended = monitored(broken)
    manager.register_connection("b", "x", stream)
    monitor.start_monitoring("b", stream, ended.append)
    stream.is_closed = True
    clock.advance(1)
    assert ended == ["b"]


def test_unknown_connections_are_not_monitored() -> None:
    """There is nothing to end, so nothing to watch."""
    manager = ConnectionManager(clock=VirtualClock())
    monitor = StreamMonitor(manager)
    assert not monitor.start_monitoring("nobody", Stream(), print)
    with pytest.raises(InvalidArgument):
        StreamMonitor(manager, check_interval=0)
