"""What is no stream of ours, and what is, looks the same with the middleware and without it."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sse_starlette")

import uvicorn

from tests.integrations.asgi.compatible_apps import JOURNALS, application
from tests.integrations.asgi.peers import HOST, PATIENCE, Conversation, Request, Seen
from tests.processes import PROJECT, untraced
from tests.servers.harness import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

SSE: Final = ("Accept", "text/event-stream")
ENDINGS: Final = ("returned", "raised", "cancelled")
HALF: Final = b"x" * 5000


@attrs.frozen
class Case:
    """A request, and the status that shows that it does what its name says."""

    name: str
    request: Request | Conversation
    status: int


def _get(path: str, status: int = 200, **more: Any) -> Case:
    asks = dict(more.get("headers", ())).get("Accept")
    name = "-".join(filter(None, (more.get("method"), path.strip("/"), asks and "asked")))
    leaves = more.get("leave_after")
    return Case(f"{name}{'-left' if leaves is not None else ''}", Request(path, **more), status)


def _both(path: str, status: int = 200, **more: Any) -> list[Case]:
    """A stream that is known to be one before, and one that is not."""
    return [_get(path, status, **more), _get(path, status, headers=(SSE,), **more)]


STREAMS: Final = ("/sse", "/text", "/sse_starlette", "/views", "/passing/sse", "/passing/text")
CASES: Final = [
    _get("/plain"),
    _get("/plain", headers=(SSE,)),
    _get("/nowhere", 404),
    _get("/nowhere", 404, headers=(SSE,)),
    _get("/state"),
    _get("/empty/204", 204),
    _get("/empty/304", 304),
    *_both("/slow"),
    *(case for path in STREAMS for case in _both(path)),
    *(case for path in STREAMS for case in _both(f"{path}?count=100", leave_after=20)),
    *_both("/stream_with_job"),
    *_both("/stream_with_job?count=100", leave_after=20),
    *_both("/sized"),
    *_both("/sized?count=100", leave_after=60),
    *_both("/heedless"),
    _get("/heedless_file?count=60", leave_after=20),
    *_both("/polls?count=100", leave_after=20),
    _get("/polls"),
    _get("/job"),
    *(
        _get(f"/zipping/{name}", headers=(("Accept-Encoding", "gzip"), *asks))
        for name in ("plain", "text", "sse")
        for asks in ((), (SSE,))
    ),
    _get("/zipping/text?count=100", headers=(("Accept-Encoding", "gzip"),), leave_after=1),
    _get("/file"),
    _get("/file", 206, headers=(("Range", "bytes=10-99"),)),
    _get("/file", 206, headers=(("Range", "bytes=-10"),)),
    _get("/file", 416, headers=(("Range", "bytes=10000000-"),)),
    _get("/file", 400, headers=(("Range", "lines=1-2"),)),
    _get("/static/peers.py"),
    _get("/static/nothing", 404),
    _get("/fastapi/item/7"),
    _get("/fastapi/item/x", 422),
    *(_get(path, 200, method="HEAD") for path in ("/plain", "/file", "/text", "/sse", "/sized")),
    _get("/sse", method="HEAD", headers=(SSE,)),
    _get("/upload", method="POST", pieces=(HALF, b"", HALF)),
    _get("/upload", method="POST", pieces=(HALF,), headers=(("Content-Length", "5000"),)),
    _get("/upload", method="POST", pieces=(HALF,), headers=(SSE,)),
    _get("/careless", 413, method="POST", pieces=(HALF, HALF)),
    _get("/plain", 405, method="DELETE"),
    *_both("/fails_before", 500),
    *_both("/fails_after"),
    *_both("/passing/fails_before", 500),
    *_both("/passing/fails_after"),
    *_both("/unfinished/"),
    *_both("/silent/", 500),
    *_both("/out_of_order/", 500),
    Case("ws-echo", Conversation("/echo", ["a", b"b", "ü" * 100, b"\0" * 70_000]), 101),
    Case("ws-protocol", Conversation("/echo", ["a"], subprotocols=("x", "y")), 101),
    Case("ws-client-closes", Conversation("/echo", ["a"], close=4001), 101),
    Case("ws-client-vanishes", Conversation("/echo", ["a"], close=0), 101),
    Case("ws-app-closes", Conversation("/echo", ["a", "close"], close=None), 101),
    Case("ws-app-raises", Conversation("/echo", ["raise"], close=None), 101),
    Case("ws-chat", Conversation("/chat", ["a", "b"]), 101),
    Case("ws-chat-vanishes", Conversation("/chat", ["a", "b"], close=0), 101),
    Case("ws-denied", Conversation("/denies"), 403),
    Case("ws-denied-in-words", Conversation("/denies_in_words"), 401),
    Case("ws-fails-first", Conversation("/fails_first"), 500),
    Case("ws-nowhere", Conversation("/nowhere"), 403),
]


class Server:
    """uvicorn in a thread."""

    def __init__(self, app: Any, http: str, ws: str) -> None:
        self.port = free_port()
        config = uvicorn.Config(
            app, host=HOST, port=self.port, http=http, ws=ws, log_config=None, access_log=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        _wait(lambda: self._server.started or not self._thread.is_alive())

    def stop(self) -> None:
        """Ends it."""
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


Pair = tuple[Server, Server]
WAYS: Final = [
    pytest.param(("wrapped", "httptools", "websockets-sansio"), id="wrapped"),
    pytest.param(("added", "h11", "wsproto"), id="added", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=WAYS)
def servers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """One with the middleware and one without it."""
    way, http, ws = request.param
    with contextlib.ExitStack() as stack:
        pair = []
        for with_middleware in (True, False):
            app = application(way, with_middleware=with_middleware)
            server = Server(app, http, ws)
            stack.callback(server.stop)
            pair.append(server)
        yield pair[0], pair[1]


labels: Final = itertools.count()


def observe(case: Case, port: int) -> tuple[Seen, list[str]]:
    """What the client has seen, and what the application has, in order."""
    label = f"{case.name} {next(labels)}"
    if isinstance(case.request, Request):
        seen = case.request.send(port, label).see()
    else:
        seen = case.request.have(port, label)
    _wait(lambda: any(line.startswith(ENDINGS) for line in JOURNALS[label]))
    return seen, JOURNALS[label]


def _rows() -> list[Any]:
    takes_long = {case.name for case in CASES if "heedless" in case.name and "left" in case.name}
    return [
        pytest.param(case, id=case.name, marks=[pytest.mark.slow] * (case.name in takes_long))
        for case in CASES
    ]


@pytest.mark.parametrize("case", _rows())
def test_it_looks_the_same(servers: Pair, case: Case) -> None:
    """Status, headers, body and end for the client; messages, order and end for the application."""
    ours, theirs = (observe(case, server.port) for server in servers)
    assert ours == theirs
    assert ours[0].status == case.status


@pytest.mark.slow
def test_a_stream_that_goes_on_without_its_client(servers: Pair) -> None:
    """The one difference: its next send fails, where uvicorn alone says nothing to anybody."""
    (case, _) = _both("/heedless?count=300", leave_after=20)
    ours, theirs = (observe(case, server.port) for server in servers)
    assert ours[0] == theirs[0]
    assert ours[1][0] == "raised StreamClosed"
    assert theirs[1] == ["generator ended", "sent all", "returned"]


def test_two_requests_on_one_connection(servers: Pair) -> None:
    """A connection that is kept alive is kept alive."""
    for server in servers:
        with socket.create_connection((HOST, server.port), PATIENCE) as connection:
            for path in ("sse", "plain", "sse"):
                connection.sendall(
                    f"GET /{path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
                )
                data = b""
                while not data.endswith((b"0\r\n\r\n", b"}")):
                    data += connection.recv(1 << 16)
                assert data.startswith(b"HTTP/1.1 200 OK\r\n")


AT_SIGTERM: Final = [
    _get("/slow?count=100"),
    _get("/sized?count=100"),
    _get("/text?count=100"),
    Case("upload", Request("/upload", "POST", pieces=(HALF,), finish=False), 200),
    _get("/job?count=100"),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", AT_SIGTERM, ids=lambda case: case.name)
def test_it_looks_the_same_at_sigterm(case: Case) -> None:
    """What is no event stream is finished before the process ends, in the same order and way."""
    assert at_sigterm(case, "with") == at_sigterm(case, "without")


def at_sigterm(case: Case, choice: str) -> tuple[Any, ...]:
    """What everybody has seen where SIGTERM comes while a request is served."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integrations.asgi.compatible_apps", str(port), choice],
        cwd=PROJECT,
        env=untraced(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait(lambda: _answers(port))
        assert isinstance(case.request, Request)
        exchange = case.request.send(port, "it")
        time.sleep(0.3)  # it is served by then; how far it has come changes nothing
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        if not case.request.finish:
            exchange.finish()
        seen = exchange.see()
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert seen.status == case.status
    return seen, json.loads(out.splitlines()[-1])["it"], process.returncode, err


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return Request("/plain").send(port, "").see().status == 200
    return False
