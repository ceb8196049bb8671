"""Who is let in, who is turned away and how, and that every slot comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from rat_fsm.events import ConnectionRefused
from rat_fsm.integrations.asgi import StreamingMiddleware
from tests.integrations.asgi import handlers
from tests.integrations.asgi.driver import Call, Stage, kind, life, lives, node_events

if TYPE_CHECKING:
    from collections.abc import Callable

ME: Final[dict[str, Any]] = {
    "max_per_client": 1,
    "client_key": lambda scope: scope["headers"][-1][1].decode(),
}
RETRY: Final = {str(seconds) for seconds in range(1, 6)}


async def either(scope: Any, receive: Any, send: Any) -> None:
    """Stays until the client goes."""
    handler = handlers.echo if scope["type"] == "websocket" else handlers.idle
    await handler(scope, receive, send)


async def leave(*calls: Call) -> None:
    """Ends them."""
    for call in calls:
        call.leave()
        await call.end()


def refusals(stage: Stage) -> dict[str, int]:
    """How many clients were turned away, by cause."""
    counts: dict[str, int] = {}
    for event in node_events(stage.log):
        if isinstance(event, ConnectionRefused):
            counts[event.cause] = counts.get(event.cause, 0) + event.count
    return counts


async def refused(call: Call, status: int) -> None:
    """It gets an answer that tells it when to come back, and nothing else."""
    assert await call.end() is None
    assert (call.status, call.complete) == (status, True)
    assert call.headers["retry-after"] in RETRY


def begin_stream(stage: Stage, path: str = "/", key: bytes = b"a") -> Call:
    """A stream of a client."""
    return stage.stream(path, (b"x-key", key))


def begin_websocket(stage: Stage, path: str = "/", key: bytes = b"a") -> Call:
    """A WebSocket of a client."""
    return stage.websocket(path, headers=[(b"x-key", key)])


BOTH: Final = pytest.mark.parametrize("begin", [begin_stream, begin_websocket])


@BOTH
def test_the_limit_of_the_process(begin: Callable[..., Call]) -> None:
    """It is a 503, also for a WebSocket whose server can say so; a slot that is free is given."""

    async def scenario(stage: Stage) -> None:
        first = begin(stage)
        await first.started()
        await refused(begin(stage), 503)
        await leave(first)
        again = begin(stage)
        await again.started()
        await leave(again)

    stage = Stage(either, manager={"max_connections": 1})
    stage.run(scenario)
    assert refusals(stage) == {"max_connections": 1}


@BOTH
def test_the_limit_of_a_client(begin: Callable[..., Call]) -> None:
    """It is a 429, and is each client's own."""

    async def scenario(stage: Stage) -> None:
        first, other = begin(stage), begin(stage, key=b"b")
        await first.started()
        await other.started()
        await refused(begin(stage), 429)
        await leave(first)
        again = begin(stage)
        await again.started()
        await leave(again, other)

    stage = Stage(either, **ME)
    stage.run(scenario)
    assert refusals(stage) == {"per_client": 1}


def test_a_client_without_a_key() -> None:
    """It is nobody's, and unlimited."""

    async def scenario(stage: Stage) -> None:
        calls = [stage.stream() for _ in range(5)]
        for call in calls:
            await call.started()
        await leave(*calls)

    Stage(either, max_per_client=1, client_key=lambda _scope: None).run(scenario)


@BOTH
def test_a_process_that_drains(begin: Callable[..., Call]) -> None:
    """It is a 503 that says to use another connection; the limits are not asked."""

    async def scenario(stage: Stage) -> None:
        await stage.middleware.drain("me")
        call = begin(stage)
        await refused(call, 503)
        assert call.headers["connection"] == "close"

    stage = Stage(either, manager={"max_connections": 1})
    stage.run(scenario)
    assert refusals(stage) == {"draining": 1}


def test_a_lame_duck() -> None:
    """It is not ready, and lets new connections in until it drains."""

    async def scenario(stage: Stage) -> None:
        first = begin_stream(stage)
        await first.started()
        stage.middleware.begin_drain("me")
        await first.until(lambda: not stage.middleware.ready)
        late = begin_stream(stage)
        await late.started()
        assert stage.middleware.status()["phase"] == "lame_duck"
        await first.end()
        await late.end()
        assert stage.clock.monotonic() == pytest.approx(3, abs=0.1)

    Stage(either, lame_duck=3.0).run(scenario)


@pytest.mark.parametrize("key", [None, lambda _scope: "me"])
def test_a_client_that_shall_stay_out(key: Any) -> None:
    """Its next attempt gets a 204, which ends an EventSource for good, and no later one does."""

    async def scenario(stage: Stage) -> None:
        first = stage.stream("/a")
        await first.started()
        stage.manager.kick(stage.id, stay_out=True)
        await first.end()
        second, third = stage.stream("/a"), stage.stream("/a")
        await second.end()
        assert (second.status, second.body, second.complete) == (204, b"", True)
        assert "content-length" not in second.headers
        await third.started()
        assert third.status == 200
        await leave(third)

    stage = Stage(either, client_key=key)
    stage.run(scenario)
    assert refusals(stage) == {"stay_out": 1}


def test_a_client_that_shall_stay_out_elsewhere() -> None:
    """Without a key it is known by its address and path: another path is open to it."""

    async def scenario(stage: Stage) -> None:
        first = stage.stream("/a")
        await first.started()
        stage.manager.kick(stage.id, stay_out=True)
        await first.end()
        for call in (stage.stream("/b"), stage.stream("/a", client=("10.0.0.2", 1))):
            await call.started()
            assert call.status == 200
            await leave(call)

    Stage(either).run(scenario)


def test_a_client_of_a_stream_that_nobody_foresaw_shall_stay_out() -> None:
    """Its next request is turned away, though no limit is asked."""

    async def scenario(stage: Stage) -> None:
        first = stage.http("/a")
        await first.started()
        stage.manager.kick(stage.id, stay_out=True)
        await first.end()
        second, third = stage.http("/a"), stage.http("/a")
        await second.end()
        assert second.status == 204
        await third.started()
        assert third.status == 200
        await leave(third)

    stage = Stage(either)
    stage.run(scenario)
    assert refusals(stage) == {"stay_out": 1}


def test_paths_are_those_that_the_application_knows() -> None:
    """What a proxy has put before them does not count; what is recorded is the whole."""

    async def scenario(stage: Stage) -> None:
        excluded = stage.stream("/api/health", root_path="/api")
        recorded = stage.stream("/api/feed", root_path="/api")
        await excluded.started()
        await recorded.started()
        infos = stage.manager.get_all_connections()
        assert [info.metadata["path"] for info in infos] == ["/api/feed"]
        await leave(recorded)
        await leave(excluded)

    Stage(either, exclude=["/health"]).run(scenario)


def test_a_websocket_that_shall_stay_out() -> None:
    """It is denied: no status in a handshake says more."""

    async def scenario(stage: Stage) -> None:
        first = stage.websocket()
        await first.started()
        stage.manager.kick(stage.id, stay_out=True)
        await first.end()
        second = stage.websocket()
        await second.end()
        assert (second.status, second.complete) == (403, True)

    Stage(either).run(scenario)


def test_a_server_that_cannot_deny_in_words() -> None:
    """The handshake is refused with a close before it, which servers make a 403."""

    async def scenario(stage: Stage) -> None:
        first = stage.websocket()
        await first.started()
        second = stage.websocket(extensions=None)
        assert await second.end() is None
        assert second.sent == [{"type": "websocket.close", "code": 1013}]
        await leave(first)

    Stage(either, manager={"max_connections": 1}).run(scenario)


def test_a_head_request_that_is_refused() -> None:
    """It has no body, and the length of the one that GET would have got."""

    async def scenario(stage: Stage) -> None:
        first = stage.stream()
        await first.started()
        second = stage.stream(method="HEAD")
        await refused(second, 503)
        assert second.body == b""
        assert int(second.headers["content-length"]) > 0
        await leave(first)

    Stage(either, manager={"max_connections": 1}).run(scenario)


@pytest.mark.parametrize("state", ["full", "draining"])
@pytest.mark.parametrize(
    ("handler", "expected"), [(handlers.listening, "sse"), (handlers.download, "chunked")]
)
def test_a_stream_that_nobody_foresaw(state: str, handler: Any, expected: str) -> None:
    """It is served already when it turns out to be one, so it is never refused."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (either if scope["path"] == "/first" else handler)(scope, receive, send)

    async def scenario(stage: Stage) -> None:
        first = stage.stream("/first")
        await first.started()
        if state == "draining":
            stage.middleware.begin_drain("me")
            await first.end()
        late = stage.http("/late")
        await late.started()
        assert late.status == 200
        late.leave()
        await late.end()
        await leave(first)

    stage = Stage(app, manager={"max_connections": 1}, drain_timeout=1)
    stage.run(scenario)
    kinds = [events[0].kind for events in lives(stage.log)]
    assert kinds == ["sse", expected]


def test_a_late_stream_during_a_drain() -> None:
    """It is ended at once, like those that were there before."""

    async def scenario(stage: Stage) -> None:
        first = stage.http("/download")
        await first.until(lambda: bool(first.body))
        stage.middleware.begin_drain("me")
        await first.until(lambda: stage.manager.draining)
        late = stage.http("/events")
        await late.end()
        assert late.complete
        assert b"event: drain" in late.body
        assert stage.clock.monotonic() < 1

    async def app(scope: Any, receive: Any, send: Any) -> None:
        handler = handlers.download if scope["path"] == "/download" else handlers.mute
        await handler(scope, receive, send)

    stage = Stage(app, drain_timeout=2)
    stage.run(scenario)


def test_a_log_that_takes_nothing() -> None:
    """Who would have to be recorded is refused; what is served already goes on unrecorded."""

    async def scenario(stage: Stage) -> None:
        first = stage.stream()
        await first.started()
        stage.log.close()
        assert not stage.middleware.ready
        await refused(stage.stream(), 503)
        await refused(stage.websocket(), 503)
        plain = stage.http("/late")
        await plain.until(lambda: bool(plain.body))
        await leave(first, plain)

    stage = Stage(either)
    stage.check = lambda: None  # type: ignore[method-assign]  # its log is closed
    stage.run(scenario)
    assert stage.middleware._service.gate.claimed == 0


@pytest.mark.parametrize("begin", [Stage.stream, Stage.websocket])
def test_a_middleware_without_a_manager(begin: Callable[..., Call]) -> None:
    """It refuses nobody: what worked without it works with it."""

    async def scenario(stage: Stage) -> None:
        stage.app = StreamingMiddleware(either, signals=False)
        calls = [begin(stage) for _ in range(1100)]  # over a manager's own default
        for call in calls:
            await call.started()
        assert {call.status for call in calls} <= {200, None}
        assert len(stage.app.manager.get_all_connections()) == 1100
        await leave(*calls)
        stage.app.manager.shutdown()

    Stage(either).run(scenario)


def test_what_a_client_key_raises() -> None:
    """It is the application's own error, and costs no slot."""

    def key(scope: Any) -> str:
        raise LookupError(scope["path"])

    async def scenario(stage: Stage) -> None:
        assert isinstance(await stage.stream().end(), LookupError)

    stage = Stage(either, max_per_client=1, client_key=key)
    stage.run(scenario)
    assert lives(stage.log) == []


@pytest.mark.parametrize(
    ("answer", "expected"), [(True, "sse"), ("llm", "llm"), (False, "chunked"), ("", "chunked")]
)
def test_what_streams_says(answer: Any, expected: str) -> None:
    """It decides whether a request is a connection from the start, and its kind."""

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        await call.until(lambda: bool(call.body))
        call.task.cancel()
        await call.end()

    stage = Stage(handlers.download, streams=lambda _scope: answer)
    stage.run(scenario)
    assert kind(stage.log) == expected


def test_a_request_that_only_accepts_events() -> None:
    """One that asked for a stream and got none is a connection all the same, with its status."""

    async def scenario(stage: Stage) -> None:
        await stage.stream().end()

    stage = Stage(handlers.short)
    stage.run(scenario)
    assert [type(event).__name__ for event in life(stage.log)] == [
        "Registered",
        "Activated",
        "ActivityRecorded",
        "Closing",
        "Closed",
    ]


def test_a_short_response() -> None:
    """It is none."""

    async def scenario(stage: Stage) -> None:
        await stage.http().end()

    stage = Stage(handlers.short)
    stage.run(scenario)
    assert lives(stage.log) == []


@pytest.mark.parametrize(
    ("path", "recorded"),
    [("/health", False), ("/health/live", False), ("/healthy", True), ("/x", True)],
)
@pytest.mark.parametrize("begin", [Stage.stream, Stage.websocket])
def test_what_is_excluded(path: str, recorded: bool, begin: Callable[..., Call]) -> None:  # noqa: FBT001
    """A path, and what is below it, is passed through untouched."""

    async def scenario(stage: Stage) -> None:
        call = begin(stage, path)
        await call.started()
        assert ("rat_fsm.connection" in call.scope) == recorded
        await leave(call)

    stage = Stage(either, exclude=["/health", lambda scope: scope["path"] == "/no"])
    stage.run(scenario)
    assert len(lives(stage.log)) == recorded


@pytest.mark.parametrize(
    "scope",
    [
        {"path": "/" + "x" * 40_000},
        {"path": "/\udcff"},
        {"client": ("x" * 5000, 1)},
        {"client": None},
        {"client": ("\0\r\nü", 1)},
        {"http_version": "2"},
    ],
)
@pytest.mark.parametrize("begin", [Stage.stream, Stage.websocket])
def test_what_clients_choose(scope: dict[str, Any], begin: Callable[..., Call]) -> None:
    """Whatever stands in a request, it is served as without the middleware."""

    async def scenario(stage: Stage) -> None:
        call = begin(stage, **scope)
        await call.started()
        await leave(call)

    stage = Stage(either)
    stage.run(scenario)
    assert len(lives(stage.log)) == 1
