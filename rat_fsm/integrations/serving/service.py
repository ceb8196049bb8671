"""What is served by one adapter in one process: admission, recording, readiness, the drain."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.integrations.serving.connection import Connection
from rat_fsm.integrations.serving.draining import Drainer, Member
from rat_fsm.integrations.serving.gate import Gate, Refusal, refusal_for
from rat_fsm.integrations.serving.signals import SignalChain
from rat_fsm.integrations.serving.status import status_of
from rat_fsm.runtime.arguments import check_limit, check_positive
from rat_fsm.runtime.defaults import generate_connection_id
from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.runtime.metering import Meters
from rat_fsm.runtime.requests import DrainRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.runtime.shutdown import ShutdownReport

# A cleanup without stale connections only lets go of what was ended through the log.
CLEANUP_INTERVAL: Final = 30.0
_log: Final = logging.getLogger("rat_fsm")


class Service:
    """Owns what adapters share; every method but `begin_drain` runs on the serving loop.

    Args:
        manager: where connections are recorded; None makes one that refuses nobody and ends
            nothing.
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
        max_per_client: int | None,
        activity_interval: float,
        drain_timeout: float,
        lame_duck: float,
        signals: bool,
    ) -> None:
        self._given = manager
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
        self.members: set[Member] = set()
        self._adopt(manager or _unlimited())

    def _adopt(self, manager: ConnectionManager) -> None:
        self.manager = manager
        self.gate = Gate(manager, self._most)
        self.meters = Meters(manager.log, manager.clock, self._interval)

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

    def start(self) -> None:
        """Begins on the running loop: hears signals and requests. Idempotent."""
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        self._loop, self._drainer = loop, None
        self.members.clear()  # of a loop that is gone
        if self._given is None and (self.manager.closed or self.manager.draining):
            self._adopt(_unlimited())  # served again, as in tests
        if self._chain is not None:
            self._chain.install(loop)
        if self.manager.log.durability != "memory":
            self._requests = DrainRequests(self.manager.log, self._on_request)
            self._requests.start()

    def open(
        self, kind: str, remote_addr: str, metadata: dict[str, Any], *, admitted: bool = False
    ) -> Connection | Refusal:
        """Registers a connection; a client that is ``admitted`` is never turned away."""
        name = generate_connection_id()
        connection = Connection(self.manager, self.meters, name, kind)
        if self.manager.register_connection(
            name, remote_addr, connection, metadata, kind=kind, admitted=admitted
        ):
            return connection
        self.meters.detach(name)
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
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._drain, requested_by)

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
        self.meters.flush()
        if self._given is None and not self.members:
            self.manager.shutdown()
        self._loop = None

    def _on_signal(self, name: str, then: Callable[[], None]) -> None:
        task = self._drain(name)
        task.add_done_callback(lambda _: then())

    def _on_insist(self) -> None:
        if self._drainer is not None:
            self._drainer.insist()

    def _on_request(self, actor: str) -> None:
        self.begin_drain(actor)

    def status(self) -> dict[str, Any]:
        """How it stands, as plain JSON."""
        return status_of(self.manager, self._drainer, self._most)


def _unlimited() -> ConnectionManager:
    return ConnectionManager(None, CLEANUP_INTERVAL, stale_after=None)
