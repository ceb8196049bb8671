"""Stores that fail on demand: a real store behind them keeps the frames."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Literal

from rat_fsm.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rat_fsm.stores.port import Frame, Store, StoredFrame

    # not stored; stored but reported as failed; not stored, or stored, and out of reach until
    # the next `reopen` but one
    Fault = Literal["refused", "unreported", "lost", "out_of_reach"]


class FaultyStore:
    """A store whose next appends fail as told; ``away`` makes every append fail.

    Attributes:
        failed: released once for every append that has failed.
        held: while it is clear, appends wait for it: a store that hangs.
        asked: set when an append begins.
    """

    def __init__(self, real: Store | None = None, faults: Iterable[Fault] = ()) -> None:
        self.real: Store = MemoryStore() if real is None else real
        self.url = self.real.url
        self.writable = True
        self.faults: deque[Fault] = deque(faults)
        self.away = False
        self.failed = threading.Semaphore(0)
        self.held = threading.Event()
        self.held.set()
        self.asked = threading.Event()
        self._unreachable = False

    def append(self, frame: Frame) -> int:
        """As told, or as the real store does."""
        self.asked.set()
        assert self.held.wait(30)
        fault = "refused" if self.away else self.faults.popleft() if self.faults else None
        if fault in {"unreported", "out_of_reach"}:
            self.real.append(frame)
        if fault is None:
            return self.real.append(frame)
        self._unreachable = fault in {"lost", "out_of_reach"}
        self.failed.release()
        raise OSError(28, f"no space left on device ({fault})")

    def reopen(self) -> None:
        """Fails once where the outcome of an append is to be unknown."""
        if self._unreachable:
            self._unreachable = False
            raise OSError(5, "the device is gone")
        self.real.reopen()

    def read(self, after: int = 0, writer: str | None = None) -> Iterator[StoredFrame]:
        """What the real store holds."""
        return self.real.read(after, writer)

    def heads(self) -> dict[str, StoredFrame]:
        """What the real store says."""
        return self.real.heads()

    def wait(self, after: int, timeout: float) -> bool:
        """As the real store does."""
        return self.real.wait(after, timeout)

    def claim(self, writer: str | None) -> str:
        """As the real store does."""
        return self.real.claim(writer)

    def release(self, writer: str) -> None:
        """As the real store does."""
        self.real.release(writer)

    def close(self) -> None:
        """As the real store does."""
        self.real.close()
