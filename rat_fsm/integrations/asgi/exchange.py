"""One request being served: how its application is called, told to end, and made to.

An application learns that it should end in the ways it would learn that its client has gone:
`receive` answers with a disconnect, `send` raises an OSError. One that does neither is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import StreamClosed
from rat_fsm.integrations.asgi.receiving import Receiving
from rat_fsm.integrations.serving.connection import CURRENT
from rat_fsm.integrations.serving.endings import APP_ERROR, CANCELLED, FORCED, Ending
from rat_fsm.integrations.serving.member import ATTEMPTS, GRACE, look_at

if TYPE_CHECKING:
    from contextvars import Token

    from rat_fsm.integrations.asgi.middleware import StreamingMiddleware
    from rat_fsm.integrations.serving.connection import Bearer, Connection
    from rat_fsm.streaming.asgi import Message, Receive, Scope, Send

# Seconds after its client has left until an application that has not received that is told by
# `send`, and as many again until it is cancelled. Long enough for one that asks now and then.
DESERTED: Final = 1.0
# Seconds that a send has waited when its client is taken not to read at all. One that reads
# slowly makes every send wait, for less.
STUCK: Final = 1.0
# What frameworks raise in a handler whose client has gone.
_DISCONNECTS: Final = frozenset({"ClientDisconnect", "WebSocketDisconnect", "ClientDisconnected"})


class ResponseCut(StreamClosed):
    """The deadline passed: the server drops the connection, so that nothing looks complete."""


class Exchange(Receiving):
    """One call of the application, from the server's to its end."""

    __slots__ = ("due", "finished", "lost", "overdue", "refusing")

    def __init__(
        self, host: StreamingMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        super().__init__(host, scope, receive, send)
        self.lost: OSError | None = None  # what the server raised for a client that has gone
        self.due = 0.0
        self.overdue = False  # the deadline has passed, and the client took nothing
        self.refusing = False  # `send` tells that the client has left
        self.finished = False  # the application has returned; its task may have more to do

    # What the kinds of exchanges differ in.

    @abstractmethod
    async def end_wire(self) -> None:
        """Completes the response as if the application had."""

    @abstractmethod
    async def refuse_late(self) -> None:
        """Answers for an application that was cut before it began to."""

    # Running.

    async def run(self) -> None:
        """Calls the application, and records the end whatever comes of it."""
        token = CURRENT.set(self)
        self.host.members.add(self)
        try:
            await self._call()
        except BaseException as error:
            self.error = self.error or error
            raise
        finally:
            # No await in here: while a server cancels, any await may be the last.
            self.finished = True
            try:
                if self.connection is not None:
                    self._record_end(self.connection)
            finally:
                self._leave(token)

    def _leave(self, token: Token[Bearer | None]) -> None:
        """Lets go of everything; a call that is thrown away ends anywhere, on a closed loop too."""
        with contextlib.suppress(ValueError):  # another context
            CURRENT.reset(token)
        with contextlib.suppress(RuntimeError):  # a closed loop
            self.host.leave(self)
            self.stop_listening()

    async def _call(self) -> None:
        try:
            await self.host.app(self.scope, self.receive, self.send)
        except asyncio.CancelledError as error:
            if not self._was_ours():
                raise
            self.error = error if self.cutting else None
        except Exception as error:
            knows = self.stopping is not None or self.deserted
            if not (knows and _is_goodbye(error, self.lost)):
                self.error = error
                if self.stopping is not None and not self.cutting:
                    await self._complete_wire()
                raise
        if self.cutting:
            await self._end_cut()
        elif self.stopping is not None:
            await self._complete_wire()

    async def _complete_wire(self) -> None:
        if self._ender is not None:
            await asyncio.wait((self._ender,))
        with contextlib.suppress(OSError):  # its client has gone before it was told
            await self.end_wire()

    async def _end_cut(self) -> None:
        if not self.over:
            await self.refuse_late()
        if not self.over:
            raise ResponseCut("the server is restarting and the deadline has passed: cut off here")

    def _record_end(self, connection: Connection) -> None:
        if self.error is not None and self._is_failure():
            connection.record_error(self.error)
        connection.ended(self._ending(), self.code)

    def _is_failure(self) -> bool:
        if not isinstance(self.error, Exception) or isinstance(self.error, StreamClosed):
            return False
        knows = self.gone or self.stopping is not None
        return not (knows and _is_goodbye(self.error, self.lost))

    def _ending(self) -> Ending:
        if self.cutting:
            return FORCED
        if self.stopping is not None:
            abandoned = self.stalled or isinstance(self.error, asyncio.CancelledError)
            return FORCED if abandoned and self.host.draining else self.stopping
        if self.over or self.gone:
            return self.outcome()
        concluded = None if self.connection is None else self.connection.conclusion
        return concluded or self._failure()

    def _failure(self) -> Ending:
        if self.error is None:
            return self.outcome()
        if isinstance(self.error, Exception):
            return APP_ERROR
        return FORCED if self.host.draining else CANCELLED

    # Ending.

    def _stop(self, ending: Ending, code: int) -> None:
        if self.stopping is not None or self.cutting or self.over or self.gone or self.finished:
            return
        if not self.polite:
            if not self.host.draining:
                self.cut()  # whoever kicks a download wants it gone
            return
        self.stopping = ending
        self.closes_with(code)
        self.interrupt()
        self.due = self.loop.time() + GRACE
        self.loop.call_at(self.due, self._stop_waiting, 1)

    @abstractmethod
    def closes_with(self, code: int) -> None:
        """Takes the code a WebSocket is closed with."""

    def drain(self) -> None:
        """Ends politely what should not wait for the deadline."""
        if self.deserted:  # a server may drop its clients before we can
            self.loop.call_later(GRACE, self._tell_deserted)
        super().drain()

    def _stop_waiting(self, attempt: int) -> None:
        """The application had its time: what is still open is ended from here."""
        if self.finished or self.cutting:
            return
        if self.blocked_since and self.is_forgotten():
            self.give_up()
        elif self.blocked_since:  # a send that waits for its client ends it when it is through
            self.loop.call_later(GRACE, self._stop_waiting, attempt)
        elif not (self.over or self.wire_ended or self.gone):
            if self.between or attempt >= ATTEMPTS:
                self._ender = self.loop.create_task(self._end_unless_sending())
                self._ender.add_done_callback(look_at)
            self.loop.call_later(GRACE, self._stop_waiting, attempt + 1)
        elif not self.told:  # it neither receives nor sends: there is no other way to tell it
            self.cancel()

    async def _end_unless_sending(self) -> None:
        """Ends it from here; the application may have begun to send since that was decided."""
        if not self.blocked_since:
            await self.end_wire()

    @abstractmethod
    def is_forgotten(self) -> bool:
        """Whether the send that waits now will never return, though its client takes data."""

    @abstractmethod
    def give_up(self) -> None:
        """Ends it without another word to its client."""

    def desert(self) -> None:
        """Its client has left, and the application did not look."""
        hurried = self.stopping is not None or self.host.draining
        patience = GRACE if hurried else DESERTED
        self.loop.call_later(patience, self._tell_deserted)

    def _tell_deserted(self) -> None:
        """Its client has left, and the application has not received that since."""
        if self.finished or self.told or self.cutting:
            return
        if self.refusing:  # nor has it sent
            self.cancel()
        else:
            self.refusing = True
            self.desert()

    def cut(self) -> None:
        """Ends it by force, unless its client takes nothing: that send cannot be taken back."""
        blocked = self.loop.time() - self.blocked_since if self.blocked_since else 0.0
        if blocked >= STUCK:
            self.overdue = True
            self.stall()
        else:
            self.cutting = True
            self.cancel()

    def unstall(self, waited: float) -> None:
        """Records that the client takes data again, which may be too late."""
        super().unstall(waited)
        if self.overdue:
            self.cut()

    # Sending.

    @abstractmethod
    async def send(self, message: Message) -> None:
        """The application's ``send``."""

    def check_sendable(self) -> None:
        """Refuses what comes after the end.

        Raises:
            StreamClosed: the response was ended from here.
        """
        if self.wire_ended:
            self.told = True
            raise StreamClosed("the server has ended this response; nothing more can be sent")
        if self.refusing:
            self.told = True
            raise StreamClosed("the client has left; nothing more can be sent")


def _is_goodbye(error: BaseException | None, lost: OSError | None) -> bool:
    """Whether an application only says that its client has gone, as it was told."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if error is lost or isinstance(error, StreamClosed) or type(error).__name__ in _DISCONNECTS:
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(_is_goodbye(inner, lost) for inner in error.exceptions)
        error = error.__cause__
    return False
