"""Folds a log and asks at each decision that it passes: what if another had decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rat_fsm.codec import decode, no_collection
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.log.eventlog import EventLog
from rat_fsm.projections.model import ReadModel
from rat_fsm.replay.sources import known_lifecycles, opened
from rat_fsm.replay.what_if.admissions import Admissions
from rat_fsm.replay.what_if.policies import Policies
from rat_fsm.replay.what_if.walking import Walk
from rat_fsm.replay.what_if.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.projections.record import StreamRecord
    from rat_fsm.replay.sources import LogSource, Moment
    from rat_fsm.replay.what_if.answer import WhatIf
    from rat_fsm.replay.what_if.errors import Policy
    from rat_fsm.stores.port import Store
    from rat_fsm.table import EventType


def what_if(
    source: LogSource,
    policy: Policy | Mapping[str, Any] | None = None,
    *,
    max_connections: int | None = None,
    max_per_client: int | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    seed: int = 0,
    samples: int = 20,
    limit: int = 20,
    progress: Callable[[int], object] | None = None,
) -> WhatIf:
    """Decides the recorded errors and arrivals of a log again, and compares.

    What is not given is as recorded. Recorded draws are used again; where one is missing, as many
    as there are samples stand for it.

    A log can answer what a policy would have said, and what that adds up to. It cannot answer
    what the world would have done about it: whether a retry that never happened would have
    helped, whether a connection that gave up earlier would have come back, how long a client
    that was turned away would have stayed. So:

    * A connection that gives up where a retry was recorded ends there: what was recorded of its
      retries after that is not counted, though it keeps its place until its recorded end.
    * One that retries where it was given up is counted twice over: as if that retry had helped,
      and as if none had.
    * One that is turned away at the door counts for nothing any more. Clients that were turned
      away then are counted, and stay out.
    * A server's Retry-After shows only where it raised a delay, or was too long.
    * Whose client a connection was is not recorded: its address stands for that.

    Args:
        source: a URL or path, a store, or a log, of which what is durable is read.
        policy: an object with the method ``decide`` of `RetryPolicy`, which is asked about
            `RecordedError`; or parameters of `RetryPolicy` that change, such as
            ``{"max_retries": 5}``. The classification of errors is the recorded one, and the
            rules of a `RetryPolicy` are not asked.
        max_connections: how many connections may be open at once, for each writer.
        max_per_client: how many of these may be of one address.
        since: where the other policy begins; the first event by default.
        until: the last event to look at; both may be positions or aware datetimes.
        seed: of draws that the log does not hold.
        samples: how many stand for each.
        limit: how many connections are listed.
        progress: called with the position of each frame that was read.

    Raises:
        InvalidArgument, InvalidArgumentType: something given is none of that, or the policy
            raised.
        StoreUnreadable, UnsupportedFormat, DamagedFrame, HistoryEvicted: it cannot be read.
    """
    for name, value in (("max_connections", max_connections), ("max_per_client", max_per_client)):
        if value is not None:
            _check_whole(name, value, 1)
    _check_whole("samples", samples, 1)
    _check_whole("limit", limit, 0)
    walk = Walk(
        Policies(policy),
        Admissions(max_connections, max_per_client),
        Window(since, until),
        seed=seed,
        samples=samples,
        limit=limit,
    )
    known = source.read_model.lifecycles.values() if isinstance(source, EventLog) else None
    model = _Watched(known_lifecycles(known), walk)
    try:
        with opened(source) as store:
            _fold(store, model, walk, progress)
    except _Stopped as stopped:
        raise stopped.problem from stopped.problem.__cause__
    return walk.answer()


def _fold(
    store: Store, model: ReadModel, walk: Walk, progress: Callable[[int], object] | None
) -> None:
    for stored in store.read():
        if walk.window.ends_before(stored.position):
            break
        walk.enter(stored)
        with no_collection():
            decode(stored, model).fold_into(model)
        if progress is not None:
            progress(stored.position)


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentType(f"{name} must be an integer, not {type(value).__name__}")
    if value < least:
        raise InvalidArgument(f"{name} must be at least {least}, not {value}")


class _Stopped(Exception):
    """Something went wrong beside the fold, which takes what its events raise for damage."""

    def __init__(self, problem: Exception) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Watched(ReadModel):
    """A read model that shows each legal event, before it is folded, to whoever walks along.

    So what a decision is made on is what it was made on then, by the same fold.
    """

    def __init__(self, lifecycles: Any, walk: Walk) -> None:
        super().__init__(lifecycles)
        self._walk = walk

    def fold(self, record: StreamRecord, kind: EventType, seq: int, at: int, event: Any) -> None:
        """Folds one event, as every read model does."""
        if kind.moves.get(record.state) is not None:
            try:
                self._walk.pass_by(record, seq, at, event)
            except Exception as problem:
                raise _Stopped(problem) from problem
        super().fold(record, kind, seq, at, event)
