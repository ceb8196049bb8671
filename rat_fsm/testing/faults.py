"""Stores that fail on demand or as drawn: a real store behind them keeps the frames."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, get_args

from rat_fsm.errors import InvalidArgument, WriterFenced
from rat_fsm.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hypothesis import strategies as st

    from rat_fsm.stores.port import Frame, Store, StoredFrame

Fault = Literal["delayed", "refused", "lost", "unreported", "out_of_reach", "killed", "killed_late"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
_STORED: Final = frozenset({"unreported", "out_of_reach", "killed_late"})
_UNREACHABLE: Final = frozenset({"lost", "out_of_reach"})
_KILLED: Final = frozenset({"killed", "killed_late"})
_HANG: Final = 30.0


class FaultyStore:
    """A store whose next appends go as told, each by one of the faults; None is no fault.

    * ``delayed``: it takes ``delay`` seconds.
    * ``refused``: it fails, as on a full disk.
    * ``unreported``: it is stored, and reported as failed.
    * ``lost``: it fails, and the store cannot be reached at the first try afterwards.
    * ``out_of_reach``: likewise, but it was stored.
    * ``killed``: the process is killed before it; see `kill`.
    * ``killed_late``: the process is killed after it, before anybody hears of it.

    ::

        from rat_fsm import EventLog, replay
        from rat_fsm.events import Registered
        from rat_fsm.testing import FaultyStore

        store = FaultyStore(faults=["lost", "unreported"])
        with EventLog(store) as log:
            log.append(("connection", "a"), Registered("10.0.0.1"))
            log.flush(timeout=10)
        assert replay(store.real).stats.as_dict()["total_connections"] == 1

    Args:
        real: where the frames are kept; a new `MemoryStore` by default. What it does beyond the
            port, such as to keep snapshots, is out of use.
        faults: what happens to the next appends, in order.
        delay: of a delayed append, seconds.

    Attributes:
        real: the store behind it.
        faults: what is still to come.
        away: while it is set, every append is refused.
        killed: whether the process was killed.
        failed: released once for every append that has failed.
        held: while it is clear, appends wait for it: a store that hangs.
        asked: set when an append begins.
    """

    def __init__(
        self,
        real: Store | None = None,
        faults: Iterable[Fault | None] = (),
        *,
        delay: float = 0.005,
    ) -> None:
        self.real: Store = MemoryStore() if real is None else real
        self.url = self.real.url
        self.writable = True
        self.faults: deque[Fault | None] = deque(faults)
        self.away = self.killed = False
        self.failed = threading.Semaphore(0)
        self.held = threading.Event()
        self.held.set()
        self.asked = threading.Event()
        self._told = tuple(self.faults)
        self._delay = delay
        self._unreachable = False
        self._claimed: set[str] = set()
        unknown = [fault for fault in self._told if fault not in {None, *FAULTS}]
        if unknown:
            raise InvalidArgument(f"no fault {unknown[0]!r}, only {', '.join(FAULTS)}")

    def __repr__(self) -> str:
        """With the faults it was made with."""
        return f"FaultyStore(faults={list(self._told)!r})"

    def append(self, frame: Frame) -> int:
        """As told, or as the real store does."""
        self.asked.set()
        if not self.held.wait(_HANG):
            raise TimeoutError("the store was held for half a minute")
        if self.killed:
            raise WriterFenced("the process was killed")
        fault = "refused" if self.away else self.faults.popleft() if self.faults else None
        if fault == "delayed":
            time.sleep(self._delay)
        if fault is None or fault == "delayed":
            return self.real.append(frame)
        if fault in _STORED:
            self.real.append(frame)
        raise self._failed(fault)

    def _failed(self, fault: Fault) -> Exception:
        self._unreachable = fault in _UNREACHABLE
        self.failed.release()
        if fault in _KILLED:
            self.kill()
            return WriterFenced("the process was killed")
        return OSError(28, f"no space left on device ({fault})")

    def kill(self) -> None:
        """Does to the store what the end of the process does: its log stores nothing any more.

        That log raises `WriterFenced`, also when it is closed. Then open another one on ``real``,
        or on its address, as the next process would. Idempotent.
        """
        if self.killed:
            return
        self.killed = True
        for writer in self._claimed:
            self.real.release(writer)
        self.real.close()

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

    def head(self, writer: str) -> StoredFrame | None:
        """What the real store says."""
        return self.real.head(writer)

    def wait(self, after: int, timeout: float) -> bool:
        """As the real store does."""
        return self.real.wait(after, timeout)

    def claim(self, writer: str | None) -> str:
        """As the real store does."""
        name = self.real.claim(writer)
        self._claimed.add(name)
        return name

    def release(self, writer: str) -> None:
        """As the real store does, unless the end of the process did."""
        if not self.killed:
            self.real.release(writer)
            self._claimed.discard(writer)

    def close(self) -> None:
        """As the real store does, unless the end of the process did."""
        if not self.killed:
            self.real.close()


def faulty_stores(
    store: Callable[[], Store] = MemoryStore,
    *,
    faults: Sequence[Fault] = FAULTS,
    max_size: int = 4,
) -> st.SearchStrategy[FaultyStore]:
    """Stores that drop, delay or fail an append, or are killed, at any point.

    A log waits before it tries a failed append again, 50 ms and then ever longer: an example with
    four faults takes most of a second.

    ::

        from contextlib import suppress

        from hypothesis import given, settings
        from rat_fsm import EventLog, replay
        from rat_fsm.errors import WriterFenced
        from rat_fsm.events import Registered
        from rat_fsm.testing import faulty_stores

        @settings(max_examples=10, deadline=None)
        @given(faulty_stores())
        def test_what_was_flushed_is_there(store):
            log, flushed = EventLog(store), 0
            with suppress(WriterFenced):
                for number in range(3):
                    log.append(("connection", str(number)), Registered("10.0.0.1"))
                    log.flush(timeout=10)
                    flushed += 1
            with suppress(WriterFenced):
                log.close()
            found = replay(store.real, writer="w0").stats.as_dict()
            assert found["total_connections"] >= flushed

    Args:
        store: makes the real store of each example.
        faults: which there may be; see `FaultyStore`.
        max_size: to how many appends something may happen.

    Raises:
        InvalidArgument: there is no such fault.
    """
    from hypothesis import strategies as st

    FaultyStore(faults=faults)
    return st.builds(
        FaultyStore,
        st.builds(store),
        faults=st.lists(st.sampled_from([None, *faults]), max_size=max_size),
    )
