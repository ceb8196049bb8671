"""Every store of ours keeps the contract that the stores of others are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.stores.port import Store


class TestMemoryStore(StoreContract):
    """The specification itself."""

    def make_store(self, tmp_path: Path) -> Store:  # noqa: ARG002 - it needs no place
        """A fresh one."""
        return MemoryStore()

    def bounded_store(self, tmp_path: Path, max_events: int) -> Store:  # noqa: ARG002 - likewise
        """One with a small bound."""
        return MemoryStore(max_events)


class TestSqliteStore(StoreContract):
    """The embedded store."""

    def make_store(self, tmp_path: Path) -> Store:
        """A fresh file."""
        return open_store(tmp_path / "log.db", writable=True)

    def reopen_store(self, store: Store, tmp_path: Path) -> Store:  # noqa: ARG002 - the path says it
        """The same file."""
        return open_store(tmp_path / "log.db", writable=True)

    def second_store(self, store: Store, tmp_path: Path) -> Store:  # noqa: ARG002 - likewise
        """The same file, which every handle locks for itself as if in another process."""
        return open_store(tmp_path / "log.db", writable=True)
