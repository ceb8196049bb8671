"""Judges a stored log by monitors: what `Monitor.check` says of events, of all that a log holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rat_fsm.codec import decode
from rat_fsm.log.eventlog import EventLog
from rat_fsm.monitors.checker import Checker
from rat_fsm.replay.conformance import LISTED
from rat_fsm.replay.prefix import prefix_of
from rat_fsm.replay.sources import new_model, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rat_fsm.monitors.rules import Monitor
    from rat_fsm.monitors.verdict import Verdict
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.table import Lifecycle


def check_monitors(
    source: LogSource,
    *monitors: Monitor,
    lifecycles: Iterable[Lifecycle] | None = None,
    limit: int = LISTED,
    progress: Callable[[int], object] | None = None,
) -> Verdict:
    """Judges every event of a log, of all writers and in order, by its own time.

    A stream is followed through the table that it was written under. Memory is bounded by the
    streams that are open.

    Args:
        source: a URL or path, a store, or a log, of which what is durable is read.
        monitors: what to judge by.
        lifecycles: how events are read; CONNECTION and NODE, or the log's, by default, and always
            those of the monitors.
        limit: how many violations to list; all are counted.
        progress: called with the position of each frame that was looked at.

    Raises:
        InvalidArgument: a predicate is an event class that no lifecycle has; two monitors have
            one name.
        InvalidArgumentType: ``source`` is no log, or a monitor no monitor.
        StoreUnreadable, UnsupportedFormat, DamagedFrame, HistoryEvicted: it cannot be read.
    """
    if lifecycles is None and isinstance(source, EventLog):
        lifecycles = source.read_model.lifecycles.values()
    checker = Checker(monitors, lifecycles=lifecycles, limit=limit)
    model = new_model(checker.lifecycles)
    with opened(source) as store:
        for stored in prefix_of(store, None).frames():
            for recorded in decode(stored, model).recorded():
                checker.fold(recorded)
            if progress is not None:
                progress(stored.position)
    return checker.verdict()
