"""Runs the demo: server, clients, drain, and the comparison of the replay with what was live."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import uvicorn

from rat_fsm import (
    ConnectionManager,
    ErrorRecovery,
    EventLog,
    GracefulShutdown,
    StreamMonitor,
    replay,
)
from rat_fsm.cli.demo.app import DemoApp
from rat_fsm.cli.demo.clients import Clients
from rat_fsm.cli.demo.upstream import Upstream

if TYPE_CHECKING:
    from rat_fsm import ShutdownReport
    from rat_fsm.cli.demo.view import View
    from rat_fsm.events import Recorded

DRAIN_TIMEOUT: Final = 5.0
TICK: Final = 0.1
CROWDING: Final = 0.8


@attrs.frozen
class Result:
    """How a demo went.

    Attributes:
        stats: the statistics at its end.
        equal: whether replaying the file gave what was live.
        events: how many events this run recorded.
        replay_time: seconds the replay took.
        outcomes: what the clients experienced.
        report: how the shutdown went.
    """

    stats: dict[str, Any]
    equal: bool
    events: int
    replay_time: float
    outcomes: dict[str, int]
    report: ShutdownReport


class Demo:
    """One run of the demo.

    Args:
        log: where to record; it is closed at the end.
        clients: how many.
        duration: seconds until the drain, None until a signal.
        seed: of what clients and upstream do.
    """

    def __init__(self, log: EventLog, clients: int, duration: float | None, seed: int) -> None:
        self.log = log
        self.phase = "serving"
        self._duration = duration
        self._clients = clients
        self._seed = seed
        self._first = log.read_model.cursor.get(log.writer, 0)
        self.manager = ConnectionManager(
            max(1, round(CROWDING * clients)), log=log, cleanup_interval=5, stale_after=60
        )
        self.monitor = StreamMonitor(self.manager, check_interval=0.5)
        self.recovery = ErrorRecovery(max_retries=3, base_delay=0.2, log=log, jitter="equal")
        self.shutdown = GracefulShutdown(self.manager, self.monitor, timeout=DRAIN_TIMEOUT)
        self._stop = asyncio.Event()
        self._started = time.monotonic()

    def countdown(self) -> str:
        """What is left, in words."""
        if self.phase != "serving":
            drain = self.shutdown.progress
            return f"{drain.remaining} of {drain.total} connections left"
        if self._duration is None:
            return "until Ctrl-C"
        left = max(0.0, self._started + self._duration - time.monotonic())
        return f"{left:.0f} s left (Ctrl-C drains now)"

    async def run(self, view: View) -> Result:
        """Serves until the time is over or a signal comes, drains, closes and replays."""
        upstream = Upstream(self._seed)
        await upstream.start()
        app = DemoApp(self.manager, self.monitor, self.recovery, upstream.port)
        with _serving(app) as port, self._signals():
            clients = Clients(port, self._clients, self._seed)
            clients.start()
            await self._show_until(view, self._stop.wait(), self._duration)
            report = await self._drain(view)
            await clients.stop()
        await upstream.stop()
        stats = self.manager.get_stats()
        self.log.close(attrs.asdict(attrs.evolve(report, not_closed=())))
        return self._replayed(stats, dict(clients.outcomes), report)

    async def _drain(self, view: View) -> ShutdownReport:
        self.phase = "draining"
        draining = asyncio.create_task(self.shutdown.drain())
        await self._show_until(view, asyncio.shield(draining), None)
        return await draining

    async def _show_until(self, view: View, awaitable: Any, seconds: float | None) -> None:
        waiting = asyncio.ensure_future(awaitable)
        deadline = None if seconds is None else time.monotonic() + seconds
        with self.log.subscribe(after=self._durable()) as events:
            while not waiting.done() and (deadline is None or time.monotonic() < deadline):
                await asyncio.wait({waiting}, timeout=TICK)
                view.update(await asyncio.to_thread(_ready, events))
        waiting.cancel()

    def _durable(self) -> Any:
        return self.log.flush(DRAIN_TIMEOUT)

    @contextlib.contextmanager
    def _signals(self) -> Any:
        """The first signal drains; one that comes a second later forces."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        if self._stop.is_set():
            self.shutdown.insist()
        self._stop.set()

    def _replayed(
        self, stats: dict[str, Any], outcomes: dict[str, int], report: ShutdownReport
    ) -> Result:
        started = time.monotonic()
        replayed = replay(self.log.url, writer=self.log.writer)
        elapsed = time.monotonic() - started
        events = replayed.cursor.get(self.log.writer, 0) - self._first
        equal = replayed == self.log.read_model
        return Result(stats, equal, events, elapsed, outcomes, report)


def _ready(events: Any) -> list[Recorded]:
    """What can be read without waiting, not more than a screen needs."""
    found: list[Recorded] = []
    while len(found) < 200 and (recorded := events.next(0.0)) is not None:  # noqa: PLR2004 - a few frames
        found.append(recorded)
    return found


@contextlib.contextmanager
def _serving(app: DemoApp) -> Any:
    """A uvicorn server on a free loopback port, on a thread of its own; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(
        app.asgi, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="demo-server", daemon=True
    )
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
