"""Row ``server``: CPU time of a server process with many streams, the middleware around or not."""

from __future__ import annotations

import contextlib
import importlib.util
import resource
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.measure import Measure, Skipped, ratio, take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.measure import Result, Scale

HOST: Final = "127.0.0.1"
RATE: Final = 10  # events a stream and second
ENOUGH: Final = 0.9  # of the events that were due; a server with less has no CPU time to spare
SPARE: Final = 100  # file descriptors beside those of the streams
READ_EVERY: Final = 0.25
CHUNK: Final = 1 << 16
PATIENCE: Final = 30.0
SSE: Final = "text/event-stream"
PROJECT: Final = Path(__file__).parent.parent


@attrs.frozen
class Server:
    """A server process under load.

    Attributes:
        log: the file or URL of its log, empty without the middleware.
        settling: seconds until it is measured, and ``window`` for how long.
    """

    name: str
    log: str
    streams: int
    settling: float
    window: float

    def rate(self, folder: Path) -> float:
        """Seconds of CPU time a second.

        Raises:
            RuntimeError: it was too busy to send what was due.
        """
        with _process(self.log and self.log.format(folder=folder)) as port, _clients() as clients:
            for _ in range(self.streams):
                clients.append(_asking(port, "/stream"))
            _read(clients, self.settling)
            before, started = _cpu(port), time.perf_counter()
            events = _read(clients, self.window)
            used, took = _cpu(port) - before, time.perf_counter() - started
        due = self.streams * RATE * took
        if events < ENOUGH * due:
            raise RuntimeError(f"{self.name} sent {events} of {due:.0f} events: it has no time")
        return used / took


@contextlib.contextmanager
def _process(log: str) -> Iterator[int]:
    """A server; its port."""
    command = [sys.executable, "-m", "benchmarks.served", str(RATE), *filter(None, [log])]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own interpreter
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextlib.contextmanager
def _clients() -> Iterator[list[socket.socket]]:
    clients: list[socket.socket] = []
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def _asking(port: int, path: str) -> socket.socket:
    client = socket.create_connection((HOST, port), PATIENCE)
    lines = f"GET {path} HTTP/1.1", f"Host: {HOST}", f"Accept: {SSE}", "Connection: close", "", ""
    client.sendall("\r\n".join(lines).encode())
    return client


def _cpu(port: int) -> float:
    """The CPU time that the process has had."""
    with _asking(port, "/cpu") as client, client.makefile("rb") as file:
        body = file.read().partition(b"\r\n\r\n")[2]
    return float(body.split(b"\r\n")[1])  # the first chunk


def _read(clients: list[socket.socket], seconds: float) -> int:
    """Takes what has come, now and then, which costs little; how many events that were."""
    events, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(READ_EVERY)
        for client in clients:
            with contextlib.suppress(BlockingIOError):
                events += client.recv(CHUNK, socket.MSG_DONTWAIT).count(b"data: ")
    return events


def server(scale: Scale) -> list[Result]:
    """The middleware's part in the CPU time of a server, with a log in memory and on disk."""
    streams = scale.of(1_000, 50)
    what = f"uvicorn's CPU, {streams:,} streams at {RATE} chunks/s"
    obstacle = _obstacle(streams)
    if obstacle:
        return [Skipped("server", what, obstacle)]
    times = {"settling": 1.5, "window": 4.0}
    if scale.quick:
        times = {"settling": 0.25, "window": 0.5}
    bare, *wrapped = (
        Server(name, log, streams, **times)
        for name, log in (
            ("bare", ""),
            ("memory log", "memory:"),
            ("SQLite log", "{folder}/log.db"),
        )
    )
    with _files(streams):
        found = take_turns(scale, [bare, *wrapped], scale.of(5, 1))
    return [
        Measure(
            "server",
            f"{what}, {one.name}",
            ratio(found[one.name], found[bare.name]),
            "x",
            note=f"{_median(found, one):.3f} against {_median(found, bare):.3f} CPU s a second",
        )
        for one in wrapped
    ]


def _median(found: dict[str, list[float]], one: Server) -> float:
    return statistics.median(found[one.name])


def _obstacle(streams: int) -> str:
    """Why it cannot be measured here, empty where it can."""
    if importlib.util.find_spec("uvicorn") is None:
        return "uvicorn is not installed"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = hard != resource.RLIM_INFINITY and hard < streams + SPARE
    return f"only {hard} file descriptors are allowed" if few else ""


@contextlib.contextmanager
def _files(streams: int) -> Iterator[None]:
    """Lets this process and its servers have a file descriptor a stream."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, streams + SPARE), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
