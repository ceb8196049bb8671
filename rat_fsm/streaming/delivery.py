"""The asyncio half of a stream: one task delivers, one listens for the client's leave.

Kept apart from the response because asyncio costs 40 ms to import and a program that only builds
responses, or reads a log, should not pay for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.streaming.framing import HEARTBEAT
from rat_fsm.streaming.ledger import (
    BROKEN,
    CANCELLED,
    CLIENT_GONE,
    COMPLETED,
    Ledger,
    told_to_end,
)
from rat_fsm.streaming.outbox import Outbox, Parcel

if TYPE_CHECKING:
    from rat_fsm.streaming.asgi import Message, Receive, Scope, Send


@attrs.define(eq=False)
class Delivery:
    """Serves one request, of ``scope``, from an outbox; ``heartbeat`` is in seconds of silence."""

    outbox: Outbox
    ledger: Ledger
    send: Send
    start: Message
    preamble: bytes = b""
    heartbeat: float | None = None
    scope: Scope = attrs.field(factory=dict)
    _finishing: bool = attrs.field(default=False, init=False)
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop, init=False)
    _wakeup: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    async def run(self, receive: Receive, *, with_body: bool) -> None:
        """Deliver until the stream is drained, the client is gone, or nothing moves any more."""
        self.outbox.attach(self.wake, self._loop.time)
        try:
            if with_body and self.outbox.ending is None:
                await self._stream(receive)
            else:
                await self._reply(with_body=False)
        except Exception:
            self.outbox.end(BROKEN)
            raise
        finally:
            # Says nothing where an end is known. No await before it: while a server cancels, any
            # await may be the last, and uvicorn does not wait for what it cancelled.
            self.outbox.end(CANCELLED)

    def wake(self) -> None:
        """Have the delivering task look into the outbox again; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._wakeup.set)
        except RuntimeError:  # the loop is closed, so nobody will ever deliver
            self.outbox.end(CANCELLED)

    async def _stream(self, receive: Receive) -> None:
        tasks = {
            asyncio.create_task(self._reply(with_body=True)),
            asyncio.create_task(self._listen(receive)),
        }
        try:
            await self._watch(tasks)
        finally:
            for task in tasks:
                task.cancel()
        await asyncio.wait(tasks)

    async def _watch(self, tasks: set[asyncio.Task[None]]) -> None:
        pending: set[asyncio.Task[None]] = tasks
        while self.outbox.ending is None:
            done, pending = await asyncio.wait(
                pending,
                timeout=self.outbox.patience(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                task.result()
            self.outbox.check_stall()

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if told_to_end(self.scope):  # nobody has left: what is queued can still be delivered
            self.outbox.close()
            return
        # Servers also say so when a response is complete, hypercorn while the last send runs:
        # by then all is accepted and the delivering task knows how it ended.
        if not self._finishing:
            self.outbox.end(CLIENT_GONE)

    async def _reply(self, *, with_body: bool) -> None:
        try:
            await self.send(self.start)
            if with_body:
                await self._empty_outbox()
            self._finishing = True
            await self.send(_body(b"", more=False))
        except OSError:
            self.outbox.end(CLIENT_GONE)
        else:
            self.outbox.end(COMPLETED)

    async def _empty_outbox(self) -> None:
        if self.preamble:
            await self._deliver(Parcel(self.preamble, 0))
        while True:
            parcel = self.outbox.take()
            if parcel is not None:
                await self._deliver(parcel)
            elif self.outbox.drained:
                return
            else:
                await self._rest()

    async def _deliver(self, parcel: Parcel) -> None:
        await self.send(_body(parcel.body, more=True))
        self.ledger.account(len(parcel.body), parcel.messages)
        # A server's send need not suspend, and a busy producer would then starve the loop.
        await asyncio.sleep(0)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self.heartbeat):
                await self._wakeup.wait()
        except TimeoutError:
            await self._deliver(Parcel(HEARTBEAT, 0))
        self._wakeup.clear()


def _body(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}
