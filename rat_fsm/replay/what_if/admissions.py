"""Walks arrivals in order: who would have found the house full under other limits.

An arrival is refused where that many connections are open under the other limits; whoever was
let in leaves when the record says so. One that was let in though the recorded limit was reached
was not subject to it (an answer that turned out to be a stream, say), and is let in again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.define
class Door:
    """The door of one writer's process.

    Attributes:
        limit: how many connections it lets in at once, None for any number.
        open_then: how many were open by the record.
        open_now: how many are open under the other limits.
    """

    limit: int | None = None
    open_then: int = 0
    open_now: int = 0


class Admissions:
    """Who is let in, writer by writer.

    Args:
        max_connections: how many may be open at once in one process, None as recorded.
        max_per_client: how many of one address may be, None as recorded.
    """

    def __init__(self, max_connections: int | None, max_per_client: int | None) -> None:
        self.refused_then: dict[str, int] = {}
        self.let_in_then = 0
        self.refused_now = 0
        self.found_room = 0
        self._most = max_connections
        self._most_of_one = max_per_client
        self._doors: dict[str, Door] = {}
        self._clients: dict[tuple[str, str], int] = {}

    def begin(self, writer: str, limits: Mapping[str, Any]) -> None:
        """A writer's run begins, with limits of its own."""
        limit = limits.get("max_connections")
        self._door(writer).limit = limit if isinstance(limit, int) else None

    def _door(self, writer: str) -> Door:
        return self._doors.setdefault(writer, Door())

    def arrive(self, writer: str, address: str, *, asked: bool) -> str | None:
        """A client was let in; answers with the cause for which it would be turned away.

        Args:
            writer: whose door it is.
            address: whose client it is, as far as a log knows.
            asked: whether the question is about this arrival, too.
        """
        door = self._door(writer)
        cause = self._cause(door, (writer, address)) if asked else None
        self.let_in_then += asked
        door.open_then += 1
        if cause is not None:
            self.refused_now += 1
            return cause
        door.open_now += 1
        self._count_client(writer, address, 1)
        return None

    def _cause(self, door: Door, client: tuple[str, str]) -> str | None:
        exempt = door.limit is not None and door.open_then >= door.limit
        if self._most is not None and door.open_now >= self._most and not exempt:
            return "max_connections"
        if self._most_of_one is not None and self._clients.get(client, 0) >= self._most_of_one:
            return "per_client"
        return None

    def leave(self, writer: str, address: str, *, was_let_in: bool) -> None:
        """A client has left; ``was_let_in`` says whether it would have been in at all."""
        door = self._door(writer)
        door.open_then -= 1
        if was_let_in:
            door.open_now -= 1
            self._count_client(writer, address, -1)

    def _count_client(self, writer: str, address: str, change: int) -> None:
        if self._most_of_one is None:
            return
        count = self._clients.pop((writer, address), 0) + change
        if count > 0:
            self._clients[writer, address] = count

    def refuse(self, writer: str, cause: str, count: int) -> None:
        """Clients were turned away; how long they would have stayed is in no log.

        They are recorded up to a second later, when some may have left: what counts is by how
        much fewer are open, and how many more may be, than by the record.
        """
        self.refused_then[cause] = self.refused_then.get(cause, 0) + count
        if self._most is not None and cause == "max_connections":
            door = self._door(writer)
            more = self._most - (door.open_then if door.limit is None else door.limit)
            self.found_room += max(0, min(count, more + door.open_then - door.open_now))
