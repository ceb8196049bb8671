"""Chat rooms over WebSockets; a moderator can kick, and a restart closes everybody with 1012.

    MODERATOR=sesame python examples/starlette_chat.py --port 8000
    websockets 'ws://localhost:8000/rooms/tea?name=ann'     # one name, two devices at most
    websockets 'ws://localhost:8000/rooms/tea?name=bob'     # type /moderator sesame, then /kick ann
    rat-fsm log chat.db

Needs pip install 'rat-fsm[cli,server]' websockets.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

import attrs
import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from rat_fsm import ConnectionManager, EventLog
from rat_fsm.integrations.asgi import Connection, StreamingMiddleware, current_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

MODERATOR = os.environ.get("MODERATOR") or secrets.token_urlsafe()
log = EventLog.open("sqlite:chat.db")
manager = ConnectionManager(max_connections=1000, log=log)


@attrs.define(eq=False)
class Member:
    """Somebody on one device, and the lines on their way there."""

    name: str
    connection: Connection
    lines: asyncio.Queue[str] = attrs.field(factory=lambda: asyncio.Queue(100))
    moderator: bool = False


rooms: defaultdict[str, set[Member]] = defaultdict(set)


def say(room: set[Member], line: str) -> None:
    """Waits for nobody: who has a hundred lines to read still is out."""
    for member in room:
        try:
            member.lines.put_nowait(line)
        except asyncio.QueueFull:
            member.connection.end("too_slow")


def hear(room: set[Member], member: Member, text: str) -> None:
    command, _, argument = text.partition(" ")
    if command == "/moderator":
        member.moderator = secrets.compare_digest(argument.encode(), MODERATOR.encode())
    elif command == "/kick" and member.moderator:
        for other in [other for other in room if other.name == argument]:
            manager.kick(other.connection.id, stay_out=True)
    else:
        say(room, f"{member.name}: {text}")


async def write(websocket: WebSocket, lines: asyncio.Queue[str]) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await lines.get())


async def chat(websocket: WebSocket) -> None:
    member = Member(name_of(websocket.scope), cast("Connection", current_connection()))
    await websocket.accept()
    room = rooms[title := websocket.path_params["room"]]
    room.add(member)
    say(room, f"{member.name} is here")
    writer = asyncio.create_task(write(websocket, member.lines))
    try:
        async for text in websocket.iter_text():  # ends with the client, a kick and a restart
            hear(room, member, text)
    finally:
        writer.cancel()
        room.remove(member)
        if not room:
            del rooms[title]
        say(room, f"{member.name} has left")


def name_of(scope: MutableMapping[str, Any]) -> str:
    return HTTPConnection(scope).query_params.get("name", "somebody")


@contextlib.asynccontextmanager
async def lifespan(_chats: Starlette) -> AsyncIterator[None]:
    yield  # when this goes on, everybody has left
    manager.shutdown()
    log.close()
    print(json.dumps(manager.get_stats()), flush=True)


chats = Starlette(routes=[WebSocketRoute("/rooms/{room}", chat)], lifespan=lifespan)
app = StreamingMiddleware(chats, manager, max_per_client=2, client_key=name_of, drain_timeout=5.0)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    uvicorn.run(app, port=parser.parse_args().port, timeout_graceful_shutdown=5)
