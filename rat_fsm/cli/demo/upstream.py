"""A token source on a socket of its own, which now and then resets the connection."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS: Final[Sequence[str]] = (
    "every", "stream", "tells", "what", "it", "did", "and", "the", "log", "remembers",
    "why", "it", "ended", "so", "nobody", "has", "to", "guess",
)  # fmt: skip
PACE: Final = 0.05
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close sends RST


class Upstream:
    """Streams words, one a line. A client sends ``<count> <flaky>`` and reads.

    Args:
        seed: of the random numbers that decide when a flaky stream breaks.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self._server: asyncio.Server | None = None
        self._streams: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0

    async def start(self) -> None:
        """Listens on a free port of the loopback interface."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops listening, breaks every stream and waits for their ends."""
        if self._server is not None:
            self._server.close()
        for writer in self._streams.values():
            writer.transport.abort()
        await asyncio.gather(*self._streams)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._streams[task] = writer
            task.add_done_callback(self._streams.pop)
        # A client may be gone before it said what it wants, or while we reset it.
        with contextlib.suppress(OSError, ValueError):
            count, flaky = (await reader.readline()).split()
            await self._stream(writer, int(count), float(flaky))
        writer.close()

    async def _stream(self, writer: asyncio.StreamWriter, count: int, flaky: float) -> None:
        for number in range(count):
            if self._random.random() < flaky:
                _reset(writer)
                return
            writer.write(f"{WORDS[number % len(WORDS)]}\n".encode())
            await writer.drain()
            await asyncio.sleep(PACE)


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
