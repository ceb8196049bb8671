"""A reader that looks on while everything goes wrong, and remembers all that it saw."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Self

from rat_fsm.stores import open_store

if TYPE_CHECKING:
    from types import TracebackType

    from rat_fsm.stores.port import StoredFrame

SLICE: Final = 0.2
PATIENCE: Final = 60.0


class Watcher:
    """Reads every frame as soon as it can be seen; a store that fails is asked again.

    Attributes:
        frames: what it saw, in the order in which it saw it.
        failures: how often the store could not be read.
    """

    def __init__(self, url: str) -> None:
        self.frames: list[StoredFrame] = []
        self.failures = 0
        self._store = open_store(url)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher")

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                self._look()
            except OSError:
                self.failures += 1
                self._ended.wait(SLICE)

    def _look(self) -> None:
        seen = self.frames[-1].position if self.frames else 0
        if self._store.wait(seen, SLICE):
            for stored in self._store.read(seen):
                self.frames.append(stored)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Stops looking; whatever the store does, that must not take long."""
        self._ended.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the reader hangs"
        self._store.close()  # idempotent, as this is

    def check(self, frames: list[StoredFrame]) -> None:
        """What it saw is how the log begins: nothing was taken back, moved, or skipped."""
        assert self.frames == frames[: len(self.frames)]
