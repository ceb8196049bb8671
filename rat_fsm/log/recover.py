"""Opens a writer's chain: folds what it recorded and ends what a dead process left open."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from rat_fsm.codec import check_frame, decode, no_collection
from rat_fsm.errors import DamagedFrame, HistoryEvicted, UnsupportedFormat, WriterBusy
from rat_fsm.log.accept import Acceptor
from rat_fsm.log.commit import Committer
from rat_fsm.projections.model import FOLD_VERSION, ReadModel
from rat_fsm.stores.port import GENESIS, Snapshot, SupportsSnapshots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.projections.record import StreamRecord
    from rat_fsm.stores.port import Frame, Store
    from rat_fsm.table import Lifecycle

LONG_FOLD: Final = 100_000
RECOVERY_TIMEOUT: Final = 60.0
_log = logging.getLogger("rat_fsm")


def fold_writer(store: Store, writer: str, lifecycles: Mapping[str, Lifecycle]) -> ReadModel:
    """What a writer has recorded so far, from its snapshot on; a long fold saves a new one.

    Raises:
        DamagedFrame: its chain is broken.
        UnsupportedFormat: a newer rat_fsm wrote it.
        HistoryEvicted: a bounded memory store no longer holds its beginning.
    """
    model, position, prev = _from_snapshot(store, writer, lifecycles)
    before, unknown = model.cursor.get(writer, 0), model.totals.unknown
    for stored in store.read(position, writer):
        check_frame(stored, prev)
        with no_collection():
            decode(stored, model).fold_into(model)
        prev, position = stored.frame.hash, stored.position
    if model.totals.unknown > unknown:
        _log.warning("writer %s: %d unknown events", writer, model.totals.unknown - unknown)
    if model.cursor.get(writer, 0) - before > LONG_FOLD:
        save_snapshot(store, writer, model, position)
    for record in model.records(writer):
        record.written = record.version
    return model


def _from_snapshot(
    store: Store, writer: str, lifecycles: Mapping[str, Lifecycle]
) -> tuple[ReadModel, int, bytes]:
    """A model to go on from, and the frame it ends with: the snapshot's, else an empty one."""
    if isinstance(store, SupportsSnapshots):
        snapshot = store.load_snapshot(writer)
        frame = None if snapshot is None else _snapshot_frame(store, writer, snapshot)
        if snapshot is not None and frame is not None:
            model = _load(snapshot, lifecycles)
            if model is not None and model.cursor == {writer: frame.first + frame.count - 1}:
                return model, snapshot.position, frame.hash
    return ReadModel(lifecycles.values()), 0, GENESIS


def _snapshot_frame(store: Store, writer: str, snapshot: Snapshot) -> Frame | None:
    """The writer's frame that a snapshot says it ends with, None where there is no such frame."""
    if snapshot.fold_version != FOLD_VERSION or type(snapshot.position) is not int:
        return None
    stored = next(iter(store.read(max(0, snapshot.position - 1), writer)), None)
    return None if stored is None or stored.position != snapshot.position else stored.frame


def _load(snapshot: Snapshot, lifecycles: Mapping[str, Lifecycle]) -> ReadModel | None:
    """The model in a snapshot, None where it is of other lifecycles or cannot be read."""
    model = ReadModel(lifecycles.values())
    try:
        data = msgspec.json.decode(snapshot.data)
        if data["fingerprints"] != _fingerprints(lifecycles):
            return None
        model.load(data["model"])
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as problem:
        _log.warning("the snapshot of writer %s cannot be read: %s", snapshot.writer, problem)
        return None
    return model


def save_snapshot(store: Store, writer: str, model: ReadModel, position: int) -> None:
    """Saves a model that has folded the writer's frames up to a position."""
    if not isinstance(store, SupportsSnapshots):
        return
    plain = {"fingerprints": _fingerprints(model.lifecycles), "model": model.dump()}
    snapshot = Snapshot(writer, FOLD_VERSION, position, msgspec.json.encode(plain))
    try:
        store.save_snapshot(snapshot)
    except OSError as problem:  # it only saves time
        _log.warning("the snapshot of writer %s cannot be saved: %s", writer, problem)


def _fingerprints(lifecycles: Mapping[str, Lifecycle]) -> list[str]:
    return sorted(lifecycle.fingerprint for lifecycle in lifecycles.values())


def recover_free_slots(store: Store, own: str, lifecycles: Mapping[str, Lifecycle]) -> None:
    """Ends what dead writers other than ``own`` left open; busy slots are somebody's.

    What cannot be read is left as it is and said: it must not keep everybody else from opening.
    """
    for writer in sorted(store.heads().keys() - {own}):
        try:
            store.claim(writer)
        except WriterBusy:
            continue
        try:
            end_abandoned(store, writer, fold_writer(store, writer, lifecycles))
        except (DamagedFrame, UnsupportedFormat, HistoryEvicted) as problem:
            _log.error("writer %s cannot be recovered: %s", writer, problem)
        finally:
            store.release(writer)


def end_abandoned(store: Store, writer: str, model: ReadModel) -> None:
    """Appends, at the writer's last time, the ends of the streams it cannot go on with.

    The model has folded them then, as if they had been read.
    """
    left = [record for record in model.records(writer) if _is_left(model, record)]
    if not left:
        return
    _log.warning("writer %s did not end cleanly; ending %d streams it left", writer, len(left))
    at = model.last_at[writer]
    fingerprints = tuple(lifecycle.fingerprint for lifecycle in model.lifecycles.values())
    committer = Committer(store, writer, fingerprints)
    acceptor = Acceptor(model, writer, lambda: at, committer.wake, max_pending=10 * len(left) + 10)
    committer.attach(acceptor, store.heads().get(writer))
    try:
        # Nodes last: whether a connection was cut by a crash or a shutdown is read from the node.
        for record in sorted(left, key=lambda record: record.lifecycle == "node"):
            _end(acceptor, record, at)
        committer.flush(acceptor.seq, RECOVERY_TIMEOUT)
        model.cursor[writer] = acceptor.seq
    finally:
        committer.stop()
        committer.join(RECOVERY_TIMEOUT)


def _is_left(model: ReadModel, record: StreamRecord) -> bool:
    lifecycle = model.lifecycles[record.lifecycle]
    return lifecycle.abandon is not None and record.state not in lifecycle.final


def _end(acceptor: Acceptor, record: StreamRecord, at: int) -> None:
    lifecycle = acceptor.model.lifecycles[record.lifecycle]
    abandon = lifecycle.abandon
    if abandon is not None:
        acceptor.transact(
            lifecycle, record.id, lambda stream, model: abandon(stream, model, at), reserved=True
        )
