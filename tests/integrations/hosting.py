"""Servers in a thread of the test, on real sockets, and what their log says."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rat_fsm import ConnectionManager, EventLog, replay
from tests.processes import PROJECT, untraced
from tests.servers.clients import HttpPeer, Peer, WebSocketPeer, read_until
from tests.servers.records import End, Life, lives_of, node_events, read_lives

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path
    from types import TracebackType

    from rat_fsm.integrations.serving.recorder import Recorder

P = TypeVar("P", bound=Peer)
PATIENCE = 10.0


class Clients:
    """Clients of one server, that can all be dismissed.

    Attributes:
        port: where the server listens.
    """

    def __init__(self) -> None:
        self.port = 0
        self._peers: list[Peer] = []

    def reader(self, path: str, **options: Any) -> HttpPeer:
        """A client that reads a response."""
        return self._known(HttpPeer(self.port, path, **options))

    def socket(self, path: str) -> WebSocketPeer:
        """A client with a WebSocket."""
        return self._known(WebSocketPeer(self.port, path))

    def fetch(self, path: str, accept: str = "*/*") -> HttpPeer:
        """A whole response."""
        peer = self.reader(path, accept=accept)
        read_until(lambda: bool(peer.ending), peer)
        return peer

    def _known(self, peer: P) -> P:
        self._peers.append(peer)
        return peer

    def dismiss(self) -> None:
        """Has its clients go, those that are still there."""
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.vanish()
        self._peers.clear()


class Hosted(Clients, ABC):
    """A server on a free port, for as long as the context lasts.

    Attributes:
        manager: its manager, with a log in memory.
        recorder: what is tested; set by `serve`.
        problems: what the event loop complained about.
    """

    recorder: Recorder

    def __init__(self, **manager: Any) -> None:
        super().__init__()
        self.log = EventLog()
        self.manager = ConnectionManager(**{"max_connections": None, "log": self.log, **manager})
        self.problems: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _loop, context: self.problems.append(context))
        self._ready, self._served, self._dismissed = (threading.Event() for _ in range(3))
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._work)

    @abstractmethod
    async def serve(self, stopping: asyncio.Event) -> None:
        """Serves until then; calls `listens_on` as soon as it does."""

    def listens_on(self, port: int) -> None:
        """It serves."""
        self.port = port
        self._ready.set()

    def _work(self) -> None:
        try:
            self._loop.run_until_complete(self.serve(self._stopping))
            self._served.set()
            self._dismissed.wait(PATIENCE)
            self._loop.run_until_complete(self._part())
        finally:
            self._loop.close()

    async def _part(self) -> None:
        """Waits until the loop has closed the connections of clients that have gone."""
        selector: Any = self._loop._selector  # type: ignore[attr-defined]
        while len(selector.get_map()) > 1:  # noqa: ASYNC110 - nobody tells; one is the loop's own
            await asyncio.sleep(0)

    def __enter__(self) -> Self:
        """Starts it."""
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Shuts it down; what was live is what was recorded, and nothing is left over."""
        self.stop()
        self.dismiss()
        self._dismissed.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if error is None:
            self.log.flush()
            assert replay(self.log) == self.log.read_model
            assert self.recorder._service.gate.claimed == 0
            assert self.recorder.members == set()
            assert self.problems == []
        self.log.close()

    def stop(self) -> None:
        """Shuts it down as a signal would."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        assert self._served.wait(PATIENCE)

    def do(self, job: Coroutine[Any, Any, Any]) -> Any:
        """Runs something on its loop."""
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(PATIENCE)

    def begin(self, job: Coroutine[Any, Any, Any]) -> Any:
        """Runs something on its loop without waiting; answers with a future."""
        return asyncio.run_coroutine_threadsafe(job, self._loop)

    def lives(self, path: str) -> list[Life]:
        """Every connection with this path."""
        self.log.flush()
        return [life for life in lives_of(self.log.read()) if life.path == path]

    def life(self, path: str) -> Life:
        """The connection with this path, once it is over."""
        deadline = time.monotonic() + PATIENCE
        while True:
            lives = self.lives(path)
            if lives and all(life.closed for life in lives):
                (life,) = lives
                return life
            assert time.monotonic() < deadline, f"{path} is not closed: {lives}"
            time.sleep(0.01)

    def wait_for_stall(self, path: str) -> None:
        """Waits until the log says that this client takes nothing."""
        read_until(lambda: any("Stalled" in life.stalls for life in self.lives(path)))

    def id_of(self, path: str) -> str:
        """The id of the open connection with this path."""
        for info in self.manager.get_all_connections():
            if info.metadata["path"] == path:
                return info.connection_id
        raise LookupError(path)


class Program(Clients):
    """A server in a process of its own, which is sent signals.

    Args:
        script: Python that prints its port when it listens; gets the log's path as an argument.
        folder: for the log.
    """

    def __init__(self, script: str, folder: Path) -> None:
        super().__init__()
        self.log = folder / "events.db"
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(self.log)],
            cwd=PROJECT,
            env=untraced(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        """Waits until it listens."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        try:
            self.port = int(line)
        except ValueError:
            self.process.kill()
            raise AssertionError(line + self.process.communicate()[0]) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kills what is left of it."""
        self.dismiss()
        self.process.kill()
        output, _ = self.process.communicate()
        if error is not None:
            error.add_note(output)

    def signal(self, number: int = signal.SIGTERM) -> float:
        """Sends it a signal; when that was."""
        self.process.send_signal(number)
        return time.monotonic()

    def wait(self) -> float:
        """Waits for its end; when that was."""
        self.process.wait(PATIENCE)
        return time.monotonic()

    def is_stalled(self, path: str) -> bool:
        """Whether the log says that the client with this path takes nothing."""
        return any(life.path == path and life.stalls for life in read_lives(self.log))

    def ends(self) -> dict[str, End]:
        """How the connections ended, by their path."""
        return {life.path: life.end for life in read_lives(self.log)}

    def node_events(self) -> list[Any]:
        """What its run has recorded about itself."""
        (events,) = node_events(self.log).values()
        return events
