"""What a transaction is before it is accepted: who asked for it, and what is to be appended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from rat_fsm.codec import MAX_BODY, MAX_EVENTS, event_of, payload_of
from rat_fsm.errors import IllegalEvent, InvalidArgument, InvalidArgumentType
from rat_fsm.events import Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.record import StreamRecord
    from rat_fsm.table import EventType, Lifecycle

    Decide = Callable[[Any, ReadModel], Iterable[Any]]
    Plan = list[tuple[EventType, tuple[Any, ...], Any]]

# What the body of a frame holds beside payloads: types and streams, and the beginning of a row.
HEADROOM: Final = 16 * 1024
ROW: Final = 32
_encode = msgspec.json.Encoder().encode


@attrs.define(eq=False)
class Call:
    """A transaction to run: whose, what decides it, and how often it has been tried."""

    lifecycle: Lifecycle
    stream_id: str
    decide: Decide
    reserved: bool
    tries: int = 0
    interruption: BaseException | None = None


@attrs.frozen(eq=False)
class Transaction:
    """A decision that was checked: ``first`` is the sequence number of its first event."""

    record: StreamRecord
    at: int
    first: int
    plan: Plan


def plan_of(
    lifecycle: Lifecycle, record: StreamRecord, events: tuple[Any, ...]
) -> tuple[Plan, str]:
    """Checks every event and encodes it; what is folded is what will be read back.

    Returns:
        What is to be appended, and the state that it leads to.

    Raises:
        IllegalEvent: the table has no way for an event.
        InvalidArgument, InvalidArgumentType: an event cannot be stored, or not all at once.
    """
    state, last = record.state, getattr(record, "dest", None)
    plan: Plan = []
    for event in events:
        kind = lifecycle.event_type(type(event))
        if kind is None:
            raise InvalidArgumentType(
                f"{lifecycle.tag_of(event)} is no event of the lifecycle {lifecycle.name}"
            )
        destination = kind.moves.get(state)
        if destination is None:
            name = f"{lifecycle.name}/{record.id}"
            raise IllegalEvent(name, state, kind.tag, lifecycle.legal(state))
        payload = payload_of(kind, event)
        plain = event_of(kind, payload)
        if kind.cls is Observed:
            _require_continuation(lifecycle, record, plain, last)
            last = plain.dest
        plan.append((kind, payload, plain))
        state = destination
    _check_size(plan)
    return plan, state


def _require_continuation(
    lifecycle: Lifecycle, record: StreamRecord, event: Observed, last: str | list[Any] | None
) -> None:
    """Refuses an observation that does not begin where the last one of its stream ended."""
    if event.source != last:
        tag = lifecycle.tag_of(event)
        raise IllegalEvent(
            f"{lifecycle.name}/{record.id}",
            str(last),
            f"{tag} from {event.source!r}",
            (f"{tag} from {last!r}",),
        )


def _check_size(plan: Plan) -> None:
    """Refuses a transaction that one frame cannot hold: a crash could cut it in two."""
    if len(plan) > MAX_EVENTS:
        raise InvalidArgument(f"{len(plan)} events at once are more than {MAX_EVENTS}")
    if len(plan) > 1:
        size = len(_encode([payload for _, payload, _ in plan])) + ROW * len(plan)
        if size > MAX_BODY - HEADROOM:
            raise InvalidArgument(f"{size} bytes at once are more than a frame can hold")
