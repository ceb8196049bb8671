"""Says what an event means in a few words, beside its tag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from rat_fsm import events
from rat_fsm.cli.text import counted, seconds, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_WARNING: Final = "yellow"
_STYLES: Final = {
    events.ErrorRecorded: "red",
    events.RetryScheduled: _WARNING,
    events.RetryRefused: "red",
    events.Stalled: _WARNING,
    events.CallbackFailed: "red",
    events.MonitorViolated: "red",
    events.ConnectionRefused: _WARNING,
    events.DrainForced: "red",
    events.UnknownEvent: "magenta",
    events.ActivityRecorded: "dim",
}


def label(tag: str) -> str:
    """A tag as shown: what happens to connections is the ordinary case and goes without saying."""
    return tag.removeprefix("connection.")


def style_of_event(event: Any) -> str:
    """The colour of an event: red for what failed, yellow for what may."""
    return _STYLES.get(type(event), "")


def describe(event: Any) -> str:
    """What an event says, in words."""
    return _WORDS.get(type(event), _fields)(event)


def plain(value: Any) -> str:
    """A value as compact JSON, nothing where it is empty."""
    return msgspec.json.encode(value).decode() if value else ""


def joined(*parts: str, by: str = ", ") -> str:
    """The parts that say something."""
    return by.join(part for part in parts if part)


def sent(bytes_sent: int, messages: int) -> str:
    """``1.2 kB in 3 messages``."""
    return f"{size(bytes_sent)} in {counted(messages, 'message')}"


def troubles(errors: int, retries: int) -> str:
    """``1 error, 2 retries``; nothing where all went well."""
    return joined(
        counted(errors, "error") if errors else "", counted(retries, "retry") if retries else ""
    )


def _fields(event: Any) -> str:
    """An event of somebody else's lifecycle: ``item "tea", cents 250``."""
    values = ((name, getattr(event, name)) for name in (f.name for f in attrs.fields(type(event))))
    return joined(*(f"{name} {msgspec.json.encode(value).decode()}" for name, value in values))


def _registered(event: events.Registered) -> str:
    return joined(f"{event.kind} from {event.remote_addr}", plain(event.metadata), by="  ")


def _activity(event: events.ActivityRecorded) -> str:
    """One message is the ordinary case and goes without saying."""
    if event.messages_sent == 1:
        return f"+{size(event.bytes_sent)}"
    return f"+{sent(event.bytes_sent, event.messages_sent)}"


def _error(event: events.ErrorRecorded) -> str:
    retryable = "retryable" if event.retryable else "not retryable"
    return f"{event.error_type}: {event.message} ({event.category}, {retryable})"


def _retry(event: events.RetryScheduled) -> str:
    return f"attempt {event.attempt} in {seconds(event.delay)} ({event.category})"


def ending(event: events.Closing) -> str:
    """Why a connection ended, by whom and when."""
    code = "" if event.code is None else f"code {event.code}"
    return joined(f"{event.reason}, by {event.ended_by}", _during(event.phase), code)


def _during(phase: str) -> str:
    return {"handshake": "before the first byte"}.get(phase, f"while {phase}" if phase else "")


def _closed(event: events.Closed) -> str:
    lived = f"after {seconds(event.duration)}"
    trouble = troubles(event.errors, event.retries)
    return joined(event.reason, lived, sent(event.bytes_sent, event.messages_sent), trouble)


def _started(event: events.Started) -> str:
    versions = joined(*(f"{name} {version}" for name, version in event.versions.items()))
    limits = joined(*(f"{name} {plain(value)}" for name, value in event.limits.items()))
    return joined(versions, limits, by="; ")


def _drain(event: events.DrainStarted) -> str:
    asked = f"asked by {event.requested_by}" if event.requested_by else ""
    return joined(f"{event.open} open, {seconds(event.deadline)} to end", asked)


def _observed(event: events.Observed) -> str:
    """``pay: open → paid``; what is no transition begins with its kind."""
    kind = "" if event.kind == "transition" else event.kind
    moves = event.source != event.dest or event.kind in {"transition", "attached"}
    before = _states(event.source) if moves and event.source is not None else ""
    way = joined(before, _states(event.dest), by=" → ")
    return joined(f"{joined(kind, event.trigger, by=' ')}: {way}", event.error)


def _states(told: str | list[Any] | None) -> str:
    return told if isinstance(told, str) else plain(told)


_WORDS: Final[Mapping[type, Callable[[Any], str]]] = {
    events.Registered: _registered,
    events.Activated: lambda e: e.route,
    events.ActivityRecorded: _activity,
    events.ErrorRecorded: _error,
    events.RetryScheduled: _retry,
    events.RetryRefused: lambda e: e.cause,
    events.Recovered: lambda e: f"after {counted(e.attempts, 'retry')}",
    events.RetriesReset: lambda _: "",
    events.Stalled: lambda e: f"takes nothing for {seconds(e.waited)}",
    events.Unstalled: lambda e: f"takes data again after {seconds(e.waited)}",
    events.Closing: ending,
    events.Closed: _closed,
    events.Started: _started,
    events.Serving: lambda _: "",
    events.ConnectionRefused: lambda e: f"{counted(e.count, 'client')}: {e.cause}",
    events.CallbackFailed: lambda e: f"of {e.connection}: {e.error}",
    events.MonitorViolated: lambda e: f"{e.monitor}: {e.lifecycle}/{e.id}, by {e.cause}",
    events.DrainRequested: lambda e: f"by {e.actor}",
    events.DrainStarted: _drain,
    events.DrainForced: lambda e: f"{counted(e.remaining, 'connection')} left",
    events.Stopped: lambda e: plain(e.report),
    events.Observed: _observed,
    events.UnknownEvent: lambda e: joined(f"({e.problem})", plain(e.data), by=" "),
}
