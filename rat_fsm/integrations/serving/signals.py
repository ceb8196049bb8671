"""Hears SIGTERM and SIGINT beside the server, whose own handler still gets its say."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

_log: Final = logging.getLogger("rat_fsm")
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class ChainedHandler:
    """Stands in for a signal handler, and looks like the bound method it may stand in for.

    Libraries look for a server behind ``signal.getsignal(SIGTERM).__self__``; they find it.
    """

    def __init__(
        self, previous: Any, on_signal: Callable[[ChainedHandler, int, Any], None]
    ) -> None:
        self.previous = previous
        self._on_signal = on_signal
        self.__name__ = getattr(previous, "__name__", "rat_fsm_handler")

    @property
    def __self__(self) -> Any:
        """Whose method the previous handler is; AttributeError where it is none."""
        return self.previous.__self__

    @property
    def __func__(self) -> Any:
        """The function of that method."""
        return self.previous.__func__

    def __call__(self, number: int, frame: Any) -> None:
        """Runs in the main thread, between any two bytecodes."""
        self._on_signal(self, number, frame)


class SignalChain:
    """Starts a drain at SIGTERM and SIGINT, and passes the signal on.

    uvicorn's handler is called once the drain is over, as it waits for nothing that it does not
    know. So are the defaults, which end the process: they are put back and the signal is raised
    again. Any other handler is called at once. A signal that is ignored stays ignored.

    Args:
        on_drain: called on the loop with the signal's name and what to call after the drain.
        on_insist: called on the loop for a signal that comes while the drain goes on.
    """

    def __init__(
        self,
        on_drain: Callable[[str, Callable[[], None]], None],
        on_insist: Callable[[], None],
    ) -> None:
        self._on_drain = on_drain
        self._on_insist = on_insist
        self._loop: AbstractEventLoop | None = None
        self._handlers: dict[int, ChainedHandler] = {}
        self._heard: int | None = None
        self._passed = False

    @property
    def installed(self) -> bool:
        """Whether signals come here."""
        return bool(self._handlers)

    def install(self, loop: AbstractEventLoop) -> bool:
        """Chains the handlers; False outside the main thread, where Python sets none."""
        if threading.current_thread() is not threading.main_thread():
            return False
        self._loop, self._heard, self._passed = loop, None, False
        for number in _SIGNALS:
            previous: Any = signal.getsignal(number)
            if previous is signal.SIG_IGN or previous is None:  # None: set by C code, unreachable
                continue
            if previous is not self._handlers.get(number):
                handler = ChainedHandler(previous, self._handle)
                signal.signal(number, handler)
                self._handlers[number] = handler
        return self.installed

    def restore(self) -> None:
        """Puts back what was there, where nobody has replaced ours meanwhile."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self._handlers.items():
            current: Any = signal.getsignal(number)
            if current is handler:
                signal.signal(number, handler.previous)
        self._handlers.clear()

    def _handle(self, handler: ChainedHandler, number: int, frame: Any) -> None:
        if self._passed or self._loop is None or self._loop.is_closed():
            # The server is ending: who insists now insists there.
            _pass_on(handler.previous, number, frame)
            return
        if not _waits_for_drain(handler.previous):
            handler.previous(number, frame)
        if self._heard is None:
            self._heard = number
            name = signal.Signals(number).name
            self._on_loop(self._on_drain, name, lambda: self._drained(handler, number))
        else:
            self._on_loop(self._on_insist)

    def _on_loop(self, job: Callable[..., None], *arguments: Any) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(job, *arguments)

    def _drained(self, handler: ChainedHandler, number: int) -> None:
        self._passed = True
        if _waits_for_drain(handler.previous):
            _pass_on(handler.previous, number, None)


def _pass_on(previous: Any, number: int, frame: Any) -> None:
    if _is_default(previous):
        signal.signal(number, previous)
        signal.raise_signal(number)
    else:
        previous(number, frame)


def _is_default(handler: Any) -> bool:
    return handler is signal.SIG_DFL or handler is signal.default_int_handler


def _waits_for_drain(handler: Any) -> bool:
    if isinstance(handler, ChainedHandler):  # of another application here: both drain at once
        return False
    return _is_default(handler) or is_uvicorns(handler)


def is_uvicorns(handler: Any) -> bool:
    """Whether a handler is a method of uvicorn's server, or of a subclass of it."""
    owner = getattr(handler, "__self__", None)
    return any(base.__module__.split(".")[0] == "uvicorn" for base in type(owner).__mro__)
