"""The one loop that follows a store: its frames as they come, however often it cannot be read."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import LogClosed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.stores.port import Store, StoredFrame

SLICE: Final = 0.25
MAX_PATIENCE: Final = 4.0
_log = logging.getLogger("rat_fsm")


class Tail:
    """The frames of a store after a position, in order, each once.

    A store that fails is asked again, ever more slowly; that it does, and that it works again, is
    logged once. A frame that cannot be read is raised. It ends with the store's log, or by `end`.
    One thread takes from it; any may look at it.

    Args:
        store: what to follow.
        after: the frame to begin after.
        who: who waits, in what is logged.

    Attributes:
        position: the last frame that was taken.
        problem: why the store cannot be read now, None while it can.
        current_at: when there was nothing left to take for the last time, seconds since the epoch;
            0.0 before the first.
        ended: whether there will be no more.
    """

    def __init__(self, store: Store, after: int = 0, who: str = "a follower") -> None:
        self.position = after
        self.problem: OSError | None = None
        self.current_at = 0.0
        self.ended = False
        self._store = store
        self._who = who
        self._frames: Iterator[StoredFrame] = iter(())
        self._patience = 0.0
        self._again_at = 0.0
        self._failing_since = 0.0

    def __iter__(self) -> Iterator[StoredFrame]:
        """Every frame, however long each takes to come, until it has ended."""
        while not self.ended:
            stored = self.next(SLICE)
            if stored is not None:
                yield stored

    @property
    def failing_for(self) -> float:
        """For how many seconds the store has not been readable, 0.0 while it is."""
        return 0.0 if self.problem is None else time.monotonic() - self._failing_since

    def next(self, timeout: float) -> StoredFrame | None:
        """The next frame; None where none comes within ``timeout`` seconds, or once ended.

        Raises:
            HistoryEvicted: the store has dropped frames that were not taken yet.
            DamagedFrame: what comes next is no frame.
        """
        deadline = time.monotonic() + timeout
        while not self.ended:
            left = deadline - time.monotonic()
            stored = self._ask(max(0.0, min(left, SLICE)))
            if stored is not None:
                self.position = stored.position
                return stored
            if left <= 0:
                break
        return None

    def _ask(self, timeout: float) -> StoredFrame | None:
        if self.problem is not None and self._rests(timeout):
            return None
        try:
            stored = self._look(timeout)
        except LogClosed:
            self.end()
            return None
        except OSError as problem:
            self._fails(problem)
            return None
        if self.problem is not None:
            self._works()
        if stored is None:
            self.current_at = time.time()
        return stored

    def _look(self, timeout: float) -> StoredFrame | None:
        stored = next(self._frames, None)
        if stored is None and self._store.wait(self.position, timeout):
            self._frames = self._store.read(self.position)
            stored = next(self._frames, None)
        return stored

    def _rests(self, timeout: float) -> bool:
        """Lets a store that fails alone for a while; whether it is too early to ask it again."""
        left = self._again_at - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, timeout))
        return left > timeout

    def _fails(self, problem: OSError) -> None:
        now = time.monotonic()
        if self.problem is None:
            _log.warning("%s waits for a store that fails: %s", self._who, problem)
            self._failing_since, self._patience = now, SLICE
        else:
            self._patience = min(MAX_PATIENCE, 2 * self._patience)
        self._again_at = now + self._patience
        self.problem = problem

    def _works(self) -> None:
        _log.warning("%s can read the store again, after %.1f s", self._who, self.failing_for)
        self.problem = None

    def give_back(self) -> None:
        """The frame that was taken last comes once more."""
        self.position -= 1
        self._frames = iter(())

    def end(self) -> None:
        """Takes no more; whoever waits for a frame sees it within a quarter of a second.

        It takes no lock, so that a finaliser may call it.
        """
        self.ended = True
