"""A store in memory that leases its slots, which a test can take away from their holder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rat_fsm.errors import WriterFenced
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import Slot

if TYPE_CHECKING:
    from rat_fsm.stores.port import Frame


class LeasedStore(MemoryStore):
    """As `MemoryStore`, but a holder may lose its slot; ``away`` makes everything fail.

    With ``unheard`` the next append is stored, its answer is lost, and the store is away.
    """

    def __init__(self) -> None:
        super().__init__()
        self.renewed: dict[str, int] = {}
        self.away = self.unheard = False
        self.epochs: dict[str, int] = {}
        self.lost: set[str] = set()

    def elsewhere(self) -> MemoryStore:
        """The same store as another process sees it: it is there, and leases do not matter."""
        other = MemoryStore()
        other.__dict__ = self.__dict__
        return other

    def _reach(self) -> None:
        if self.away:
            raise OSError(113, "no route to host")

    def take_away(self, writer: str) -> None:
        """The lease ran out, and another process has the slot now."""
        self.lost.add(writer)

    def give_back(self, writer: str) -> None:
        """That process has ended; the slot is free."""
        super().release(writer)

    def append(self, frame: Frame) -> int:
        """As the port says: the slot's holder must not have lost it."""
        self._reach()
        if self.unheard:
            self.unheard = False
            super().append(frame)
            self.away = True
            raise TimeoutError("no answer")
        if frame.writer in self.lost:
            raise WriterFenced(f"the slot of {frame.writer} was taken over")
        return super().append(frame)

    def claim(self, writer: str | None) -> str:
        """Counts the epochs."""
        self._reach()
        name = super().claim(writer)
        self.epochs[name] = self.epochs.get(name, 0) + 1
        self.lost.discard(name)
        return name

    def release(self, writer: str) -> None:
        """Leaves a slot alone that is somebody else's."""
        if writer not in self.lost:
            super().release(writer)

    def reopen(self) -> None:
        """Fails while it is away."""
        self._reach()

    def slots(self) -> dict[str, Slot]:
        """Every slot that was ever taken."""
        return {
            name: Slot(name, epoch, name in self._claimed, self.renewed.get(name))
            for name, epoch in self.epochs.items()
        }

    def holds(self, writer: str) -> bool:
        """Whether nobody has taken it away."""
        return writer in self._claimed and writer not in self.lost
