"""What keeps something up to date with a store: a thread that folds, and those who wait for it.

Frames are folded whole, under a lock that a reader may hold to see something that stands still.
The thread holds its follower weakly: one that is forgotten ends.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING

from rat_fsm.errors import FlushTimeout, LogForked
from rat_fsm.log.tailing import Tail
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.events import Position
    from rat_fsm.stores.port import Store, StoredFrame


class Following:
    """Follows a store on a thread of its own, from `_start` on; a subclass says how it folds.

    Args:
        store: what to follow.
        who: who follows, in what is logged.

    Attributes:
        error: what ended it, None while all is well.
    """

    def __init__(self, store: Store, who: str) -> None:
        self.error: BaseException | None = None
        self._store = store
        self._tail = Tail(store, 0, who)
        self._frame = 0  # the last one that is folded
        # Held while a frame is folded, and while somebody reads; the other only to say how far.
        self._still = threading.RLock()
        self._progress = threading.Condition()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    @property
    def ended(self) -> bool:
        """Whether it follows no more."""
        return self._tail.ended

    def _start(self, name: str) -> None:
        """Follows from the last folded frame on."""
        self._tail.position = self._frame
        weakref.finalize(self, self._tail.end).atexit = False
        self._thread = threading.Thread(
            target=_follow, args=(weakref.ref(self), self._tail), name=name, daemon=True
        )
        self._thread.start()

    def _take(self, stored: StoredFrame) -> None:
        """Folds the next frame, and says so by `_folded`; what it raises ends it."""
        raise NotImplementedError

    def _folded(self, stored: StoredFrame) -> None:
        with self._progress:
            self._frame = stored.position
            self._progress.notify_all()

    def _fail(self, problem: BaseException) -> None:
        self.error = problem
        self._end()

    def _end(self) -> None:
        with self._progress:
            self._tail.end()
            self._progress.notify_all()

    def wait(self, position: Position | None = None, timeout: float | None = None) -> bool:
        """Waits until an event has been folded: ``wait(log.flush())`` for all so far.

        Args:
            position: where the event is; what is durable now by default.
            timeout: seconds; None waits as long as it takes.

        Returns:
            Whether it has been folded: False where it took too long, or this was closed before.

        Raises:
            FoldFailed: code of the user's own has raised before that event, the cause.
            DamagedFrame, UnsupportedFormat, HistoryEvicted: it has stopped before that event.
            StoreUnreadable: no position was given, and the store cannot be asked for one.
            FlushTimeout: it would wait for itself, in its own code or while `reading`.
            LogForked: in a forked child.
        """
        self._check_ours()
        if self._is_held:
            raise FlushTimeout("what follows a log cannot wait for itself")
        wanted = last_frame(self._store) if position is None else position.frame
        with self._progress:
            self._progress.wait_for(lambda: self._frame >= wanted or self.ended, timeout)
            if self._frame < wanted:
                self._check()
            return self._frame >= wanted

    @property
    def _is_held(self) -> bool:
        """Whether this thread is folding it, or reading."""
        return self._still._is_owned()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001

    @property
    def _is_ours(self) -> bool:
        return os.getpid() == self._process

    def _check_ours(self) -> None:
        """Refuses a forked child, whose parent has the thread, and may have held the locks."""
        if not self._is_ours:
            raise LogForked("this follows a log in the parent process; follow it here anew")

    def _check(self) -> None:
        """Raises what ended it."""
        if self.error is not None:
            raise self.error

    @contextlib.contextmanager
    def _held_still(self) -> Iterator[None]:
        self._check_ours()
        with self._still:
            self._check()
            yield


def _follow(reference: weakref.ref[Following], tail: Tail) -> None:
    """The thread; while it waits for a frame it keeps nothing alive."""
    try:
        for stored in tail:
            follower = reference()
            if follower is None:
                return
            follower._take(stored)  # noqa: SLF001 - its other half
            del follower
    except BaseException as problem:  # noqa: BLE001 - the code of others, on a thread of ours
        failed = reference()
        if failed is not None:
            failed._fail(problem)  # noqa: SLF001
    finally:
        left = reference()
        if left is not None:
            left._end()  # noqa: SLF001
