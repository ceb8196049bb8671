"""The lifespan of an application, with the middleware in between."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route, WebSocketRoute

from rat_fsm import ConnectionManager, EventLog, replay
from rat_fsm.events import Closing
from rat_fsm.integrations.asgi import StreamingMiddleware
from tests.integrations.asgi import handlers
from tests.integrations.asgi.driver import Stage, closing, lives

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # which client it prefers is not what is tested here
    from starlette.testclient import TestClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integrations.asgi.driver import App, Message

STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}


class Lifespan:
    """A server's side of a lifespan.

    Attributes:
        sent: what the application has sent.
        state: what it shares with requests.
    """

    def __init__(self, app: App) -> None:
        self.sent: list[Message] = []
        self.state: dict[str, Any] = {}
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._news = asyncio.Event()
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": self.state}
        coroutine: Any = app(scope, self._inbox.get, self._send)
        self.task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        self._news.set()

    async def ask(self, kind: str) -> Message | None:
        """Asks, and waits for the answer; None where the application ends without one."""
        self._news.clear()
        self._inbox.put_nowait({"type": f"lifespan.{kind}"})
        waits = asyncio.ensure_future(self._news.wait())
        await asyncio.wait({waits, self.task}, return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
        return self.sent[-1] if self._news.is_set() else None


async def takes_part(scope: Any, receive: Any, send: Any) -> None:
    """An application with a lifespan."""
    if scope["type"] != "lifespan":
        await handlers.idle(scope, receive, send)
        return
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["ready"] = True
    await send(STARTED)
    assert (await receive())["type"] == "lifespan.shutdown"
    await send(STOPPED)


async def raises(scope: Any, receive: Any, send: Any) -> None:
    """An application that knows no lifespan."""
    assert scope["type"] == "http"
    await handlers.idle(scope, receive, send)


async def ignores(scope: Any, receive: Any, send: Any) -> None:
    """An application that does nothing about it."""
    if scope["type"] == "http":
        await handlers.idle(scope, receive, send)


@pytest.mark.parametrize("app", [takes_part, raises, ignores])
def test_a_server_that_starts_and_ends(app: App) -> None:
    """Both are answered for, whether the application takes part or not."""

    async def scenario(stage: Stage) -> None:
        lifespan = Lifespan(stage.middleware)
        assert await lifespan.ask("startup") == STARTED
        assert lifespan.state == ({"ready": True} if app is takes_part else {})
        assert await lifespan.ask("shutdown") == STOPPED
        await lifespan.task

    Stage(app).run(scenario)


def test_the_end_of_a_server_that_gave_no_signal() -> None:
    """What is still served is drained before the application hears of it."""
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await takes_part(scope, receive, send)
            order.append("application")
        else:
            await handlers.mute(scope, receive, send)

    async def scenario(stage: Stage) -> None:
        lifespan = Lifespan(stage.middleware)
        await lifespan.ask("startup")
        call = stage.stream()
        call.task.add_done_callback(lambda _: order.append("stream"))
        await call.until(lambda: bool(call.body))
        await lifespan.ask("shutdown")
        assert call.complete

    stage = Stage(app)
    stage.run(scenario)
    assert order == ["stream", "application"]
    assert closing(stage.log) == Closing("shutdown", "shutdown", "streaming", 200)


def test_an_application_that_fails_to_start() -> None:
    """The server is told what it says, and nothing is begun."""
    failed = {"type": "lifespan.startup.failed", "message": "no database"}

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(failed)

    async def scenario(stage: Stage) -> None:
        lifespan = Lifespan(stage.middleware)
        assert await lifespan.ask("startup") == failed
        await lifespan.task
        assert not stage.middleware._service.hears_signals

    Stage(app, signals=True).run(scenario)


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
def test_an_application_that_raises(phase: str) -> None:
    """The server gets the error, as without the middleware."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if phase == "startup":
            raise LookupError(phase)
        await send(STARTED)
        await receive()
        raise LookupError(phase)

    async def scenario(stage: Stage) -> None:
        lifespan = Lifespan(stage.middleware)
        answer = await lifespan.ask("startup")
        if phase == "shutdown":
            assert answer == STARTED
            answer = await lifespan.ask("shutdown")
        assert answer is None
        with pytest.raises(LookupError):
            await lifespan.task

    Stage(app).run(scenario)


def test_an_application_that_leaves_its_lifespan_early() -> None:
    """It is left alone."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(STARTED)

    async def scenario(stage: Stage) -> None:
        lifespan = Lifespan(stage.middleware)
        assert await lifespan.ask("startup") == STARTED
        await lifespan.task

    Stage(app).run(scenario)


def starlette() -> Starlette:
    """An application with state, a stream and a WebSocket."""

    async def events() -> AsyncIterator[bytes]:
        yield handlers.EVENT

    async def stream(request: Any) -> StreamingResponse:
        headers = {"x-state": str(request.state.number)}
        return StreamingResponse(events(), media_type="text/event-stream", headers=headers)

    async def socket(websocket: Any) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    @contextlib.asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[dict[str, int]]:
        yield {"number": 7}

    routes = [Route("/stream", stream), WebSocketRoute("/socket", socket)]
    return Starlette(routes=routes, lifespan=lifespan)


def test_a_test_client_that_is_used_twice() -> None:
    """An application without a manager of its own can be served again and again."""
    app = StreamingMiddleware(starlette())
    for _ in range(3):
        with TestClient(app) as client:
            response = client.get("/stream", headers={"accept": "text/event-stream"})
            assert (response.content, response.headers["x-state"]) == (handlers.EVENT, "7")
            with client.websocket_connect("/socket") as socket:
                socket.send_text("hello")
                assert socket.receive_text() == "hello"
            assert app.ready
            stats = app.manager.get_stats()
            assert (stats["total_connections"], stats["active_connections"]) == (2, 0)


def test_a_test_client_after_a_drain() -> None:
    """The next one finds it serving."""
    app = StreamingMiddleware(starlette())
    with TestClient(app) as client:
        app.begin_drain("me")
        assert client.get("/stream", headers={"accept": "text/event-stream"}).status_code == 503
    with TestClient(app) as client:
        assert client.get("/stream", headers={"accept": "text/event-stream"}).status_code == 200


def test_a_test_client_without_lifespan(tmp_path: Path) -> None:
    """Each request has a loop of its own, which leaves no thread behind."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await handlers.once(scope, receive, send)

    with EventLog.open(tmp_path / "events.db") as log:
        manager = ConnectionManager(log=log)
        client = TestClient(StreamingMiddleware(app, manager))
        for _ in range(5):
            response = client.get("/", headers={"accept": "text/event-stream"})
            assert response.content == handlers.EVENT
        log.flush()
        assert replay(log) == log.read_model
        assert [life[-2].reason for life in lives(log)] == ["completed"] * 5
    followers = [t for t in threading.enumerate() if t.name == "rat-fsm-requests"]
    for thread in followers:
        thread.join(5)
        assert not thread.is_alive()


def test_a_manager_that_was_given() -> None:
    """It is its owner's: the end of the server does not shut it down."""
    manager = ConnectionManager()
    app = StreamingMiddleware(starlette(), manager)
    with TestClient(app):
        pass
    assert not manager.closed
    manager.shutdown()


def test_a_log_by_its_url(tmp_path: Path) -> None:
    """It is opened when serving starts, complete and closed at the end, and opened again."""
    path = tmp_path / "events.db"
    app = StreamingMiddleware(starlette(), log=f"sqlite:{path}")
    assert app.log_place == "shared"
    for number in (1, 2):
        assert path.exists() == (number > 1)
        with TestClient(app) as client:
            client.get("/stream", headers={"accept": "text/event-stream"})
        model = replay(path)
        assert model.drain.phase == "stopped"
        assert model.stats.as_dict()["closed_by_reason"] == {"completed": number}


def test_a_log_that_was_opened(tmp_path: Path) -> None:
    """Whoever hands a log over has it closed."""
    log = EventLog.open(tmp_path / "events.db")
    app = StreamingMiddleware(starlette(), log=log)
    with TestClient(app) as client:
        client.get("/stream", headers={"accept": "text/event-stream"})
    assert log.health.status == "closed"
    assert replay(tmp_path / "events.db").stats.as_dict()["closed_connections"] == 1
