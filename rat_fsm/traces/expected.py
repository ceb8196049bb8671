"""What a replay of a trace must come to for ever: the expectations of a written test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.events import Recorded, Stream
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.replay import replay
from rat_fsm.replay.sources import new_model
from rat_fsm.traces.trace import START

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.projections.model import ReadModel
    from rat_fsm.table import Lifecycle
    from rat_fsm.traces.trace import Trace

WRITER: Final = "w0"


@attrs.frozen
class View:
    """Where a read model says what it knows of a stream.

    Attributes:
        of: finds it; None while, or once, the stream is not there.
        code: the same as code, over ``model`` and ``STREAM``.
        known: the attributes of it that tell something.
        totals: the statistics that the stream is part of.
    """

    of: Callable[[ReadModel, Stream], Any]
    code: str
    known: tuple[str, ...]
    totals: tuple[str, ...] = ()


_CONNECTION: Final = View(
    of=lambda model, stream: model.connections.get(stream.id),
    code="model.connections[STREAM.id]",
    known=(
        *("remote_addr", "kind", "route", "metadata", "bytes_sent", "messages_sent"),
        *("error_count", "retry_count", "total_retries", "committed", "stalled"),
    ),
    totals=(
        *("total_bytes_sent", "total_messages_sent", "total_errors", "total_retries"),
        *("total_retries_refused", "total_recoveries", "average_response_time"),
        *("state_distribution", "closed_by_reason"),
    ),
)
_NODE: Final = View(
    of=lambda model, _stream: model.drain,
    code="model.drain",
    known=("phase", "deadline", "total", "requested_by"),
    totals=("refused_by_cause", "callback_failures"),
)
_ANY: Final = View(
    of=lambda model, stream: model.record(stream.lifecycle, stream.id),
    code="model.record(STREAM.lifecycle, STREAM.id)",
    known=("state", "version"),
)
_ALWAYS: Final = ("illegal_events", "unknown_events")


@attrs.frozen
class Expected:
    """What is known of a stream after its first ``upto`` events, and the totals after all.

    ``known`` is empty for a stream that a read model never knows, because it never began.
    """

    view: View
    upto: int
    known: Mapping[str, Any]
    totals: Mapping[str, Any]


def ours(lifecycle: Lifecycle) -> str | None:
    """What rat_fsm calls a lifecycle of its own."""
    named = (("CONNECTION", CONNECTION), ("NODE", NODE))
    return next((name for name, known in named if known is lifecycle), None)


def stream_of(trace: Trace) -> Stream:
    """The stream that a test calls a trace."""
    return Stream(trace.lifecycle.name, trace.id, f"{WRITER}:1")


def expected(trace: Trace) -> Expected:
    """What a replay of a trace comes to now.

    A connection that is over is known no more, so that its last moment is the one before.
    """
    view = {"CONNECTION": _CONNECTION, "NODE": _NODE}.get(ours(trace.lifecycle) or "", _ANY)
    stream = stream_of(trace)
    recorded = _recorded(trace, stream)
    model, upto = new_model([trace.lifecycle]), 0
    for number, each in enumerate(recorded, 1):
        model.apply(each)
        upto = number if view.of(model, stream) is not None else upto
    known = view.of(replay(recorded[:upto], lifecycles=[trace.lifecycle]), stream)
    totals = replay(recorded, lifecycles=[trace.lifecycle]).stats.as_dict()
    return Expected(
        view=view,
        upto=upto,
        known={name: getattr(known, name) for name in view.known} if upto else {},
        totals={name: totals[name] for name in (*view.totals, *_ALWAYS)},
    )


def _recorded(trace: Trace, stream: Stream) -> list[Recorded]:
    tag_of = trace.lifecycle.tag_of
    return [
        Recorded(None, START + at, stream, number, WRITER, number, tag_of(event), event)
        for number, (at, event) in enumerate(trace.events, 1)
    ]
