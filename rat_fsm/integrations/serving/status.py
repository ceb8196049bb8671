"""What a served process says about itself, as plain JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rat_fsm.integrations.serving.draining import Drainer
    from rat_fsm.projections.connections import ConnectionInfo
    from rat_fsm.runtime.manager import ConnectionManager

MOST_SHOWN: Final = 100


def status_of(
    manager: ConnectionManager, drainer: Drainer | None, max_per_client: int | None
) -> dict[str, Any]:
    """Phase, progress of a drain, who is left (at most a hundred), limits, and the log's health."""
    health = manager.log.health
    with manager.log.reading() as model:
        progress = model.drain
        records = model.open_records()[:MOST_SHOWN]
        left = [model.connections.get(record.id) for record in records]
    asked = drainer is not None and drainer.asked
    return {
        "phase": "lame_duck" if asked and not progress.draining else progress.phase,
        "ready": not asked and not progress.draining and health.ready,
        "requested_by": progress.requested_by or (drainer.requested_by if drainer else ""),
        "total": progress.total,
        "closed": progress.closed,
        "remaining": progress.remaining,
        "stalled": progress.stalled,
        "deadline": progress.deadline,
        "elapsed": _elapsed(progress.started_at, manager.clock.now()),
        "left": [_shown(info, manager.clock.now()) for info in left if info is not None],
        "limits": {
            "max_connections": manager.max_connections,
            "max_per_client": max_per_client,
            "scope": "process",
        },
        "writer": manager.log.writer,
        "log": {
            "status": health.status,
            "pending": health.pending,
            "spilled": health.spilled,
            "set_aside": health.set_aside,
            "window": round(health.window, 3),
            "durability": health.durability,
            "guarantee": health.guarantee,
            "last_error": health.last_error,
        },
    }


def _elapsed(started_at: int | None, now: int) -> float | None:
    return None if started_at is None else round((now - started_at) / 1_000_000, 3)


def _shown(info: ConnectionInfo, now: int) -> dict[str, Any]:
    return {
        "id": info.connection_id,
        "kind": info.kind,
        "route": info.route,
        "state": info.state.value,
        "stalled": info.stalled,
        "remote_addr": info.remote_addr,
        "bytes_sent": info.bytes_sent,
        "open_for": round(now / 1_000_000 - info.created_at.timestamp(), 3),
    }
