"""The store contract on PostgreSQL 18, and on 15 where that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rat_fsm.stores import open_store
from rat_fsm.testing.store_contract import StoreContract
from tests.servers.fixtures import fresh

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.stores.port import Store
    from tests.servers.postgres import PostgresServer


class TestPostgresStore(StoreContract):
    """Each log in a schema of its own."""

    @pytest.fixture(autouse=True)
    def _server(self, postgres_url: str) -> None:
        self.url = postgres_url
        self.log = ""

    def make_store(self, tmp_path: Path) -> Store:  # noqa: ARG002 - it needs no place
        """A fresh schema."""
        self.log = fresh(self.url)
        return open_store(self.log, writable=True)

    def reopen_store(self, store: Store, tmp_path: Path) -> Store:  # noqa: ARG002 - likewise
        """The same schema."""
        return open_store(self.log, writable=True)

    def second_store(self, store: Store, tmp_path: Path) -> Store:  # noqa: ARG002 - likewise
        """The same schema."""
        return open_store(self.log, writable=True)


@pytest.mark.slow
class TestPostgres15Store(TestPostgresStore):
    """The oldest release that is tested."""

    @pytest.fixture(autouse=True)
    def _server(self, postgres_15: PostgresServer) -> None:
        self.url = postgres_15.url
        self.log = ""
