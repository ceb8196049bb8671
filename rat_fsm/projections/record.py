"""One slotted record a stream, holding what every projection needs of it.

A fold that dispatches each event once, to one record, is what keeps live recording and replay
fast. Projections are views over these records and running totals beside them.

The functions that change a record compute first and assign last, in straight lines without
calls: CPython looks for signals only at calls and loops, so an exception raised by a signal
handler finds an event folded whole or not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from rat_fsm.events import Observed

if TYPE_CHECKING:
    from rat_fsm.table import Lifecycle


class StreamRecord:
    """Where one stream of any lifecycle stands.

    Attributes:
        writer: who records this stream; with ``born`` its identity.
        born: the writer's sequence number of its first event, 0 before it.
        version: how many events it has.
        written: how many of them are in frames (the log's business; not part of equality).
    """

    __slots__ = ("born", "id", "lifecycle", "state", "version", "writer", "written")

    def __init__(self, lifecycle: str, stream_id: str, writer: str, state: str) -> None:
        self.lifecycle = lifecycle
        self.id = stream_id
        self.writer = writer
        self.state = state
        self.born = 0
        self.version = 0
        self.written = 0


class ConnectionRecord(StreamRecord):
    """Where one connection stands; times in microseconds, ``delay`` in seconds.

    ``activated`` says whether its handshake was ever done; ``reason`` is why it is closing, None
    before; ``continues`` is where the stream began that it goes on with, empty for most.
    """

    __slots__ = (
        "activated",
        "bytes_sent",
        "continues",
        "created_at",
        "delay",
        "errors",
        "kind",
        "last_activity",
        "messages_sent",
        "metadata",
        "reason",
        "remote_addr",
        "retries",
        "route",
        "stalled",
        "total_retries",
    )

    def __init__(self, lifecycle: str, stream_id: str, writer: str, state: str) -> None:
        super().__init__(lifecycle, stream_id, writer, state)
        self.remote_addr = ""
        self.kind = ""
        self.route = ""
        self.activated = False
        self.metadata: dict[str, Any] | None = None
        self.continues = ""
        self.created_at = 0
        self.last_activity = 0
        self.bytes_sent = 0
        self.messages_sent = 0
        self.errors = 0
        self.retries = 0
        self.total_retries = 0
        self.delay: float | None = None
        self.reason: str | None = None
        self.stalled = False


class NodeRecord(StreamRecord):
    """Where one run of a writer stands.

    Attributes:
        limits: what the run was started with, such as ``max_connections``.
        drain_started: when the drain began (microseconds), 0 before it.
        drain_deadline: how many seconds the drain may take.
        drain_open: how many connections were open when it began.
        drain_requested_by: what set it off.
    """

    __slots__ = ("drain_deadline", "drain_open", "drain_requested_by", "drain_started", "limits")

    def __init__(self, lifecycle: str, stream_id: str, writer: str, state: str) -> None:
        super().__init__(lifecycle, stream_id, writer, state)
        self.limits: dict[str, Any] = {}
        self.drain_started = 0
        self.drain_deadline = 0.0
        self.drain_open = 0
        self.drain_requested_by = ""


class ObservedRecord(StreamRecord):
    """Where one model stands whose state is payload.

    Attributes:
        dest: the name of its state, a list of names where it is in several, None before the first.
    """

    __slots__ = ("dest",)

    def __init__(self, lifecycle: str, stream_id: str, writer: str, state: str) -> None:
        super().__init__(lifecycle, stream_id, writer, state)
        self.dest: str | list[Any] | None = None


Record = TypeVar("Record", bound=StreamRecord)
RECORDS: dict[str, type[StreamRecord]] = {"connection": ConnectionRecord, "node": NodeRecord}


def all_slots(cls: type) -> list[str]:
    """The names of every slot of a class and its bases, sorted."""
    return sorted(slot for base in cls.__mro__ for slot in getattr(base, "__slots__", ()))


_KINDS: Final[tuple[type[StreamRecord], ...]] = (
    StreamRecord,
    ObservedRecord,
    *RECORDS.values(),
)
_SLOTS: Final = {cls: all_slots(cls) for cls in _KINDS}


def record_class(lifecycle: Lifecycle) -> type[StreamRecord]:
    """What holds a stream of this lifecycle."""
    if lifecycle.event_type(Observed) is not None:
        return ObservedRecord
    return RECORDS.get(lifecycle.name, StreamRecord)


def copy_record(record: Record) -> Record:
    """An equal record; the values in it are shared, as no fold changes them in place."""
    cls = type(record)
    copy = cls.__new__(cls)
    for slot in _SLOTS[cls]:
        setattr(copy, slot, getattr(record, slot))
    return copy


def dump_record(record: StreamRecord) -> dict[str, Any]:
    """Everything a record knows, as plain values."""
    slots = all_slots(type(record))
    return {slot: getattr(record, slot) for slot in slots if slot != "written"}


def load_record(data: dict[str, Any]) -> StreamRecord:
    """The record that `dump_record` took apart."""
    known = RECORDS.get(data["lifecycle"], StreamRecord)
    cls = ObservedRecord if "dest" in data else known
    record = cls(data["lifecycle"], data["id"], data["writer"], data["state"])
    for slot, value in data.items():
        setattr(record, slot, value)
    record.written = record.version
    return record
