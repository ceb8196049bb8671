"""What is served by one adapter in one process: admission, recording, readiness, the drain."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.integrations.serving.connection import Connection
from rat_fsm.integrations.serving.draining import Drainer
from rat_fsm.integrations.serving.gate import Gate, Refusal, refusal_for
from rat_fsm.integrations.serving.signals import SignalChain
from rat_fsm.integrations.serving.status import status_of
from rat_fsm.log.eventlog import EventLog
from rat_fsm.runtime.arguments import check_limit, check_positive
from rat_fsm.runtime.defaults import generate_connection_id
from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.runtime.metering import Meters
from rat_fsm.runtime.requests import DrainRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.integrations.doctor import Report
    from rat_fsm.integrations.serving.member import Member
    from rat_fsm.runtime.shutdown import ShutdownReport

# A cleanup without stale connections only lets go of what was ended through the log.
CLEANUP_INTERVAL: Final = 30.0
_log: Final = logging.getLogger("rat_fsm")


class Service:
    """Owns what adapters share; every method but `begin_drain` runs on the serving loop.

    Args:
        manager: where connections are recorded; None makes one that refuses nobody and ends
            nothing.
        log: where that one records: a log, or the URL of one that is opened when serving starts;
            closed when it ends. None keeps it in memory.
        max_per_client: how many connections one client may have open, None for any number.
        activity_interval: seconds between records of what was sent; 0 records each message.
        drain_timeout: seconds that connections have to end by themselves in a drain.
        lame_duck: seconds before that in which new ones are still let in.
        signals: whether SIGTERM and SIGINT start a drain.

    Attributes:
        members: what is being served now.
    """

    def __init__(
        self,
        manager: ConnectionManager | None,
        *,
        log: EventLog | str | Path | None = None,
        max_per_client: int | None,
        activity_interval: float,
        drain_timeout: float,
        lame_duck: float,
        signals: bool,
    ) -> None:
        _check_places(manager, log)
        self._given = manager
        self._log = log
        self._interval = check_positive(activity_interval, "activity_interval", zero=True)
        self._timeout = check_positive(drain_timeout, "drain_timeout", zero=True)
        self._lame_duck = check_positive(lame_duck, "lame_duck", zero=True)
        self._most = (
            None if max_per_client is None else check_limit(max_per_client, "max_per_client")
        )
        self._chain = SignalChain(self._on_signal, self._on_insist) if signals else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._requests: DrainRequests | None = None
        self._drainer: Drainer | None = None
        self._report: Report | None = None
        self._recording: _Recording | None = None
        self.members: set[Member] = set()

    @property
    def recording(self) -> _Recording:
        """What connections are recorded with, opened at the first use."""
        if self._recording is None:
            manager = self._given or _unlimited(self._log)
            meters = Meters(manager.log, manager.clock, self._interval)
            self._recording = _Recording(manager, meters, Gate(manager, self._most))
        return self._recording

    @property
    def manager(self) -> ConnectionManager:
        """Where connections are recorded."""
        return self.recording.manager

    @property
    def gate(self) -> Gate:
        """Who is let in."""
        return self.recording.gate

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send more: no drain was asked for, and the log works."""
        return not self.draining and self.manager.log.health.ready

    @property
    def draining(self) -> bool:
        """Whether a drain was asked for, here or through the manager."""
        drainer = self._drainer
        return (drainer is not None and drainer.asked) or self.manager.draining

    @property
    def telling(self) -> bool:
        """Whether streams that begin now should end at once."""
        return self._drainer is not None and self._drainer.telling

    @property
    def hears_signals(self) -> bool:
        """Whether SIGTERM starts a drain here."""
        return self._chain is not None and self._chain.installed

    def start(self) -> bool:
        """Begins on the running loop: hears signals and requests; False where it has begun."""
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return False
        self._loop, self._drainer = loop, None
        self.members.clear()  # of a loop that is gone
        if self._given is None and (self.manager.closed or self.manager.draining):
            self._recording = None  # served again, as in tests
        if self._chain is not None:
            self._chain.install(loop)
        if self.manager.log.durability != "memory":
            self._requests = DrainRequests(self.manager.log, self._on_request)
            self._requests.start()
        return True

    @property
    def log_place(self) -> str:
        """Where connections are recorded, memory or shared; opens nothing."""
        from rat_fsm.integrations.doctor import log_place

        return log_place(self._given, self._log)

    def check(self, scope: Any, application: Any) -> None:
        """Looks what the server here will and will not do, and logs what should be known."""
        from rat_fsm.integrations.doctor import check_running

        self._report = check_running(
            scope,
            application,
            drain_timeout=self._timeout,
            lame_duck=self._lame_duck,
            grace=None,
            signals=self._chain is not None,
            log=self.log_place,
            per_client=self._most is not None,
        )

    def open(
        self, kind: str, remote_addr: str, metadata: dict[str, Any], *, admitted: bool = False
    ) -> Connection | Refusal:
        """Registers a connection; a client that is ``admitted`` is never turned away."""
        name = generate_connection_id()
        meters = self.recording.meters
        connection = Connection(self.manager, meters, name, kind)
        if self.manager.register_connection(
            name, remote_addr, connection, metadata, kind=kind, admitted=admitted
        ):
            return connection
        meters.detach(name)
        return refusal_for("draining" if self.manager.draining else self._cause())

    def _cause(self) -> str:
        full = self.manager.max_connections
        if full is not None and self.manager.log.read_model.open_connections >= full:
            return "max_connections"
        return "log_unavailable"

    def leave(self, member: Member) -> None:
        """A member is not served any more."""
        self.members.discard(member)
        if self._drainer is not None:
            self._drainer.member_left()

    def begin_drain(self, requested_by: str) -> None:
        """Starts a drain, from any thread; does nothing before anything was served."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.start_drain, requested_by)

    def start_drain(self, requested_by: str) -> None:
        """Starts a drain at once, on the serving loop."""
        self._drain(requested_by)

    def _drain(self, requested_by: str) -> asyncio.Task[ShutdownReport]:
        if self._drainer is None:
            self._drainer = Drainer(
                self.manager, self.members, timeout=self._timeout, lame_duck=self._lame_duck
            )
        return self._drainer.begin(requested_by)

    async def drain(self, requested_by: str) -> ShutdownReport:
        """Drains, and reports; once, however often it is called."""
        self.start()
        return await asyncio.shield(self._drain(requested_by))

    async def shut_down(self, requested_by: str) -> None:
        """Waits for a drain, which is begun if anything is left to drain."""
        if self.members or self._drainer is not None:
            await self.drain(requested_by)

    def end(self) -> None:
        """Nothing more is served: lets go of signals, requests and a manager of its own."""
        if self._requests is not None:
            self._requests.stop()
            self._requests = None
        if self._chain is not None:
            self._chain.restore()
        self._loop = None
        if self._recording is not None:
            self._stop_recording(self._recording)

    def _stop_recording(self, recording: _Recording) -> None:
        recording.meters.flush()
        recording.manager.flush_activity()
        if self._given is not None:
            return
        if not self.members:  # what could not be ended must not look as if it had
            recording.manager.shutdown()
        if self._log is not None:
            recording.manager.log.close()

    def _on_signal(self, name: str, then: Callable[[], None]) -> None:
        task = self._drain(name)

        def drained(done: asyncio.Task[ShutdownReport]) -> None:
            if not done.cancelled() and done.exception() is not None:
                _log.error("the drain failed", exc_info=done.exception())
            then()  # the server ends all the same

        task.add_done_callback(drained)

    def _on_insist(self) -> None:
        if self._drainer is not None:
            self._drainer.insist()

    def _on_request(self, actor: str) -> None:
        self.begin_drain(actor)

    def status(self) -> dict[str, Any]:
        """How it stands, as plain JSON."""
        found = {} if self._report is None else self._report.as_dict()
        return {
            **status_of(self.manager, self._drainer, self._most),
            "server": found.get("facts", {}).get("server"),
            "findings": found.get("findings", []),
        }


@attrs.frozen
class _Recording:
    """A manager, and what belongs to it."""

    manager: ConnectionManager
    meters: Meters
    gate: Gate


def _check_places(manager: object, log: object) -> None:
    if manager is not None and not isinstance(manager, ConnectionManager):
        raise InvalidArgumentType(
            f"manager must be a ConnectionManager, not {type(manager).__name__}; "
            "a log, or the URL of one, is given as log="
        )
    if log is not None and not isinstance(log, (EventLog, str, Path)):
        raise InvalidArgumentType(
            f"log must be an EventLog or the URL of one, not {type(log).__name__}"
        )
    if manager is not None and log is not None:
        raise InvalidArgument("a manager has its log: give one of manager and log, not both")


def _unlimited(log: EventLog | str | Path | None) -> ConnectionManager:
    if log is not None and not isinstance(log, EventLog):
        log = EventLog.open(log)
    return ConnectionManager(None, CLEANUP_INTERVAL, log=log, stale_after=None)
