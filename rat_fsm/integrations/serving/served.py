"""One request served by a server that gives its transport: told to end, and made to at last.

Such a server tells a handler nothing that a handler does not ask for. One that neither sends nor
receives is cancelled: when its client has left, and when its connection was ended from here.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rat_fsm.errors import StreamClosed
from rat_fsm.integrations.serving.connection import CURRENT
from rat_fsm.integrations.serving.endings import (
    APP_ERROR,
    CANCELLED,
    FORCED,
    SERVICE_RESTART,
    SHUTDOWN,
    Ending,
)
from rat_fsm.integrations.serving.member import ATTEMPTS, GRACE, Member, look_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from rat_fsm.integrations.serving.connection import Connection
    from rat_fsm.integrations.serving.recorder import Recorder

T = TypeVar("T")

# Seconds that a client has to take its end outside a drain; the closing handshakes of aiohttp and
# websockets wait as long.
PATIENCE: Final = 10.0


class Served(Member):
    """From the moment its client is let in to the handler's end.

    Args:
        host: whose it is.
        subject: what the application's own functions get to see: a request, a connection.
        about: what is recorded of it, with its ``path``.
        address: the client's.
    """

    def __init__(self, host: Recorder, subject: Any, about: dict[str, Any], address: str) -> None:
        super().__init__(host)
        self._subject = subject
        self._about = about
        self._address = address
        self.done = False
        self._close_with = SERVICE_RESTART
        self._sending = 0

    @property
    def subject(self) -> Any:
        """What the application's own functions get to see."""
        return self._subject

    @property
    def about(self) -> dict[str, Any]:
        """What is recorded of it."""
        return self._about

    @property
    def address(self) -> str:
        """The client's."""
        return self._address

    # What the servers differ in.

    @abstractmethod
    def is_gone(self) -> bool:
        """Whether the client has left, as far as the transport knows."""

    @abstractmethod
    def is_goodbye(self, error: Exception) -> bool:
        """Whether an exception only says that the connection is over."""

    @abstractmethod
    def seal(self) -> None:
        """Lets nothing out any more but the end, where it must not stand within something else."""

    @abstractmethod
    async def end_wire(self, ending: Ending, code: int) -> None:
        """Tells the client the end, and returns once it is out."""

    @abstractmethod
    def abort(self) -> None:
        """Drops the transport, with what its client has not taken."""

    @abstractmethod
    async def hear_out(self) -> None:
        """Looks for what a client that has gone has said last, where that is still unread."""

    # Serving.

    async def run(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Has it served, and records the end whatever comes of it; None where it ended here."""
        token = CURRENT.set(self)
        self.host.members.add(self)
        try:
            return await self._do(work)
        except BaseException as error:
            self.error = self.error or error
            raise
        finally:
            # No await in here: while a server cancels, any await may be the last.
            with contextlib.suppress(ValueError):  # a task that is thrown away, in another context
                CURRENT.reset(token)
            self.leave()

    async def _do(self, work: Callable[[], Awaitable[T]]) -> T | None:
        result = None
        try:
            result = await work()
        except asyncio.CancelledError:
            if not self._was_ours():
                raise
            await self.hear_out()
        except Exception as error:
            if not (self._ends_here and self.is_goodbye(error)):
                self.error = error
            if not self._ends_here:
                await self.hear_out()
                raise
        if self.stopping is not None:
            await self._say_goodbye()
        if self.error is not None:
            raise self.error
        return result

    @property
    def _ends_here(self) -> bool:
        return self.stopping is not None or self.cutting

    async def _say_goodbye(self) -> None:
        try:
            if not self.cutting:
                await asyncio.wait((self._end_now(),))
        except asyncio.CancelledError:
            if not self._was_ours():
                raise

    def leave(self) -> None:
        """It is not served any more; once."""
        if self.done:
            return
        self.done = True
        self.gone = self.gone or (not self.over and self.is_gone())
        try:
            if self.connection is not None:
                self._record_end(self.connection)
        finally:
            self.host.leave(self)

    def _record_end(self, connection: Connection) -> None:
        error = self.error
        if isinstance(error, Exception) and not isinstance(error, StreamClosed):
            knows = self.gone or self.over or self._ends_here
            if not (knows and self.is_goodbye(error)):
                connection.record_error(error)
        ending = self._ending()
        connection.ended(ending, self.code)

    def _ending(self) -> Ending:
        draining = self.host.draining
        if self.cutting:
            return FORCED if draining else self.stopping or FORCED
        if self.stopping is not None:
            return self.stopping if self.wire_ended or self.gone or not draining else FORCED
        if self.over or self.gone or self.error is None:
            return self.outcome()
        if isinstance(self.error, Exception):
            return APP_ERROR
        return FORCED if draining else CANCELLED

    # Ending.

    def _stop(self, ending: Ending, code: int) -> None:
        if self.stopping is not None or self.cutting or self.over or self.gone or self.done:
            return
        if self.polite:
            self.stopping, self._close_with = ending, code
            self._urge(1)
        elif not self.host.draining:
            self.cut()  # whoever kicks a download wants it gone

    def _urge(self, attempt: int) -> None:
        """Tells the client, then the handler where that must be; looks again a little later."""
        if self.done or self.cutting:
            return
        if self._ender is not None and self._ender.done():
            if not self.told:
                self.cancel()
            return
        if attempt * GRACE >= PATIENCE and not self.host.draining:
            self.cut()
            return
        if not self.blocked_since and (self.between or attempt > ATTEMPTS):
            self._end_now()
        self.loop.call_later(GRACE, self._urge, attempt + 1)

    def end_if_due(self) -> None:
        """Between two messages, after one of them was sent."""
        if self.stopping is not None and self._ender is None and self.between:
            self._end_now()

    def _end_now(self) -> asyncio.Task[None]:
        if self._ender is None:
            self.seal()
            self._ender = self.loop.create_task(self._end())
            self._ender.add_done_callback(look_at)
        return self._ender

    async def _end(self) -> None:
        await self.end_wire(self.stopping or SHUTDOWN, self._close_with)
        self.wire_ended = True

    def cut(self) -> None:
        """Ends it by force, and visibly: the transport is dropped."""
        if self.done:
            return
        self.cutting = True
        self.abort()
        self.cancel()

    def listen(self) -> None:
        """Has a handler that does not look hear of it when its client leaves."""
        if self.is_gone():
            self.gone = True
            if not self.told:
                self.cancel()

    # Sending.

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        """While the server takes data, or waits for the client to."""
        began = self.loop.time()
        self.blocked_since = self.blocked_since or began
        self._sending += 1
        try:
            yield
        finally:
            self._sending -= 1
            self.last_sent = now = self.loop.time()
            self.blocked_since = now if self._sending else 0.0
        if self.stalled:
            self.unstall(now - began)

    def lost(self) -> None:
        """What was sent could not be: the handler knows that its client has gone."""
        self.told = True
        if not self._ends_here and not self.over:
            self.gone = True

    def count(self, size: int, messages: int = 1) -> None:
        """Counts what the server has taken."""
        connection = self.connection
        if connection is None:
            return
        meter = connection.meter
        first = not meter.bytes_sent
        meter.bytes_sent += size
        meter.messages_sent += messages
        self.last_move = self.loop.time()
        if first or self.host.records_every_message:
            connection.settle()
