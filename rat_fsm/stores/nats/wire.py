"""One connection to one server, as long as it lasts, and the answers that are awaited on it.

The library's own reconnecting is off: it would send what was meant for a lost connection later,
unasked. Its requests are not used either: they wait for their timeout when the connection breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from rat_fsm.codec import MAX_BODY
from rat_fsm.errors import MissingExtra, StoreUnreadable
from rat_fsm.stores.nats.exchange import Exchange, Leaderless

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from rat_fsm.stores.nats.address import Address

OLDEST: Final = (2, 12)
CONNECT_TIMEOUT: Final = 2
CLOSE_TIMEOUT: Final = 1.0
PING_TIMEOUT: Final = 1
MAX_HEADER: Final = 16 * 1024
NO_RESPONDERS: Final = "503"
_log = logging.getLogger("rat_fsm")


class Wire:
    """A connection, made by `connected`.

    Attributes:
        client: the library's.
    """

    def __init__(self, client: Client, address: Address) -> None:
        self.client = client
        self._address = address
        self._inbox = client.new_inbox()
        self._noted = ""
        self._number = 0
        self._awaited: dict[str, Exchange] = {}

    @property
    def is_up(self) -> bool:
        """Whether it can still be used, as far as is known."""
        return self.client.is_connected

    async def answers(self) -> bool:
        """Whether the server still says anything."""
        from nats.errors import Error

        try:
            await self.client.flush(PING_TIMEOUT)
        except (Error, OSError):
            return False
        return True

    async def listen(self, subject: str, heard: Callable[[Msg], None]) -> None:
        """Calls back for each message on a subject."""

        async def callback(message: Msg) -> None:
            heard(message)

        await self.client.subscribe(subject, cb=callback)

    async def hear(self, subject: str, heard: Callable[[], None]) -> None:
        """Likewise, for whom it is enough that there is one."""
        await self.listen(subject, lambda _message: heard())

    async def begin(self, server: str) -> None:
        """Connects, and listens for answers."""
        from nats.errors import Error

        try:
            await self._connect(server)
        except StoreUnreadable:
            raise
        except (Error, OSError, ValueError) as problem:
            said = self._noted or self._address.scrubbed(problem)
            if "authorization violation" in said.lower():
                said += self._address.access.doubt()
            raise ConnectionError(f"cannot reach {server}: {said}") from None
        self._check()
        await self.listen(f"{self._inbox}.*", self._answered)

    async def _connect(self, server: str) -> None:
        await self.client.connect(
            f"nats://{server}",
            name="rat_fsm",
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT,
            skip_subject_validation=True,
            error_cb=self._note,
            closed_cb=self._lost,
            **self._address.access.options(),
        )

    def _check(self) -> None:
        version = self.client.connected_server_version
        if (version.major, version.minor) < OLDEST:
            raise StoreUnreadable(
                f"the NATS server is {version.major}.{version.minor}.{version.patch}; rat_fsm "
                f"needs {OLDEST[0]}.{OLDEST[1]} or newer"
            )
        if self.client.max_payload < MAX_BODY + MAX_HEADER:
            raise StoreUnreadable(
                f"the NATS server takes messages of {self.client.max_payload} bytes; rat_fsm needs "
                f"a max_payload of {MAX_BODY + MAX_HEADER} or more"
            )

    async def _note(self, problem: Exception) -> None:
        """Of what goes wrong, the library says here what it does not raise."""
        said = self._noted = self._address.scrubbed(problem)
        _log.debug("nats: %s", said)
        for exchange in list(self._awaited.values()):
            # "permissions violation for publish to …", in small letters
            if exchange.subject.lower() in said.lower():
                exchange.fail(PermissionError(said))

    async def _lost(self) -> None:
        for exchange in list(self._awaited.values()):
            exchange.fail(ConnectionError("the connection was lost"))

    def _answered(self, message: Msg) -> None:
        exchange = self._awaited.get(message.subject.rpartition(".")[2])
        if exchange is None:
            return
        if (message.headers or {}).get("Status") == NO_RESPONDERS:
            exchange.fail(Leaderless("no server leads the stream now"))
        else:
            exchange.hear(message)

    async def say(self, subject: str) -> None:
        """Publishes an empty message, if it can; nobody relies on it."""
        from nats.errors import Error

        with contextlib.suppress(Error, OSError):
            await self.client.publish(subject)

    async def request(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """What a server answers.

        Raises:
            Leaderless: nobody took the question.
            OSError: nobody answers in time, or the connection is lost meanwhile.
        """
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        exchange = Exchange(subject, lambda message: done.set_result(message.data), done)
        await self.exchange(exchange, payload, headers)
        return done.result()

    async def exchange(
        self, exchange: Exchange, payload: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends a question and waits until its answer is complete.

        Raises:
            OSError: it does not come in time, or the connection is lost meanwhile.
        """
        from nats.errors import Error

        self._number += 1
        token = str(self._number)
        self._awaited[token] = exchange
        try:
            await self.client.publish(
                exchange.subject,
                payload,
                f"{self._inbox}.{token}",
                dict(headers) if headers else None,
            )
            await exchange.wait()
        except Error as problem:
            raise OSError(self._address.scrubbed(problem)) from None
        finally:
            del self._awaited[token]

    async def close(self) -> None:
        """Closes it, whatever its state; what does not answer is cut."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.client.close()
                return
        self.cut()

    def cut(self) -> None:
        """Drops it at once: to close it, the library waits until the server has taken all."""
        writer = getattr(self.client._transport, "_io_writer", None)  # noqa: SLF001
        if writer is not None:
            writer.transport.abort()


def client_class() -> type[Client]:
    """The library's client; half a second where it is imported first, which no loop should wait.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from nats.aio.client import Client
    except ImportError:
        raise MissingExtra("a nats: log", "nats") from None
    return Client


async def connected(address: Address, server: str) -> Wire:
    """A connection to one of the servers.

    Raises:
        StoreUnreadable: it is too old, or takes too little.
        OSError: it cannot be reached, or lets nobody in.
    """
    wire = Wire(client_class()(), address)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await wire.begin(server)
    except TimeoutError:
        await wire.close()
        raise ConnectionError(f"{server} did not answer in {CONNECT_TIMEOUT} s") from None
    except BaseException:
        await wire.close()
        raise
    return wire
