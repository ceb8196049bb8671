"""Keeps a projection of the user's own up to date with a log: it catches up, then follows.

The user's code runs on the thread that asks for the projection while it catches up, then on a
thread of its own, and for what is left at the end on the thread that closes it; never on two at
once, and never under a lock of the log. So it may append to the log, or take as long as it likes,
and holds up nobody but those who wait for this projection.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from rat_fsm.codec import decode, no_collection
from rat_fsm.errors import FoldFailed
from rat_fsm.log.following import Following
from rat_fsm.log.saved import Saved, name_of
from rat_fsm.projections.model import ReadModel
from rat_fsm.projections.protocol import Projection
from rat_fsm.stores.port import GENESIS, last_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rat_fsm.stores.port import Store, StoredFrame
    from rat_fsm.table import Lifecycle

P = TypeVar("P", bound=Projection)
LONG_FOLD: Final = 100_000
TIMEOUT: Final = 10.0
_log = logging.getLogger("rat_fsm")


class LiveProjection(Following, Generic[P]):
    """A projection that follows a log; made by `EventLog.project`.

    It gets every durable event once, of all writers, in the order of the store, a frame at a time.
    An exception of its code ends it, and is logged: what it knows is not to be trusted any more.
    The log and other projections go on. It ends with the log, or when it is closed; it is a
    context manager that closes itself.

    Attributes:
        projection: what is folded into; look at it while `reading`.
    """

    def __init__(self, store: Store, lifecycles: Iterable[Lifecycle], projection: P) -> None:
        super().__init__(store, "a projection")
        self.projection = projection
        self._model = ReadModel(lifecycles)
        self._saved = Saved.of(store, self._model.lifecycles.values(), projection)
        self._head = GENESIS
        self._catch_up()
        self._start(f"rat-fsm-projection-{name_of(projection)}")

    def _catch_up(self) -> None:
        """Folds what is durable now; whatever is raised is the caller's to handle."""
        if self._saved is not None:
            self._frame, self._head = self._saved.load() or (self._frame, self._head)
        folded = self._fold_until(last_frame(self._store))
        if folded > LONG_FOLD:
            self._save()

    def _fold_until(self, last: int, deadline: float = float("inf")) -> int:
        """Folds the frames up to one, while there is time; answers how many events that were."""
        folded = 0
        for stored in self._store.read(self._frame):
            if stored.position > last or time.monotonic() > deadline:
                break
            self._take(stored)
            folded += stored.frame.count
        return folded

    def _take(self, stored: StoredFrame) -> None:
        with no_collection():
            events = list(decode(stored, self._model).recorded())
        with self._still:
            if self.ended:  # whoever closed it has come first
                return
            try:
                for recorded in events:
                    self.projection.fold(recorded)
            except BaseException as problem:
                # Before anybody else may go on with what is torn, or save it.
                self.error = problem
                self._tail.end()
                raise
            self._head = stored.frame.hash
            self._folded(stored)

    def _fail(self, problem: BaseException) -> None:
        _log.error(
            "the projection %s has stopped after frame %d",
            *(name_of(self.projection), self._frame),
            exc_info=problem,
        )
        super()._fail(problem)

    def retire(self) -> None:
        """For a finaliser of the log, which takes no lock: its thread sees this soon, and ends."""
        self._tail.end()

    def _check(self) -> None:
        if self.error is not None:
            raise FoldFailed(
                f"the projection {name_of(self.projection)} has stopped after frame "
                f"{self._frame}: {self.error!r}"
            ) from self.error

    @contextlib.contextmanager
    def reading(self) -> Iterator[P]:
        """The projection, held still while the context lasts, whole frames folded: keep it short.

        Never in a decision: it would wait under the log's lock for code that may append.

        Raises:
            FoldFailed: it has stopped, and may be torn.
            LogForked: in a forked child.
        """
        with self._held_still():
            yield self.projection

    def close(self, timeout: float = TIMEOUT) -> None:
        """Folds what is durable by now, saves a snapshot if it can, and ends. Idempotent.

        In its own code, or while `reading`, it only ends. What its code raises is logged, as ever.

        Args:
            timeout: after so many seconds it ends where it is.
        """
        if not self._is_ours:
            return
        deadline = time.monotonic() + timeout
        held = self._is_held
        if not self._still.acquire(timeout=max(0.0, timeout)):
            self._end()
            return
        try:
            if not (self.ended or held):
                self._fold_until(last_frame(self._store), deadline)
                self._save()
        except Exception as problem:  # noqa: BLE001 - it hurts this projection only
            self._fail(problem)
        finally:
            self._end()
            self._still.release()

    def _save(self) -> None:
        if self._saved is not None:
            self._saved.save(self._frame, self._head)

    def __enter__(self) -> LiveProjection[P]:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()
