"""Accepts what happens to the models of a machine into an event log, a stream each."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import InvalidArgument, InvalidArgumentType, LogClosed, StreamNotFound
from rat_fsm.events import Observed
from rat_fsm.integrations.transitions.flight import ATTACHED, FORCED
from rat_fsm.log import EventLog
from rat_fsm.log.ids import check_id
from rat_fsm.table import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DEFAULT_LIFECYCLE: Final = "machine"


class Recorder:
    """What a machine knows of its log; pickled without the log, and without whose stream is whose.

    Attributes:
        lifecycle: the name of the log's lifecycle that the streams belong to.
    """

    def __init__(
        self, log: EventLog | None, lifecycle: str, stream_id: Callable[[Any], str] | None
    ) -> None:
        """Takes what the machine was given.

        Raises:
            InvalidArgument: the log does not know the lifecycle, or it observes nothing.
            InvalidArgumentType: one of these is of another type.
        """
        if stream_id is not None and not callable(stream_id):
            raise InvalidArgumentType(f"stream_id is a function of a model, not {stream_id!r:.200}")
        self.lifecycle = lifecycle
        self._stream_id = stream_id
        self._owned = log is None
        self._log = None if log is None else self._checked(log)
        self._ids: dict[int, str] = {}
        self._taken: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """What is true in another process too."""
        return {
            "lifecycle": self.lifecycle,
            "_stream_id": self._stream_id,
            "_owned": self._owned,
            "_log": None,
            "_ids": {},
            "_taken": set(),
        }

    def _checked(self, log: EventLog) -> EventLog:
        if not isinstance(log, EventLog):
            raise InvalidArgumentType(f"event_log is an EventLog, not {log!r:.200}")
        known = log.read_model.lifecycles.get(self.lifecycle)
        if known is None or known.event_type(Observed) is None:
            raise InvalidArgument(
                f"the log observes no {self.lifecycle!r}; open it with "
                f"lifecycles=(Lifecycle.observed({self.lifecycle!r}), …), or say lifecycle="
            )
        return log

    @property
    def log(self) -> EventLog:
        """The log; one in memory is made when it is first wanted.

        Raises:
            LogClosed: the machine was unpickled, and its log is yet to be attached.
        """
        if self._log is None:
            if not self._owned:
                raise LogClosed("this machine was pickled without its log: reattach(event_log)")
            self._log = EventLog(lifecycles=(Lifecycle.observed(self.lifecycle),))
        return self._log

    def reattach(self, log: EventLog) -> None:
        """Goes on in this log."""
        self._log, self._owned = self._checked(log), False

    def knows(self, model: object) -> bool:
        """Whether the model has a stream."""
        return id(model) in self._ids

    def stream_of(self, model: object) -> str:
        """The stream of a model; of one that was removed, by its name or else a new one."""
        return self._ids.get(id(model)) or self._named(model)

    def _named(self, model: object) -> str:
        if self._stream_id is None:
            return f"{type(model).__name__}-{uuid.uuid4().hex}"
        return self._stream_id(model)

    def streams_of(self, models: Iterable[object]) -> list[str]:
        """The streams of models, in their order."""
        return list(map(self.stream_of, models))

    def take(self, model: object, stream: str | None = None) -> str:
        """Gives a model its stream.

        Raises:
            InvalidArgument: another model has it, or nothing may have this name.
            InvalidArgumentType: the name is no string.
        """
        name = self._named(model) if stream is None else stream
        check_id(name, f"{self.lifecycle} id")
        if name in self._taken:
            raise InvalidArgument(f"stream {name!r} belongs to another model of this machine")
        self._taken.add(name)
        self._ids[id(model)] = name
        return name

    @contextmanager
    def taken(self, model: object, stream: str | None = None) -> Iterator[None]:
        """Gives a model its stream, unless what follows fails; raises what `take` does."""
        self.take(model, stream)
        try:
            yield
        except BaseException:
            self.release(model)
            raise

    def release(self, model: object) -> None:
        """A model has no stream any more."""
        self._taken.discard(self._ids.pop(id(model), ""))

    def last(self, stream: str) -> Any:
        """Where the model of a stream stands, by the log.

        Raises:
            StreamNotFound: this writer of the log has no such stream.
        """
        record: Any = self.log.read_model.record(self.lifecycle, stream)
        if record is None:
            raise StreamNotFound(self.log.url, f"{self.lifecycle}/{stream}")
        return record.dest

    def accept(self, model: object, event: Observed) -> None:
        """Accepts one event of a model; at the level ``committed`` it is durable then.

        What the log has missed, such as an attribute that was set by hand, is accepted with it as
        forced, so that its stream has no gap.

        Raises:
            What `EventLog.append` raises.
        """
        log, stream = self.log, self.stream_of(model)
        log.transact(self.lifecycle, stream, lambda record, _model: _whole(record, event))
        if log.durability == "committed":
            log.append((self.lifecycle, stream))  # nothing: it waits, wherever waiting is allowed


def _whole(record: Any, event: Observed) -> Iterator[Observed]:
    """An event, with what has to be said before so that it continues its stream."""
    if event.kind == ATTACHED:
        yield Observed(ATTACHED, event.trigger, record.dest, event.dest)
        return
    if event.source != record.dest:
        unseen = FORCED if record.version else ATTACHED
        yield Observed(unseen, "", record.dest, event.source)
    yield event
