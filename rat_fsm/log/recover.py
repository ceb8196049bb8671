"""Opens a writer's chain: folds what it recorded and ends what a dead process left open."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from rat_fsm.codec import check_frame, decode, no_collection
from rat_fsm.errors import DamagedFrame, HistoryEvicted, UnsupportedFormat, WriterBusy
from rat_fsm.log.accept import Acceptor
from rat_fsm.log.commit import Committer
from rat_fsm.log.snapshots import from_snapshot, save_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.record import StreamRecord
    from rat_fsm.stores.port import Store
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
    model, position, prev = from_snapshot(store, writer, lifecycles)
    before, unknown = model.cursor.get(writer, 0), model.totals.unknown
    for stored in store.read(position, writer):
        check_frame(stored, prev)
        with no_collection():
            decode(stored, model).fold_into(model)
        prev, position = stored.frame.hash, stored.position
    if model.totals.unknown > unknown:
        _log.warning("writer %s: %d unknown events", writer, model.totals.unknown - unknown)
    if model.cursor.get(writer, 0) - before > LONG_FOLD:
        save_snapshot(store, writer, model, position, prev)
    for record in model.records(writer):
        record.written = record.version
    return model


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
    committer.attach(acceptor, store.head(writer))
    try:
        # Nodes last: whether a connection was cut by a crash or a shutdown is read from the node.
        for record in sorted(left, key=lambda record: record.lifecycle == "node"):
            _end(acceptor, record, at)
        committer.flush(acceptor.mark, RECOVERY_TIMEOUT)
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
