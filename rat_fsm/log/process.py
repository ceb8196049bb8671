"""What a log owes to the process it lives in: a flush at exit, and an end in forked children."""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import LogError

if TYPE_CHECKING:
    from threading import Lock

    from rat_fsm.log.eventlog import EventLog

EXIT_TIMEOUT: Final = 5.0
FORK_TIMEOUT: Final = 1.0
_log = logging.getLogger("rat_fsm")
# A dict, because its methods are C code: a WeakSet that another thread changes cannot be listed.
_logs: dict[int, tuple[weakref.ref[EventLog], Lock]] = {}
_held: list[Lock] = []
# Handles of a parent's stores: closing one here would drop the parent's locks or its WAL.
_abandoned: list[Any] = []


def watch(log: EventLog, gate: Lock) -> None:
    """Flushes this log at exit and disables it in forked children.

    ``gate`` is held while its store is written to; a fork waits for it.
    """
    key = id(log)
    _logs[key] = weakref.ref(log, lambda _log: _logs.pop(key, None)), gate


def forget(log: EventLog) -> None:
    """The log is closed."""
    _logs.pop(id(log), None)


def open_logs() -> list[EventLog]:
    """The logs that this process has open for writing."""
    logs = [reference() for reference, _ in list(_logs.values())]
    return [log for log in logs if log is not None]


def flush_all() -> None:
    """Makes durable what the logs of this process have accepted; says what could not be."""
    deadline = time.monotonic() + EXIT_TIMEOUT
    for log in open_logs():
        try:
            log.flush(max(0.0, deadline - time.monotonic()))
        except LogError as problem:
            _log.error("%s was not stored completely: %s", log.url, problem)


def _before_fork() -> None:
    """Waits until no store is written to: no child is born in the middle of a commit."""
    deadline = time.monotonic() + FORK_TIMEOUT
    for _, gate in list(_logs.values()):
        if gate.acquire(timeout=max(0.0, deadline - time.monotonic())):
            _held.append(gate)


def _after_fork() -> None:
    while _held:
        _held.pop().release()


def _disable_all() -> None:
    _held.clear()
    for log in open_logs():
        _keep_for_ever(log.abandon())
    _logs.clear()


def _keep_for_ever(handle: Any) -> None:
    """Keeps a handle referenced even while the interpreter takes its modules apart."""
    import ctypes  # only in a forked child

    _abandoned.append(handle)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))


atexit.register(flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_disable_all
    )
