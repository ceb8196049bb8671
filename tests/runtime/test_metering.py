"""Meters: who sends only adds, and what is recorded adds up."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rat_fsm import ConnectionManager, EventLog
from rat_fsm.errors import LogUnavailable
from rat_fsm.events import Activated, ActivityRecorded, Closed, Closing, Registered
from rat_fsm.runtime.metering import Meter, Meters
from rat_fsm.testing import VirtualClock


class Stage:
    """A manager in virtual time, an active connection ``a``, and its meter."""

    def __init__(self, interval: float = 1.0) -> None:
        self.clock = VirtualClock()
        self.log = EventLog(clock=self.clock)
        self.manager = ConnectionManager(log=self.log, clock=self.clock)
        self.meters = Meters(self.log, self.clock, interval)
        self.manager.register_connection("a", "x")
        self.manager.activate_connection("a")
        self.meter: Meter = self.meters.attach("a")

    def send(self, sent: int, messages: int = 1) -> None:
        """The owner adds."""
        self.meter.bytes_sent += sent
        self.meter.messages_sent += messages

    def events(self) -> list[Any]:
        """What was recorded of the connection, after the first two."""
        self.log.flush()
        events = [r.event for r in self.log.read() if r.stream.lifecycle == "connection"]
        assert events[:2] == [Registered("x"), Activated()]
        return events[2:]


def test_sums_are_recorded_at_the_interval() -> None:
    """One event for each interval in which something was sent, none for the others."""
    stage = Stage()
    for _ in range(3):
        stage.send(10)
    assert stage.events() == []
    stage.clock.advance(1)
    stage.clock.advance(5)
    stage.send(1, 0)
    stage.clock.advance(1)
    assert stage.events() == [ActivityRecorded(30, 3), ActivityRecorded(1, 0)]


def test_sums_come_before_any_other_event_of_their_connection() -> None:
    """So that the totals of its end are complete, even those of a retrying connection."""
    stage = Stage()
    stage.send(10)
    stage.manager.close_connection("a", reason="completed", ended_by="app")
    assert stage.events() == [
        ActivityRecorded(10, 1),
        Closing("completed", "app", "streaming"),
        Closed("completed", 10, 1, 0, 0, 0.0),
    ]
    stage.send(5)
    stage.meters.flush()  # too late: it has ended
    assert len(stage.events()) == 3


def test_nothing_is_recorded_for_who_was_let_go() -> None:
    """And the timer rests where there is no meter."""
    stage = Stage()
    stage.send(10)
    stage.meters.detach("a")
    stage.meters.detach("a")
    stage.clock.advance(10)
    stage.meters.settle("a")
    assert stage.events() == []


def test_without_an_interval_only_asking_records() -> None:
    """Whoever wants each message recorded asks after each."""
    stage = Stage(interval=0.0)
    stage.send(10)
    stage.clock.advance(100)
    assert stage.events() == []
    stage.meters.settle("a")
    assert stage.events() == [ActivityRecorded(10, 1)]


def test_without_room_sums_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is discarded: they are recorded once there is room again, and an end is told."""
    stage = Stage()
    stage.send(10)

    def full(*_arguments: Any, **_options: Any) -> None:
        raise LogUnavailable("full")

    with monkeypatch.context() as patched:
        patched.setattr(stage.log, "record_activity", lambda *_: False)
        patched.setattr(stage.log, "transact", full)
        stage.meters.flush()
        with pytest.raises(LogUnavailable):
            stage.meters.settle("a", reserved=True)
    stage.send(5)
    stage.clock.advance(1)
    assert stage.events() == [ActivityRecorded(15, 2)]


def test_the_owner_needs_no_lock() -> None:
    """While one thread adds and others record, no byte is lost or counted twice."""
    stage = Stage(interval=0.0)
    stop = threading.Event()

    def record() -> None:
        while not stop.is_set():
            stage.meters.settle("a")

    threads = [threading.Thread(target=record) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(20_000):
        stage.send(3)
    stop.set()
    for thread in threads:
        thread.join()
    stage.meters.settle("a")
    recorded = [event for event in stage.events() if isinstance(event, ActivityRecorded)]
    assert sum(event.bytes_sent for event in recorded) == 60_000
    assert sum(event.messages_sent for event in recorded) == 20_000
