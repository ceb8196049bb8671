"""The clients of the demo: well-behaved, vanishing, stalling, and on flaky streams."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from typing import TYPE_CHECKING, Final

from rat_fsm.cli.demo.upstream import RESET

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

BEHAVIOURS: Final = {"reads": 5, "vanishes": 2, "stalls": 1, "flaky": 2}
STALL_TIME: Final = 4.0
SMALL_BUFFER: Final = 4096
LIMIT: Final = 64 * 1024


class Clients:
    """Many clients on real sockets, each connecting again and again until it is stopped.

    Args:
        port: where the server listens.
        count: how many clients.
        seed: of what each of them does.
    """

    def __init__(self, port: int, count: int, seed: int) -> None:
        self._port = port
        self._count = count
        self._seed = seed
        self._tasks: list[asyncio.Task[None]] = []
        self.outcomes: Counter[str] = Counter()

    def start(self) -> None:
        """Starts them all on the running loop."""
        self._tasks = [asyncio.create_task(self._live(number)) for number in range(self._count)]

    async def stop(self) -> None:
        """Cancels them all and waits."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _live(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")  # noqa: S311 - chance, not secrecy
        names, weights = list(BEHAVIOURS), list(BEHAVIOURS.values())
        await asyncio.sleep(chance.random())
        while True:
            behaviour = chance.choices(names, weights)[0]
            try:
                outcome = await self._once(behaviour, chance)
            except OSError:
                outcome = "connection failed"
            self.outcomes[outcome] += 1
            await asyncio.sleep(0.2 + chance.random())

    async def _once(self, behaviour: str, chance: random.Random) -> str:
        stalls = behaviour == "stalls"
        reader, writer = await self._connect(small_buffer=stalls)
        try:
            writer.write(self._request(behaviour, chance.randint(10, 60)))
            status = await reader.readline()
            if b" 200 " not in status:
                return "turned away"
            return await _ACTS[behaviour]((reader, writer), chance)
        finally:
            writer.close()

    def _request(self, behaviour: str, count: int) -> bytes:
        extra = {"flaky": "&flaky=0.06", "stalls": "&large=1"}.get(behaviour, "")
        count = 10_000 if behaviour == "stalls" else count
        return (
            f"GET /events?count={count}{extra} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Accept: text/event-stream\r\nX-Client: {behaviour}\r\nConnection: close\r\n\r\n"
        ).encode()

    async def _connect(self, *, small_buffer: bool) -> Streams:
        connection = socket.socket()
        if small_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        connection.setblocking(False)  # noqa: FBT003 - socket's own signature
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
        except BaseException:
            connection.close()
            raise
        return await asyncio.open_connection(
            sock=connection, limit=SMALL_BUFFER if small_buffer else LIMIT
        )


async def _read_all(streams: Streams, _chance: random.Random) -> str:
    reader, _ = streams
    while chunk := await reader.read(LIMIT):
        if b"event: drain" in chunk:
            return "drained"
    return "read to the end"


async def _vanish(streams: Streams, chance: random.Random) -> str:
    """Reads for a while, then is gone without a word: RST, no closing handshake."""
    _, writer = streams
    try:
        async with asyncio.timeout(0.3 + 2 * chance.random()):
            await _read_all(streams, chance)
    except TimeoutError:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
        return "vanished"
    return "read to the end"


async def _stall(_streams: Streams, _chance: random.Random) -> str:
    """Stops reading, and stays."""
    await asyncio.sleep(STALL_TIME)
    return "stalled"


_ACTS: Final[dict[str, Callable[[Streams, random.Random], Awaitable[str]]]] = {
    "reads": _read_all,
    "vanishes": _vanish,
    "stalls": _stall,
    "flaky": _read_all,
}
