"""What an acknowledgement means: JetStream's clients cannot ask when a server syncs to its disk.

A server's monitoring port says it; the option ``monitor`` of the URL names those of the servers.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMEOUT: Final = 2.0
MAX_ANSWER: Final = 2**20
_log = logging.getLogger("rat_fsm")


def guarantee(replicas: int, monitors: Iterable[str]) -> str:
    """In one line, what is known of a frame that was acknowledged.

    Args:
        replicas: on how many servers it is kept; most of them have it then.
        monitors: the monitoring ports of those servers, as URLs; without any, or where one does
            not answer, nothing is promised of disks.
    """
    intervals = [_interval_of(monitor) for monitor in monitors]
    of = "" if replicas == 1 else f"{replicas // 2 + 1} of {replicas} "
    if intervals and all(interval == 0 for interval in intervals):
        return f"synced to the disks of {of}servers" if of else "synced to the disk of one server"
    where = f"in the memory of {of}servers" if of else "in the memory of one server"
    known = [interval for interval in intervals if interval is not None]
    if known and len(known) == len(intervals):
        return f"{where}, synced to disk every {max(known):g} s"
    they = "they run" if of else "it runs"
    return f"{where}, synced to disk at intervals unless {they} with sync_interval: always"


def _interval_of(monitor: str) -> float | None:
    """Every how many seconds a server syncs; 0 before it acknowledges, None if it does not say."""
    from http.client import HTTPException

    try:
        config = _asked(monitor)
        return 0 if config.get("sync_always") else int(config["sync_interval"]) / 1_000_000_000
    except (OSError, ValueError, TypeError, LookupError, HTTPException) as problem:
        _log.warning("a monitoring port does not say how its server syncs: %s", problem)
        return None


def _asked(monitor: str) -> dict[str, Any]:
    from urllib.request import urlopen  # 30 ms, for those who ask

    with urlopen(f"{monitor.rstrip('/')}/jsz?config=1", timeout=TIMEOUT) as answer:  # noqa: S310 - an http: URL, see address.py
        config: dict[str, Any] = json.loads(answer.read(MAX_ANSWER))["config"]
        return config
