"""The machine whose every change is accepted by an event log before it is made."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from transitions import Machine, MachineError, State
from transitions.core import listify

from rat_fsm.errors import InvalidArgument, RatFsmError
from rat_fsm.events import Observed
from rat_fsm.integrations.transitions.flight import (
    ATTACHED,
    FAILED,
    INTERNAL,
    REJECTED,
    Attaching,
    Rehydrating,
    Trigger,
    change_of,
    in_flight,
)
from rat_fsm.integrations.transitions.models import Models
from rat_fsm.integrations.transitions.recorder import DEFAULT_LIFECYCLE, Recorder
from rat_fsm.integrations.transitions.transitions import observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transitions import EventData

    from rat_fsm.log import EventLog


class EventSourced(Machine):
    """What `event_sourced` adds to a machine class: each model has a stream of `Observed` events.

    A change is accepted before the state is assigned; where the log refuses, the state is as it
    was, and the trigger raises what the log did (``on_exit`` has run then). Each trigger that
    changed nothing is an event too: internal, rejected, or failed with the class of the error.
    A state that is set past the machine is accepted as forced with the model's next event.

    Args:
        args, options: what the machine class takes.
        event_log: where the events go; a log of its own in memory by default.
        stream_id: model → the id of its stream, such as ``operator.attrgetter("id")``; pickled
            with the machine. Made up by default.
        lifecycle: the name of the log's lifecycle, one that `Lifecycle.observed` made.
    """

    def __init__(
        self,
        *args: Any,
        event_log: EventLog | None = None,
        stream_id: Callable[[Any], str] | None = None,
        lifecycle: str = DEFAULT_LIFECYCLE,
        **options: Any,
    ) -> None:
        self._recorder = Recorder(event_log, lifecycle, stream_id)
        super().__init__(*args, **options)

    @property
    def event_log(self) -> EventLog:
        """The log that changes go to.

        Raises:
            LogClosed: the machine was unpickled, and its log is yet to be reattached.
        """
        return self._recorder.log

    @property
    def models(self) -> Models:
        """The models, which a list of a hundred thousand must tell apart in no time."""
        models: Models = self.__dict__["models"]
        return models

    @models.setter
    def models(self, models: list[Any]) -> None:
        self.__dict__["models"] = Models(models)

    def reattach(self, event_log: EventLog) -> None:
        """Goes on in this log, as a machine must that was pickled without the one it was given.

        Raises:
            InvalidArgument: the log does not know the machine's lifecycle.
        """
        self._recorder.reattach(event_log)

    def stream_of(self, model: object) -> str:
        """The id of a model's stream.

        Raises:
            InvalidArgument: the machine does not have the model.
        """
        if not self._recorder.knows(model):
            raise InvalidArgument(f"{model!r:.200} is no model of this machine")
        return self._recorder.stream_of(model)

    def rehydrate(self, model: object, stream: str) -> None:
        """Adds a model in the state where its stream ends, whose versions go on.

        No callback runs. The stream must be one of the log's own writer: open the log with the
        ``writer=`` that wrote it.

        Raises:
            StreamNotFound: this writer of the log has no such stream.
            InvalidArgument: the machine has the model, or another of this stream, or no longer
                has the state.
        """
        dest = self._recorder.last(stream)
        try:
            self._value(dest)
        except ValueError as problem:
            raise InvalidArgument(f"stream {stream!r} ends in {dest!r}: {problem}") from problem
        if model in self.models:
            raise InvalidArgument(f"{model!r:.200} is a model of this machine already")
        with self._recorder.taken(model, stream), in_flight(Rehydrating(self)):
            super().add_model(model, dest)
            super().set_state(dest, model)  # not its initial substate

    def add_model(self, model: Any, initial: Any = None, **options: Any) -> None:
        """Adds models, each with an event of its own; see `Machine.add_model`."""
        with in_flight(Attaching(self, self._settle, self._recorder.knows)):
            super().add_model(model, initial, **options)

    def remove_model(self, model: Any) -> None:
        """Lets go of models; their streams stay as they are."""
        super().remove_model(model)
        for gone in listify(model):
            self._recorder.release(gone)

    def set_state(self, state: Any, model: Any = None) -> None:
        """Assigns a state, after the log has accepted it; see `Machine.set_state`."""
        dest = self._told(self._value(state))
        for each in list(self.models) if model is None else listify(model):
            self._accept_state(each, state, dest)
            super().set_state(state, each)

    def _accept_state(self, model: object, state: object, dest: Any) -> None:
        change = change_of(self, model, state, dest)
        if change is None:
            return
        fresh = self._recorder.taken(model) if change.kind == ATTACHED else nullcontext()
        with fresh:
            self._accept(model, change.kind, change.trigger, change.dest)

    def _accept(self, model: object, kind: str, trigger: str, dest: Any, error: str = "") -> None:
        source = self._told(getattr(model, self.model_attribute, None))
        self._recorder.accept(model, Observed(kind, trigger, source, dest, error))

    def _value(self, state: Any) -> Any:
        """What `set_state` will assign; raises ValueError as it will."""
        return (state if isinstance(state, State) else self.get_state(state)).value

    def _told(self, value: Any) -> Any:
        """The value of a state as events tell it."""
        return value.name if isinstance(value, Enum) else value

    def _settle(self, dest: Any) -> Any:
        """Where a model comes to rest that is given its first state."""
        return dest

    @classmethod
    def _create_transition(cls, *args: Any, **kwargs: Any) -> Any:
        theirs: Any = cls.transition_cls
        return observed(theirs)(*args, **kwargs)

    def _process(self, trigger: Any) -> Any:
        return super()._process(self._watched(self._watch, trigger))

    def _watched(self, watch: Callable[..., Any], trigger: Any) -> Any:
        """A trigger, watched; `transitions` reads the model of a queued one from its arguments."""
        event_data, *names = trigger.args
        name = names[0] if names else event_data.event.name
        return partial(watch, event_data, name, trigger)

    def _watch(self, event_data: EventData, name: str, trigger: Callable[[], Any]) -> Any:
        with self._triggered(event_data, name) as flight:
            flight.result = trigger()
        return flight.result

    @contextmanager
    def _triggered(self, event_data: EventData, name: str) -> Iterator[Trigger]:
        """One trigger, from its beginning to what is said of it where no change was."""
        flight = Trigger(self, event_data.model, name)
        try:
            with in_flight(flight):
                yield flight
        except BaseException as error:
            self._accept_failure(event_data, name, error)
            raise
        self._accept_end(event_data, flight)

    def _accept_end(self, event_data: EventData, flight: Trigger) -> None:
        error: BaseException | None = event_data.error  # one that on_exception dealt with
        if error is not None:
            self._accept_trigger(event_data, _verdict(event_data, error), flight.name, error)
        elif not flight.result:
            self._accept_trigger(event_data, REJECTED, flight.name)
        elif not flight.changed:
            self._accept_trigger(event_data, INTERNAL, flight.name)

    def _accept_failure(self, event_data: EventData, name: str, error: BaseException) -> None:
        """Says that a trigger raised; where the log does not take it, the error says so."""
        try:
            self._accept_trigger(event_data, _verdict(event_data, error), name, error)
        except RatFsmError as problem:
            error.add_note(f"the event log did not take this failure: {problem}")

    def _accept_trigger(
        self, event_data: EventData, kind: str, name: str, error: BaseException | None = None
    ) -> None:
        """Accepts an event that leaves the model where it is."""
        model = event_data.model
        dest = self._told(getattr(model, self.model_attribute, None))
        self._accept(model, kind, name, dest, "" if error is None else type(error).__name__)

    def _get_trigger(self, model: object, trigger_name: str, *args: Any, **kwargs: Any) -> Any:
        if self._is_unknown(trigger_name):  # `transitions` makes no event of it that we could watch
            dest = self._told(getattr(model, self.model_attribute, None))
            self._accept(model, REJECTED, trigger_name, dest)
        return super()._get_trigger(model, trigger_name, *args, **kwargs)

    def _is_unknown(self, trigger_name: str) -> bool:
        return trigger_name not in self.events

    def __getstate__(self) -> dict[str, Any]:
        """Without the log; streams by the order of the models, whose identities change."""
        return {
            **super().__getstate__(),  # type: ignore[dict-item]
            "_streams": self._recorder.streams_of(self.models),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes over what `__getstate__` gave."""
        own = {**state}
        streams = own.pop("_streams")
        getattr(super(), "__setstate__", self.__dict__.update)(own)
        for model, stream in zip(self.models, streams, strict=True):
            self._recorder.take(model, stream)


def _verdict(event_data: EventData, error: BaseException) -> str:
    """Whether an error says that the model cannot take the trigger, or that a callback failed."""
    untried = event_data.transition is None
    unknown = isinstance(error, AttributeError) and event_data.event is None
    return REJECTED if untried and (unknown or isinstance(error, MachineError)) else FAILED
