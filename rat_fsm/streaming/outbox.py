"""The bounded queue between those who send events, on any thread, and the loop that delivers them.

Law: ``put`` never waits. Its lock is re-entrant because a signal handler may interrupt a thread
inside it and send an event of its own; no foreign code runs under it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.errors import Refused
from rat_fsm.streaming.ledger import STALLED, Ending

if TYPE_CHECKING:
    from collections.abc import Callable

# One chunk is about what uvicorn's and asyncio's high-water mark lets through at once: larger
# ones would hide for longer that a client reads slowly.
CHUNK_BYTES: Final = 65536


@attrs.frozen
class Parcel:
    """Whole frames, and how many messages they count for."""

    body: bytes
    messages: int


@attrs.define(eq=False)
class Outbox:
    """Takes frames until it is closed, gives them out in order, and knows when nothing moves.

    It is stuck while it is full, or closed, and nothing is taken from it; stuck for
    ``stall_after`` seconds it ends as stalled. A full one refuses the new frame and drops none.
    """

    capacity: int
    stall_after: float
    on_end: Callable[[Ending], None]
    monotonic: Callable[[], float] = time.monotonic
    closed: bool = attrs.field(default=False, init=False)
    ending: Ending | None = attrs.field(default=None, init=False)
    _parcels: deque[Parcel] = attrs.field(factory=deque, init=False)
    _stuck_since: float | None = attrs.field(default=None, init=False)
    _idle: bool = attrs.field(default=False, init=False)
    _wake: Callable[[], None] | None = attrs.field(default=None, init=False)
    _lock: threading.RLock = attrs.field(factory=threading.RLock, init=False)

    def put(self, parcel: Parcel) -> bool:
        """Queue a parcel; False when it is refused or the stream is over."""
        with self._lock:
            accepted = self._accept(parcel)
        if accepted:
            self._rouse()
        else:
            self.check_stall()
        return accepted and self.ending is None

    def take(self) -> Parcel | None:
        """What is next, up to a chunk; None tells that ``wake`` will be called when more is there.

        Calling it says that everything taken before has been delivered.
        """
        with self._lock:
            self._stuck_since = self.monotonic() if self.closed else None
            # Said before looking, or a signal handler's event between the look and the word
            # would wake nobody.
            self._idle = True
            if not self._parcels:
                return None
            self._idle = False
            return self._chunk()

    def attach(
        self, wake: Callable[[], None], monotonic: Callable[[], float] | None = None
    ) -> None:
        """Name who delivers; ``wake`` is called from any thread and must not block.

        Args:
            wake: has whoever delivers look into the outbox again.
            monotonic: what stalls are measured by from now on: the time that whoever delivers
                waits by.

        Raises:
            Refused: there is one already: a stream serves one request.
        """
        with self._lock:
            if self._wake is not None:
                msg = "this response already serves a request; make one for each"
                raise Refused(msg, cause="already_serving")
            self._wake = wake
            self.monotonic = monotonic or self.monotonic
            # A client cannot be blamed for what waited before it was served.
            if self._stuck_since is not None:
                self._stuck_since = self.monotonic()

    def close(self) -> None:
        """Take nothing more; what is queued can still be taken."""
        with self._lock:
            self.closed = True
            if self._stuck_since is None:
                self._stuck_since = self.monotonic()
        self._rouse()

    def end(self, ending: Ending) -> None:
        """Drop what is queued and tell ``on_end``; only the first ending counts."""
        with self._lock:
            first = self.ending is None
            self.ending = self.ending or ending
            self.closed = True
            self._parcels.clear()
        if first:
            self.on_end(ending)

    @property
    def delivering(self) -> bool:
        """Whether somebody delivers, and will say when it is over."""
        with self._lock:
            return self._wake is not None and self.ending is None

    @property
    def drained(self) -> bool:
        """Closed, and everything was taken."""
        with self._lock:
            return self.closed and not self._parcels

    def patience(self) -> float:
        """Seconds until it may have stalled; look again then."""
        since = self._stuck_since
        if since is None:
            return self.stall_after
        return max(0.0, since + self.stall_after - self.monotonic())

    def check_stall(self) -> None:
        """End as stalled if nothing has moved for too long."""
        if self.patience() <= 0:
            self.end(STALLED)

    def _accept(self, parcel: Parcel) -> bool:
        if self.closed or len(self._parcels) >= self.capacity:
            return False
        self._parcels.append(parcel)
        if len(self._parcels) >= self.capacity and self._stuck_since is None:
            self._stuck_since = self.monotonic()
        return True

    def _chunk(self) -> Parcel:
        bodies, messages, size = [], 0, 0
        while self._parcels and size < CHUNK_BYTES:
            parcel = self._parcels.popleft()
            bodies.append(parcel.body)
            messages += parcel.messages
            size += len(parcel.body)
        return Parcel(b"".join(bodies), messages)

    def _rouse(self) -> None:
        with self._lock:
            wake, self._idle = (self._wake if self._idle else None), False
        if wake is not None:
            wake()
