"""Redaction: nothing of whose connection it was is left, unless it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import (
    Activated,
    CallbackFailed,
    Closing,
    DrainRequested,
    DrainStarted,
    ErrorRecorded,
    MonitorViolated,
    Registered,
    Started,
    Stopped,
    UnknownEvent,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.traces import KINDS, redact, write_test
from tests.orders import ORDER, New
from tests.traces.made import anything, trace

if TYPE_CHECKING:
    from rat_fsm.traces import Trace

WHO: Final = "ann@example.org"
EVENTS: Final = (
    Registered(WHO, "sse", {"user": WHO}),
    ErrorRecorded("OSError", WHO, "network_error", retryable=True),
    CallbackFailed(WHO, f"OSError: {WHO}"),
    MonitorViolated("ends", "deadline", "order", WHO, "w0:4", 4, None, 9),
    DrainRequested(WHO),
    DrainStarted(1.0, 2, WHO),
    Started([{"name": WHO}], {"rat_fsm": "0.1.0"}, {"max_connections": 7}),
    UnknownEvent("connection.novelty", 7, {"user": WHO}, f"unreadable: {WHO}"),
    Stopped({"clean": False, "total": 3, "duration": 1.5, "not_closed": [WHO], "by": WHO}),
)


def redacted(*events: Any, keep: tuple[str, ...] = ()) -> list[Any]:
    """What is left of events."""
    return [event for _, event in redact(trace(*events), keep).events]


def test_what_is_replaced() -> None:
    """Addresses, metadata and messages, and whoever asked for something."""
    assert redacted(*EVENTS) == [
        Registered("192.0.2.1", "sse", {}),
        ErrorRecorded("OSError", "OSError", "network_error", retryable=True),
        CallbackFailed("connection-1", "redacted"),
        MonitorViolated("ends", "deadline", "order", "order-1", "w0:4", 4, None, 9),
        DrainRequested("somebody"),
        DrainStarted(1.0, 2, "somebody"),
        Started([], {"rat_fsm": "0.1.0"}, {"max_connections": 7}),
        UnknownEvent("connection.novelty", 7, {}, "unreadable"),
        Stopped({"clean": False, "total": 3, "duration": 1.5}),
    ]


def test_what_is_left() -> None:
    """What says nothing of anybody stays: no address, a signal's name, a reason."""
    events = [
        Registered("", "sse", {}),
        Activated("/rooms/{room}"),
        DrainStarted(1.0, 2, "SIGTERM"),
        DrainStarted(1.0, 2, ""),
        Closing("kicked", "admin", "streaming", 1008),
    ]
    assert redacted(*events) == events


@pytest.mark.parametrize(
    ("keep", "kept"),
    [("addresses", {0}), ("metadata", {0, 4, 5, 7, 8}), ("messages", {1, 2})],
)
def test_what_may_be_kept(keep: str, kept: set[int]) -> None:
    """Each of the three is kept where it is asked for, and nothing else with it."""
    events = redacted(*EVENTS, keep=(keep,))
    assert {number for number, event in enumerate(events) if WHO in repr(event)} == kept
    with pytest.raises(
        InvalidArgument, match="no names to keep, only addresses, metadata, messages"
    ):
        redacted(keep=(keep, "names"))


@settings(max_examples=20)
@given(anything((CONNECTION, NODE)), st.sets(st.sampled_from(KINDS)))
def test_the_shape_stays(some: Trace, keep: set[str]) -> None:
    """Times and kinds of events stay, and so does whether they are legal; twice is once."""
    found = redact(some, keep)
    assert [(at, type(event)) for at, event in found.events] == [
        (at, type(event)) for at, event in some.events
    ]
    assert redact(found, keep) == found


def test_a_file_says_nothing_of_anybody() -> None:
    """What is redacted is in no line of the file, wherever it stood."""
    for lifecycle in (CONNECTION, NODE):
        assert WHO not in write_test(redact(trace(*EVENTS, lifecycle=lifecycle)))
    assert WHO in write_test(redact(trace(*EVENTS), KINDS))


def test_other_lifecycles() -> None:
    """What the fields of a user's events mean, nobody here knows."""
    some = trace(New.Placed(WHO, 1, "EUR"), lifecycle=ORDER)
    assert redact(some) == some
