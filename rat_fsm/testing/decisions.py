"""Tests of decisions, as sentences: given these events, when this is asked, then these follow.

A decision is run as a log runs it: under the lifecycle's table, and with what is encoded and read
back. No log is opened, no thread started, and no time passes.
"""

from __future__ import annotations

import difflib
import functools
import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.core import decide as core_decide
from rat_fsm.errors import InvalidArgument, InvalidArgumentType, Refused
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log.accept import Acceptor
from rat_fsm.projections.model import ReadModel
from rat_fsm.table import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Decide = Callable[[Any, Any, Any], Iterable[Any]]

WRITER: Final = "w0"
AT: Final = 1_767_225_600_000_000  # 2026-01-01, where a VirtualClock begins
_OURS: Final = (CONNECTION, NODE)


@attrs.frozen
class Given:
    """What has happened so far; made by `given`, and by a `then` that held."""

    lifecycle: Lifecycle
    decide: Decide
    stream_id: str
    at: int
    history: tuple[tuple[Lifecycle, str, tuple[Any, ...]], ...]

    def also(self, lifecycle: Lifecycle, stream_id: str, *events: Any) -> Given:
        """The same, after these events of another stream, which a decision may look at."""
        return self._after(lifecycle, stream_id, events)

    def when(self, request: Any) -> When:
        """What is asked of the stream; say `When.then` or `When.then_refused` next."""
        return When(self, request)

    def _after(self, lifecycle: Lifecycle, stream_id: str, events: tuple[Any, ...]) -> Given:
        after = attrs.evolve(self, history=(*self.history, (lifecycle, stream_id, events)))
        after.accepted()  # what the table has no way for is no history
        return after

    def follow(self, *events: Any) -> Given:
        """The same, after these events of its own stream."""
        return self._after(self.lifecycle, self.stream_id, events)

    def accepted(self) -> Acceptor:
        """The accepting half of a log that has taken all of this."""
        known = {lc.name: lc for lc in (*_OURS, *(lc for lc, _, _ in self.history), self.lifecycle)}
        now = functools.partial(int, self.at)
        acceptor = Acceptor(ReadModel(known.values()), WRITER, now, lambda: None)
        for lifecycle, stream_id, events in self.history:
            acceptor.transact(lifecycle, stream_id, _always(events))
        return acceptor

    @property
    def state(self) -> str:
        """The state that the stream is in."""
        record = self.accepted().model.record(self.lifecycle.name, self.stream_id)
        return self.lifecycle.initial if record is None else record.state


@attrs.frozen
class _Outcome:
    """What came of a request."""

    events: tuple[Any, ...]
    error: Exception | None

    def __str__(self) -> str:
        return (
            f"answered {_listed(self.events)}" if self.error is None else f"raised {self.error!r}"
        )


@attrs.frozen
class When:
    """A request to a stream with a past; made by `Given.when`."""

    given: Given
    request: Any

    def then(self, *events: Any) -> Given:
        """Asserts that these events follow, and no others; none where nothing is to happen.

        Returns:
            What has happened then, so that a test may go on with the next ``when``.

        Raises:
            AssertionError: other events follow, or it is refused; says what differs.
        """
        __tracebackhide__ = True  # pytest shows the test then, not this line
        found = self._outcome()
        if found.error is not None:
            raise AssertionError(
                f"{self._said()}\n  was to answer {_listed(events)},\n  but {found}"
            ) from found.error
        if found.events != events:
            raise AssertionError(f"{self._said()}\n{_diff(events, found.events)}")
        return self.given.follow(*events)

    def then_refused(
        self,
        error: type[Exception] = Refused,
        *,
        cause: str | None = None,
        match: str | None = None,
    ) -> Given:
        """Asserts that the decision, or the table, says no.

        Args:
            error: what it raises: `Refused` or one below it, or an exception of your own.
            cause: the slug that a `Refused` carries.
            match: a regular expression that is found in the message.

        Returns:
            What has happened then: the same as before.

        Raises:
            AssertionError: events follow instead, or it is refused otherwise.
        """
        raised: Any = error
        if not (isinstance(raised, type) and issubclass(raised, Exception)):
            raise InvalidArgumentType(f"then_refused takes a class of exceptions, not {error!r}")
        __tracebackhide__ = True
        found, wanted = self._outcome(), _wanted(error, cause, match)
        if found.error is None or not _is_meant(found.error, error, cause, match):
            raise AssertionError(
                f"{self._said()}\n  was to raise {wanted},\n  but {found}"
            ) from found.error
        return self.given

    def _outcome(self) -> _Outcome:
        """What follows, decided twice from the same past: a decision is pure, or it is none."""
        first, second = self._run(), self._run()
        if str(first) != str(second):
            raise AssertionError(
                f"{self._said()}\n  {first},\n  then {second}:\n  what is drawn, or the time, "
                "belongs into the request"
            )
        return first

    def _run(self) -> _Outcome:
        acceptor, decided = self.given.accepted(), list[Any]()

        def decide(stream: Any, model: Any) -> tuple[Any, ...]:
            decided.extend(self.given.decide(self.request, stream, model))
            return tuple(decided)

        try:
            acceptor.transact(self.given.lifecycle, self.given.stream_id, decide)
        except Exception as problem:  # noqa: BLE001 - it is compared with what was to be raised
            return _Outcome((), problem)
        return _Outcome(tuple(decided), None)

    def _said(self) -> str:
        given = self.given
        return f"{given.lifecycle.name} in {given.state!r}, when {self.request!r}"


def given(
    *events: Any,
    lifecycle: Lifecycle = CONNECTION,
    decide: Decide | None = None,
    stream_id: str = "it",
    at: int = AT,
) -> Given:
    """Begins a test of a decision: ``given(events).when(request).then(events)``.

    ::

        from rat_fsm.core import Activity, Register
        from rat_fsm.events import Activated, ActivityRecorded, Registered
        from rat_fsm.testing import given

        connecting = given(Registered("10.0.0.1"))
        active = connecting.when(Activity(7, 1)).then(Activated(), ActivityRecorded(7, 1))
        active.when(Register("10.0.0.1", "sse", {}, limit=1)).then_refused(cause="duplicate")

    Tests of a lifecycle of one's own say once what they are about:
    ``order = functools.partial(given, lifecycle=ORDER, decide=decide)``.

    Args:
        events: what has happened to the stream, in order; none where it does not exist yet.
        lifecycle: whose table and event classes these are.
        decide: ``(request, stream, model) -> events``, which may raise to refuse; for the
            lifecycles of rat_fsm its own by default. It is asked twice, and must answer the same.
        stream_id: the id of the stream.
        at: when all this happens, microseconds since the epoch.

    Raises:
        IllegalEvent: the table has no way for one of the events.
        InvalidArgument, InvalidArgumentType: no decide, or an event of another lifecycle.
    """
    if not isinstance(lifecycle, Lifecycle):
        raise InvalidArgumentType(f"{lifecycle!r} is no lifecycle")
    if decide is None:
        if lifecycle not in _OURS:
            raise InvalidArgument(
                f"say how {lifecycle.name} decides: decide=(request, stream, model) -> events"
            )
        decide = core_decide
    return Given(lifecycle, decide, stream_id, at, ()).follow(*events)


def _is_meant(
    problem: Exception, error: type[Exception], cause: str | None, match: str | None
) -> bool:
    return (
        isinstance(problem, error)
        and (cause is None or getattr(problem, "cause", None) == cause)
        and (match is None or re.search(match, str(problem)) is not None)
    )


def _wanted(error: type[Exception], cause: str | None, match: str | None) -> str:
    caused = "" if cause is None else f" for {cause!r}"
    return f"{error.__name__}{caused}{'' if match is None else f' with a message like {match!r}'}"


def _always(events: tuple[Any, ...]) -> Callable[[Any, Any], tuple[Any, ...]]:
    return lambda _stream, _model: events


def _listed(events: Iterable[Any]) -> str:
    return ", ".join(map(repr, events)) or "nothing"


def _diff(wanted: tuple[Any, ...], found: tuple[Any, ...]) -> str:
    """Line by line, what was wanted (-) and what followed (+)."""
    lines = difflib.ndiff([repr(e) for e in wanted], [repr(e) for e in found])
    return "\n".join(f"  {line.rstrip()}" for line in lines)
