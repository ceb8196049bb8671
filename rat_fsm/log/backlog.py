"""What a writer has accepted and its store has not got, as frames in the order of its chain.

First what is in the spill file, then the frame that is being stored, then what is to be sealed
after it. The committing thread's alone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import RatFsmError
from rat_fsm.log.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.log.accept import Acceptor
    from rat_fsm.log.aside import Aside
    from rat_fsm.log.progress import Progress
    from rat_fsm.log.spilling import Spill
    from rat_fsm.stores.port import Frame, StoredFrame

DROP_EVERY: Final = 64
_log = logging.getLogger("rat_fsm")


class Backlog:
    """The frames of one writer between the accepting half and the store.

    Args:
        acceptor: whose rows they are made of.
        fingerprints: of the lifecycles in force.
        progress: how far the store has come.
        spill: where they are kept while the store fails; None keeps them in memory.
        head: the writer's last frame that is stored.

    Attributes:
        chain: seals them.
        spills: whether there is a spill file.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        fingerprints: tuple[str, ...],
        progress: Progress,
        spill: Spill | None,
        head: StoredFrame | None,
    ) -> None:
        self.spills = spill is not None
        self._acceptor = acceptor
        self._fingerprints = fingerprints
        self._progress = progress
        self._spill = spill
        # What is being stored, and what is to be sealed after it.
        self._current: Frame | None = None
        self._rest: Iterator[Frame] = iter(())
        self.begin(head)

    def begin(self, head: StoredFrame | None) -> None:
        """Goes on after the last frame of whoever is the writer now."""
        self._progress.begin(head)
        self.chain = Chain(self._acceptor.writer, self._fingerprints, self._progress.head)
        if self._spill is not None:
            self._spill.last = self._progress.durable

    @property
    def waits(self) -> bool:
        """Whether there is something to store."""
        return self._acceptor.restless or (self._spill is not None and self._spill.waits)

    @property
    def spilled(self) -> int:
        """How many of the events that are not stored are in the spill file."""
        return 0 if self._spill is None else self._spill.events

    def take(self) -> Iterator[Frame]:
        """Takes what is pending: its frames, each sealed when it is asked for."""
        self._rest = self.chain.frames(*self._acceptor.take())
        return self._rest

    def from_file(self) -> Iterator[Frame]:
        """What was spilled, while more may be; store each before the next.

        Raises:
            StoreUnreadable: the file cannot be read now.
            DamagedFrame: what it holds is not what was put into it.
        """
        spill, told = self._spill, 0
        while spill is not None and spill.waits:
            yield spill.next_after(self._progress.durable)
            told += 1
            if not told % DROP_EVERY:
                spill.tidy(self._progress.durable)
            if self._acceptor.crowded:
                self.fill()

    def hold(self, frame: Frame) -> None:
        """A frame is going to be stored."""
        self._current = frame
        spill = self._spill
        kept = spill is not None and spill.holds(frame)
        self._progress.oldest_at = spill.oldest_at if spill and kept else frame.first_at

    def forget(self, frame: Frame) -> None:
        """It is stored; to be called before anybody hears of it."""
        self._current = None
        spill = self._spill
        if spill is not None and spill.waits and not spill.forget(frame.last):
            spill.tidy(frame.last)
            self._progress.spill = None

    def fill(self) -> None:
        """Puts everything that is accepted and not stored into the file, if it takes it."""
        spill = self._spill
        if spill is None:
            return
        if spill.is_open():
            spill.keep(self._after(spill.last))
        self._progress.oldest_at = spill.oldest_at
        self._progress.spill = spill.file.path if spill.error is None else None

    def _after(self, kept: int) -> Iterator[Frame]:
        """Every frame, stored or to be, that holds events after one; it takes what is pending."""
        if self._current is not None and self._current.first > kept:
            yield self._current
        yield from self._rest
        yield from self.take()

    def keep_rest(self) -> None:
        """For the next opening, in the end."""
        spill = self._spill
        if spill is None:
            return
        try:
            self.fill()
        except RatFsmError as problem:
            _log.error("what is pending cannot be kept: %s", problem)
        spill.tidy(self._progress.durable)
        lost = self._acceptor.seq - self._progress.durable - spill.events
        if lost > 0:
            _log.critical("%d events of %s are lost: %s", lost, self._acceptor.writer, spill.error)

    def set_aside(self, aside: Aside) -> None:
        """Moves everything into a file that nobody delivers, as far as that takes it."""
        spill = self._spill
        if spill is None:
            aside.keep(self._after(0))
        else:
            self.fill()
            kept = spill.last
            spill.set_aside(aside)
            aside.keep(self._after(kept))
        self._current = None
