"""Real servers in processes of their own, on loopback: started, watched, and ended by pid."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from rat_fsm.events import DrainStarted
from tests.processes import PATIENCE, PROJECT, untraced
from tests.servers.clients import HOST, SSE, HttpPeer, Peer, WebSocketPeer, fetch, read_until
from tests.servers.records import Life, check_stats, ended_lives, node_events, read_lives

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from tests.servers.kinds import Kind

TAIL: Final = 4000
FIRST_PORT: Final = 20_000
PORTS: Final = 12_000
# granian 2.8 ends its runtime while futures of the application are pending, and now and then breaks
# down over it, whatever the application is: its worker is gone then, with what it had not recorded.
PANIC: Final = "Cannot drop pointer into Python heap without the thread being attached"


def free_port() -> int:
    """A port that nothing listens on now; below those that the kernel gives to clients."""
    while True:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        with contextlib.suppress(OSError):
            socket.create_server((HOST, port)).close()
            return port


class Server:
    """A server process that runs `tests.servers.apps` on a log in a folder.

    Args:
        kind: which server.
        folder: for its log and its output.
        backstop: whether the server's own timeout ends it where its connections do not.
        port: where it listens; a free port by default.
        options: of the middleware, over those that the application has; plain JSON.
    """

    def __init__(
        self,
        kind: Kind,
        folder: Path,
        *,
        backstop: bool = True,
        port: int | None = None,
        **options: Any,
    ) -> None:
        kind.skip_unless_installed()
        self.kind = kind
        self.log = folder / "events.db"
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._output = folder / "output.txt"
        self._options = options
        self._peers: list[Peer] = []
        self.workers: tuple[int, ...] = ()
        self._arguments = (*kind.arguments, *(kind.backstop if backstop else ()))

    def __enter__(self) -> Self:
        """Starts it and waits until every worker answers."""
        arguments = [argument.format(port=self.port) for argument in self._arguments]
        environment = {
            "RAT_FSM_TEST_LOG": str(self.log),
            "RAT_FSM_TEST_OPTIONS": json.dumps(self._options),
            "PYTHONUNBUFFERED": "1",
        }
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=PROJECT,
                env=untraced() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its workers can be killed with it
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kills what is left of it; a failure gets the end of its output."""
        self.dismiss()
        self.kill()
        if error is not None:
            if PANIC in self.output:
                pytest.xfail(f"granian has crashed by itself: {PANIC}")
            error.add_note(self.output)

    def reads(self, path: str, *, accept: str = SSE, small_buffer: bool = False) -> HttpPeer:
        """A client that has asked for a stream."""
        peer = HttpPeer(self.port, path, accept=accept, small_buffer=small_buffer)
        self._peers.append(peer)
        return peer

    def talks(self, path: str) -> WebSocketPeer:
        """A client that has begun a WebSocket's handshake."""
        peer = WebSocketPeer(self.port, path)
        self._peers.append(peer)
        return peer

    def dismiss(self) -> None:
        """Closes the clients that are still there."""
        for peer in self._peers:
            peer.leave()
        self._peers.clear()

    @property
    def pid(self) -> int:
        """The process that was started."""
        assert self.process is not None
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Whether the process that was started has not ended."""
        return self.process is not None and self.process.poll() is None

    @property
    def output(self) -> str:
        """The end of what it wrote."""
        return f"{self.kind.name} wrote: …{self._output.read_text(errors='replace')[-TAIL:]}"

    def _wait_until_ready(self) -> None:
        self.workers = tuple(self.states(patient=True))

    def skip_unless_alone(self, reason: str) -> None:
        """Skips the test where several processes serve."""
        if self.kind.workers > 1:
            pytest.skip(reason)

    def states(self, timeout: float = PATIENCE, *, patient: bool = False) -> dict[int, Any]:
        """What each worker says about itself, by its pid.

        Which of them a request reaches is chance, so it asks until all have answered.
        """
        found: dict[int, Any] = {}
        deadline = time.monotonic() + timeout
        while len(found) < self.kind.workers:
            assert time.monotonic() < deadline, f"it does not answer; {self.output}"
            assert self.runs, f"it has ended; {self.output}"
            try:
                answer = fetch(self.port, "/state")
            except OSError:
                if not patient:
                    raise
                time.sleep(0.02)
                continue
            assert answer.status == 200, f"it answers {answer.status}; {self.output}"
            state = answer.json()
            found[state["pid"]] = state
        return found

    def ended(self, path: str, timeout: float = 10.0) -> Life:
        """The life of the one connection with this path, once its end is in the log."""
        deadline = time.monotonic() + timeout
        while not (lives := ended_lives(self.log, path)):
            assert time.monotonic() < deadline, f"{path} is not closed; {self.output}"
            time.sleep(0.02)
        (life,) = lives
        return life

    def ask_to_stop(self) -> float:
        """Sends SIGTERM to the process that was started, as a supervisor does; when it did."""
        os.kill(self.pid, signal.SIGTERM)
        return time.monotonic()

    def insist(self) -> float:
        """Sends SIGTERM again, where a worker hears it; when it did."""
        for pid in self.workers if self.kind.hears_once else (self.pid,):
            with contextlib.suppress(ProcessLookupError):  # it had nothing to wait for
                os.kill(pid, signal.SIGTERM)
        return time.monotonic()

    def wait_for_drain(self) -> None:
        """Waits until every worker's log says that it drains."""

        def draining() -> bool:
            runs = node_events(self.log).values()
            return all(any(isinstance(event, DrainStarted) for event in run) for run in runs)

        read_until(draining, *self._peers)

    def wait(self, timeout: float = PATIENCE) -> float:
        """Waits for its end; when that was."""
        assert self.process is not None
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end within {timeout} s; {self.output}")
        return time.monotonic()

    def stop(self, timeout: float = PATIENCE) -> float:
        """Asks it to stop and waits; how many seconds it took."""
        return -self.ask_to_stop() + self.wait(timeout)

    def kill(self) -> None:
        """Kills it and all its workers."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while any(map(_runs, self.workers)):
            assert time.monotonic() < deadline, f"workers {self.workers} do not die"
            time.sleep(0.01)

    def check_last_words(self) -> None:
        """Every ``finally`` ran before the lifespan ended, and what was live then is the replay."""
        words = self.last_words()
        assert len(words) == self.kind.workers
        for worker in words:
            assert worker["entered"] == worker["left"]
            check_stats(self.log, worker["writer"], worker["stats"])

    def last_words(self) -> list[Mapping[str, Any]]:
        """What each worker wrote down when its lifespan ended."""
        return [json.loads(file.read_text()) for file in self.log.parent.glob("last-*.json")]


def _runs(pid: int) -> bool:
    """Whether any thread of a process that is no child of ours still runs, and may hold locks."""
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if thread.read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}:
                return True
    return False


def wait_for_stall(server: Server, path: str) -> None:
    """Waits, while nobody reads, until the log says that the client of this path takes nothing."""

    def stalled() -> bool:
        return any(life.stalls for life in read_lives(server.log) if life.path == path)

    read_until(stalled)
