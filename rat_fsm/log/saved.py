"""Puts a user's projection away beside the frames it was folded from, and takes it up again.

It stands where the snapshots of writers stand, and is trusted no more than those: only by the
version of the code that saved it, with the same lifecycles, and if the frame that it ends with is
still there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import attrs
import msgspec

from rat_fsm.errors import InvalidArgumentType
from rat_fsm.log.ids import check_id
from rat_fsm.stores.port import Snapshot, Store, SupportsSnapshots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rat_fsm.projections.protocol import Projection, SnapshotProjection
    from rat_fsm.stores.port import StoredFrame
    from rat_fsm.table import Lifecycle

_PARTS: Final = ("name", "version", "dump", "load")
# No writer has a name like this: control characters are refused in names.
_PREFIX: Final = "projection\t"
_log = logging.getLogger("rat_fsm")


def name_of(projection: Projection) -> str:
    """What a projection is called, in messages."""
    return str(getattr(projection, "name", type(projection).__name__))


class _SnapshotStore(Store, SupportsSnapshots, Protocol):
    """A store that keeps snapshots."""


class _State(msgspec.Struct):
    """What a snapshot of a projection holds."""

    fingerprints: list[str]
    state: Any


@attrs.frozen
class Saved:
    """The place of one projection in a store.

    Attributes:
        fingerprints: of the lifecycles that its events are read with.
    """

    store: _SnapshotStore
    projection: SnapshotProjection
    fingerprints: list[str]

    @classmethod
    def of(
        cls, store: Store, lifecycles: Iterable[Lifecycle], projection: Projection
    ) -> Saved | None:
        """Its place, None where it has nothing to save, or the store keeps no snapshots.

        Raises:
            InvalidArgument, InvalidArgumentType: it is no projection, or has some of what a
                snapshot takes and not all.
        """
        if not callable(getattr(projection, "fold", None)):
            raise InvalidArgumentType(f"{projection!r} is no projection: it has no method fold")
        if not (hasattr(projection, "dump") or hasattr(projection, "load")):
            return None
        _check_parts(projection)
        if not isinstance(store, SupportsSnapshots):
            return None
        fingerprints = sorted(lifecycle.fingerprint for lifecycle in lifecycles)
        return cls(
            cast("_SnapshotStore", store), cast("SnapshotProjection", projection), fingerprints
        )

    @property
    def _key(self) -> str:
        return _PREFIX + self.projection.name

    def load(self) -> tuple[int, bytes] | None:
        """Takes up what was saved; answers with the frame it ends with and its hash, or None."""
        snapshot = self.store.load_snapshot(self._key)
        if snapshot is None or snapshot.fold_version != self.projection.version:
            return None
        data, stored = self._read(snapshot), self._frame_of(snapshot)
        if data is None or stored is None or data.fingerprints != self.fingerprints:
            return None
        self.projection.load(data.state)
        return stored.position, stored.frame.hash

    @property
    def _name(self) -> str:
        return f"the projection {self.projection.name}"

    def _read(self, snapshot: Snapshot) -> _State | None:
        try:
            return msgspec.json.decode(snapshot.data, type=_State)
        except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
            _log.warning("the snapshot of %s cannot be read: %s", self._name, problem)
            return None

    def _frame_of(self, snapshot: Snapshot) -> StoredFrame | None:
        position = snapshot.position if type(snapshot.position) is int else 0
        stored = next(iter(self.store.read(max(0, position - 1))), None)
        if stored is not None and (stored.position, stored.frame.hash) == (position, snapshot.head):
            return stored
        _log.warning("the snapshot of %s is of another log; it is not used", self._name)
        return None

    def save(self, position: int, head: bytes) -> None:
        """Saves it as of a frame; that it cannot be saved is logged, for it only saves time."""
        if not position:
            return
        try:
            data = msgspec.json.encode(_State(self.fingerprints, self.projection.dump()))
            version = self.projection.version
            self.store.save_snapshot(Snapshot(self._key, version, position, data, head))
        except Exception as problem:  # noqa: BLE001 - whatever the code of others raises
            _log.warning("the snapshot of %s cannot be saved: %s", self._name, problem)


def _check_parts(projection: Any) -> None:
    missing = [part for part in _PARTS if not hasattr(projection, part)]
    present = [part for part in ("dump", "load") if part not in missing]
    if missing:
        raise InvalidArgumentType(
            f"{type(projection).__name__} has {' and '.join(present)} but no {', '.join(missing)}, "
            "and a projection that is to be saved has all of them"
        )
    check_id(projection.name, "a projection's name")
    if type(projection.version) is not int:
        raise InvalidArgumentType(
            f"{projection.name} is of version {projection.version!r}; it must be an integer"
        )
