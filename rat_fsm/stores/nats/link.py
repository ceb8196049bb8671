"""A connection to the servers, whichever of them is there, and what JetStream answers over it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rat_fsm.errors import StoreUnreadable
from rat_fsm.stores.nats.loop import Looping
from rat_fsm.stores.nats.refusals import Refusal
from rat_fsm.stores.nats.wire import connected

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from rat_fsm.stores.nats.address import Address
    from rat_fsm.stores.nats.wire import Wire

ASK_TIMEOUT: Final = 1.5
ASK_INTERVAL: Final = 0.05
T = TypeVar("T")


class Unreachable(ConnectionError):
    """None of the servers lets us in."""


class Link(Looping):
    """A connection that is made when it is needed, and made anew after it broke.

    Coroutines of the caller run on its loop by `run`; they use the other methods.

    Attributes:
        address: of the log.
    """

    def __init__(self, address: Address) -> None:
        super().__init__()
        self.address = address
        self._wire: Wire | None = None
        self._connecting = asyncio.Lock()
        self._servers = list(address.servers)
        self._listeners: list[tuple[str, Callable[[], None]]] = []
        self._trouble = ""

    def silence(self, patience: float) -> str:
        """Likewise, with what the servers said meanwhile instead of an answer."""
        said = super().silence(patience)
        return f"{said}: {self._trouble}" if self._trouble else said

    async def wire(self) -> Wire:
        """The connection, a new one where it was lost.

        Raises:
            OSError: no server can be reached.
            StoreUnreadable: the server is too old.
        """
        wire = self._wire
        if wire is not None and wire.is_up:
            return wire
        return await self.renew(wire)

    async def renew(self, lost: Wire | None, *, elsewhere: bool = False) -> Wire:
        """Drops a connection and makes a new one, unless somebody else has just done it.

        Args:
            lost: the connection that is to be dropped.
            elsewhere: to another server, if there is one.

        Raises:
            OSError: no server can be reached.
        """
        async with self._connecting:
            if self._wire is None or self._wire is lost:
                if elsewhere:
                    self._servers.append(self._servers.pop(0))
                await self.end()
                self._wire = await self._connect()
            return self._wire

    async def reconnect(self) -> None:
        """Drops the connection, which may look sound, and makes one to another server, if there is.

        Raises:
            OSError: no server can be reached.
        """
        await self.renew(self._wire, elsewhere=True)

    async def _connect(self) -> Wire:
        """Asks the servers in turn, and remembers which of them answered."""
        problem = Unreachable("there is no server")
        for _ in range(len(self._servers)):
            try:
                wire = await connected(self.address, self._servers[0])
                for subject, heard in self._listeners:
                    await wire.hear(subject, heard)
            except StoreUnreadable:
                raise
            except OSError as failure:
                problem = Unreachable(str(failure))
                self._pass_over(self._servers.pop(0))
            else:
                self._remember(wire)
                return wire
        raise problem

    def _pass_over(self, server: str) -> None:
        """Asks a server last, and one that the URL does not name only if it is heard of again."""
        if server in self.address.servers:
            self._servers.append(server)

    def _remember(self, wire: Wire) -> None:
        """Notes the other servers of the cluster, in case that those of the URL are away."""
        for found in wire.client.discovered_servers:
            if found.netloc not in self._servers:
                self._servers.append(found.netloc)

    async def end(self) -> None:
        """Drops the connection."""
        wire, self._wire = self._wire, None
        if wire is not None:
            self._remember(wire)  # some may have come since
            await wire.close()

    async def request(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """What JetStream answers.

        Raises:
            Refusal: an error.
            Leaderless: nobody leads the stream.
            OSError: nobody answers.
        """
        wire = await self.wire()
        found: dict[str, Any] = json.loads(await wire.request(subject, payload, headers))
        if "error" in found:
            raise Refusal(found["error"])
        return found

    async def ask(self, subject: str, question: dict[str, Any] | None = None) -> dict[str, Any]:
        """What JetStream's API answers; asks again while a new leader is being elected.

        Only for questions that may be asked twice.

        Raises:
            Refusal: an error that does not pass.
            Unreachable: no server lets us in.
        """
        payload = b"" if question is None else json.dumps(question).encode()

        async def ask() -> dict[str, Any]:
            async with asyncio.timeout(ASK_TIMEOUT):
                return await self.request(self.api(subject), payload)

        return await self.patiently(ask)

    async def patiently(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What asking comes to that may be done twice, and is until there is an answer.

        Raises:
            Refusal: an error that does not pass.
            PermissionError: we may not ask.
            Unreachable: no server lets us in.
        """
        while True:
            try:
                answer = await ask()
            except (Unreachable, StoreUnreadable, PermissionError):
                raise
            except TimeoutError:
                await self.probe()
            except OSError as problem:
                if isinstance(problem, Refusal) and not problem.passes:
                    raise
                self._trouble = str(problem)
                await asyncio.sleep(ASK_INTERVAL)
            else:
                self._trouble = ""
                return answer

    async def probe(self) -> None:
        """Goes to another server if this one does not answer at all: it may be stopped."""
        wire = self._wire
        if wire is not None and not await wire.answers():
            wire.cut()
            await self.renew(wire, elsewhere=True)

    async def answers(self) -> bool:
        """Whether the server to which it is connected still says anything."""
        wire = self._wire
        return wire is not None and await wire.answers()

    async def say(self, subject: str) -> None:
        """Tells whoever listens, if it can."""
        if self._wire is not None:
            await self._wire.say(subject)

    def api(self, subject: str) -> str:
        """A subject of JetStream's API."""
        domain = self.address.domain
        return f"$JS.API.{subject}" if domain is None else f"$JS.{domain}.API.{subject}"

    def listen(self, subject: str, heard: Callable[[], None]) -> None:
        """Calls back on the loop for each message on a subject, on this and later connections.

        Raises:
            OSError: not on this connection.
        """
        self._listeners.append((subject, heard))
        self.run(self._listen(subject, heard))

    async def _listen(self, subject: str, heard: Callable[[], None]) -> None:
        before = self._wire
        wire = await self.wire()
        if wire is before:  # a new one listens already
            await wire.hear(subject, heard)


def now() -> float:
    """Seconds of a clock that goes on while the process is stopped or the machine asleep."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
