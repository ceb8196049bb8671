"""Stored logs, judged by monitors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.log import EventLog
from rat_fsm.monitors import eventually, never_after
from rat_fsm.replay import read_events
from rat_fsm.replay.monitoring import check_monitors
from rat_fsm.testing import VirtualClock
from tests.orders import ORDER, Done, New, Noted

if TYPE_CHECKING:
    from pathlib import Path

PLACED = New.Placed("book", 1200, "EUR")
NOTED_ONCE = never_after(Noted, Noted, of=ORDER)
DONE_SOON = eventually(Done, of=ORDER, within=10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of five orders, of which one is done, in five frames."""
    path, clock = tmp_path / "orders.db", VirtualClock()
    with EventLog.open(path, lifecycles=(ORDER,), clock=clock) as log:
        for number in range(5):
            log.append(("order", f"o{number}"), PLACED, Noted(), Noted())
            clock.advance(4)
            log.flush()
        log.append(("order", "o0"), Done())
    return path


def test_a_log_says_what_its_events_say(path: Path) -> None:
    """The same as a check of its events, with the first of all violations that are counted."""
    seen: list[int] = []
    verdict = check_monitors(path, NOTED_ONCE, DONE_SOON, limit=3, progress=seen.append)
    alone = [
        monitor.check(read_events(path, lifecycles=(ORDER,))) for monitor in (NOTED_ONCE, DONE_SOON)
    ]
    assert verdict.counts == {**alone[0].counts, **alone[1].counts}
    assert sum(verdict.counts.values()) == 8
    every = [one for each in alone for one in each.violations]
    assert all(violation in every for violation in verdict.violations)
    assert len(verdict.violations) == 3
    assert verdict.open == alone[1].open
    assert len(verdict.open) == 2
    assert (verdict.events, seen) == (alone[0].events, list(range(1, len(seen) + 1)))


def test_an_open_log_knows_its_lifecycles() -> None:
    """What is durable of it is judged."""
    with EventLog(clock=VirtualClock(), lifecycles=(ORDER,)) as log:
        log.append(("order", "o1"), PLACED, Noted(), Noted())
        log.flush()
        named = never_after(Noted, Noted, of="order")
        assert check_monitors(log, named).counts == {named.name: 1}
        with pytest.raises(
            InvalidArgument, match="no lifecycle here has events of the class Noted"
        ):
            check_monitors(log.store, named)


def test_what_is_refused(path: Path) -> None:
    """What is no log, and what is no monitor."""
    with pytest.raises(InvalidArgumentType, match="source must be a URL, a path, a store or a log"):
        check_monitors(3, NOTED_ONCE)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentType, match="is no monitor"):
        check_monitors(path, Done)  # type: ignore[arg-type]
