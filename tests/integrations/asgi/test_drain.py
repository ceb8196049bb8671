"""What a drain does to whom, how long it takes, and what it reports."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from rat_fsm.events import Closing, DrainForced, DrainStarted
from rat_fsm.runtime.shutdown import ShutdownReport
from tests.integrations.asgi import handlers
from tests.integrations.asgi.driver import Call, Stage, lives, node_events
from tests.integrations.asgi.handlers import EVENT, body, start

if TYPE_CHECKING:
    from tests.integrations.asgi.driver import App


def by_path(scope: Any, receive: Any, send: Any) -> Any:
    """The handler that the path names."""
    return getattr(handlers, scope["path"].split("/")[1])(scope, receive, send)


def served(stage: Stage, *names: str) -> list[Call]:
    """A call of each handler."""
    sockets = {"echo", "chatter", "asleep"}
    return [stage.websocket(f"/{n}") if n in sockets else stage.stream(f"/{n}") for n in names]


async def begun(*calls: Call) -> None:
    """Waits until all are served."""
    for call in calls:
        await call.until(lambda call=call: bool(call.body) or call.accepted)  # type: ignore[misc]


def reasons(stage: Stage) -> dict[str, str]:
    """Path → why it ended."""
    return {
        events[0].metadata["path"]: event.reason
        for events in lives(stage.log)
        for event in events
        if isinstance(event, Closing)
    }


def drains(stage: Stage) -> list[Any]:
    """What was recorded of a drain."""
    return [e for e in node_events(stage.log) if isinstance(e, DrainStarted | DrainForced)]


def test_a_drain_of_everything() -> None:
    """Streams end at once, a download has until the deadline, and the report counts them."""
    names = ("idle", "busy", "listening", "mute", "echo", "chatter", "asleep", "download")
    reports = []

    async def scenario(stage: Stage) -> None:
        calls = served(stage, *names)
        await begun(*calls)
        reports.append(await stage.middleware.drain("ops"))
        assert all(call.task.done() for call in calls)
        assert stage.middleware.status()["left"] == []

    stage = Stage(by_path, drain_timeout=4)
    stage.run(scenario)
    expected = {f"/{name}": "shutdown" for name in names} | {"/download": "forced"}
    assert reasons(stage) == expected
    assert drains(stage) == [DrainStarted(4.0, 8, "ops"), DrainForced(1)]
    (report,) = reports
    assert report == ShutdownReport(8, 7, 1, (), report.duration, complete=True)
    assert report.duration == pytest.approx(4, abs=0.1)


def test_a_drain_of_nothing() -> None:
    """It is over at once."""

    async def scenario(stage: Stage) -> None:
        await stage.http("/short").end()
        report = await stage.middleware.drain("me")
        assert (report.total, report.complete) == (0, True)

    stage = Stage(by_path)
    stage.run(scenario)
    assert stage.clock.monotonic() < 0.1


def test_a_drain_that_is_asked_for_again() -> None:
    """It happens once, is told to whoever asked first, and everybody gets its report."""

    async def scenario(stage: Stage) -> None:
        calls = served(stage, "idle", "download")
        await begun(*calls)
        first = asyncio.create_task(stage.middleware.drain("first"))
        await asyncio.sleep(0.1)
        first.cancel()  # who waits for it may give up
        second = await stage.middleware.drain("second")
        assert second is await stage.middleware.drain("third")

    stage = Stage(by_path, drain_timeout=2)
    stage.run(scenario)
    assert drains(stage) == [DrainStarted(2.0, 2, "first"), DrainForced(1)]


def test_a_drain_beside_short_requests() -> None:
    """It does not wait for those that come while it goes on, and does not cut them."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/stream":
            await handlers.idle(scope, receive, send)
        else:
            await asyncio.sleep(0.1)
            await handlers.short(scope, receive, send)

    async def scenario(stage: Stage) -> None:
        await begun(stage.stream("/stream"))
        statuses: list[int | None] = []

        async def client(pause: float) -> None:
            await asyncio.sleep(pause)
            for _ in range(20):
                call = stage.http("/short")
                await call.end()
                statuses.append(call.status)

        clients = [asyncio.create_task(client(pause)) for pause in (0, 0.03, 0.06)]
        await asyncio.sleep(0.5)
        report = await stage.middleware.drain("me")
        assert report.duration < 0.5
        await asyncio.wait(clients)
        assert statuses == [200] * 60

    Stage(app, drain_timeout=10).run(scenario)


@pytest.mark.parametrize(("version", "expected"), [("1.0", True), ("1.1", True), ("2", False)])
def test_a_response_that_begins_in_a_drain(version: str, expected: bool) -> None:  # noqa: FBT001
    """It is the last on its connection, where the protocol can say so."""

    async def scenario(stage: Stage) -> None:
        before = stage.http("/short", http_version=version)
        await before.end()
        await stage.middleware.drain("me")
        after = stage.http("/short", http_version=version)
        await after.end()
        assert "connection" not in before.headers
        assert after.headers == before.headers | ({"connection": "close"} if expected else {})

    Stage(by_path).run(scenario)


def test_a_short_request_that_was_there_before() -> None:
    """It is waited for."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        await handlers.short(scope, receive, send)

    async def scenario(stage: Stage) -> None:
        call = stage.http()
        await asyncio.sleep(0.1)
        await stage.middleware.drain("me")
        assert (call.status, call.complete) == (200, True)

    stage = Stage(app)
    stage.run(scenario)
    assert stage.clock.monotonic() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "policy",
    [
        "finish",
        {"/answer": "finish"},
        lambda scope: "finish" if scope["path"] == "/answer" else None,
    ],
)
def test_a_stream_that_may_finish(policy: Any) -> None:
    """It is served to its end, and looks as if there were no drain."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        gone = asyncio.ensure_future(_until_gone(receive))
        for _ in range(20):
            await body(send, EVENT)
            await asyncio.sleep(0.1)
        assert not gone.done()
        gone.cancel()
        await body(send, b"", more=False)

    async def _until_gone(receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def scenario(stage: Stage) -> None:
        call = stage.stream("/answer")
        await begun(call)
        await stage.middleware.drain("me")
        assert call.body == EVENT * 20

    stage = Stage(app, on_drain=policy)
    stage.run(scenario)
    assert reasons(stage) == {"/answer": "completed"}


@pytest.mark.parametrize("answer", ["never", 7, LookupError("no policy")])
def test_a_policy_that_is_wrong(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and neither its stream nor the others are left out of the drain."""

    def policy(_scope: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scenario(stage: Stage) -> None:
        await begun(*served(stage, "idle", "echo"))
        await stage.middleware.drain("me")

    stage = Stage(by_path, on_drain=policy)
    with caplog.at_level(logging.ERROR):
        stage.run(scenario)
    assert reasons(stage) == {"/idle": "shutdown", "/echo": "shutdown"}
    assert "on_drain failed" in caplog.text


@pytest.mark.parametrize("name", ["busy", "chatter"])
def test_a_client_that_takes_nothing(name: str) -> None:
    """It cannot be ended from here: the report says so, and the log keeps it open until it ends."""
    reports = []

    async def scenario(stage: Stage) -> None:
        (call,) = served(stage, name)
        await begun(call)
        call.taking.clear()
        await asyncio.sleep(3)
        reports.append(await stage.middleware.drain("me"))
        shown = stage.middleware.status()
        assert [(left["stalled"], left["state"]) for left in shown["left"]] == [(True, "active")]
        assert shown["stalled"] == 1
        call.taking.set()
        await call.end()

    stage = Stage(by_path, drain_timeout=3, stall_after=2)
    stage.run(scenario)
    assert [(report.complete, len(report.not_closed)) for report in reports] == [(False, 1)]
    assert reasons(stage) == {f"/{name}": "forced"}


def test_a_slow_client() -> None:
    """One that takes what it gets, late, is ended cleanly."""

    async def scenario(stage: Stage) -> None:
        calls = served(stage, "busy", "chatter")
        await begun(*calls)
        for call in calls:
            call.taking.clear()
        drained = asyncio.create_task(stage.middleware.drain("me"))
        await asyncio.sleep(1)
        for call in calls:
            call.taking.set()
        await drained
        assert [call.complete for call in calls] == [True, True]

    stage = Stage(by_path, drain_timeout=5)
    stage.run(scenario)
    assert reasons(stage) == {"/busy": "shutdown", "/chatter": "shutdown"}
    assert stage.clock.monotonic() < 2


@pytest.mark.parametrize("name", ["echo", "chatter"])
def test_a_server_that_forgets_what_it_was_given(name: str) -> None:
    """A message or a close frame that never returns in a drain is given up: the rest must end."""

    async def scenario(stage: Stage) -> None:
        (call,) = served(stage, name)
        await begun(call)
        drained = asyncio.create_task(stage.middleware.drain("me"))
        await asyncio.sleep(0)
        call.taking.clear()
        report = await drained
        assert (report.ended, report.not_closed) == (1, ())
        await call.end()

    stage = Stage(by_path, drain_timeout=30)
    stage.run(scenario)
    assert reasons(stage) == {f"/{name}": "shutdown"}
    assert stage.clock.monotonic() < 1.5


def test_a_handler_that_cleans_up() -> None:
    """What it does after it was told to end is waited for."""
    cleaned = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await handlers.idle(scope, receive, send)
        finally:
            await asyncio.sleep(1)
            cleaned.append(scope["path"])

    async def scenario(stage: Stage) -> None:
        await begun(stage.stream("/a"))
        await stage.middleware.drain("me")
        assert cleaned == ["/a"]

    stage = Stage(app)
    stage.run(scenario)
    assert reasons(stage) == {"/a": "shutdown"}


def test_a_handler_that_fails_when_it_is_told() -> None:
    """Its error is recorded and goes on to the server; its client sees a clean end before that."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await handlers.idle(scope, receive, send)
        raise LookupError("nothing to clean up")

    async def scenario(stage: Stage) -> None:
        call = stage.stream("/a")
        await begun(call)
        await stage.middleware.drain("me")
        assert isinstance(await call.end(), LookupError)
        assert call.complete

    stage = Stage(app)
    stage.run(scenario)
    (events,) = lives(stage.log)
    assert "ErrorRecorded" in [type(event).__name__ for event in events]


def test_a_drain_from_another_thread() -> None:
    """It may be asked for anywhere."""

    async def scenario(stage: Stage) -> None:
        call = stage.stream("/idle")
        await begun(call)
        await asyncio.to_thread(stage.middleware.begin_drain, "thread")
        await call.end()
        assert call.complete

    stage = Stage(by_path)
    with asyncio.Runner() as runner:
        runner.run(scenario(stage))
    stage.check()
    assert drains(stage) == [DrainStarted(30.0, 1, "thread")]


def test_a_drain_before_anything_was_served() -> None:
    """There is nobody to tell, and nothing fails."""
    stage = Stage(by_path)
    stage.middleware.begin_drain("me")
    assert stage.middleware.ready


@pytest.mark.parametrize("handler", [handlers.idle, handlers.mute, handlers.listening])
def test_a_kick_and_a_drain_at_the_same_time(handler: App) -> None:
    """Whichever came first is the reason."""

    async def scenario(stage: Stage) -> None:
        call = stage.stream("/a")
        await begun(call)
        stage.manager.kick(stage.id)
        await stage.middleware.drain("me")
        assert call.complete

    stage = Stage(handler)
    stage.run(scenario)
    assert reasons(stage) == {"/a": "kicked"}


def test_a_poll_for_a_disconnect() -> None:
    """Frameworks ask with a receive in a cancelled scope: it answers as without the middleware."""
    from starlette.requests import Request

    answers = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        await start(send)
        await body(send, EVENT)
        for _ in range(40):
            answers.append(await request.is_disconnected())
            if answers[-1]:
                return
            await asyncio.sleep(0.25)

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        await begun(call)
        await asyncio.sleep(3)
        call.leave()
        await call.end()

    stage = Stage(app)
    stage.run(scenario)
    assert answers.count(True) == 1
    assert stage.clock.monotonic() == pytest.approx(3.25, abs=0.3)


def test_a_body_that_comes_while_nobody_looks() -> None:
    """Whoever listens for a client that leaves loses nothing of what it sends."""
    chunks = [f"{number}".encode() for number in range(10)]
    read: list[bytes] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, EVENT)
        more = True
        while more:
            await asyncio.sleep(1.5)
            message = await receive()
            read.append(message["body"])
            more = message["more_body"]
        await body(send, b"", more=False)

    async def scenario(stage: Stage) -> None:
        call = stage.stream(inbox=())
        await begun(call)
        for number, chunk in enumerate(chunks):
            await asyncio.sleep(0.7)
            call.give({"type": "http.request", "body": chunk, "more_body": number < 9})
        await call.end()

    stage = Stage(app)
    stage.run(scenario)
    assert read == chunks
    assert reasons(stage) == {"/": "completed"}


def test_a_background_job_after_a_stream() -> None:
    """Whoever listens for the client does not go round and round once the response is complete."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await start(send)
        await body(send, EVENT)
        await asyncio.sleep(3)
        await body(send, b"", more=False)
        await asyncio.sleep(10)

    async def scenario(stage: Stage) -> None:
        await stage.stream("/a").end()

    stage = Stage(app)
    stage.run(scenario)
    assert reasons(stage) == {"/a": "completed"}
