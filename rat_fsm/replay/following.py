"""Keeps a read model up to date with a log that others write: it catches up, then follows.

Any store, any number of writers, any process. Nothing is claimed or written.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, Self

import attrs

from rat_fsm.codec import check_frame, decode, no_collection
from rat_fsm.log.eventlog import EventLog
from rat_fsm.log.following import Following
from rat_fsm.projections.model import ReadModel
from rat_fsm.replay.sources import known_lifecycles, opened
from rat_fsm.stores.port import GENESIS, last_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rat_fsm.replay.sources import LogSource
    from rat_fsm.stores.port import StoredFrame
    from rat_fsm.table import Lifecycle

TIMEOUT: Final = 10.0
_SECOND: Final = 1_000_000


@attrs.frozen
class Lag:
    """How far a follower is behind its log.

    Attributes:
        frames: how many frames it has not folded yet, of those that are known.
        seconds: how old what it says may be: since it had folded everything, or since its last
            event where that is later, or since it began where it has folded none; 0.0 while
            nothing is outstanding and the store can be read.
    """

    frames: int
    seconds: float


@attrs.frozen
class FollowerHealth:
    """The condition of a follower.

    Attributes:
        status: ok; failing, while the store cannot be read, which is tried again; stopped, by
            what it has read; or closed.
        last_error: why it fails or has stopped, None while all is well.
        failing_for: for how many seconds the store has not been readable, 0.0 while it is.
    """

    status: str
    last_error: str | None = None
    failing_for: float = 0.0

    @property
    def ready(self) -> bool:
        """Whether what it says is kept up to date."""
        return self.status == "ok"


def lifecycles_of(
    source: LogSource, lifecycles: Iterable[Lifecycle] | None
) -> tuple[Lifecycle, ...]:
    """How the events of a log are read, where nothing else is said: as the log itself does."""
    if lifecycles is None and isinstance(source, EventLog):
        return tuple(source.read_model.lifecycles.values())
    return known_lifecycles(lifecycles)


class LogFollower(Following):
    """What follows a log for reading only; `Follower` and `ClusterView` say what they fold.

    Every frame must continue its writer's chain: a damaged one ends it, and what it knows is the
    log before that frame. It is a context manager that closes itself; one that nobody holds any
    more ends as well.
    """

    def __init__(self, source: LogSource, who: str) -> None:
        self._opened = contextlib.ExitStack()
        super().__init__(self._opened.enter_context(opened(source)), who)
        self.url = self._store.url
        self._chains: dict[str, bytes] = {}
        self._last_at = 0
        self._known = 0
        self._began_at = time.time()
        self._start(f"rat-fsm-{who.removeprefix('a ').replace(' ', '-')}")

    def _take(self, stored: StoredFrame) -> None:
        with self._still, no_collection():
            frame = stored.frame
            check_frame(stored, self._chains.get(frame.writer, GENESIS))
            self._fold(stored)
            self._chains[frame.writer] = frame.hash
            self._last_at = frame.last_at
        self._folded(stored)

    def _fold(self, stored: StoredFrame) -> None:
        """Folds a frame that continues its writer's chain."""
        raise NotImplementedError

    @property
    def lag(self) -> Lag:
        """How far it is behind now; asks the store for the last frame, unless that fails already.

        Times are compared with the clock of this machine.
        """
        self._check_ours()
        if self._tail.problem is None:
            with contextlib.suppress(OSError):
                self._known = max(self._known, last_frame(self._store))
        frames = max(0, self._known - self._frame)
        if not frames and self._tail.problem is None:
            return Lag(0, 0.0)
        since = max(self._tail.current_at, self._last_at / _SECOND) or self._began_at
        return Lag(frames, max(0.0, time.time() - since))

    @property
    def health(self) -> FollowerHealth:
        """Its condition now."""
        if self.error is not None:
            return FollowerHealth("stopped", str(self.error))
        if self.ended:
            return FollowerHealth("closed")
        problem = self._tail.problem
        if problem is None:
            return FollowerHealth("ok")
        return FollowerHealth("failing", str(problem), self._tail.failing_for)

    def close(self) -> None:
        """Ends where it is; what it knows may still be looked at. Idempotent."""
        if not self._is_ours:
            return
        self._end()
        self._opened.close()
        if self._thread is not None:
            self._thread.join(TIMEOUT)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()


class Follower(LogFollower):
    """A read model of all writers of a log, kept up to date; made by `follow`.

    Attributes:
        read_model: what `replay` would give now, once caught up; look at it while `reading`.
        url: the log's address.
        error: what has stopped it, None while all is well.
    """

    def __init__(self, source: LogSource, lifecycles: Iterable[Lifecycle] | None = None) -> None:
        self.read_model = ReadModel(lifecycles_of(source, lifecycles))
        super().__init__(source, "a follower")

    def _fold(self, stored: StoredFrame) -> None:
        decode(stored, self.read_model).fold_into(self.read_model)

    @contextlib.contextmanager
    def reading(self) -> Iterator[ReadModel]:
        """The read model, held still while the context lasts, whole frames folded: keep it short.

        Raises:
            DamagedFrame, UnsupportedFormat, HistoryEvicted: it has stopped.
            LogForked: in a forked child.
        """
        with self._held_still():
            yield self.read_model


def follow(source: LogSource, *, lifecycles: Iterable[Lifecycle] | None = None) -> Follower:
    """Follows a log on a thread of its own: a read model of all its writers, kept up to date.

    Answers at once; ``follower.wait()`` waits until it has caught up. A store that goes away
    later is asked again until it is back, and nothing is missed or folded twice.

    Args:
        source: a URL or path, a store, or a log, of which what is durable is read.
        lifecycles: how events are read; CONNECTION and NODE, or the log's, by default.

    Raises:
        InvalidArgument, InvalidArgumentType: it is in the memory of some process, or no log.
        StoreUnreadable, UnsupportedFormat: it cannot be opened.
    """
    return Follower(source, lifecycles)
