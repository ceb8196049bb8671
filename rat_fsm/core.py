"""Decides: a request, the stream it is for and the read model → the events that follow.

Pure functions without clock, randomness or I/O. What they need from outside (the time, a drawn
delay) is a value in the request. `decide` either answers with events, which may be none, or
raises `Refused`; it changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from rat_fsm.errors import Refused
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    DrainForced,
    DrainStarted,
    ErrorRecorded,
    Recovered,
    Registered,
    RetriesReset,
    RetryRefused,
    RetryScheduled,
    Serving,
    Stalled,
    Stopped,
    Unstalled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Events = tuple[Any, ...]


class ConnectionView(Protocol):
    """What a decision reads of a connection."""

    state: str
    created_at: int
    bytes_sent: int
    messages_sent: int
    errors: int
    retries: int
    total_retries: int
    delay: float | None
    stalled: bool
    activated: bool
    reason: str | None


class ModelView(Protocol):
    """What a decision reads of everything else."""

    @property
    def open_connections(self) -> int:
        """How many connections are registered and not closed."""

    @property
    def draining(self) -> bool:
        """Whether new connections are turned away."""


@attrs.frozen
class Register:
    """Let a client in, unless ``limit`` connections are open already; None is no limit.

    One that is ``admitted`` is being served already, such as a client whose answer turned out to
    be a stream: neither the limit nor a drain turns it away.
    """

    remote_addr: str
    kind: str
    metadata: Mapping[str, Any]
    limit: int | None
    admitted: bool = False


@attrs.frozen
class Activate:
    """The connection was found to work, on a route where one is known."""

    route: str = ""


@attrs.frozen
class Activity:
    """These many bytes and messages more were sent."""

    bytes_sent: int
    messages_sent: int


@attrs.frozen
class ReportError:
    """Something went wrong; classified already."""

    error_type: str
    message: str
    category: str
    retryable: bool


@attrs.frozen
class Retry:
    """What the policy answers to an error, given where the connection stands."""

    outcome: Callable[[ConnectionView], RetryScheduled | RetryRefused]


@attrs.frozen
class ResetRetries:
    """The work succeeded: count retries from zero again."""


@attrs.frozen
class Stall:
    """The client has not taken data for this many seconds."""

    waited: float


@attrs.frozen
class Unstall:
    """The client takes data again after this many seconds."""

    waited: float


@attrs.frozen
class BeginClose:
    """The work is done; what is on its way is still delivered, then `Close` follows."""

    reason: str
    ended_by: str
    code: int | None = None


@attrs.frozen
class Close:
    """End the connection, at ``now`` in microseconds; one that is closing keeps its reason."""

    reason: str
    ended_by: str
    now: int
    code: int | None = None


@attrs.frozen
class Serve:
    """Accept connections from now on."""


@attrs.frozen
class StartDrain:
    """Turn new connections away; give the open ones ``deadline`` seconds."""

    deadline: float
    requested_by: str = ""


@attrs.frozen
class ForceDrain:
    """Do not wait any longer."""


def decide(request: object, stream: ConnectionView, model: ModelView) -> Events:
    """The events that a request leads to, in order; none where there is nothing to do.

    Raises:
        Refused: the request cannot be granted; ``cause`` says why.
    """
    return _DECISIONS[type(request)](request, stream, model)


def _register(request: Register, stream: ConnectionView, model: ModelView) -> Events:
    if model.draining and not request.admitted:
        raise Refused("no new connections while draining", cause="draining")
    if stream.state != "new":
        raise Refused("the id belongs to an open connection", cause="duplicate")
    limit = None if request.admitted else request.limit
    if limit is not None and model.open_connections >= limit:
        raise Refused(f"{limit} connections are open already", cause="max_connections")
    return (Registered(request.remote_addr, request.kind, dict(request.metadata)),)


def _activate(request: Activate, stream: ConnectionView, _model: ModelView) -> Events:
    _require_open(stream)
    if stream.state in {"connecting", "retrying"} and not stream.activated:
        return (Activated(request.route),)
    return _working_again(stream)


def _activity(request: Activity, stream: ConnectionView, _model: ModelView) -> Events:
    _require_open(stream)
    event = ActivityRecorded(request.bytes_sent, request.messages_sent)
    return (*_working_again(stream), event)


def _working_again(stream: ConnectionView) -> Events:
    """What activity proves about a connection that was not active."""
    if stream.state == "connecting":
        return (Activated(),)
    return (Recovered(stream.retries),) if stream.state == "retrying" else ()


def _report_error(request: ReportError, stream: ConnectionView, _model: ModelView) -> Events:
    _require_open(stream)
    return (
        ErrorRecorded(request.error_type, request.message, request.category, request.retryable),
    )


def _retry(request: Retry, stream: ConnectionView, _model: ModelView) -> Events:
    _require_open(stream)
    if stream.state == "closing":
        raise Refused("the connection is closing", cause="closing")
    return (request.outcome(stream),)


def _reset_retries(_request: ResetRetries, stream: ConnectionView, _model: ModelView) -> Events:
    _require_open(stream)
    if not stream.retries or stream.state == "closing":
        return ()
    return (RetriesReset(),)


def _stall(request: Stall, stream: ConnectionView, _model: ModelView) -> Events:
    _require_open(stream)
    return (Stalled(request.waited),) if stream.state == "active" and not stream.stalled else ()


def _unstall(request: Unstall, stream: ConnectionView, _model: ModelView) -> Events:
    _require_open(stream)
    return (Unstalled(request.waited),) if stream.state == "active" and stream.stalled else ()


def _begin_close(request: BeginClose, stream: ConnectionView, _model: ModelView) -> Events:
    _require_open(stream)
    if stream.state == "closing":
        return ()
    return (Closing(request.reason, request.ended_by, _phase(stream), request.code),)


def _close(request: Close, stream: ConnectionView, _model: ModelView) -> Events:
    _require_open(stream)
    closing = Closing(request.reason, request.ended_by, _phase(stream), request.code)
    closed = Closed(
        stream.reason or request.reason,
        stream.bytes_sent,
        stream.messages_sent,
        stream.errors,
        stream.total_retries,
        max(0, request.now - stream.created_at) / 1_000_000,
    )
    return (closed,) if stream.state == "closing" else (closing, closed)


def _phase(stream: ConnectionView) -> str:
    return "streaming" if stream.activated else "handshake"


def _require_open(stream: ConnectionView) -> None:
    if stream.state in {"new", "closed"}:
        raise Refused("no open connection has this id", cause="unknown")


def _serve(_request: Serve, stream: ConnectionView, _model: ModelView) -> Events:
    return (Serving(),) if stream.state == "starting" else ()


def _start_drain(request: StartDrain, stream: ConnectionView, model: ModelView) -> Events:
    if stream.state not in {"starting", "serving"}:
        return ()
    return (DrainStarted(request.deadline, model.open_connections, request.requested_by),)


def _force_drain(_request: ForceDrain, stream: ConnectionView, model: ModelView) -> Events:
    return (DrainForced(model.open_connections),) if stream.state == "draining" else ()


def abandon_connection(stream: ConnectionView, model: ModelView, at: int) -> Events:
    """Ends a connection whose writer died at ``at``: forced if it was draining, else a crash."""
    reason, ended_by = ("forced", "shutdown") if model.draining else ("crash", "crash")
    return _close(Close(reason, ended_by, at), stream, model)


def resume_connection(stream: Any, born: str) -> Events:
    """Begins a connection again that goes on under another writer, and its retry count with it.

    One that was closing is active again: who was closing it will end it.
    """
    registered = Registered(stream.remote_addr, stream.kind, stream.metadata or {}, born)
    activated = (Activated(stream.route),) if stream.activated else ()
    return (registered, *activated, *_retries_of(stream))


def _retries_of(stream: Any) -> Events:
    if not stream.retries:
        return ()
    delay = stream.delay or 0.0
    scheduled = RetryScheduled(stream.retries, delay, None, delay, "unknown_error")
    return (scheduled,) if stream.state == "retrying" else (scheduled, Recovered(stream.retries))


def abandon_node(_stream: object, _model: ModelView, _at: int) -> Events:
    """Ends the run of a writer that died."""
    return (Stopped({"clean": False}),)


_DECISIONS: Mapping[type, Callable[[Any, ConnectionView, ModelView], Events]] = {
    Register: _register,
    Activate: _activate,
    Activity: _activity,
    ReportError: _report_error,
    Retry: _retry,
    ResetRetries: _reset_retries,
    Stall: _stall,
    Unstall: _unstall,
    BeginClose: _begin_close,
    Close: _close,
    Serve: _serve,
    StartDrain: _start_drain,
    ForceDrain: _force_drain,
}
