"""Takes out of a trace what may say whose connection it was, before it becomes code.

Only the events of rat_fsm are known well enough for that: what the fields of other lifecycles
mean, nobody here can tell.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import (
    CallbackFailed,
    DrainRequested,
    DrainStarted,
    ErrorRecorded,
    MonitorViolated,
    Registered,
    Started,
    Stopped,
    UnknownEvent,
)
from rat_fsm.lifecycles import CONNECTION, NODE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from rat_fsm.traces.trace import Trace

ADDRESS: Final = "192.0.2.1"  # RFC 5737: it is nobody's
SOMEBODY: Final = "somebody"
OURS: Final = (CONNECTION, NODE)
KINDS: Final = ("addresses", "metadata", "messages")
_SIGNAL: Final = re.compile(r"SIG[A-Z0-9]+")


def redact(trace: Trace, keep: Collection[str] = ()) -> Trace:
    """The trace without addresses, metadata and messages, but for those that are kept.

    An address becomes 192.0.2.1, metadata {}, the message of an error the name of its type;
    who asked for a drain becomes somebody, and of a report the numbers stay. The definitions
    that a run recorded are left out too: they are long, and the test has the lifecycle. An id is
    not part of a connection's events.

    Args:
        trace: what is to be redacted.
        keep: any of addresses, metadata, messages.

    Raises:
        InvalidArgument: something else is to be kept.
    """
    unknown = set(keep) - set(KINDS)
    if unknown:
        raise InvalidArgument(f"there is no {min(unknown)} to keep, only {', '.join(KINDS)}")
    events = tuple((at, _redacted(event, frozenset(keep))) for at, event in trace.events)
    return attrs.evolve(trace, events=events)


def _redacted(event: Any, keep: frozenset[str]) -> Any:
    rule = _RULES.get(type(event))
    return event if rule is None else rule(event, keep)


def _registered(event: Registered, keep: frozenset[str]) -> Registered:
    known = event.remote_addr and "addresses" not in keep
    return attrs.evolve(
        event,
        remote_addr=ADDRESS if known else event.remote_addr,
        metadata=event.metadata if "metadata" in keep else {},
    )


def _error(event: ErrorRecorded, keep: frozenset[str]) -> ErrorRecorded:
    return attrs.evolve(event, message=event.message if "messages" in keep else event.error_type)


def _callback(event: CallbackFailed, keep: frozenset[str]) -> CallbackFailed:
    error = event.error if "messages" in keep else "redacted"
    return attrs.evolve(event, connection="connection-1", error=error)


def _violated(event: MonitorViolated, _keep: frozenset[str]) -> MonitorViolated:
    return attrs.evolve(event, id=f"{event.lifecycle}-1")


def _requested(event: DrainRequested, keep: frozenset[str]) -> DrainRequested:
    return attrs.evolve(event, actor=_whoever(event.actor, keep))


def _drain(event: DrainStarted, keep: frozenset[str]) -> DrainStarted:
    return attrs.evolve(event, requested_by=_whoever(event.requested_by, keep))


def _whoever(name: str, keep: frozenset[str]) -> str:
    known = "metadata" in keep or not name or _SIGNAL.fullmatch(name)
    return name if known else SOMEBODY


def _started(event: Started, _keep: frozenset[str]) -> Started:
    return attrs.evolve(event, lifecycles=[])


def _stopped(event: Stopped, keep: frozenset[str]) -> Stopped:
    """Of a report, which may name connections, the numbers stay."""
    if "metadata" in keep:
        return event
    numbers = {key: value for key, value in event.report.items() if isinstance(value, (int, float))}
    return attrs.evolve(event, report=numbers)


def _unknown(event: UnknownEvent, keep: frozenset[str]) -> UnknownEvent:
    if "metadata" in keep:
        return event
    return attrs.evolve(event, data={}, problem=event.problem.partition(":")[0])


_RULES: Final[Mapping[type, Callable[[Any, frozenset[str]], Any]]] = {
    Registered: _registered,
    ErrorRecorded: _error,
    CallbackFailed: _callback,
    MonitorViolated: _violated,
    DrainRequested: _requested,
    DrainStarted: _drain,
    Started: _started,
    Stopped: _stopped,
    UnknownEvent: _unknown,
}
