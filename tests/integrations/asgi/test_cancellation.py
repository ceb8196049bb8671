"""A handler may be cancelled anywhere, by its server or its framework: its end is told once."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
from typing import TYPE_CHECKING, Any

import pytest

from rat_fsm.events import Closing
from rat_fsm.integrations.asgi.exchange import ResponseCut
from rat_fsm.testing import cancel_anywhere, in_any_order
from tests.integrations.asgi import handlers
from tests.integrations.asgi.driver import (
    ACCEPTS_EVENTS,
    Call,
    Stage,
    closing,
    lives,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from rat_fsm.testing import VirtualClock
    from tests.integrations.asgi.driver import App

    Deed = Callable[[Stage, Call], Awaitable[None]]


async def _some_time(call: Call) -> None:
    """Half a second, or until it has ended."""
    await asyncio.wait({call.task}, timeout=0.5)


async def leave(_stage: Stage, call: Call) -> None:
    """The client goes."""
    await _some_time(call)
    call.leave()


async def kick(stage: Stage, call: Call) -> None:
    """An operator ends it."""
    await _some_time(call)
    for info in stage.manager.get_all_connections():
        stage.manager.kick(info.connection_id)


async def drain(stage: Stage, call: Call) -> None:
    """The process is to end."""
    await _some_time(call)
    await stage.middleware.drain("me")


async def talk(stage: Stage, call: Call) -> None:
    """The client says something, and later an operator ends it."""
    await _some_time(call)
    call.give(*({"type": "websocket.receive", "text": text} for text in "ab"))
    await kick(stage, call)


async def read_slowly(stage: Stage, call: Call) -> None:
    """The client takes nothing for a while, in which an operator ends it."""
    await _some_time(call)
    call.taking.clear()
    await kick(stage, call)
    await _some_time(call)
    call.taking.set()


def slow(*values: Any) -> list[Any]:
    """These take seconds."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


HTTP = (
    handlers.once,
    *slow(handlers.idle, handlers.listening, handlers.busy, handlers.mute, handlers.download),
)
SOCKETS = (handlers.echo, *slow(handlers.chatter, handlers.asleep))


@pytest.mark.parametrize("deed", [leave, kick, drain, read_slowly], ids=lambda deed: deed.__name__)
@pytest.mark.parametrize("handler", HTTP, ids=lambda app: app.__name__)
def test_a_stream_that_is_cancelled_anywhere(handler: App, deed: Deed) -> None:
    """Whatever happens to it at the same time, it ends once, and gives its slot back."""
    _cancel_anywhere(handler, deed, Stage.stream)


@pytest.mark.parametrize("deed", [leave, kick, drain, talk], ids=lambda deed: deed.__name__)
@pytest.mark.parametrize("handler", SOCKETS, ids=lambda app: app.__name__)
def test_a_websocket_that_is_cancelled_anywhere(handler: App, deed: Deed) -> None:
    """The same for WebSockets."""
    _cancel_anywhere(handler, deed, Stage.websocket)


@pytest.mark.parametrize("deed", [kick, *slow(leave, drain)], ids=lambda deed: deed.__name__)
@pytest.mark.parametrize(
    "handler", [handlers.busy, *slow(handlers.listening)], ids=lambda app: app.__name__
)
def test_a_stream_whose_tasks_overtake_each_other(handler: App, deed: Deed) -> None:
    """The application, the watch and the end take turns in any order, and never send at once."""
    in_any_order(
        _serving(deed, Stage.stream),
        setup=lambda clock: _stage(handler, clock),
        invariant=_is_told_once,
        orders=40,
    )


def _cancel_anywhere(handler: App, deed: Deed, begin: Callable[..., Call]) -> None:
    places = cancel_anywhere(
        _serving(deed, begin),
        setup=lambda clock: _stage(handler, clock),
        invariant=_is_told_once,
    )
    assert len(places) > 2


def _stage(handler: App, clock: VirtualClock) -> Stage:
    return Stage(
        handler,
        clock=clock,
        drain_timeout=2,
        heartbeat=0.3,
        max_per_client=1,
        client_key=lambda _: "me",
    )


def _serving(
    deed: Deed, begin: Callable[..., Call]
) -> Callable[[Stage], Coroutine[Any, Any, None]]:
    async def serve(stage: Stage) -> None:
        call = begin(stage, task=asyncio.current_task())
        stage.beside(_do(deed, stage, call))
        with contextlib.suppress(ResponseCut):
            await call.serve()

    return serve


def _is_told_once(stage: Stage) -> None:
    assert not stage.middleware.members
    stage.check()
    assert len(lives(stage.log)) == len(stage.calls)


async def _do(deed: Deed, stage: Stage, call: Call) -> None:
    await deed(stage, call)
    call.task.get_loop().call_later(4, call.task.cancel)  # some never look up
    await call.end()


def test_a_generator_that_never_starts() -> None:
    """Its slot comes back, though no ``finally`` of its own ever runs."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        async def stream() -> Any:
            yield b""  # what an application would release afterwards is never reached

        chunks = stream()
        await handlers.start(send)
        await handlers.body(send, await anext(chunks))

    async def scenario(stage: Stage) -> None:
        for _ in range(5):
            call = stage.stream()
            await asyncio.sleep(0)
            call.task.cancel()
            await call.end()
        assert stage.manager.get_stats()["active_connections"] == 0

    stage = Stage(app, manager={"max_connections": 1}, max_per_client=1, client_key=lambda _: "me")
    stage.run(scenario)
    assert len(lives(stage.log)) == 5


def test_a_task_that_is_cancelled_before_it_begins() -> None:
    """It was no connection yet."""

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        call.task.cancel()
        await call.end()

    stage = Stage(handlers.idle, max_per_client=1, client_key=lambda _: "me")
    stage.run(scenario)
    assert lives(stage.log) == []


def test_a_call_that_is_thrown_away() -> None:
    """A loop may end without its tasks: their end is recorded when they are collected."""

    async def forever() -> Any:
        await asyncio.Event().wait()

    async def take(_message: Any) -> None:
        pass

    async def scenario(stage: Stage) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [ACCEPTS_EVENTS]}
        call: Any = stage.middleware(scope, forever, take)
        contextvars.copy_context().run(call.send, None)  # up to where it waits
        call.close()

    stage = Stage(handlers.idle)
    stage.run(scenario)
    assert closing(stage.log) == Closing("cancelled", "server", "streaming", 200)


def test_a_call_whose_loop_is_closed() -> None:
    """The same where the loop is gone by then, and somebody was listening for the client."""
    left: list[Any] = []

    async def forever() -> Any:
        await asyncio.Event().wait()

    async def take(_message: Any) -> None:
        pass

    async def scenario(stage: Stage) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [ACCEPTS_EVENTS]}
        call: Any = stage.middleware(scope, forever, take)
        contextvars.copy_context().run(call.send, None)
        (member,) = stage.middleware.members
        member.listen()
        stage.middleware.begin_drain("me")
        left.append(call)
        await asyncio.sleep(0.05)

    stage = Stage(handlers.mute)
    with pytest.raises(AssertionError):
        stage.run(scenario)  # it is open still, and says so
    left.pop().close()
    gc.collect()
    assert closing(stage.log).ended_by == "shutdown"


def test_a_handler_that_is_cancelled_and_goes_on() -> None:
    """One that swallows its cancellation is served to its own end."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await handlers.start(send)
        try:
            await handlers.body(send, handlers.EVENT)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await handlers.body(send, b"data: last\n\n")
        await handlers.body(send, b"", more=False)

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        await call.until(lambda: bool(call.body))
        call.task.cancel()
        assert await call.end() is None
        assert call.complete

    stage = Stage(app)
    stage.run(scenario)
    assert closing(stage.log) == Closing("completed", "app", "streaming", 200)


def test_our_cancellation_is_taken_back() -> None:
    """A server that uses the task again finds it as it was: a timeout of its own still works."""

    async def scenario(stage: Stage) -> None:
        async def outside(scope: Any, receive: Any, send: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            await stage.middleware(scope, receive, send)
            assert task.cancelling() == 0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await asyncio.sleep(1)

        stage.app = outside
        call = stage.stream()
        await call.until(lambda: bool(call.body))
        stage.manager.kick(stage.id)
        assert await call.end() is None

    Stage(handlers.mute).run(scenario)
