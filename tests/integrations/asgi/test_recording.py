"""What is recorded of a connection besides its end: activity, routes, requests, log lines."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import hypothesis.strategies as st
import pytest
from fastapi import APIRouter, FastAPI
from hypothesis import given
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import StreamingResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.websockets import WebSocket  # noqa: TC002 - FastAPI looks it up

from rat_fsm.events import Registered, Stalled, Unstalled
from rat_fsm.integrations.asgi import ConnectionFilter, StreamingMiddleware, current_connection
from tests.integrations.asgi import handlers
from tests.integrations.asgi.driver import (
    Call,
    Stage,
    activities,
    closing,
    kind,
    life,
    route,
    totals,
)
from tests.integrations.asgi.handlers import EVENT, body, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integrations.asgi.driver import App


def play(app: App, *, websocket: bool = False, path: str = "/", **options: Any) -> Stage:
    """The stage after one call that ends by itself."""

    async def scenario(stage: Stage) -> None:
        await (stage.websocket(path) if websocket else stage.stream(path)).end()

    stage = Stage(app, **options)
    stage.run(scenario)
    return stage


def sends(*chunks: tuple[float, bytes]) -> App:
    """An application that sends chunks, each after so many seconds."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await start(send)
        for pause, chunk in chunks:
            await asyncio.sleep(pause)
            await body(send, chunk)
        await body(send, b"", more=False)

    return app


@given(st.lists(st.binary(max_size=50), max_size=20), st.sampled_from([0, 0.3, 5]))
def test_totals(chunks: list[bytes], interval: float) -> None:
    """They are those of the wire, however often they are recorded."""
    stage = play(sends(*((0.1, chunk) for chunk in chunks)), activity_interval=interval)
    sizes = [len(chunk) for chunk in chunks if chunk]
    assert totals(stage.log) == (sum(sizes), len(sizes))
    assert sum(sent for sent, _ in activities(stage.log)) == sum(sizes)


@given(st.lists(st.text(max_size=20) | st.binary(max_size=20), max_size=10))
def test_totals_of_a_websocket(messages: list[str | bytes]) -> None:
    """They count the bytes of texts, too."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await handlers.accept(receive, send)
        for message in messages:
            name, other = ("text", "bytes") if isinstance(message, str) else ("bytes", "text")
            await send({"type": "websocket.send", name: message, other: None})
        await send({"type": "websocket.close"})

    stage = play(app, websocket=True)
    sizes = [len(m.encode() if isinstance(m, str) else m) for m in messages]
    assert totals(stage.log) == (sum(sizes), len(sizes))


def test_the_first_byte() -> None:
    """It is recorded at once, and what follows once an interval."""
    app = sends((0.099, b"123"), *[(0.099, b"1")] * 25, (0, b""))
    stage = play(app, activity_interval=1.0)
    assert activities(stage.log) == [(3, 1), (9, 9), (10, 10), (6, 6)]


def test_every_chunk() -> None:
    """An interval of zero records each message."""
    stage = play(sends((0.1, b"1"), (0.1, b"22")), activity_interval=0)
    assert activities(stage.log) == [(1, 1), (2, 1)]


def test_a_client_that_takes_nothing() -> None:
    """It is recorded as stalled, and that it takes data again."""

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        await call.until(lambda: bool(call.body))
        call.taking.clear()
        await asyncio.sleep(20)
        call.taking.set()
        await call.end()

    stage = Stage(sends((0, b"1"), (1, b"2"), (1, b"3")), stall_after=5)
    stage.run(scenario)
    found = [event for event in life(stage.log) if isinstance(event, Stalled | Unstalled)]
    assert [type(event) for event in found] == [Stalled, Unstalled]
    assert [event.waited for event in found] == pytest.approx([5.5, 19], abs=1)
    assert closing(stage.log).reason == "completed"


@pytest.mark.parametrize("websocket", [False, True])
def test_what_is_recorded_of_a_request(websocket: bool) -> None:  # noqa: FBT001
    """Its method, path and version; no query and no header."""

    async def scenario(stage: Stage) -> None:
        more = {"query_string": b"token=secret", "headers": [(b"cookie", b"secret")]}
        begin = stage.websocket if websocket else stage.http
        call = begin("/a", **more)
        await call.until(lambda: bool(call.sent))
        call.task.cancel()
        await call.end()

    stage = Stage(handlers.chatter if websocket else handlers.listening)
    stage.run(scenario)
    method = {} if websocket else {"method": "GET"}
    about = {**method, "path": "/a", "http_version": "1.1"}
    expected = "websocket" if websocket else "sse"
    assert life(stage.log)[0] == Registered("10.0.0.1", expected, about)


async def _events() -> AsyncIterator[bytes]:
    yield EVENT


async def _endpoint(_request: Any) -> StreamingResponse:
    return StreamingResponse(_events(), media_type="text/event-stream")


async def _socket(websocket: Any) -> None:
    await websocket.accept()
    await websocket.close()


ROUTES: Final = [
    Route("/rooms/{room}", _endpoint),
    WebSocketRoute("/chat/{room:path}", _socket),
    Mount("/v1", routes=[Route("/rooms/{room}", _endpoint), WebSocketRoute("/chat", _socket)]),
    Mount("/{tenant}/api", app=Starlette(routes=[Route("/live", _endpoint)])),
    Mount("/plain", app=handlers.once),
]


@pytest.mark.parametrize("way", ["wrapped", "added", "inner router"])
@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/rooms/7", "/rooms/{room}"),
        ("/v1/rooms/7", "/v1/rooms/{room}"),
        ("/acme/api/live", "/{tenant}/api/live"),
        ("/plain/x", "/plain"),
    ],
)
def test_the_route_of_a_starlette_application(way: str, path: str, template: str) -> None:
    """It is the template, mounts included, wherever the middleware stands."""
    if way == "added":
        stage = Stage(handlers.once)
        app = Starlette(
            routes=ROUTES,
            middleware=[Middleware(StreamingMiddleware, stage.manager, signals=False)],
        )

        async def scenario(stage: Stage) -> None:
            stage.app = app
            assert await stage.stream(path).end() is None

        stage.run(scenario)
    else:
        inner: Any = Router(routes=ROUTES) if way == "inner router" else Starlette(routes=ROUTES)
        stage = play(inner, path=path)
    assert route(stage.log) == template


@pytest.mark.parametrize(
    ("path", "template"), [("/chat/a/b", "/chat/{room:path}"), ("/v1/chat", "/v1/chat")]
)
def test_the_route_of_a_websocket(path: str, template: str) -> None:
    """The same."""
    stage = play(Starlette(routes=ROUTES), path=path, websocket=True)
    assert route(stage.log) == template


def test_the_route_behind_a_host() -> None:
    """A host has no path of its own."""
    app = Starlette(routes=[Host("{sub}.example.org", Router(routes=ROUTES))])

    async def scenario(stage: Stage) -> None:
        await stage.stream("/rooms/1", (b"host", b"a.example.org")).end()

    stage = Stage(app)
    stage.run(scenario)
    assert route(stage.log) == "/rooms/{room}"


def test_the_route_below_a_root_path() -> None:
    """What a proxy took away, and a server put back, belongs to no template."""

    async def scenario(stage: Stage) -> None:
        assert await stage.stream("/proxy/v1/rooms/1", root_path="/proxy").end() is None

    stage = Stage(Starlette(routes=ROUTES))
    stage.run(scenario)
    assert route(stage.log) == "/v1/rooms/{room}"


@pytest.mark.parametrize("websocket", [False, True])
@pytest.mark.parametrize("prefix", ["", "/v2", "/api/v3", "/mounted", "/mounted/v2"])
def test_the_route_of_a_fastapi_application(prefix: str, websocket: bool) -> None:  # noqa: FBT001
    """FastAPI's routers with prefixes, and its applications below another."""
    app, below, inner = FastAPI(), APIRouter(prefix="/v2"), APIRouter(prefix="/v3")

    async def live(room: int) -> StreamingResponse:
        assert room == 7
        return await _endpoint(room)

    async def socket(room: int, websocket: WebSocket) -> None:
        assert room == 7
        await _socket(websocket)

    def add(target: Any) -> None:
        target.get("/live/{room}")(live)
        target.websocket("/ws/{room}")(socket)

    for target in (app, below, inner):
        add(target)
    middle = APIRouter()
    middle.include_router(inner)
    app.include_router(below)
    app.include_router(middle, prefix="/api")
    mounted = FastAPI()
    add(mounted)
    mounted.include_router(below)
    app.mount("/mounted", mounted)
    name = "ws" if websocket else "live"
    stage = play(app, path=f"{prefix}/{name}/7", websocket=websocket)
    assert route(stage.log) == f"{prefix}/{name}/{{room}}"
    assert kind(stage.log) == ("websocket" if websocket else "sse")


def test_a_route_that_nobody_knows() -> None:
    """It is empty."""
    assert route(play(handlers.once).log) == ""


def test_the_current_connection() -> None:
    """A handler finds its own, also in the scope and in tasks it starts."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        own = current_connection()
        assert own is not None
        seen.append((scope["path"], own.id, own.kind, own.remote_addr))
        assert scope["rat_fsm.connection"] is own
        assert await asyncio.create_task(_connection()) is own
        assert await asyncio.to_thread(current_connection) is own
        await handlers.once(scope, receive, send)

    async def _connection() -> Any:
        return current_connection()

    async def scenario(stage: Stage) -> None:
        assert current_connection() is None
        calls = [stage.stream("/a"), stage.stream("/b")]
        await asyncio.gather(*(call.end() for call in calls))
        assert current_connection() is None

    stage = Stage(app)
    with asyncio.Runner() as runner:  # a thread needs real time
        runner.run(scenario(stage))
    stage.check()
    assert sorted(path for path, *_ in seen) == ["/a", "/b"]
    assert len({id_ for _, id_, *_ in seen}) == 2
    assert {(kind, address) for _, _, kind, address in seen} == {("sse", "10.0.0.1")}


def test_the_current_connection_of_a_late_stream() -> None:
    """There is one from the first chunk on."""
    seen: list[bool] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        seen.append(current_connection() is None)
        await start(send, ())
        await body(send, b"x")
        seen.append(current_connection() is not None)
        await body(send, b"", more=False)

    async def scenario(stage: Stage) -> None:
        await stage.http().end()

    Stage(app).run(scenario)
    assert seen == [True, True]


def test_a_handler_that_ends_its_connection() -> None:
    """Its reason is recorded, and its client sees a clean end."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, EVENT)
        own = current_connection()
        assert own is not None
        assert own.end("quota_used_up", ended_by="limit")
        while (await receive())["type"] != "http.disconnect":
            pass

    stage = play(app)
    assert (closing(stage.log).reason, closing(stage.log).ended_by) == ("quota_used_up", "limit")
    assert stage.calls[0].complete


def test_log_lines_of_a_handler(caplog: pytest.LogCaptureFixture) -> None:
    """A filter adds the id of the connection; elsewhere there is none."""
    caplog.handler.addFilter(ConnectionFilter())
    logger = logging.getLogger("tests.handler")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        logger.warning("inside")
        await handlers.once(scope, receive, send)

    logger.warning("outside")
    with caplog.at_level(logging.INFO):
        stage = play(app)
    said = {record.getMessage(): record.connection_id for record in caplog.records}  # type: ignore[attr-defined]
    (ended,) = [r for r in stage.log.read() if r.type == "connection.closed"]
    assert (said["outside"], said["inside"]) == ("-", ended.stream.id)


def test_the_access_line(caplog: pytest.LogCaptureFixture) -> None:
    """One, at the end, with what matters, and nothing in it that a client could forge."""

    async def scenario(stage: Stage) -> None:
        await stage.stream("/a\nb", client=("1.1.1.1\nforged", 1)).end()

    with caplog.at_level(logging.INFO, logger="rat_fsm.access"):
        stage = Stage(handlers.once)
        stage.run(scenario)
    (record,) = [record for record in caplog.records if record.name == "rat_fsm.access"]
    line = record.getMessage()
    assert "\n" not in line
    assert line.startswith("1.1.1.1")
    assert " sse - " in line
    assert line.endswith(f" bytes={len(EVENT)} messages=1 reason=completed code=200")


def test_two_middlewares() -> None:
    """Each keeps a log of its own; an inner one does not disturb the outer."""

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        await call.until(lambda: bool(call.body))
        stage.manager.kick(stage.id)
        assert await call.end() is None
        assert call.complete

    inner = StreamingMiddleware(handlers.mute, signals=False)
    stage = Stage(inner)
    stage.run(scenario)
    assert closing(stage.log).reason == "kicked"
    inner.manager.log.flush()
    inner.manager.shutdown()


@pytest.mark.parametrize("handler", [handlers.idle, handlers.mute, handlers.listening])
def test_a_connection_that_somebody_closed_in_the_log(handler: App) -> None:
    """Its client is told as well, and its end stays the one that is recorded."""

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        await call.until(lambda: bool(call.body))
        stage.manager.close_connection(stage.id, reason="elsewhere", ended_by="admin")
        await call.end()
        assert call.complete

    stage = Stage(handler)
    stage.run(scenario)
    assert closing(stage.log).reason == "elsewhere"


def test_a_manager_that_is_shut_down_first() -> None:
    """Streams that are still served end, though their end is in the log already."""

    async def scenario(stage: Stage) -> None:
        calls: list[Call] = [stage.stream(), stage.websocket()]
        for call in calls:
            await call.started()
        stage.manager.shutdown()
        for call in calls:
            await call.end()
            assert call.complete

    async def app(scope: Any, receive: Any, send: Any) -> None:
        handler = handlers.asleep if scope["type"] == "websocket" else handlers.mute
        await handler(scope, receive, send)

    Stage(app).run(scenario)
