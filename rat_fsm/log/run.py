"""The run of a process under its writer: the NODE stream that lives as long as the log is open."""

from __future__ import annotations

import functools
import logging
import platform
from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.codec import definitions
from rat_fsm.errors import LogError, Refused
from rat_fsm.events import Serving, Started, Stopped
from rat_fsm.lifecycles import NODE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.log.accept import Acceptor
    from rat_fsm.log.succession import Succession
    from rat_fsm.log.transactions import Decide
    from rat_fsm.table import Lifecycle

_log = logging.getLogger("rat_fsm")


@attrs.define(eq=False)
class Run:
    """A run, from the first event of a log to its close.

    Args:
        acceptor: takes its events, and knows its id.
        lifecycles: whose definitions are recorded with its start.
        succession: what begins it again under another slot; None where none is taken.

    Attributes:
        report: what is recorded with its end.
    """

    _acceptor: Acceptor
    _lifecycles: Mapping[str, Lifecycle]
    _succession: Succession | None
    report: Mapping[str, Any] = attrs.field(factory=dict, init=False)

    @property
    def id(self) -> str | None:
        """The id of its stream, None until it has begun."""
        return self._acceptor.run

    def begin(self, limits: Mapping[str, Any] | None, policy: Mapping[str, Any] | None) -> None:
        """Records its start, unless that has been done."""
        with self._acceptor.lock:
            if self.id is None:
                self._start(limits, policy)

    def _start(self, limits: Mapping[str, Any] | None, policy: Mapping[str, Any] | None) -> None:
        """Starts it; where starting one was interrupted after all, takes that one."""
        if self._started() is None:
            started = Started(
                definitions(self._lifecycles), _versions(), dict(limits or {}), dict(policy or {})
            )
            events = (started, Serving())
            if self._succession is not None:
                self._succession.started = started
            self.ask(lambda _stream, _model: events if self._started() is None else ())
        self._acceptor.run = self._started()

    def _started(self) -> str | None:
        """The id of this writer's run that has not stopped."""
        records = self._acceptor.model.records(self._acceptor.writer)
        return next((record.id for record in records if record.lifecycle == NODE.name), None)

    def transact(self, decide: Decide, *, reserved: bool) -> int | None:
        """Runs a decision about it, see `EventLog.transact`."""
        run = self.id or self._next()
        return self._acceptor.transact(NODE, run, decide, reserved=reserved)

    def ask(self, decide: Decide) -> int | None:
        """Runs a decision about a NODE stream of its own, whether this run has begun or not."""
        return self._acceptor.transact(NODE, self._next(), decide)

    def _next(self) -> str:
        """The id of a NODE stream that begins now."""
        return f"{self._acceptor.writer}:{self._acceptor.seq + 1}"

    def stop(self, report: Mapping[str, Any] | None) -> None:
        """Records its end; where that is refused, says so."""
        event = Stopped({"clean": True, **self.report, **(report or {})})
        try:
            self.transact(lambda _stream, _model: (event,), reserved=True)
        except (Refused, LogError) as problem:
            _log.warning("the end of this run could not be recorded: %s", problem)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "rat_fsm": _our_version()}


@functools.cache
def _our_version() -> str:
    """Asked once: the whole README is part of what is read for it."""
    from importlib import metadata  # it imports the email package, 15 ms

    try:
        return metadata.version("rat-fsm")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "not installed"
