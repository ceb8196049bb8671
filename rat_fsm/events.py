"""The vocabulary: what can happen to a connection and to the process that serves it.

Events are immutable facts in the past tense. Their tag in a log is the lifecycle's name and the
class name in snake case, such as ``connection.activity_recorded``. Times inside are integer
microseconds since the epoch; delays and durations are seconds.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MICROSECOND: Final = datetime.timedelta(microseconds=1)


def to_datetime(micros: int) -> datetime.datetime:
    """The aware UTC datetime of microseconds since the epoch, exactly."""
    return EPOCH + datetime.timedelta(microseconds=micros)


def to_micros(moment: datetime.datetime) -> int:
    """Microseconds since the epoch of an aware datetime, exactly."""
    return (moment - EPOCH) // MICROSECOND


@attrs.frozen
class Registered:
    """A client was let in; ``kind`` says what it is, such as sse, websocket, chunked or llm.

    ``continues`` is where the stream began (writer:seq) whose connection this is, of a writer
    that lost its slot while the connection went on; empty for a new client.
    """

    remote_addr: str
    kind: str = "stream"
    metadata: dict[str, Any] = attrs.field(factory=dict)
    continues: str = ""


@attrs.frozen
class Activated:
    """The handshake is done, or the first byte was accepted, or a first check found it healthy.

    It may have taken retries. ``route`` is the template that matched, such as ``/rooms/{room}``,
    empty where none is known.
    """

    route: str = ""


@attrs.frozen
class ActivityRecorded:
    """This many bytes and messages more were sent (deltas, not totals)."""

    bytes_sent: int
    messages_sent: int


@attrs.frozen
class ErrorRecorded:
    """Something went wrong on the connection; ``category`` and ``retryable`` are the policy's."""

    error_type: str
    message: str
    category: str
    retryable: bool


@attrs.frozen
class RetryScheduled:
    """Retry number ``attempt`` will follow after ``delay`` seconds.

    ``draw`` is the random number (0..1) behind the delay, None where none was drawn; ``cap`` is
    the highest delay the policy allowed, in seconds; ``policy`` is what `RetryPolicy.as_dict`
    said of the one that decided, empty where nobody recorded it.
    """

    attempt: int
    delay: float
    draw: float | None
    cap: float
    category: str
    policy: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class RetryRefused:
    """No retry follows; ``cause`` ∈ exhausted, not_retryable, committed, retry_after_too_long.

    ``policy`` is what `RetryPolicy.as_dict` said of the one that decided, as in RetryScheduled.
    """

    cause: str
    policy: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Recovered:
    """The connection works again after ``attempts`` retries; their count is kept."""

    attempts: int


@attrs.frozen
class RetriesReset:
    """The retry count starts again at zero."""


@attrs.frozen
class Stalled:
    """The client has not taken anything for ``waited`` seconds."""

    waited: float


@attrs.frozen
class Unstalled:
    """The client takes data again after ``waited`` seconds."""

    waited: float


@attrs.frozen
class Closing:
    """The end has begun: why, at whose hand, in which phase, and the transport's own code."""

    reason: str
    ended_by: str
    phase: str
    code: int | None = None


@attrs.frozen
class Closed:
    """The connection is over; the totals of its whole life, ``duration`` in seconds."""

    reason: str
    bytes_sent: int
    messages_sent: int
    errors: int
    retries: int
    duration: float


@attrs.frozen
class Started:
    """A writer's run began: the lifecycles in force in full, versions, limits and policy."""

    lifecycles: list[dict[str, Any]]
    versions: dict[str, str]
    limits: dict[str, Any] = attrs.field(factory=dict)
    policy: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Serving:
    """Connections are accepted from now on."""


@attrs.frozen
class ConnectionRefused:
    """``count`` clients were turned away for one cause (merged per cause and second).

    ``cause`` ∈ max_connections, per_client, draining, stay_out, duplicate, log_unavailable.
    """

    cause: str
    count: int = 1


@attrs.frozen
class CallbackFailed:
    """A user's callback for this connection raised; nobody else was hurt."""

    connection: str
    error: str


@attrs.frozen
class StoreRestored:
    """The store takes events again, after it had failed for ``seconds``, last with ``error``.

    It was asked again ``retries`` times; ``spilled`` events had gone into a local file meanwhile.
    """

    error: str
    seconds: float
    retries: int
    spilled: int


@attrs.frozen
class WriterReplaced:
    """This run goes on with the connections of ``writer``, whose slot this process has lost.

    ``set_aside`` events that nobody had stored by then are in ``file``, which is empty where no
    file could be written: then they are lost.
    """

    writer: str
    set_aside: int
    file: str


@attrs.frozen
class MonitorViolated:
    """A monitor that watched this writer did not hold; ``cause`` ∈ event, deadline, end.

    It is about the stream ``lifecycle``, ``id``, ``born``. ``since`` is the sequence number of
    the event with which it began, ``by`` that of the event that violated it, None where a
    deadline passed; ``at`` is when that was, in microseconds since the epoch.
    """

    monitor: str
    cause: str
    lifecycle: str
    id: str
    born: str
    since: int
    by: int | None
    at: int


@attrs.frozen
class DrainRequested:
    """Somebody, ``actor``, asked every writer of this log to drain."""

    actor: str


@attrs.frozen
class DrainStarted:
    """No new connections; those ``open`` may end by themselves within ``deadline`` seconds.

    ``requested_by`` says what set it off: a signal's name or whoever asked, empty where unknown.
    """

    deadline: float
    open: int
    requested_by: str = ""


@attrs.frozen
class DrainForced:
    """The deadline passed, or somebody insisted, with this many connections remaining."""

    remaining: int


@attrs.frozen
class Stopped:
    """The run is over; ``report`` is what the shutdown had to say."""

    report: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Observed:
    """A model did something that its own machine decided; where it stands is payload.

    ``kind`` ∈ attached, transition, internal, forced, rejected, failed. ``source`` and ``dest``
    are names of states, or lists of them where a model is in several at once; ``source`` is None
    where the model was not there before, and else the last ``dest`` of its stream. ``trigger`` is
    what set it off, empty where nothing did; ``error`` is the class of what went wrong.
    """

    kind: str
    trigger: str
    source: str | list[Any] | None
    dest: str | list[Any] | None
    error: str = ""


@attrs.frozen
class UnknownEvent:
    """An event this process does not know or could not read: kept, counted, never fatal.

    ``problem`` says why it could not be read as the class its tag names.
    """

    tag: str
    version: int
    data: Mapping[str, Any]
    problem: str


@attrs.frozen(order=True)
class Position:
    """A place in a store's total order: the frame's number and the offset within the frame."""

    frame: int
    offset: int

    def __str__(self) -> str:
        """The way positions are printed and typed: ``frame.offset``."""
        return f"{self.frame}.{self.offset}"


@attrs.frozen
class Stream:
    """One life of one id: ``born`` is writer:seq of its first event, so that ids may come again."""

    lifecycle: str
    id: str
    born: str

    def __str__(self) -> str:
        """Lifecycle and id, as error messages name a stream."""
        return f"{self.lifecycle}/{self.id}"


@attrs.frozen
class Recorded:
    """An event with the place and time it was recorded at.

    Attributes:
        position: where it stands in the store, None until it is durable.
        micros: when it was accepted, microseconds since the epoch, never decreasing in a writer.
        stream: whose event it is.
        version: its 1-based number within the stream.
        writer: who recorded it.
        seq: its 1-based number within the writer.
        type: its tag, such as ``connection.activated``.
        event: what happened.
    """

    position: Position | None
    micros: int
    stream: Stream
    version: int
    writer: str
    seq: int
    type: str
    event: Any

    @property
    def at(self) -> datetime.datetime:
        """When it was accepted, as an aware UTC datetime."""
        return to_datetime(self.micros)
