"""Reads what a log holds; a store that was closed may still be read, by a link of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rat_fsm.errors import DamagedFrame, HistoryEvicted, StoreUnreadable
from rat_fsm.stores.nats.chain import head_of
from rat_fsm.stores.nats.link import Link
from rat_fsm.stores.nats.loop import LinkClosed
from rat_fsm.stores.nats.messages import stored_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from rat_fsm.stores.nats.messages import Message
    from rat_fsm.stores.nats.streams import Stream
    from rat_fsm.stores.port import StoredFrame

MOST_FRAMES: Final = 1024  # of one answer, which is bounded in bytes as well
PATIENCE: Final = 15.0  # a stopped leader is left after some 3 s, and followed by another within 9
WAIT_PATIENCE: Final = 5.0  # who waits asks again anyway, and says meanwhile what is wrong
BEHIND_INTERVAL: Final = 0.02
ALONE: Final = 10.0  # seconds for which the leader alone is asked after a copy was silent
HEADS_AT_ONCE: Final = 32
T = TypeVar("T")


class Reader:
    """The reading half of a store.

    Args:
        link: to the servers, as long as it is open.
        frames: the stream that is read.
    """

    def __init__(self, link: Link, frames: Stream) -> None:
        self._link = link
        self._frames = frames
        self._alone_until = 0.0

    def ask(self, work: Callable[[Link], Coroutine[Any, Any, T]], patience: float = PATIENCE) -> T:
        """What a coroutine over a link answers.

        Raises:
            StoreUnreadable: the servers cannot be reached, or do not answer.
        """
        try:
            with contextlib.suppress(LinkClosed):
                return self._link.run(work(self._link), patience)
            with contextlib.closing(Link(self._link.address)) as link:
                return link.run(work(link), patience)
        except StoreUnreadable:
            raise
        except OSError as problem:
            where = self._link.address.url
            raise StoreUnreadable(f"cannot read {where}: {problem}") from None

    def read(self, after: int, writer: str | None) -> Iterator[StoredFrame]:
        """The frames after a position, in batches, up to what the leader has when it begins.

        Any server with a copy answers; one that is behind the leader is asked again, and one
        that is silent is not asked for a while.
        """
        subject = None if writer is None else self._frames.subject(writer)
        target = self.ask(lambda link: self._target(link, after, writer))
        size = 1  # who wants one frame need not wait for others
        while after < target:
            for message in self._batch(after + 1, subject, size):
                if subject is None and message.sequence != after + 1:
                    raise DamagedFrame("it was deleted", position=after + 1)
                after = message.sequence
                yield stored_of(message)
            size = min(MOST_FRAMES, 4 * size)

    async def _target(self, link: Link, after: int, writer: str | None) -> int:
        """The position up to which a reading goes."""
        state = await self._frames.state(link)
        if after + 1 < state.first:
            raise HistoryEvicted(
                f"frames {after + 1} to {state.first - 1} of {link.address.url} were purged from "
                "its stream"
            )
        if writer is None:
            return state.last
        last = await self._frames.last(link, self._frames.subject(writer))
        return 0 if last is None else last.sequence

    def _batch(self, first: int, subject: str | None, size: int) -> list[Message]:
        """Some messages from a sequence on, at least one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.ask(lambda link: self._some(link, first, subject, size))
            if found:
                return found
            if time.monotonic() > deadline:
                where = self._link.address.url
                raise StoreUnreadable(f"cannot read {where}: frame {first} does not come")
            time.sleep(BEHIND_INTERVAL)

    async def _some(self, link: Link, first: int, subject: str | None, size: int) -> list[Message]:
        """Likewise, perhaps none: of a server that is behind."""
        if time.monotonic() >= self._alone_until:
            try:
                return await self._frames.batch(link, first, subject, size)
            except TimeoutError:  # it is stopped, and the cluster goes on asking it for a while
                self._alone_until = time.monotonic() + ALONE
                await link.probe()
        found = await self._frames.next(link, first, subject)
        return [] if found is None else [found]

    def head(self, writer: str) -> StoredFrame | None:
        """The last frame of a writer, as the leader has it."""
        return self.ask(lambda link: head_of(link, self._frames, writer))

    def heads(self) -> dict[str, StoredFrame]:
        """The last frame of every writer."""
        return {found.frame.writer: found for found in map(stored_of, self.ask(self._lasts))}

    async def _lasts(self, link: Link) -> list[Message]:
        subjects = await self._frames.subjects_in_use(link)
        found: list[Message | None] = []
        while subjects:
            some, subjects = subjects[:HEADS_AT_ONCE], subjects[HEADS_AT_ONCE:]
            found += await asyncio.gather(*(self._frames.last(link, subject) for subject in some))
        return [message for message in found if message is not None]

    def last(self) -> int:
        """The position of the last frame, as the leader has it."""
        return self.ask(self._frames.state, WAIT_PATIENCE).last
