"""The examples, as real programs with real clients."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from rat_fsm import EventLog, read_events, replay

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"


class Program:
    """An example that listens somewhere."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found is not None
        self.port = int(found[1])
        self.url = found[0]

    def stop(self, number: int) -> str:
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=20)
        return output


@contextlib.contextmanager
def running(name: str, *arguments: str) -> Iterator[Program]:
    """An example on a free port, killed at the end."""
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


def vanish(port: int, path: str, after: bytes) -> None:
    """Reads until something has come, then resets the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        seen = b""
        while after not in seen:
            seen += client.recv(4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.slow
def test_streaming_error_handling_serves_retries_and_refuses() -> None:
    """Streams arrive whole, a failing source is retried, and the third at once is turned away."""
    with running("streaming_error_handling.py") as program:
        assert httpx.get(f"{program.url}/sse", timeout=20).text.count("event: data") == 10
        path = f"{program.url}/sse-recovery"
        with (
            httpx.stream("GET", path, timeout=20) as first,
            httpx.stream("GET", path, timeout=20) as second,
        ):
            refused = httpx.get(path, timeout=20)
            assert (refused.status_code, refused.text) == (503, "Too many connections")
            for stream in (first, second):
                assert stream.read().count(b"event: data") == 10
        stats = httpx.get(f"{program.url}/stats", timeout=20).json()
        assert stats["sse"]["closed_by_reason"] == {"normal": 1}
        assert stats["sse"]["total_messages_sent"] == 10
        assert stats["recovery"]["total_retries"] == 4
        assert stats["recovery"]["refused_by_cause"] == {"max_connections": 1}
        output = program.stop(signal.SIGTERM)
    assert output.count("tries again in") == 4
    assert output.count("disconnected") >= 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_enhanced_streaming_demo_drains_and_replays(tmp_path: Path, number: int) -> None:
    """A client vanishes, another is told of the restart; the file says so and replays equal."""
    log = tmp_path / "events.db"
    with running("enhanced_streaming_demo.py", "--log", str(log)) as program:
        vanish(program.port, "/tokens", b"event: token")
        with httpx.stream("GET", f"{program.url}/tokens", timeout=20) as stream:
            lines = stream.iter_lines()
            assert next(line for line in lines if line == "event: token")
            assert httpx.get(f"{program.url}/health", timeout=20).json()["ready"]
            program.process.send_signal(number)
            rest = list(lines)
        output, _ = program.process.communicate(timeout=20)
    assert "event: drain" in rest
    assert "the replay equals what was live" in output
    assert program.process.returncode == 0
    stats = replay(log).stats.as_dict()
    assert stats["closed_by_reason"] == {"client_disconnect": 1, "completed": 1}
    assert str(stats["closed_by_reason"]) in output
    recorded = list(read_events(log))
    assert recorded[0].type == "node.started"
    assert recorded[-1].type == "node.stopped"
    assert recorded[-1].event.report["total"] == 1
    with EventLog.open(log) as again:
        assert again.writer == "w0"
