"""Writes the golden log of this release: ``python -m tests.golden.make VERSION``.

A golden log is made once, when a version is released, and never again: every later version must
read it and find in it what was found then.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rat_fsm import (
    ConnectionManager,
    ErrorRecovery,
    EventLog,
    GracefulShutdown,
    read_events,
    replay,
)
from rat_fsm.codec import encode_recorded
from rat_fsm.core import Stall, Unstall, decide
from rat_fsm.testing import VirtualClock

FOLDER = Path(__file__).parent


def record(path: Path) -> None:
    """A bit of everything, in virtual time."""
    clock = VirtualClock()
    with EventLog.open(path, clock=clock, writer="golden") as log:
        manager = ConnectionManager(3, log=log, stale_after=100, clock=clock)
        recovery = ErrorRecovery(2, log=log, jitter="full", random=lambda: 0.5)
        for name in ("reads", "fails", "stale", "refused"):
            manager.register_connection(name, "192.0.2.1", None, {"type": "sse", "who": name})
        for name in ("reads", "fails"):
            clock.advance(1)
            manager.record_activity(name, 1000, 3)
        for request in (Stall(2.5), Unstall(4.0)):
            _transact(log, "reads", request)
        for error in (ConnectionResetError("reset"), TimeoutError("slow"), ValueError("a bug")):
            manager.record_error("fails", error)
            recovery.should_retry("fails", error)
            clock.advance(2)
        manager.record_activity("fails", 10, 1)
        recovery.reset_retry_count("fails")
        manager.close_connection("fails", reason="kicked", ended_by="admin", code=1008)
        manager.mark_healthy("reads")
        clock.advance(120)
        manager.record_activity("reads", 1, 1)
        GracefulShutdown(manager, timeout=5.0).initiate_shutdown()


def _transact(log: EventLog, name: str, request: object) -> None:
    log.transact("connection", name, lambda stream, model: decide(request, stream, model))


def told(path: Path) -> dict[str, Any]:
    """What a log says: its events as JSON, and the statistics folded from them."""
    lines = [json.loads(encode_recorded(recorded)) for recorded in read_events(path)]
    return {"events": lines, "stats": replay(path).stats.as_dict()}


def main(version: str) -> None:
    """Writes the log and what it says."""
    path = FOLDER / f"{version}.sqlite"
    record(path)
    text = json.dumps(told(path), indent=1, sort_keys=True, ensure_ascii=False)
    path.with_suffix(".json").write_text(f"{text}\n")


if __name__ == "__main__":
    main(sys.argv[1])
