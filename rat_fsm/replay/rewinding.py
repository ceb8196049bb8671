"""Finds the read model as of any frame by folding on from the nearest one that was kept.

Two kinds are kept: checkpoints on disk, far apart, and forks in memory, close together, around
the place that somebody steps about in. Going back is going forward from a little further back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.codec import decode, no_collection
from rat_fsm.projections.forking import ForkingModel
from rat_fsm.replay.sources import event_count
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rat_fsm.replay.checkpoints import Checkpoints
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle

# A checkpoint takes as long as folding some ten events for each stream in it, or twice that.
EVENTS_PER_STREAM: Final = 10
# A fork costs some 100 bytes a stream for the dictionaries alone: so many streams in all of them.
MOST_HELD: Final = 300_000


@attrs.frozen
class Distances:
    """How far apart read models are kept, in events.

    With very many streams open they are further apart, so that they cost no more.

    Attributes:
        checkpoints: on disk, over the whole log.
        forks: in memory, shortly before the place that somebody steps about in.
        window: how far before it.
    """

    checkpoints: int = 150_000
    forks: int = 4_000
    window: int = 100_000


class Rewinder:
    """The read models of one log.

    Args:
        store: the log.
        lifecycles: those that the models know.
        checkpoints: where models are kept on disk.
        distances: how far apart models are kept.
        progress: called with the position of each frame that is folded.
    """

    def __init__(
        self,
        store: Store,
        lifecycles: Iterable[Lifecycle],
        checkpoints: Checkpoints,
        distances: Distances,
        progress: Callable[[int], object],
    ) -> None:
        self._store = store
        self._checkpoints = checkpoints
        self._progress = progress
        self._empty = ForkingModel(lifecycles)
        self._forks: dict[int, ForkingModel] = {}
        self._newest: tuple[int, ForkingModel] | None = None
        self._distances = distances
        self._window = _frames_of(store, distances.window)

    def after(self, frame: int, *, around: bool = False) -> ForkingModel:
        """The model as of the end of a frame, 0 for the beginning; the caller's own.

        Args:
            frame: a frame that the log has.
            around: whether models of what comes shortly before it will be asked for as well:
                those that are passed on the way are kept then.

        Raises:
            StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read up to there.
        """
        window = self._window if around else 0
        position, model = self._nearest(frame, window)
        self._newest = None  # it may be what is folded into, and a damaged frame may end that
        if position < frame:
            self._fold(position, model, frame, window)
        self._newest = frame, model
        return model.fork()

    def _nearest(self, frame: int, window: int) -> tuple[int, ForkingModel]:
        """A model to fold on from, and the frame that it ends with.

        One in memory that is hardly further away than a checkpoint is at hand sooner.
        """
        near = max((kept for kept in self._forks if kept <= frame), default=0)
        if self._newest is not None and near <= self._newest[0] <= frame:
            near = self._newest[0]
        if not window or frame - near > window:
            while (found := self._checkpoints.last(frame)) > near:
                model = self._checkpoints.load(found)
                if model is not None:
                    return found, model
        if self._newest is not None and near == self._newest[0]:
            return self._newest
        return near, self._forks.get(near, self._empty).fork()

    def _fold(self, position: int, model: ForkingModel, frame: int, window: int) -> None:
        """Folds a model on up to a frame, and keeps some of what it is on the way."""
        forked = model.events
        for stored in self._store.read(position):
            before = model.events
            with no_collection():
                decode(stored, model).fold_into(model)
            self._progress(stored.position)
            if self._is_due(before, model):
                self._checkpoints.save(stored, model)
            apart = self._apart(model)
            if stored.position > frame - window and model.events - forked >= apart:
                forked = model.events
                self._keep(stored.position, model, frame, self._distances.window // apart + 1)
            if stored.position >= frame:
                return

    def _is_due(self, before: int, model: ForkingModel) -> bool:
        """Whether folding one frame more, after so many events, has come to a checkpoint."""
        least = self._distances.checkpoints
        spacing = least * (1 + EVENTS_PER_STREAM * model.held // least)
        return before // spacing != model.events // spacing

    def _apart(self, model: ForkingModel) -> int:
        """How far apart forks are kept."""
        return max(self._distances.forks, self._distances.window * model.held // MOST_HELD)

    def _keep(self, position: int, model: ForkingModel, frame: int, most: int) -> None:
        """Keeps a fork, and of all forks those that are nearest to a frame."""
        self._forks[position] = model.fork()
        while len(self._forks) > most:
            del self._forks[max(self._forks, key=lambda kept: abs(kept - frame))]


def _frames_of(store: Store, events: int) -> int:
    """About how many frames so many events, anywhere in a log, may reach into."""
    total = event_count(store)
    return math.ceil(events * last_frame(store) / total) + 1 if total else 1
