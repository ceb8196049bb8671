"""What a log says about the connections of a server, by the path of their requests."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm import read_events, replay
from rat_fsm.events import Closed, Closing, ErrorRecorded, Registered, Stalled, Unstalled

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rat_fsm import Recorded


@attrs.frozen
class End:
    """How a connection ended, as its closing event tells."""

    reason: str
    ended_by: str
    code: int | None
    phase: str = "streaming"


@attrs.frozen
class Life:
    """The events of one connection, in order."""

    events: tuple[Any, ...]

    @property
    def registered(self) -> Registered:
        """Its first event."""
        first: Registered = self.events[0]
        return first

    @property
    def path(self) -> str:
        """The path of its request."""
        return str(self.registered.metadata["path"])

    def every(self, kind: type) -> list[Any]:
        """Its events of one class."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return bool(self.every(Closed))

    @property
    def end(self) -> End:
        """How it ended; it did so exactly once."""
        (closing,), (closed,) = self.every(Closing), self.every(Closed)
        assert closed.reason == closing.reason
        return End(closing.reason, closing.ended_by, closing.code, closing.phase)

    @property
    def errors(self) -> list[str]:
        """The types of its errors."""
        return [error.error_type for error in self.every(ErrorRecorded)]

    @property
    def stalls(self) -> list[str]:
        """Stalled and unstalled, in their order."""
        events = [event for event in self.events if isinstance(event, Stalled | Unstalled)]
        return [type(event).__name__ for event in events]


def read_lives(log: Path) -> list[Life]:
    """Every connection in the log."""
    return lives_of(read_events(log))


def lives_of(events: Iterable[Recorded]) -> list[Life]:
    """Every connection among recorded events."""
    found: dict[str, list[Any]] = defaultdict(list)
    for recorded in events:
        if recorded.stream.lifecycle == "connection":
            found[recorded.stream.born].append(recorded.event)
    return [Life(tuple(events)) for events in found.values()]


def read_life(log: Path, path: str) -> Life:
    """The one connection with this path."""
    (life,) = [life for life in read_lives(log) if life.path == path]
    return life


def ended_lives(log: Path, path: str) -> list[Life]:
    """The connections with this path that are over."""
    return [life for life in read_lives(log) if life.path == path and life.closed]


def node_events(log: Path) -> dict[str, list[Any]]:
    """What happened to each writer's runs, by writer."""
    found: dict[str, list[Any]] = defaultdict(list)
    for recorded in read_events(log):
        if recorded.stream.lifecycle == "node":
            found[recorded.writer].append(recorded.event)
    return dict(found)


def check_stats(log: Path, writer: str, live: dict[str, Any]) -> None:
    """What was live is what the log says; the limit is the manager's own."""
    replayed = replay(log, writer=writer).stats.as_dict()
    assert replayed | {"max_connections": None} == live | {"max_connections": None}
