"""Folding a log into whatever a user wants to know."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import attrs
import pytest

from rat_fsm.errors import InvalidArgument
from rat_fsm.log import EventLog
from rat_fsm.replay import read_events
from rat_fsm.replay.what_if import project
from rat_fsm.testing import VirtualClock
from tests.kept import Kept
from tests.logs import LIFECYCLES, register
from tests.orders import New

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.events import Recorded


@attrs.define
class Bytes:
    """How much each connection has sent."""

    sent: collections.Counter[str] = attrs.field(factory=collections.Counter)

    def fold(self, recorded: Recorded) -> None:
        """Adds it up."""
        self.sent[recorded.stream.id] += getattr(recorded.event, "bytes_sent", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of three connections, in three frames."""
    path = tmp_path / "events.db"
    clock = VirtualClock()
    with EventLog.open(path, clock=clock) as log:
        for name in "abc":
            clock.advance(1)
            register(log, name, f"{name}2")
            log.flush()
    return path


def test_a_projection_gets_every_event_in_order(path: Path) -> None:
    """And is handed back."""
    assert project(path, Kept()).events == list(read_events(path))
    assert project(path, Bytes()).sent["a2"] == 2


def test_until_is_the_last_event_it_gets(path: Path) -> None:
    """A position or a time, both inclusive."""
    events = list(read_events(path))
    for last in (events[0], events[5], events[-1]):
        assert last.position is not None
        assert project(path, Kept(), until=last.position).events[-1] == last
        in_time = [recorded for recorded in events if recorded.at <= last.at]
        assert project(path, Kept(), until=last.at).events == in_time
    with pytest.raises(InvalidArgument, match="until has no time zone"):
        project(path, Kept(), until=last.at.replace(tzinfo=None))


def test_lifecycles_of_users_are_read_with_their_classes() -> None:
    """Those of the log itself, or those that are given."""
    log = EventLog(clock=VirtualClock(), lifecycles=LIFECYCLES)
    placed = New.Placed("book", 1200, "EUR")
    log.append(("order", "o1"), placed)
    log.flush()
    assert project(log, Kept()).events[-1].event == placed
    assert project(log.store, Kept(), lifecycles=LIFECYCLES).events[-1].event == placed
    assert project(log.store, Kept()).events[-1].event.tag == "order.placed"
