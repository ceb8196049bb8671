"""Runs a fold of one's own over a log: the questions that nobody here has thought of."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rat_fsm.log.eventlog import EventLog
from rat_fsm.log.subscription import read_recorded
from rat_fsm.projections.model import ReadModel
from rat_fsm.projections.protocol import Projection
from rat_fsm.replay.sources import known_lifecycles, opened
from rat_fsm.replay.what_if.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.replay.sources import LogSource, Moment
    from rat_fsm.table import Lifecycle


P = TypeVar("P", bound=Projection)


def project(
    source: LogSource,
    projection: P,
    *,
    until: Moment | None = None,
    lifecycles: Iterable[Lifecycle] | None = None,
) -> P:
    """Folds every event of a log, of all writers and in order, into a projection.

    To compare two of them, such as a policy of admission and another, fold the log into each. One
    that goes on with what comes is for `EventLog.project`.

    Args:
        source: a URL or path, a store, or a log, of which what is durable is read.
        projection: what to fold into; whatever it raises ends the reading.
        until: the last event to fold: a position, or an aware datetime, both inclusive.
        lifecycles: how events are read; CONNECTION and NODE, or the log's, by default.

    Returns:
        The projection.

    Raises:
        InvalidArgument, InvalidArgumentType: ``until`` or ``source`` is none.
        StoreUnreadable, UnsupportedFormat, DamagedFrame, HistoryEvicted: it cannot be read.
    """
    window = Window(until=until)
    if lifecycles is None and isinstance(source, EventLog):
        lifecycles = source.read_model.lifecycles.values()
    with opened(source) as store:
        model = ReadModel(known_lifecycles(lifecycles))
        for recorded in read_recorded(store, model, None):
            if recorded.position is not None and window.ends_before(recorded.position.frame):
                break
            if not window.is_after(recorded.micros, recorded.position):
                projection.fold(recorded)
    return projection
