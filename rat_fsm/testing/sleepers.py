"""Threads that wait in virtual time while an event loop moves the clock for them."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet


@attrs.define(eq=False)
class Sleeper:
    """A thread that waits for an event, or for its time."""

    event: threading.Event
    thread: int = attrs.field(factory=threading.get_ident)
    orphaned: bool = False
    _woken: threading.Event = attrs.field(factory=threading.Event)

    def wake(self) -> None:
        """Its time has come, or its event."""
        self._woken.set()

    def orphan(self) -> None:
        """Nobody will move the clock for it any more."""
        self.orphaned = True
        self._woken.set()

    def wait(self) -> bool:
        """Blocks until somebody wakes it; False where nobody ever will."""
        self._woken.wait()
        return not self.orphaned

    @property
    def awake(self) -> bool:
        """Whether it goes on."""
        return self._woken.is_set()


class Sleepers:
    """All that wait on one clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: set[Sleeper] = set()

    @contextlib.contextmanager
    def asleep(self, event: threading.Event) -> Iterator[Sleeper]:
        """While this thread waits for an event."""
        sleeper = Sleeper(event)
        with self._lock:
            self._all.add(sleeper)
        try:
            yield sleeper
        finally:
            with self._lock:
                self._all.discard(sleeper)

    def wake_those_set(self) -> bool:
        """Wakes those whose event is set; answers whether anybody is about to go on."""
        with self._lock:
            for sleeper in self._all:
                if sleeper.event.is_set():
                    sleeper.wake()
            return any(sleeper.awake for sleeper in self._all)

    def count(self, threads: AbstractSet[int]) -> int:
        """How many of these threads sleep."""
        with self._lock:
            return sum(not one.awake and one.thread in threads for one in self._all)

    def orphan(self) -> None:
        """The loop that moved the clock is gone."""
        with self._lock:
            for sleeper in self._all:
                sleeper.orphan()
