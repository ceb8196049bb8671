"""Saves read models beside the frames they were folded from, and trusts none that does not fit.

A snapshot carries the head it was folded at: the hash of its writer's frame, and by the chain all
frames before. Recovery goes on from one only if that frame is still there; that the model is
really what those frames fold to is for verifying to say, which folds them again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from rat_fsm.codec import decode
from rat_fsm.errors import DamagedFrame
from rat_fsm.log.verifying import Problem
from rat_fsm.projections.model import FOLD_VERSION, ReadModel
from rat_fsm.stores.port import GENESIS, Snapshot, SupportsSnapshots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rat_fsm.codec import Body
    from rat_fsm.stores.port import Frame, Store, StoredFrame
    from rat_fsm.table import Lifecycle

UNKNOWN_LIFECYCLES: Final = "it holds lifecycles that are not known here"
_UNREADABLE: Final = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
_log = logging.getLogger("rat_fsm")


def save_snapshot(store: Store, writer: str, model: ReadModel, position: int, head: bytes) -> None:
    """Saves a model that has folded the writer's frames up to the one with the hash ``head``."""
    if not isinstance(store, SupportsSnapshots):
        return
    plain = {"fingerprints": _fingerprints(model.lifecycles.values()), "model": model.dump()}
    snapshot = Snapshot(writer, FOLD_VERSION, position, msgspec.json.encode(plain), head)
    try:
        store.save_snapshot(snapshot)
    except OSError as problem:  # it only saves time
        _log.warning("the snapshot of writer %s cannot be saved: %s", writer, problem)


def from_snapshot(
    store: Store, writer: str, lifecycles: Mapping[str, Lifecycle]
) -> tuple[ReadModel, int, bytes]:
    """A model to go on from, and the frame it ends with: the snapshot's, else an empty one."""
    if isinstance(store, SupportsSnapshots):
        snapshot = store.load_snapshot(writer)
        frame = None if snapshot is None else _frame_of(store, writer, snapshot)
        if snapshot is not None and frame is not None:
            model = _load(snapshot, lifecycles)
            if model is not None and model.cursor == _cursor_at(frame):
                return model, snapshot.position, frame.hash
    return ReadModel(lifecycles.values()), 0, GENESIS


def _frame_of(store: Store, writer: str, snapshot: Snapshot) -> Frame | None:
    """The writer's frame that a snapshot ends with, None where it may not be trusted."""
    if snapshot.fold_version != FOLD_VERSION or type(snapshot.position) is not int:
        return None
    stored = next(iter(store.read(max(0, snapshot.position - 1), writer)), None)
    if stored is None or stored.position != snapshot.position:
        return None
    if snapshot.head is not None and snapshot.head != stored.frame.hash:
        _log.warning("the snapshot of writer %s is of another log; it is not used", writer)
    return stored.frame if snapshot.head == stored.frame.hash else None


def _cursor_at(frame: Frame) -> dict[str, int]:
    return {frame.writer: frame.last}


def _load(snapshot: Snapshot, lifecycles: Mapping[str, Lifecycle]) -> ReadModel | None:
    """The model in a snapshot, None where it is of other lifecycles or cannot be read."""
    try:
        data = msgspec.json.decode(snapshot.data)
        if data["fingerprints"] != _fingerprints(lifecycles.values()):
            return None
        return _model_in(data, lifecycles.values())
    except _UNREADABLE as problem:
        _log.warning("the snapshot of writer %s cannot be read: %s", snapshot.writer, problem)
        return None


def _model_in(data: Mapping[str, Any], lifecycles: Iterable[Lifecycle]) -> ReadModel:
    model = ReadModel(lifecycles)
    model.load(data["model"])
    return model


def _fingerprints(lifecycles: Iterable[Lifecycle]) -> list[str]:
    return sorted(lifecycle.fingerprint for lifecycle in lifecycles)


class RefoldedSnapshots:
    """A witness: the snapshots of a log must be what its frames fold to.

    Those that recovery would not use are left alone, and so are those of lifecycles that are not
    known here; `left_alone` says which and why, once the log was read.

    Args:
        store: the log.
        lifecycles: those that snapshots may have been folded with.

    Attributes:
        refolded: the writers whose snapshot was compared.
        left_alone: the writers whose snapshot was not, and why.
    """

    def __init__(self, store: Store, lifecycles: Iterable[Lifecycle]) -> None:
        self.refolded: list[str] = []
        self.left_alone: dict[str, str] = {}
        self._store = store if isinstance(store, SupportsSnapshots) else None
        self._lifecycles = {lifecycle.fingerprint: lifecycle for lifecycle in lifecycles}
        self._folds: dict[str, _Refold | None] = {}
        self._problems: list[Problem] = []

    def take(self, stored: StoredFrame, body: Body | None) -> None:
        """Folds the next frame, if a snapshot of its writer has it."""
        writer = stored.frame.writer
        if writer not in self._folds:
            self._folds[writer] = self._begin(writer, stored.position)
        fold = self._folds[writer]
        if fold is None:
            return
        if body is None:
            self._leave(writer, "the frames before it are damaged")
        elif stored.position <= fold.snapshot.position:
            self._fold(fold, stored)

    def _begin(self, writer: str, position: int) -> _Refold | None:
        snapshot = None if self._store is None else self._store.load_snapshot(writer)
        if snapshot is None:
            return None
        reason = _unused(snapshot)
        if reason:
            self.left_alone[writer] = reason
            return None
        try:
            return self._refold(snapshot)
        except _UNREADABLE as problem:
            self._say(position, writer, f"cannot be read: {problem}")
            return None

    def _refold(self, snapshot: Snapshot) -> _Refold | None:
        data = msgspec.json.decode(snapshot.data)
        fingerprints = data["fingerprints"]
        lifecycles = [lc for name, lc in self._lifecycles.items() if name in fingerprints]
        if len(lifecycles) != len(fingerprints):
            self.left_alone[snapshot.writer] = UNKNOWN_LIFECYCLES
            return None
        return _Refold(snapshot, _model_in(data, lifecycles), ReadModel(lifecycles))

    def _fold(self, fold: _Refold, stored: StoredFrame) -> None:
        writer, position = stored.frame.writer, stored.position
        try:
            decode(stored, fold.model).fold_into(fold.model)
        except DamagedFrame as problem:
            self._leave(writer, "the frames before it cannot be folded")
            self._problems.append(Problem(position, writer, str(problem)))
            return
        if position == fold.snapshot.position:
            self._folds[writer] = None
            self.refolded.append(writer)
            if fold.snapshot.head != stored.frame.hash:
                self._say(position, writer, "was folded at another frame")
            elif not fold.agrees:
                self._say(position, writer, "is not what its frames fold to")

    def _leave(self, writer: str, reason: str) -> None:
        self._folds[writer] = None
        self.left_alone[writer] = reason

    def _say(self, position: int, writer: str, what: str) -> None:
        self._problems.append(Problem(position, writer, f"the snapshot of {writer} {what}"))

    def problems(self) -> Iterator[Problem]:
        """The snapshots that are not what the log folds to, or that go beyond it."""
        yield from self._problems
        for writer, fold in self._folds.items():
            if fold is not None:
                position = fold.snapshot.position
                yield Problem(
                    position,
                    writer,
                    f"frame {position} of {writer}, which its snapshot ends with, is missing",
                )


def _unused(snapshot: Snapshot) -> str:
    """Why recovery would not even look at a snapshot; empty where it would."""
    if snapshot.fold_version != FOLD_VERSION:
        return "another version of rat_fsm folded it"
    if snapshot.head is None:
        return "it was saved without its head, by an older rat_fsm"
    return "" if type(snapshot.position) is int else "it does not say where it ends"


@attrs.frozen(eq=False)
class _Refold:
    """A snapshot, the model in it, and the one that is folded to compare."""

    snapshot: Snapshot
    saved: ReadModel
    model: ReadModel

    @property
    def agrees(self) -> bool:
        """Whether both models know the same, and have read as far."""
        return (
            self.saved == self.model
            and self.saved.cursor == self.model.cursor
            and self.saved.last_at == self.model.last_at
        )
