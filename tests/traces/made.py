"""Traces without a log: of chosen events, of any legal ones, and of any at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ErrorRecorded,
    Position,
    Recovered,
    Registered,
    RetryScheduled,
    Stream,
    UnknownEvent,
)
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.testing.strategies import events as any_of
from rat_fsm.testing.strategies import objects
from rat_fsm.traces import Origin, Trace
from tests.frames import LIFECYCLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rat_fsm.table import Lifecycle

ERROR: Final = ErrorRecorded("OSError", "reset by 10.0.0.1", "network_error", retryable=True)
RETRY: Final = RetryScheduled(1, 1.5, 0.25, 30.0, "network_error")
# A life with two retries, as a log holds thousands.
LIFE: Final = (
    *(Registered("10.0.0.1", "sse", {"user": "ann"}), Activated("/prices")),
    *(ActivityRecorded(1000, 1), ActivityRecorded(500, 2), ERROR, RETRY, Recovered(1)),
    *(ActivityRecorded(70, 1), ERROR, RETRY, Recovered(2), ActivityRecorded(30, 1)),
    *(Closing("completed", "client", "streaming", 1006), Closed("completed", 1600, 5, 2, 2, 4.0)),
)

_EVENTS: Final = {kind.cls: any_of(kind.cls) for lc in LIFECYCLES for kind in lc.events}
_UNKNOWN: Final = st.builds(UnknownEvent, st.text(), st.integers(0, 9), objects, st.text())


def trace(*events: Any, lifecycle: Lifecycle = CONNECTION) -> Trace:
    """A trace of events, half a second apart."""
    stream = Stream(lifecycle.name, "some id", "w0:17")
    origin = Origin(stream, 1, 1, Position(1, 0), Position(1, len(events) - 1), foreign=False)
    return Trace(lifecycle, tuple((500_123 * n, e) for n, e in enumerate(events)), origin)


@st.composite
def legal(
    draw: st.DrawFn, lifecycles: Sequence[Lifecycle] = LIFECYCLES, *, most: int = 12
) -> Trace:
    """Legal events with anything in them."""
    lifecycle = draw(st.sampled_from(lifecycles))
    state, events = lifecycle.initial, []
    for _ in range(draw(st.integers(1, most))):
        kinds = [kind for kind in lifecycle.events if state in kind.moves]
        if kinds:
            kind = draw(st.sampled_from(kinds))
            events.append(draw(_EVENTS[kind.cls]))
            state = kind.moves[state]
    return trace(*events, lifecycle=lifecycle)


@st.composite
def anything(draw: st.DrawFn, lifecycles: Sequence[Lifecycle] = LIFECYCLES) -> Trace:
    """Events with anything in them, in any order, unknown ones among them."""
    lifecycle = draw(st.sampled_from(lifecycles))
    known = [_EVENTS[kind.cls] for kind in lifecycle.events]
    before = draw(legal((lifecycle,), most=6)).events
    after = draw(st.lists(st.one_of(*known, _UNKNOWN), max_size=6))
    return trace(*(event for _, event in before), *after, lifecycle=lifecycle)


def is_legal(some: Trace) -> bool:
    """Whether the table has a way for each of the events, by nothing but the table."""
    state: str | None = some.lifecycle.initial
    for _, event in some.events:
        state = None if state is None else some.lifecycle.next_state(state, event)
    return state is not None
