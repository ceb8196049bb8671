"""How each way to end is told: to the log, and to the client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from rat_fsm.events import Closing, ErrorRecorded
from tests.integrations.asgi import handlers
from tests.integrations.asgi.driver import Call, Stage, closing, life

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integrations.asgi.driver import App

    Deed = Callable[[Stage, Call], Awaitable[Any]]

HANDSHAKE: Final = "handshake"
STREAMING: Final = "streaming"
DEADLINE: Final = 5.0
SOCKETS: Final = (
    handlers.echo,
    handlers.chatter,
    handlers.asleep,
)
STREAMS: Final = (handlers.idle, handlers.busy, handlers.listening, handlers.mute)
LEFT: Final = Closing("client_disconnect", "client", STREAMING, 200)
LOST: Final = Closing("client_disconnect", "client", STREAMING, 1006)
COMPLETED: Final = Closing("completed", "app", STREAMING, 200)
DRAINED: Final = Closing("shutdown", "shutdown", STREAMING, 200)
DRAINED_SOCKET: Final = Closing("shutdown", "shutdown", STREAMING, 1012)
FORCED: Final = Closing("forced", "shutdown", STREAMING, 200)


@attrs.frozen
class Row:
    """A line of the table: what a handler does, what happens to it, and what is recorded."""

    handler: App
    deed: Deed
    expected: Closing
    kind: str = "sse"
    options: dict[str, Any] = attrs.field(factory=dict)

    def play(self) -> tuple[Stage, Call]:
        """The stage afterwards."""
        calls = []

        async def scenario(stage: Stage) -> None:
            call = stage.websocket() if self.kind == "websocket" else stage.stream()
            calls.append(call)
            await self.deed(stage, call)
            await call.end()

        stage = Stage(self.handler, drain_timeout=DEADLINE, **self.options)
        stage.run(scenario)
        return stage, calls[0]


async def nothing(_stage: Stage, _call: Call) -> None:
    """The handler ends by itself."""


async def _served(call: Call) -> None:
    await call.until(lambda: bool(call.body) or call.accepted)


async def leave(_stage: Stage, call: Call) -> None:
    """The client goes."""
    await _served(call)
    call.leave()


def leave_with(code: int | None) -> Deed:
    """The client goes with a close code."""

    async def deed(_stage: Stage, call: Call) -> None:
        await _served(call)
        call.leave(code)  # type: ignore[arg-type]  # the specification lets it be missing

    return deed


async def cancel(_stage: Stage, call: Call) -> None:
    """The server cancels the handler."""
    await _served(call)
    call.task.cancel()


async def drain(stage: Stage, call: Call) -> None:
    """The process is to end."""
    await _served(call)
    await stage.middleware.drain("me")


async def cancel_while_draining(stage: Stage, call: Call) -> None:
    """The server is less patient than the drain."""
    await _served(call)
    stage.middleware.begin_drain("me")
    await asyncio.sleep(0.1)
    call.task.cancel()


async def kick(stage: Stage, call: Call) -> None:
    """An operator ends it."""
    await _served(call)
    assert stage.manager.kick(stage.id)


async def kick_with_reason(stage: Stage, call: Call) -> None:
    """An operator says why."""
    await _served(call)
    assert stage.manager.kick(stage.id, reason="abuse")


def table() -> list[Row]:
    """Every row of the table of reasons, for each kind of handler that it can happen to."""
    timeouts = {
        "idle_timeout": ({"idle_timeout": 2.0}, "idle_timeout", "timeout"),
        "max_lifetime": ({"max_lifetime": 2.0}, "limit", "limit"),
    }
    app_error = Closing("app_error", "app", STREAMING, 200)
    rows = [
        Row(handlers.once, nothing, COMPLETED),
        Row(handlers.idle, leave, LEFT),
        Row(handlers.listening, leave, LEFT),
        Row(handlers.fails, nothing, app_error),
        Row(handlers.stops_short, nothing, app_error),
        Row(handlers.fails_first, nothing, Closing("app_error", "app", HANDSHAKE, None)),
        *(
            Row(app, cancel, Closing("cancelled", "server", STREAMING, 200))
            for app in (*STREAMS, handlers.download)
        ),
        *(Row(app, drain, DRAINED) for app in STREAMS),
        Row(handlers.download, drain, FORCED),
        Row(handlers.download, cancel_while_draining, FORCED),
        *(Row(app, kick, Closing("kicked", "admin", STREAMING, 200)) for app in STREAMS),
        Row(handlers.download, kick, Closing("kicked", "admin", STREAMING, 200)),
        Row(handlers.idle, kick_with_reason, Closing("abuse", "admin", STREAMING, 200)),
    ]
    for options, reason, by in timeouts.values():
        expected = Closing(reason, by, STREAMING, 200)
        apps = (handlers.idle, handlers.mute)
        rows.extend(Row(app, nothing, expected, options=options) for app in apps)
    limit = {"max_lifetime": 2.0}
    expected = Closing("limit", "limit", STREAMING, 200)
    rows.extend(Row(app, nothing, expected, options=limit) for app in STREAMS)
    return rows


def socket_table() -> list[Row]:
    """The same for WebSockets."""
    app_error = Closing("app_error", "app", STREAMING, None)
    limit = Closing("limit", "limit", STREAMING, 1001)
    stale = {"manager": {"stale_after": 60.0, "cleanup_interval": 30}}
    rows = [
        Row(handlers.closes(4000), nothing, Closing("completed", "app", STREAMING, 4000)),
        Row(handlers.closes(1011), nothing, Closing("app_error", "app", STREAMING, 1011)),
        Row(handlers.breaks, nothing, app_error),
        Row(handlers.returns, nothing, Closing("completed", "app", STREAMING, None)),
        Row(handlers.denies, nothing, Closing("completed", "app", HANDSHAKE, 403)),
        Row(handlers.denies_in_words, nothing, Closing("completed", "app", HANDSHAKE, 401)),
        Row(handlers.echo, leave_with(4001), Closing("client_close", "client", STREAMING, 4001)),
        *(Row(handlers.echo, leave_with(code), LOST) for code in (1005, 1006, None)),
        *(Row(app, cancel, Closing("cancelled", "server", STREAMING, None)) for app in SOCKETS),
        *(Row(app, drain, DRAINED_SOCKET) for app in SOCKETS),
        *(Row(app, kick, Closing("kicked", "admin", STREAMING, 1008)) for app in SOCKETS),
        Row(
            handlers.echo,
            nothing,
            Closing("idle_timeout", "timeout", STREAMING, 1001),
            options={"idle_timeout": 2.0},
        ),
        *(Row(app, nothing, limit, options={"max_lifetime": 2.0}) for app in SOCKETS),
        Row(handlers.echo, nothing, Closing("stale", "timeout", STREAMING, 1001), options=stale),
    ]
    return [attrs.evolve(row, kind="websocket") for row in rows]


def _name(row: Row) -> str:
    handler, deed = (getattr(f, "__name__", "") for f in (row.handler, row.deed))
    return f"{handler}-{deed}-{row.expected.reason}"


@pytest.mark.parametrize("row", table(), ids=_name)
def test_a_stream(row: Row) -> None:
    """It ends once, for the reason and at the hand that ended it."""
    stage, _ = row.play()
    assert closing(stage.log) == row.expected


@pytest.mark.parametrize("row", socket_table(), ids=_name)
def test_a_websocket(row: Row) -> None:
    """It ends once, with the code that its client gets or gave."""
    stage, call = row.play()
    assert closing(stage.log) == row.expected
    if row.expected.ended_by in {"shutdown", "admin", "timeout", "limit"}:
        assert call.close_code == row.expected.code


@pytest.mark.parametrize(
    ("handler", "kind"),
    [(handlers.fails, "sse"), (handlers.fails_first, "sse"), (handlers.breaks, "websocket")],
)
def test_an_error_of_the_application(handler: App, kind: str) -> None:
    """It is recorded, and goes on to the server."""
    stage, call = Row(handler, nothing, COMPLETED, kind).play()
    errors = [event for event in life(stage.log) if isinstance(event, ErrorRecorded)]
    assert [error.error_type for error in errors] == ["LookupError"]
    assert isinstance(call.task.exception(), LookupError)


@pytest.mark.parametrize("handler", STREAMS, ids=lambda app: app.__name__)
@pytest.mark.parametrize("deed", [drain, kick])
def test_a_stream_that_is_ended_politely(handler: App, deed: Deed) -> None:
    """Its client sees a whole response, and its handler no error that a server would log."""
    stage, call = Row(handler, deed, COMPLETED).play()
    assert call.complete
    assert call.task.exception() is None
    assert (b"event: drain" in call.body) == (deed is drain)
    assert stage.clock.monotonic() < 1.0


def test_a_download_at_the_deadline() -> None:
    """It is cut off: what its client has is not complete, and looks so."""
    stage, call = Row(handlers.download, drain, COMPLETED).play()
    assert not call.complete
    assert isinstance(call.task.exception(), OSError)
    assert stage.clock.monotonic() == pytest.approx(DEADLINE, abs=0.5)


@pytest.mark.parametrize("kind", ["sse", "websocket"])
def test_a_client_that_waits_in_vain(kind: str) -> None:
    """A handler that never begins is cut at the deadline, and its client gets an answer."""

    async def begin(stage: Stage, _call: Call) -> None:
        await asyncio.sleep(1)
        await stage.middleware.drain("me")

    stage, call = Row(handlers.waits_first, begin, COMPLETED, kind).play()
    code = 503 if kind == "sse" else 403
    assert closing(stage.log) == Closing("forced", "shutdown", HANDSHAKE, code)
    assert call.complete


@pytest.mark.parametrize("kind", ["sse", "websocket"])
def test_a_server_that_raises_for_a_client_that_has_gone(kind: str) -> None:
    """What it raises is how the client's leave is told, and no error of the application."""

    async def deed(_stage: Stage, call: Call) -> None:
        await _served(call)
        call.failure = ConnectionResetError("gone")

    handler = handlers.busy if kind == "sse" else handlers.chatter
    stage, _ = Row(handler, deed, COMPLETED, kind).play()
    assert closing(stage.log) == (LEFT if kind == "sse" else LOST)
    assert not [event for event in life(stage.log) if isinstance(event, ErrorRecorded)]


@pytest.mark.parametrize("kind", ["sse", "websocket"])
@pytest.mark.parametrize("handler", ["waits", "sleeps"])
def test_a_client_that_goes_before_it_is_told(kind: str, handler: str) -> None:
    """An end that cannot be sent any more is no error either."""

    async def deed(stage: Stage, call: Call) -> None:
        await _served(call)
        call.failure = ConnectionResetError("gone")
        stage.manager.kick(stage.id)

    apps = {
        "waits sse": handlers.idle,
        "sleeps sse": handlers.mute,
        "waits websocket": handlers.echo,
        "sleeps websocket": handlers.asleep,
    }
    stage, call = Row(apps[f"{handler} {kind}"], deed, COMPLETED, kind).play()
    assert closing(stage.log).reason == "kicked"
    assert call.task.exception() is None
    assert not [event for event in life(stage.log) if isinstance(event, ErrorRecorded)]


def test_a_client_that_goes_once_it_has_everything() -> None:
    """A disconnect after the end of the response does not change how it ended."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await handlers.once(scope, receive, send)
        while (await receive())["type"] != "http.disconnect":
            pass

    async def deed(_stage: Stage, call: Call) -> None:
        await call.until(lambda: call.complete)
        call.leave()

    stage, _ = Row(app, deed, COMPLETED).play()
    assert closing(stage.log) == COMPLETED


def test_a_client_that_goes_while_the_handler_does_not_look() -> None:
    """It is noticed all the same, within a second."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await handlers.start(send)
        await handlers.body(send, handlers.EVENT)
        await asyncio.sleep(3)

    stage, _ = Row(app, leave, COMPLETED).play()
    assert closing(stage.log) == LEFT


def test_what_surrounds_the_middleware_goes_on() -> None:
    """Ending the connection of a handler that failed ends neither its task nor its response."""
    ended: list[str] = []

    async def scenario(stage: Stage) -> None:
        async def outside(scope: Any, receive: Any, send: Any) -> None:
            with pytest.raises(LookupError):
                await stage.middleware(scope, receive, send)
            await asyncio.sleep(1)
            ended.append(scope["path"])

        stage.app = outside
        await stage.stream("/a").end()

    stage = Stage(handlers.fails)
    stage.run(scenario)
    (call,) = stage.calls
    assert (ended, call.complete) == (["/a"], False)


def test_what_surrounds_a_handler_that_ended_in_time() -> None:
    """One that was to end, and did so unasked, leaves nobody behind to be cancelled."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await handlers.start(send)
        await handlers.body(send, handlers.EVENT)
        await asyncio.sleep(0.1)
        await handlers.body(send, b"", more=False)

    async def scenario(stage: Stage) -> None:
        async def outside(scope: Any, receive: Any, send: Any) -> None:
            await stage.middleware(scope, receive, send)
            await asyncio.sleep(1)

        stage.app = outside
        call = stage.stream()
        await _served(call)
        stage.manager.kick(stage.id)
        assert await call.end() is None

    Stage(app).run(scenario)


def test_a_handler_that_fails_before_its_response_in_an_error_page() -> None:
    """Whoever is outside the middleware may still answer."""

    async def scenario(stage: Stage) -> None:
        async def outside(scope: Any, receive: Any, send: Any) -> None:
            with pytest.raises(LookupError):
                await stage.middleware(scope, receive, send)
            await asyncio.sleep(1)
            await handlers.start(send, (), 500)
            await handlers.body(send, b"sorry", more=False)

        stage.app = outside
        call = stage.stream()
        assert await call.end() is None
        assert (call.status, call.body) == (500, b"sorry")

    Stage(handlers.fails_first).run(scenario)
