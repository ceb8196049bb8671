"""Holds the objects behind connections, weakly where they can be held so."""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Callable
from typing import Any

_log = logging.getLogger("rat_fsm")
Held = Callable[[], Any]


def hold(reference: Any) -> Held:
    """A callable that answers with the object, or None once it is gone.

    Bound methods are held by `weakref.WeakMethod`; what cannot be weak is held strongly.
    """
    if isinstance(reference, weakref.ref):
        return reference
    try:
        return (
            weakref.WeakMethod(reference) if inspect.ismethod(reference) else weakref.ref(reference)
        )
    except TypeError:
        return lambda: reference


def resolve(held: Any) -> Any:
    """The object behind what `hold` made, or behind what a subclass stored itself."""
    if isinstance(held, weakref.ref) or inspect.isfunction(held):
        return held()
    return held


def is_gone(held: Any) -> bool:
    """Whether the object was held weakly and has been collected."""
    return isinstance(held, weakref.ref) and held() is None


def ending_of(reference: Any) -> tuple[str, str] | None:
    """Why and at whose hand a stream ended, None while it goes on.

    Ours says so itself (``ending``): it is closed while it still delivers what is queued. Of any
    other we know what ``is_closed`` or ``closed`` answers, a value or a method.
    """
    if hasattr(reference, "ending"):
        ending = reference.ending
        return None if ending is None else (ending.reason, ending.ended_by)
    for name in ("is_closed", "closed"):
        answer = getattr(reference, name, None)
        if answer is not None and (answer() if callable(answer) else answer):
            return "stream_closed", "app"
    return None


def close(reference: Any) -> bool:
    """Calls ``close()``; False where there is none or it failed (which is logged)."""
    method = getattr(reference, "close", None)
    if not callable(method):
        return False
    try:
        result = method()
    except Exception:  # noqa: BLE001 - it is a user's, and the caller reports what stays open
        _log.exception("closing %r failed", type(reference).__name__)
        return False
    if inspect.iscoroutine(result):
        result.close()  # it would have to be awaited on a loop that we do not know
        return False
    return True
