"""Appends frames under the servers' own fence.

A frame is published on the condition that the message which ends its writer's chain is still the
last one of that writer's subject. So of two writers under one name one is refused, and a frame
that is sent twice is stored once, whenever the first attempt arrives.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.errors import DamagedFrame, WriterFenced
from rat_fsm.stores.nats.exchange import Leaderless
from rat_fsm.stores.nats.link import now
from rat_fsm.stores.nats.messages import HEADER, header_of, stored_of
from rat_fsm.stores.nats.refusals import FULL, Refusal
from rat_fsm.stores.port import GENESIS

if TYPE_CHECKING:
    from rat_fsm.stores.nats.link import Link
    from rat_fsm.stores.nats.streams import Stream, Streams
    from rat_fsm.stores.port import Frame, StoredFrame

IN_FLIGHT_INTERVAL: Final = 0.01
# Seconds. A leader that is cut off from the others believes for some 10 that it still leads.
FORGOTTEN: Final = 20.0
# nats-server 2.15 behaves so; in a cluster the other servers go on.
_FULL_DISK: Final = (
    ", though the server is there: the one that leads the stream may have stopped; or its disk is "
    "full, and it is silent until it has room and was started again"
)


@attrs.frozen
class End:
    """The end of a writer's chain: what its next frame must continue.

    Attributes:
        position: of the last frame, 0 before the first.
        hash: of the last frame.
        next: the sequence number that comes next.
    """

    position: int = 0
    hash: bytes = GENESIS
    next: int = 1

    def precedes(self, frame: Frame) -> bool:
        """Whether a frame continues it."""
        return (frame.prev, frame.first) == (self.hash, self.next)


def end_after(position: int, frame: Frame) -> End:
    """The end of a chain whose last frame stands at a position."""
    return End(position, frame.hash, frame.first + frame.count)


async def head_of(link: Link, frames: Stream, writer: str) -> StoredFrame | None:
    """The last frame of a writer, as the leader has it."""
    last = await frames.last(link, frames.subject(writer))
    return None if last is None else stored_of(last)


class Chains:
    """The chains that this process extends; remembers their ends until something goes wrong.

    Args:
        streams: of the log.
        patience: for how many seconds a server may not know what is stored until that is taken
            for lost.

    Attributes:
        cut_short: the writers whose chains have lost their ends, which no frame can continue.
    """

    def __init__(self, streams: Streams, patience: float = FORGOTTEN) -> None:
        self._frames = streams.frames
        self._stored = streams.stored
        self.cut_short: set[str] = set()
        self._patience = patience
        self._ends: dict[str, End] = {}
        self._known: dict[str, int] = {}
        self._missed: dict[str, float] = {}
        self._saying: asyncio.Task[None] | None = None

    def forget(self) -> None:
        """Asks for every end again."""
        self._ends.clear()

    def note(self, head: StoredFrame) -> None:
        """Remembers that a frame was seen, so that no chain is taken to end before it."""
        writer = head.frame.writer
        self._known[writer] = max(head.position, self._known.get(writer, 0))

    async def append(self, link: Link, frame: Frame) -> int:
        """Adds a frame to its writer's chain and answers with its position; see the port.

        Raises:
            WriterFenced: it does not continue the chain.
            OSError: it could not be stored, or nobody knows.
        """
        end = self._ends.pop(frame.writer, None)
        if end is None or not end.precedes(frame):
            end = await self._end(link, frame.writer)
        while end.precedes(frame):
            try:
                end = end_after(await self._publish(link, frame, end.position), frame)
            except (Refusal, Leaderless) as problem:
                if isinstance(problem, Refusal) and not problem.undecided:
                    raise _failure(problem) from None
                # The last one may still be the expected one, while another goes through the
                # cluster: perhaps this very frame, from an attempt that timed out.
                await asyncio.sleep(IN_FLIGHT_INTERVAL)
                end = await self._end(link, frame.writer)
        if end.hash != frame.hash:
            raise WriterFenced(f"the frame does not continue the chain of {frame.writer}")
        self._ends[frame.writer] = end
        self._known[frame.writer] = end.position
        return end.position

    async def _end(self, link: Link, writer: str) -> End:
        try:
            head = await head_of(link, self._frames, writer)
        except DamagedFrame as problem:
            self.cut_short.add(writer)
            raise WriterFenced(f"no frame can continue the chain of {writer}: {problem}") from None
        end = End() if head is None else end_after(head.position, head.frame)
        known = self._known.get(writer, 0)
        if end.position >= known:
            self._missed.pop(writer, None)
        elif now() - self._missed.setdefault(writer, now()) < self._patience:
            raise OSError(f"the server does not know frame {known}, which is stored")
        else:
            self.cut_short.add(writer)
            raise WriterFenced(
                f"the servers have lost what {writer} stored after frame {end.position}, up to "
                f"frame {known}"
            )
        return end

    async def _publish(self, link: Link, frame: Frame, expected: int) -> int:
        subject = self._frames.subject(frame.writer)
        headers = {HEADER: header_of(frame)}
        try:
            position = await self._frames.publish(link, subject, frame.body, expected, headers)
        except TimeoutError as problem:
            raise TimeoutError(f"{problem}{_FULL_DISK if await link.answers() else ''}") from None
        # Not awaited: where other threads are busy, each system call waits for a turn of theirs.
        self._saying = asyncio.create_task(link.say(self._stored))
        return position


def _failure(problem: Refusal) -> OSError:
    if problem.code in FULL:
        return OSError(errno.ENOSPC, f"the stream is full: {problem}")
    return problem
