"""What is open on a server when something happens to it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tests.servers.clients import HttpPeer, WebSocketPeer, read_until, wait_for_start

if TYPE_CHECKING:
    from tests.servers.harness import Server

# Some look whether their client is still there, some never do.
READERS: Final = (
    "/raw/busy",
    "/raw/heedless",
    "/starlette/busy",
    "/raw/idle",
    "/raw/mute",
    "/starlette/idle",
)
SOCKETS: Final = (
    "/raw/asleep",
    "/raw/chatter",
    "/raw/echo",
    "/starlette/chatter",
    "/starlette/echo",
)


def open_streams(
    server: Server, *, for_seconds: float = 0.0
) -> tuple[list[HttpPeer], list[WebSocketPeer]]:
    """Every stream that a drain ends at once, opened and served for a while."""
    readers = [server.reads(f"{route}/1") for route in READERS]
    sockets = [server.talks(f"{route}/1") for route in SOCKETS]
    wait_for_start(*readers, *sockets)
    until = time.monotonic() + for_seconds
    read_until(lambda: time.monotonic() >= until, *readers, *sockets)
    return readers, sockets


def finite_responses(server: Server, seconds: float) -> list[HttpPeer]:
    """A download, a chunked one and an event stream, which last about so long."""
    query = f"seconds={seconds}"
    peers = [
        server.reads(f"/starlette/download/1?{query}", accept="*/*"),
        server.reads(f"/raw/chunked/1?{query}", accept="*/*"),
        server.reads(f"/raw/finish/1?{query}"),
    ]
    wait_for_start(*peers)
    return peers
