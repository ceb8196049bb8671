"""A WebSocket server with handlers good and bad, chosen by the path."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any, Final

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from rat_fsm.integrations.serving.member import GRACE
from rat_fsm.integrations.websockets import SocketRecorder, current_connection
from tests.integrations.hosting import Hosted

TICK: Final = 0.02
BLOCK: Final = b"x" * (1 << 16)


async def echo(socket: ServerConnection) -> None:
    """Sends back what comes."""
    async for message in socket:
        await socket.send(message)


async def strict(socket: ServerConnection) -> None:
    """Receives, and does not look for the end."""
    while True:
        await socket.send(await socket.recv())


async def chatter(socket: ServerConnection) -> None:
    """Messages without end, and never asks whether somebody listens."""
    for number in itertools.count():
        await socket.send(str(number))
        await asyncio.sleep(TICK)


async def asleep(_socket: ServerConnection) -> None:
    """Neither sends nor receives."""
    await asyncio.Event().wait()


async def waits(socket: ServerConnection) -> None:
    """Waits for the end, and goes on for a while."""
    await socket.wait_closed()
    await asyncio.sleep(TICK)


async def lingers(socket: ServerConnection) -> None:
    """Waits for the end, and says so when it has been left alone for a while."""
    await socket.wait_closed()
    await asyncio.sleep(2 * GRACE)
    logging.getLogger("app").info("left alone")


async def pieces(socket: ServerConnection) -> None:
    """Receives and sends in fragments, until there is an end."""
    try:
        while True:
            await socket.send([piece async for piece in socket.recv_streaming()])
    except ConnectionClosed:
        return


async def flood(socket: ServerConnection) -> None:
    """As many messages as the client takes."""
    while True:
        await socket.send(BLOCK)


async def says(socket: ServerConnection) -> None:
    """Three messages, of every kind."""
    await socket.send("é")
    await socket.send([b"ab", b"cd"])
    broadcast([socket], memoryview(b"efg"))


async def says_goodbye(socket: ServerConnection) -> None:
    """Closes it, with the code that its path ends with."""
    assert socket.request is not None
    await socket.close(int(socket.request.path.rpartition("-")[2]))


async def breaks(_socket: ServerConnection) -> None:
    """Raises."""
    raise LookupError("the socket broke")


async def cancels(_socket: ServerConnection) -> None:
    """Is cancelled."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def pauses(socket: ServerConnection) -> None:
    """A message, and after some turns of the loop the end."""
    await socket.send("only")
    for _ in range(5):
        await asyncio.sleep(0)


async def knows(socket: ServerConnection) -> None:
    """Says which connection it serves."""
    connection = current_connection()
    assert connection is not None
    logging.getLogger("app").info("serving")
    await socket.send(f"{connection.id} {connection.route}")


HANDLERS: Final = {
    handler.__name__: handler
    for handler in (
        *(asleep, breaks, cancels, chatter, echo, flood, knows, lingers, pauses, pieces),
        *(says, says_goodbye, strict, waits),
    )
}


async def handle(socket: ServerConnection) -> None:
    """The handler that the path names: ``/<handler>/<label>``."""
    assert socket.request is not None
    await HANDLERS[socket.request.path.split("/")[1]](socket)


class Websockets(Hosted):
    """A server with the handlers above."""

    server: Server

    def __init__(
        self,
        *,
        manager: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
        hooked: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**manager or {})
        self.recorder: SocketRecorder = SocketRecorder(handle, self.manager, **options)
        # The peers of these tests leave the end of the TCP connection to the server.
        self._options = {"close_timeout": 0.1, **(server or {})}
        self._hooked = hooked

    async def serve(self, stopping: asyncio.Event) -> None:
        """Until then."""
        where = ("127.0.0.1", 0)
        serving: Any = (
            self.recorder.serve(*where, **self._options)
            if self._hooked
            else serve(self.recorder, *where, **self._options)
        )
        async with serving as self.server:
            self.listens_on(next(iter(self.server.sockets)).getsockname()[1])
            await stopping.wait()
