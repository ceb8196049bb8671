"""Our own event streams behind the middleware: one connection, told by whoever knows more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rat_fsm.events import Closing
from rat_fsm.streaming import create_sse_response
from tests.integrations.asgi.driver import Call, Stage, closing, lives, totals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rat_fsm.streaming import SSEResponse

    Deed = Callable[[Stage, Call, SSEResponse], Awaitable[Any]]


async def close(_stage: Stage, _call: Call, response: SSEResponse) -> None:
    """The application ends it."""
    response.close()


async def leave(_stage: Stage, call: Call, _response: SSEResponse) -> None:
    """The client goes."""
    call.leave()


async def kick(stage: Stage, _call: Call, _response: SSEResponse) -> None:
    """An operator ends it."""
    stage.manager.kick(stage.id)


async def drain(stage: Stage, _call: Call, _response: SSEResponse) -> None:
    """The process ends."""
    await stage.middleware.drain("me")


async def cancel(_stage: Stage, call: Call, _response: SSEResponse) -> None:
    """The server cancels it."""
    call.task.cancel()


@pytest.mark.parametrize(
    ("deed", "reason", "by"),
    [
        (close, "completed", "app"),
        (leave, "client_disconnect", "client"),
        (kick, "kicked", "admin"),
        (drain, "shutdown", "shutdown"),
        (cancel, "cancelled", "server"),
    ],
)
@pytest.mark.parametrize("foreseen", [True, False])
def test_how_it_ends(deed: Deed, reason: str, by: str, foreseen: bool) -> None:  # noqa: FBT001
    """It is one connection, and its end is told once."""
    response = create_sse_response()

    async def scenario(stage: Stage) -> None:
        call = stage.stream() if foreseen else stage.http()
        response.send_event("tick", "1")
        await call.until(lambda: bool(call.body))
        await deed(stage, call, response)
        await call.end()
        assert not response.send_event("tick", "2")
        if deed in {close, kick, drain}:
            assert call.complete

    stage = Stage(response)
    stage.run(scenario)
    assert closing(stage.log) == Closing(reason, by, "streaming", 200)
    assert len(lives(stage.log)) == 1


def test_what_it_sends() -> None:
    """Its totals are what was queued, counted once."""
    response = create_sse_response()

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        for number in range(5):
            response.send_data(str(number))
            await asyncio.sleep(0.1)
        response.close()
        await call.end()
        assert totals(stage.log)[0] == len(call.body)

    stage = Stage(response)
    stage.run(scenario)
    assert totals(stage.log)[1] == 5
