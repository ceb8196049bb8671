"""The floor of each store: its bare client sends the same frames, one after the other.

Like `BareLoop` for SQLite they encode and hash in the loop; no state machine, read model, chain or
fence stands in between.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

import attrs

from benchmarks.events import require
from benchmarks.measure import module
from benchmarks.peers import FRAME, encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_CREATE = """
CREATE TABLE {} (
    position bigserial PRIMARY KEY, count integer, body bytea STORAGE EXTERNAL, hash bytea
)
"""


def sizes(events: int) -> Iterator[int]:
    """How many events each frame holds."""
    for first in range(0, events, FRAME):
        yield min(FRAME, events - first)


@attrs.frozen
class BareMemory:
    """A list."""

    events: int
    name: str = "a list"

    def rate(self, _folder: Path) -> float:
        """Keeps the events, ten thousand a frame."""
        started = time.perf_counter()
        kept = [(count, *encoded(count)) for count in sizes(self.events)]
        elapsed = time.perf_counter() - started
        require(sum(count for count, _, _ in kept), self.events, self.name)
        return self.events / elapsed


@attrs.frozen
class BarePostgres:
    """One INSERT a frame, each its own transaction."""

    events: int
    url: str
    name: str = "psycopg"

    def rate(self, _folder: Path) -> float:
        """Stores the events, ten thousand a frame."""
        table = f"bare_{uuid.uuid4().hex}"
        with module("psycopg").connect(self.url, autocommit=True) as connection:
            connection.execute(_CREATE.format(table))
            insert = f"INSERT INTO {table} (count, body, hash) VALUES (%s, %s, %s)"  # noqa: S608
            started = time.perf_counter()
            for count in sizes(self.events):
                connection.execute(insert, (count, *encoded(count)), prepare=True)
            elapsed = time.perf_counter() - started
            ((found,),) = connection.execute(f"SELECT sum(count) FROM {table}")  # noqa: S608
            connection.execute(f"DROP TABLE {table}")
        require(found, self.events, self.name)
        return self.events / elapsed


@attrs.frozen
class BareNats:
    """One message a frame, each acknowledged before the next is sent."""

    events: int
    servers: Sequence[str]
    name: str

    def rate(self, _folder: Path) -> float:
        """Stores the events, ten thousand a frame."""
        return asyncio.run(self._run())

    async def _run(self) -> float:
        client = await module("nats").connect([f"nats://{server}" for server in self.servers])
        stream, jetstream = f"bare-{uuid.uuid4().hex}", client.jetstream(timeout=30)
        await jetstream.add_stream(name=stream, subjects=[stream], num_replicas=len(self.servers))
        started = time.perf_counter()
        for count in sizes(self.events):
            body, digest = encoded(count)
            await jetstream.publish(stream, body, headers=_headers(count, digest))
        elapsed = time.perf_counter() - started
        found = (await jetstream.stream_info(stream)).state.messages
        await jetstream.delete_stream(stream)
        await client.close()
        require(found, len(list(sizes(self.events))), self.name)
        return self.events / elapsed


def _headers(count: int, digest: bytes) -> dict[str, str]:
    return {"count": str(count), "hash": digest.hex()}
