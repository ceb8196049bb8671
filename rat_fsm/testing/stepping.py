"""A coroutine that tells where it stands, and that others may overtake."""

from __future__ import annotations

import asyncio
import contextlib
import linecache
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import FrameType

T = TypeVar("T")

# What a user waits through, not where.
_PLUMBING: Final = (str(Path(asyncio.__file__).parent), contextlib.__file__)


class Stepped(Coroutine[Any, Any, T]):
    """Runs a coroutine for a task, and puts off each of its steps for as many rounds as is drawn.

    asyncio lets tasks that became ready go on in the order in which they did. No program should
    count on it: one more await somewhere else changes it.
    """

    def __init__(
        self,
        inner: Coroutine[Any, Any, T],
        suspended: Callable[[], object],
        draw: Callable[[], int],
    ) -> None:
        self.__name__ = getattr(inner, "__name__", type(inner).__name__)
        self.__qualname__ = getattr(inner, "__qualname__", self.__name__)
        self._inner = inner
        self._suspended = suspended
        self._draw = draw
        self._rounds: int | None = None
        self._error: BaseException | None = None

    def send(self, value: Any) -> Any:
        """The next step."""
        if self._must_wait():
            return None
        error, self._error = self._error, None
        return self._step(error, value)

    def throw(self, *error: Any) -> Any:
        """The next step begins with an exception, such as a cancellation."""
        self._error = error[0]
        return self.send(None)

    def close(self) -> None:
        """Nobody will run it any further."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._inner.__await__()

    def _must_wait(self) -> bool:
        rounds = self._draw() if self._rounds is None else self._rounds
        self._rounds = rounds - 1 if rounds else None
        return rounds > 0

    def _step(self, error: BaseException | None, value: Any) -> Any:
        waits_for = self._inner.send(value) if error is None else self._inner.throw(error)
        self._suspended()
        return waits_for

    # As a coroutine looks from outside; debuggers, asyncio and anyio look.

    @property
    def cr_frame(self) -> FrameType | None:
        """Where it stands."""
        return getattr(self._inner, "cr_frame", None)

    @property
    def cr_await(self) -> Any:
        """What it waits for."""
        return getattr(self._inner, "cr_await", None)

    @property
    def cr_running(self) -> bool:
        """Whether it runs at this moment."""
        return bool(getattr(self._inner, "cr_running", False))

    @property
    def cr_suspended(self) -> bool:
        """Whether it has begun, and waits."""
        return bool(getattr(self._inner, "cr_suspended", False))

    @property
    def cr_code(self) -> Any:
        """What it runs."""
        return getattr(self._inner, "cr_code", None)


def place_of(coroutine: Any) -> str:
    """Where a coroutine waits: the innermost line of it that is not asyncio's own."""
    frames = list(_frames(coroutine))
    own = [frame for frame in frames if not frame.f_code.co_filename.startswith(_PLUMBING)]
    if not frames:
        return f"in {getattr(coroutine, '__qualname__', coroutine)}"
    return _line((own or frames)[-1])


def _frames(coroutine: Any) -> Iterator[FrameType]:
    """From the outermost to the innermost, as far as what is awaited shows its own."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _line(frame: FrameType) -> str:
    code, number = frame.f_code, frame.f_lineno
    path = Path(code.co_filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    source = linecache.getline(code.co_filename, number).strip()
    return f"{shown}:{number} in {code.co_qualname}: {source}"
