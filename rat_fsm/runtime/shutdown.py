"""Graceful shutdown: no new connections, time for the open ones to end, then force."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.core import ForceDrain, StartDrain
from rat_fsm.runtime import references
from rat_fsm.runtime.arguments import check_positive
from rat_fsm.runtime.callbacks import running_loop

if TYPE_CHECKING:
    from rat_fsm.projections.drain import Drain
    from rat_fsm.runtime.manager import ConnectionManager
    from rat_fsm.runtime.monitor import StreamMonitor

POLL: Final = 0.05
INSIST_AFTER: Final = 1.0
_log = logging.getLogger("rat_fsm")


@attrs.frozen
class ShutdownReport:
    """How a shutdown went.

    Attributes:
        total: how many connections were open when it began.
        ended: how many of them ended by themselves.
        forced: how many were ended by force.
        not_closed: the ids of those whose object could not be told to close.
        duration: seconds it took.
        complete: False while connections are still open: the shutdown was asked for where it
            must not wait (on an event loop's thread, or inside a signal handler that
            interrupted the log), and goes on without the caller.
    """

    total: int
    ended: int
    forced: int
    not_closed: tuple[str, ...]
    duration: float
    complete: bool


class GracefulShutdown:
    """Shuts a connection manager down in three steps: refuse, wait, force.

    Args:
        connection_manager: whose connections are to end.
        stream_monitor: stopped at the end, if given.
        timeout: seconds that open connections have to end by themselves.
    """

    def __init__(
        self,
        connection_manager: ConnectionManager,
        stream_monitor: StreamMonitor | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.connection_manager = connection_manager
        self.stream_monitor = stream_monitor
        self.timeout = check_positive(timeout, "timeout", zero=True)
        self._run = _run_of(connection_manager)

    @property
    def progress(self) -> Drain:
        """How far it has come, as a fold over the log."""
        with self.connection_manager.log.reading() as model:
            return model.drain

    def initiate_shutdown(self) -> ShutdownReport:
        """Shuts down and reports; later calls for the same manager get the same report.

        It blocks, at most ``timeout`` seconds and what closing takes. On a thread with a running
        event loop it must not: there it closes the objects behind the connections at once and
        answers with what is left (use `drain` to wait). Called in a signal handler it is safe;
        a second call that interrupts the first, at least a second later, forces.
        """
        manager, run = self.connection_manager, self._run
        if manager.log.inside:
            manager.clock.schedule(0.0, self._go_on)
            return run.unfinished()
        if running_loop() is not None:
            self.begin()
            self._close_references()
            manager.clock.schedule(0.0, self._go_on)
            return run.unfinished()
        if run.owner == threading.get_ident():
            self.insist()
            return run.unfinished()
        return self._wait_and_finish()

    async def drain(self) -> ShutdownReport:
        """Shuts down like `initiate_shutdown`, without blocking the event loop."""
        import asyncio

        self.begin()
        return await asyncio.get_running_loop().run_in_executor(None, self._wait_and_finish)

    def force(self) -> None:
        """Do not wait any longer."""
        self._run.forced.set()

    def insist(self) -> None:
        """What a second signal means: `force`, once a second has passed since the first.

        Not before, as one Ctrl-C can reach a worker as SIGINT and SIGTERM.
        """
        if self.connection_manager.clock.monotonic() - self._run.started >= INSIST_AFTER:
            self.force()

    def _go_on(self) -> None:
        """Waits for the end where the caller could not, away from the scheduler's other jobs."""
        threading.Thread(target=self._wait_and_finish, name="rat-fsm-shutdown", daemon=True).start()

    def _wait_and_finish(self) -> ShutdownReport:
        run = self._run
        if not run.taken.acquire(blocking=False):
            run.done.wait()
            return run.report or run.unfinished()
        if run.report is None:
            run.owner = threading.get_ident()
            try:
                self.begin()
                self._wait()
                run.report = self._finish()
            finally:
                run.owner = 0
                run.done.set()
                run.taken.release()
        else:
            run.taken.release()
        return run.report

    def begin(self, requested_by: str = "") -> None:
        """Refuses new connections from now on, and records who wanted it. Idempotent."""
        run, manager = self._run, self.connection_manager
        with run.beginning:
            if run.begun:
                return
            run.begun = True
            run.started = manager.clock.monotonic()
            manager.flush_activity()
            if not manager.closed:
                manager.log.transact_node(StartDrain(self.timeout, requested_by))
            run.total = self.progress.total
        _log.info("shutting down: %d connections have %g s to end", run.total, self.timeout)

    def _wait(self) -> None:
        manager, run = self.connection_manager, self._run
        deadline = run.started + self.timeout
        while self.progress.remaining and not run.forced.is_set():
            left = deadline - manager.clock.monotonic()
            if left <= 0:
                return
            manager.clock.wait(run.forced, min(POLL, left))

    def _finish(self) -> ShutdownReport:
        manager, run = self.connection_manager, self._run
        remaining = manager.get_all_connections()
        if remaining and not manager.closed:
            manager.log.transact_node(ForceDrain())
        not_closed = self._close_references()
        forced = sum(
            manager.close_connection(info.connection_id, reason="forced", ended_by="shutdown")
            for info in remaining
        )
        duration = manager.clock.monotonic() - run.started
        ended = max(0, run.total - len(remaining))
        report = ShutdownReport(run.total, ended, forced, not_closed, duration, complete=True)
        if self.stream_monitor is not None:
            self.stream_monitor.shutdown()
        manager.shutdown(_as_event(report))
        _log.info("shut down: %d ended, %d forced in %.2f s", ended, forced, duration)
        return report

    def _close_references(self) -> tuple[str, ...]:
        """Tells the objects behind open connections to close; answers with those that cannot."""
        manager = self.connection_manager
        names = [info.connection_id for info in manager.get_all_connections()]
        return tuple(name for name in names if not self._close_reference(name))

    def _close_reference(self, connection_id: str) -> bool:
        manager = self.connection_manager
        stream = manager.reference(connection_id)
        if getattr(stream, "delivering", False):  # it reports its own end; this is why it comes
            return manager.finish_connection(connection_id, reason="shutdown", ended_by="shutdown")
        return references.close(stream)


class _Run:
    """The one shutdown of one manager, shared by everybody who asks for it."""

    def __init__(self) -> None:
        self.taken = threading.Lock()
        self.beginning = threading.RLock()
        self.begun = False
        self.started = 0.0
        self.total = 0
        self.owner = 0
        self.forced = threading.Event()
        self.done = threading.Event()
        self.report: ShutdownReport | None = None

    def unfinished(self) -> ShutdownReport:
        return self.report or ShutdownReport(self.total, 0, 0, (), 0.0, complete=False)


_runs: weakref.WeakKeyDictionary[ConnectionManager, _Run] = weakref.WeakKeyDictionary()


def _run_of(manager: ConnectionManager) -> _Run:
    return _runs.setdefault(manager, _Run())


def _as_event(report: ShutdownReport) -> dict[str, Any]:
    """A report as plain JSON; of what was not closed only the number, an event is bounded."""
    return {**attrs.asdict(report), "not_closed": len(report.not_closed)}
