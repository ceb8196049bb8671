"""An event stream in virtual time: cancelled anywhere, shuffled, stalled, kept alive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from rat_fsm import ConnectionManager, replay
from rat_fsm.events import Closed, Closing
from rat_fsm.streaming import SSEResponse, create_sse_response
from rat_fsm.streaming.framing import HEARTBEAT
from rat_fsm.testing import VirtualClock, cancel_anywhere, in_any_order

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rat_fsm.streaming.asgi import Message

SCOPE: dict[str, Any] = {"type": "http", "method": "GET"}


@attrs.define(eq=False)
class Client:
    """A client of one stream, and the manager where its connection is recorded.

    Attributes:
        taking: whether it takes what is sent.
        gone: whether it has left.
        body: what it has, and when it got that.
        complete: whether it has the end.
        accepted: how many events the response has taken for it.
    """

    clock: VirtualClock
    options: dict[str, Any] = attrs.field(factory=dict)
    manager: ConnectionManager = attrs.field(init=False)
    response: SSEResponse = attrs.field(init=False)
    taking: asyncio.Event = attrs.field(factory=asyncio.Event)
    gone: asyncio.Event = attrs.field(factory=asyncio.Event)
    body: list[tuple[float, bytes]] = attrs.field(factory=list)
    complete: bool = False
    accepted: int = 0

    def __attrs_post_init__(self) -> None:
        self.taking.set()
        self.manager = ConnectionManager(clock=self.clock)
        self.response = create_sse_response(**self.options)
        self.manager.register_connection("a", "x", self.response)
        self.response.bind_connection(self.manager, "a")

    async def receive(self) -> Message:
        """What an ASGI server says."""
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """What an ASGI server takes."""
        await self.taking.wait()
        await asyncio.sleep(0)
        self.body.append((self.clock.monotonic(), message.get("body", b"")))
        self.complete = not message.get("more_body", True)

    async def get(self) -> None:
        """The request."""
        await self.response(SCOPE, self.receive, self.send)

    async def get_beside(self, *doings: Callable[[Client], Awaitable[None]]) -> None:
        """The request, while others do something."""
        async with asyncio.TaskGroup() as group:
            for doing in doings:
                group.create_task(_do(doing, self))
            await self.get()

    def ending(self) -> Closing:
        """How its connection ended, which it did once."""
        self.manager.log.flush()
        events = [recorded.event for recorded in self.manager.log.read()]
        ends = [event for event in events if isinstance(event, Closing | Closed)]
        assert [type(event) for event in ends] == [Closing, Closed]
        assert replay(self.manager.log) == self.manager.log.read_model
        assert isinstance(ends[0], Closing)
        return ends[0]

    def check(self) -> None:
        """What holds once it is over, whatever came first."""
        self.response.close()
        if self.response.ending is None:  # it was never served
            self.manager.unregister_connection("a")
        ending = self.ending()
        if ending.reason == "completed":
            assert self.complete
            assert sum(body.count(b"event: n") for _, body in self.body) == self.accepted
        assert not self.response.send_data("late")


async def _do(doing: Callable[[Client], Awaitable[None]], client: Client) -> None:
    await doing(client)


async def talk(client: Client) -> None:
    """The application sends three events and closes."""
    for number in range(3):
        client.accepted += client.response.send_event("n", str(number))
        await asyncio.sleep(0.4)
    client.response.close()


async def leave(client: Client) -> None:
    """The client goes in the middle."""
    await asyncio.sleep(0.4)
    client.gone.set()


async def pause(client: Client) -> None:
    """The client takes nothing for a while."""
    await asyncio.sleep(0.2)
    client.taking.clear()
    await asyncio.sleep(1.0)
    client.taking.set()


async def kick(client: Client) -> None:
    """An operator ends it."""
    await asyncio.sleep(0.5)
    client.manager.close_connection("a", reason="kicked", ended_by="admin")


SLOW = [
    pytest.param(doings, marks=pytest.mark.slow)
    for doings in [(talk,), (talk, leave), (talk, pause), (talk, kick)]
]
DOINGS = [*SLOW, (talk, leave, pause, kick)]


def _names(doings: object) -> str:
    return "-".join(getattr(doing, "__name__", "") for doing in doings)  # type: ignore[attr-defined]  # a tuple, as above


@pytest.mark.parametrize("doings", DOINGS, ids=_names)
def test_a_stream_that_is_cancelled_anywhere(doings: Any) -> None:
    """It ends once, in its own way or as cancelled, and leaves no task behind."""
    places = cancel_anywhere(
        lambda client: client.get_beside(*doings),
        setup=lambda clock: Client(clock, {"heartbeat": 0.3}),
        invariant=Client.check,
    )
    assert len(places) > 10


@pytest.mark.parametrize("doings", DOINGS, ids=_names)
def test_a_stream_in_any_order(doings: Any) -> None:
    """Its end is told once, and is that of its body."""
    in_any_order(
        lambda client: client.get_beside(*doings),
        setup=lambda clock: Client(clock, {"heartbeat": 0.3}),
        invariant=Client.check,
        orders=30,
    )


def test_a_client_that_takes_nothing_has_stalled() -> None:
    """After so many seconds of the loop's time, which are none of ours."""
    client = Client(VirtualClock(), {"stall_after": 200.0})

    async def stall(client: Client) -> None:
        client.taking.clear()
        client.response.send_data("x")
        client.response.close()

    client.clock.run(client.get_beside(stall))
    assert client.ending() == Closing("stalled", "timeout", "handshake", None)
    assert client.clock.monotonic() == pytest.approx(200, abs=1)


def test_a_silent_stream_is_kept_alive() -> None:
    """By a comment after each silence, and by nothing where there is none."""
    client = Client(VirtualClock(), {"heartbeat": 60.0})

    async def speak(client: Client) -> None:
        await asyncio.sleep(150)
        client.response.send_data("x")
        await asyncio.sleep(30)
        client.response.close()

    client.clock.run(client.get_beside(speak))
    beats = [at for at, body in client.body if body == HEARTBEAT]
    assert beats == [60.0, 120.0]
    assert client.ending().reason == "completed"
