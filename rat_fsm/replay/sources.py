"""Where a log is read from, and what is asked of its store before anything is folded."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rat_fsm.codec import MAX_EVENTS
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import Position
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log.eventlog import EventLog
from rat_fsm.projections.model import ReadModel
from rat_fsm.stores import open_store
from rat_fsm.stores.port import Store, SupportsNames, frames_with

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rat_fsm.stores.port import StoredFrame
    from rat_fsm.table import Lifecycle

    LogSource = str | Path | Store | EventLog
    Moment = Position | datetime.datetime


@contextlib.contextmanager
def opened(source: LogSource) -> Iterator[Store]:
    """The store of a log, for reading; what is opened here is closed again.

    Args:
        source: a URL or path, a store, or a log, of which what is durable is read.

    Raises:
        InvalidArgument: it is in the memory of some process.
        InvalidArgumentType: it is no log.
        StoreUnreadable, UnsupportedFormat: see `open_store`.
    """
    if isinstance(source, EventLog):
        yield source.store
    elif isinstance(source, (str, Path)):
        if source == "memory:":
            raise InvalidArgument("a memory: log cannot be read from outside its process")
        with contextlib.closing(open_store(source)) as store:
            yield store
    elif isinstance(source, Store):
        yield source
    else:
        raise InvalidArgumentType(
            f"source must be a URL, a path, a store or a log, not {type(source).__name__}"
        )


def known_lifecycles(lifecycles: Iterable[Lifecycle] | None = None) -> tuple[Lifecycle, ...]:
    """The lifecycles to read with; NODE is always among them, as in every log."""
    if lifecycles is None:
        return (CONNECTION, NODE)
    given = tuple(lifecycles)
    return given if any(lc.name == NODE.name for lc in given) else (*given, NODE)


def new_model(lifecycles: Iterable[Lifecycle] | None = None) -> ReadModel:
    """An empty read model that knows the lifecycles, those of rat_fsm by default."""
    return ReadModel(known_lifecycles(lifecycles))


def event_count(store: Store) -> int:
    """How many events a log has; of a bounded one in memory, how many it ever had."""
    heads = store.heads().values()
    return sum(stored.frame.last for stored in heads)


def last_position(store: Store) -> Position | None:
    """The position of the last event, None where there is none."""
    head = max(store.heads().values(), key=lambda stored: stored.position, default=None)
    return None if head is None else Position(head.position, head.frame.count - 1)


def frame_at(store: Store, position: int) -> StoredFrame | None:
    """The frame at a position, None where there is none."""
    stored = next(iter(store.read(position - 1)), None) if position > 0 else None
    return stored if stored is not None and stored.position == position else None


def naming(store: Store, name: str, after: int = 0) -> Iterator[StoredFrame]:
    """The frames that name a stream or an event so, found by the store itself where it can.

    Others may be among them.
    """
    if isinstance(store, SupportsNames):
        return store.naming(name, after)
    return frames_with(name, store.read(after))


def check_moment(moment: Any, name: str = "until") -> None:
    """Refuses a moment that is neither a position nor an aware datetime.

    Raises:
        InvalidArgument: it is a datetime without a time zone.
        InvalidArgumentType: it is something else.
    """
    if isinstance(moment, datetime.datetime):
        if moment.tzinfo is None:
            raise InvalidArgument(f"{name} has no time zone; say for example {name}.astimezone()")
    elif not isinstance(moment, Position):
        raise InvalidArgumentType(
            f"{name} must be a Position or an aware datetime, not {type(moment).__name__}"
        )


def check_within(store: Store, moment: Moment) -> Moment:
    """A moment that a log has; a frame as a whole (offset `MAX_EVENTS`) becomes its last event.

    A time may be any: before the first event there is nothing, after the last there is all.

    Raises:
        InvalidArgument: no event stands there; says what the last one is.
        InvalidArgumentType: it is neither a position nor an aware datetime.
    """
    check_moment(moment)
    if not isinstance(moment, Position):
        return moment
    last = last_position(store)
    if last is None:
        raise InvalidArgument(f"there is no event {moment}: the log is empty")
    stored = frame_at(store, moment.frame) if 0 < moment.frame <= last.frame else None
    if stored is None:
        raise InvalidArgument(
            f"there is no frame {moment.frame}: this log ends with event {last}, and frames count "
            "from 1"
        )
    if moment.offset == MAX_EVENTS:
        return Position(moment.frame, stored.frame.count - 1)
    if not 0 <= moment.offset < stored.frame.count:
        raise InvalidArgument(
            f"there is no event {moment}: frame {moment.frame} ends with event "
            f"{moment.frame}.{stored.frame.count - 1}"
        )
    return moment
