"""A store in memory that can be out of reach for its readers, as a server can."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rat_fsm.errors import StoreUnreadable
from rat_fsm.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.stores.port import StoredFrame


class AwayStore(MemoryStore):
    """A store whose readers are told that it is away, at any moment, also in the middle.

    Attributes:
        away: while it is set, nothing can be read.
        refused: released whenever somebody was told so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.refused = threading.Semaphore(0)

    def _check(self) -> None:
        if self.away:
            self.refused.release()
            raise StoreUnreadable("it is away")

    def read(self, after: int = 0, writer: str | None = None) -> Iterator[StoredFrame]:
        """What the store in memory holds, as long as it can be reached."""
        self._check()
        for stored in super().read(after, writer):
            self._check()
            yield stored

    def heads(self) -> dict[str, StoredFrame]:
        """Likewise."""
        self._check()
        return super().heads()

    def wait(self, after: int, timeout: float) -> bool:
        """Likewise."""
        self._check()
        return super().wait(after, timeout)
