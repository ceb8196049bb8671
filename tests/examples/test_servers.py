"""The examples behind the middleware: real programs and clients, and what the log says of them."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from rat_fsm import replay
from rat_fsm.events import ConnectionRefused, DrainStarted, RetryRefused
from tests.processes import PATIENCE, untraced
from tests.servers.clients import HOST
from tests.servers.harness import free_port
from tests.servers.records import End, node_events, read_lives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.sync.client import ClientConnection

    from tests.servers.records import Life

EXAMPLES = Path(__file__).parents[2] / "examples"
SECRET = "sesame"  # noqa: S105 - of the server that this test starts
KEY = "sk-of-a-customer"
ENDED = ("Closing", "Closed")
SENT_AND_ENDED = ("ActivityRecorded", *ENDED)
RETRIED = (
    *("Registered", "Activated", "ErrorRecorded", "RetryScheduled"),
    *("Recovered", "ActivityRecorded"),
)


class Program:
    """An example that serves, with its log in a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), "--port", str(self.port)],
            cwd=folder,
            env=untraced() | {"MODERATOR": SECRET},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection((HOST, self.port)).close()
                return
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def last_words(self) -> dict[str, Any]:
        """The statistics that it prints once its log is closed; then it ends as uvicorn does."""
        output, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode in {0, -signal.SIGTERM}, output
        (line,) = [line for line in output.splitlines() if line.startswith("{")]
        words: dict[str, Any] = json.loads(line)
        return words


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[Program]:
    """An example that listens, killed at the end."""
    program = Program(name, folder)
    try:
        program.wait_until_it_listens()
        yield program
    finally:
        program.process.kill()
        program.process.communicate()


def story(life: Life) -> list[str]:
    """What happened to a connection; a run of the same event is told once."""
    return [name for name, _ in groupby(type(event).__name__ for event in life.events)]


def ask(text: str) -> dict[str, Any]:
    """The request for an answer."""
    return {
        "method": "POST",
        "url": "/answers",
        "json": {"text": text},
        "headers": {"x-api-key": KEY},
    }


def answer(*words: str, error: str = "") -> str:
    """What the client gets."""
    tokens = "".join(f'event: token\ndata: "{word}"\n\n' for word in words)
    return tokens + (f'event: error\ndata: "{error}"\n\n' if error else "")


@pytest.mark.slow
def test_fastapi_llm_retries_until_the_first_token_and_finishes_its_answers(
    tmp_path: Path,
) -> None:
    """Only what was not begun is retried, a key has two answers at once, and a drain waits."""
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    log = tmp_path / "answers.db"
    words = [f"w{number}" for number in range(15)]
    with (
        running("fastapi_llm.py", tmp_path) as program,
        httpx.Client(base_url=f"http://{HOST}:{program.port}", timeout=PATIENCE) as client,
    ):
        broken = client.request(**ask("one two CRASH three"))
        assert broken.text == answer("one", "two", error="the model is gone")
        assert client.get("/ready").json() == {"phase": "serving"}
        with client.stream(**ask(" ".join(words))) as first, client.stream(**ask("w0")) as second:
            third = client.request(**ask("one"))
            assert (third.status_code, third.headers["retry-after"].isdigit()) == (429, True)
            second.read()
            lines = first.iter_lines()
            assert next(lines) == "event: token"
            program.process.send_signal(signal.SIGTERM)
            wait_for_the_drain(client)
            late = client.request(**ask("one"))
            assert (late.status_code, late.headers["connection"]) == (503, "close")
            rest = "".join(f"{line}\n" for line in lines)
        assert f"event: token\n{rest}" == answer(*words)
        live = program.last_words()

    assert live == replay(f"sqlite:{log}").stats.as_dict()
    assert live["closed_by_reason"] == {"completed": 2, "upstream_failed": 1}
    (node,) = node_events(log).values()
    refused = [(event.cause, event.count) for event in node if isinstance(event, ConnectionRefused)]
    assert refused == [("per_client", 1), ("draining", 1)]
    (drain,) = [event for event in node if isinstance(event, DrainStarted)]
    assert drain.requested_by == "SIGTERM"

    first_life, *complete = read_lives(log)
    assert story(first_life) == [*RETRIED, "ErrorRecorded", "RetryRefused", *SENT_AND_ENDED]
    assert [refused.cause for refused in first_life.every(RetryRefused)] == ["committed"]
    for life in complete:
        assert story(life) == [*RETRIED, *ENDED]
        assert life.end == End("completed", "app", 200)
    for life in (first_life, *complete):
        assert (life.registered.kind, life.events[1].route) == ("llm", "/answers")
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def wait_for_the_drain(client: httpx.Client) -> None:
    """As a load balancer that asks until it gets another answer."""
    deadline = time.monotonic() + PATIENCE
    while (response := client.get("/ready")).json() != {"phase": "draining"}:
        assert time.monotonic() < deadline
    assert response.status_code == 503


def lines_until(member: ClientConnection, last: str) -> list[str]:
    """What a member of a room hears up to a line."""
    heard = [str(member.recv(PATIENCE))]
    while heard[-1] != last:
        heard.append(str(member.recv(PATIENCE)))
    return heard


def closed_with(member: ClientConnection) -> int | None:
    """The code that a member is closed with, once everything was read."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            member.recv(PATIENCE)
    return member.close_code


def test_starlette_chat_kicks_one_and_restarts_for_all(tmp_path: Path) -> None:
    """A moderator's kick ends one participant with 1008, and SIGTERM the others with 1012."""
    log = tmp_path / "chat.db"
    with running("starlette_chat.py", tmp_path) as program:
        room = f"ws://{HOST}:{program.port}/rooms/tea?name="
        with connect(f"{room}ann") as ann, connect(f"{room}bob") as bob:
            lines_until(ann, "bob is here")
            with connect(f"{room}ann"), pytest.raises(InvalidStatus) as refused:
                connect(f"{room}ann")
            assert refused.value.response.status_code == 429
            lines_until(ann, "ann has left")
            ann.send("/kick bob")  # she is no moderator yet: it is said aloud
            ann.send(f"/moderator {SECRET}")
            assert lines_until(bob, "ann: /kick bob") == [
                *("bob is here", "ann is here", "ann has left"),
                "ann: /kick bob",
            ]
            ann.send("/kick bob")
            assert closed_with(bob) == 1008
            assert lines_until(ann, "bob has left") == ["ann: /kick bob", "bob has left"]
            with pytest.raises(InvalidStatus) as kept_out:
                connect(f"{room}bob")
            assert kept_out.value.response.status_code == 403
            with connect(f"{room}eve") as eve:
                lines_until(ann, "eve is here")
                program.process.send_signal(signal.SIGTERM)
                assert (closed_with(ann), closed_with(eve)) == (1012, 1012)
        live = program.last_words()

    assert live == replay(f"sqlite:{log}").stats.as_dict()
    assert live["closed_by_reason"] == {"client_close": 1, "kicked": 1, "shutdown": 2}
    assert live["refused_by_cause"]["per_client"] == 1
    lives = read_lives(log)
    assert {life.end for life in lives} == {
        End("client_close", "client", 1000),
        End("kicked", "admin", 1008),
        End("shutdown", "shutdown", 1012),
    }
    for life in lives:
        assert (life.registered.kind, life.path) == ("websocket", "/rooms/tea")
        assert life.events[1].route == "/rooms/{room}"
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
