"""Runs users' disconnect callbacks: each exactly once, away from every lock and deadline."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from typing import TYPE_CHECKING, Any

from rat_fsm.errors import InvalidArgument, InvalidArgumentType, LogError
from rat_fsm.events import CallbackFailed
from rat_fsm.policy import describe_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from rat_fsm.log.eventlog import EventLog
    from rat_fsm.runtime.clock import Clock

    Callback = Callable[[str], Any]

_log = logging.getLogger("rat_fsm")


class Callbacks:
    """Connection id → what to call when it ends."""

    def __init__(self, clock: Clock, on_failure: Callable[[str, str], None]) -> None:
        self._clock = clock
        self._on_failure = on_failure
        self._waiting: dict[str, list[Callback]] = {}

    def check(self, callback: Any) -> Callback:
        """What to call for a callback; a coroutine function runs on the loop that registers it.

        Raises:
            InvalidArgumentType: it cannot be called.
            InvalidArgument: it is a coroutine function and no event loop is running here.
        """
        if not callable(callback):
            raise InvalidArgumentType(
                f"on_disconnect must be callable, not {type(callback).__name__}"
            )
        if not inspect.iscoroutinefunction(callback):
            return callback  # type: ignore[no-any-return]  # whatever it answers is dropped
        loop = running_loop()
        if loop is None:
            raise InvalidArgument(
                "a coroutine function needs the event loop to run on: register it from a coroutine"
            )
        return functools.partial(self._submit, loop, callback)

    def add(self, connection_id: str, callback: Callback) -> None:
        """Calls a checked callback when the connection ends."""
        self._waiting.setdefault(connection_id, []).append(callback)

    def forget(self, connection_id: str) -> None:
        """Calls nothing for this connection."""
        self._waiting.pop(connection_id, None)

    def ids(self) -> list[str]:
        """The connections that have callbacks."""
        return list(self._waiting)

    def run(self, connection_id: str) -> None:
        """The connection has ended: calls its callbacks; whoever takes them runs them."""
        for callback in self._waiting.pop(connection_id, ()):
            self._clock.call(functools.partial(self._call, connection_id, callback))

    def _call(self, connection_id: str, callback: Callback) -> None:
        try:
            callback(connection_id)
        except BaseException as error:  # a CancelledError is no Exception
            self._failed(connection_id, error)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise

    def _failed(self, connection_id: str, error: BaseException) -> None:
        _log.error("the disconnect callback of %r failed", connection_id, exc_info=error)
        self._on_failure(connection_id, f"{type(error).__name__}: {error}")

    def _submit(self, loop: Any, callback: Callback, connection_id: str) -> None:
        import asyncio

        coroutine = callback(connection_id)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:
            coroutine.close()  # the loop is closed: a coroutine left behind would warn
            raise
        future.add_done_callback(functools.partial(self._done, connection_id))

    def _done(self, connection_id: str, future: Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self._failed(connection_id, error)


def failure_recorder(log: EventLog) -> Callable[[str, str], None]:
    """What records on a log that the callback of a connection failed."""

    def record(connection_id: str, error: str) -> None:
        _, message = describe_error(error)
        try:
            log.append_node(CallbackFailed(connection_id, message))
        except LogError as problem:
            _log.warning("a failed callback could not be recorded: %s", problem)

    return record


def running_loop() -> Any:
    """The event loop of this thread; if asyncio was never imported, there is none."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001 - as asyncio itself asks
