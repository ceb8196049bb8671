"""What clients that people use see of a drain: libraries, and a browser."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.servers.clients import HOST, fetch
from tests.servers.harness import Server
from tests.servers.kinds import GRANIAN, UVICORN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

RESTART: Final = 1012
# granian may drop a WebSocket before the close frame is out.
CODES: Final = {"uvicorn": {RESTART}, "granian": {RESTART, 1006}}
# Seconds: EventSource waits up to five of them before it comes back.
PATIENCE: Final = 20.0
FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
LISTEN: Final = """
window.seen = {messages: [], opened: 0, drained: 0, closed: null};
window.source = new EventSource(arguments[0]);
source.onopen = () => seen.opened++;
source.onmessage = message => seen.messages.push(message.data);
source.addEventListener("drain", () => seen.drained++);
window.socket = new WebSocket("ws://" + location.host + arguments[1]);
socket.onmessage = message => seen.messages.push(message.data);
socket.onclose = close => seen.closed = close.code;
"""


@pytest.fixture(params=[UVICORN, GRANIAN], ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server of its own for each test, as each test ends it."""
    with Server(request.param, tmp_path) as running:
        yield running


def test_httpx_sse(server: Server) -> None:
    """It reads events to the last, which is drain, and no exception is raised."""
    httpx = pytest.importorskip("httpx")
    httpx_sse = pytest.importorskip("httpx_sse")
    url = f"http://{HOST}:{server.port}/starlette/busy/1"
    told = []
    with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            told.append((event.event, event.data))
            if len(told) == 1:
                server.ask_to_stop()
    assert told[0] == ("message", "0")
    assert told[-1] == ("drain", "{}")
    server.wait()
    server.check_last_words()


def test_websockets(server: Server) -> None:
    """It raises that the connection was closed, with the code."""
    websockets = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import ConnectionClosed

    with websockets.connect(f"ws://{HOST}:{server.port}/starlette/echo/1") as socket:
        socket.send("hello")
        assert socket.recv(10) == "hello"
        server.ask_to_stop()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
    code = 1006 if closed.value.rcvd is None else closed.value.rcvd.code
    assert code in CODES[server.kind.family]
    server.wait()
    server.check_last_words()


def test_aiohttp(server: Server) -> None:
    """Its stream ends without an error, its WebSocket with the code."""
    pytest.importorskip("aiohttp")
    body, code = asyncio.run(visit(server))
    assert body.startswith(b"data: 0\n\n")
    assert body.endswith(b"event: drain\ndata: {}\n\n")
    assert code in CODES[server.kind.family]
    server.wait()
    server.check_last_words()


async def visit(server: Server) -> tuple[bytes, int | None]:
    """A whole stream and a WebSocket, until the server has ended both."""
    import aiohttp

    base = f"http://{HOST}:{server.port}/starlette"
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{base}/busy/1") as response,
        session.ws_connect(f"{base}/echo/1") as socket,
    ):
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        server.ask_to_stop()
        body, closed = await asyncio.gather(response.read(), socket.receive())
        assert closed.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
        return body, socket.close_code


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not on PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield started
    finally:
        started.quit()


def wait_until(condition: Callable[[], object]) -> None:
    """Looks again until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


def open_page(browser: Any, server: Server, path: str) -> Callable[[], dict[str, Any]]:
    """A page that listens to an event stream and a WebSocket; answers with what it has seen."""
    browser.get(f"http://{HOST}:{server.port}/page")
    browser.execute_script(LISTEN, path, "/starlette/chatter/1")

    def seen() -> dict[str, Any]:
        told: dict[str, Any] = browser.execute_script("return {...seen, state: source.readyState};")
        return told

    wait_until(lambda: len(seen()["messages"]) > 1)
    return seen


def test_a_browser_comes_back_after_a_restart(browser: Any, tmp_path: Path) -> None:
    """It hears drain, reconnects by itself, and its WebSocket was closed with 1012."""
    with Server(UVICORN, tmp_path) as server:
        seen = open_page(browser, server, "/starlette/busy/1")
        server.stop()
        wait_until(lambda: seen()["closed"])
        told = seen()
    assert (told["drained"], told["opened"], told["closed"]) == (1, 1, RESTART)
    assert told["state"] == 0  # connecting: it will come back
    with Server(UVICORN, tmp_path, port=server.port):
        wait_until(lambda: seen()["opened"] == 2)
        count = len(told["messages"])
        wait_until(lambda: len(seen()["messages"]) > count)
        assert seen()["state"] == 1
        browser.execute_script("source.close()")


def test_a_browser_that_is_kept_out(browser: Any, tmp_path: Path) -> None:
    """Its EventSource gives up for good."""
    path = "/starlette/busy/kept-out"
    with Server(UVICORN, tmp_path) as server:
        seen = open_page(browser, server, path)
        answer = fetch(server.port, f"/kick?path={path}&stay_out=1").json()
        assert list(answer.values()) == [True]
        wait_until(lambda: seen()["state"] == 2)  # closed
        assert (seen()["opened"], seen()["drained"]) == (1, 0)
        browser.get("about:blank")
