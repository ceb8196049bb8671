"""Reads what a log holds; a store that was closed may still be read, by a link of its own."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rat_fsm.errors import DamagedFrame, HistoryEvicted, StoreUnreadable
from rat_fsm.stores.nats.chain import head_of
from rat_fsm.stores.nats.link import Link, Unreachable
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
_log = logging.getLogger("rat_fsm")
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
        self._warned: set[int] = set()

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
        """Likewise, perhaps none: of a leader that is behind a former one."""
        if time.monotonic() >= self._alone_until:
            try:
                found = await self._frames.batch(link, first, subject, size)
            except (Unreachable, PermissionError):
                raise
            except TimeoutError:  # it is stopped, and the cluster goes on asking it for a while
                self._alone_until = time.monotonic() + ALONE
                await link.probe()
            except OSError as problem:
                _log.debug("nats: %s; the leader is asked", problem)
            else:
                if found:
                    return found
        return await self._next(link, first, subject)

    async def _next(self, link: Link, first: int, subject: str | None) -> list[Message]:
        """The first message from a sequence on, as the leader has it."""
        state = await self._frames.state(link)
        found = await self._frames.next(link, first, subject)
        if found is None and state.last >= first:
            raise DamagedFrame("it was deleted", position=first)
        return [] if found is None else [found]

    def head(self, writer: str) -> StoredFrame | None:
        """The last frame of a writer, as the leader has it."""
        return self.ask(lambda link: head_of(link, self._frames, writer))

    def heads(self) -> dict[str, StoredFrame]:
        """The last frame of every writer; what somebody else put there is none, and named once."""
        found: dict[str, StoredFrame] = {}
        for message in self.ask(self._frames.lasts):
            try:
                stored = stored_of(message)
            except DamagedFrame as problem:
                self._warn(message.sequence, problem)
            else:
                found[stored.frame.writer] = stored
        return found

    def _warn(self, position: int, problem: DamagedFrame) -> None:
        if position not in self._warned:
            self._warned.add(position)
            _log.warning("%s: %s", self._link.address.url, problem)

    def last(self) -> int:
        """The position of the last frame, as the leader has it."""
        return self.ask(self._frames.state, WAIT_PATIENCE).last
