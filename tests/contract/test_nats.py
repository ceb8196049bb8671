"""The JetStream store keeps the contract: on one server, and on three."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rat_fsm.stores import open_store
from rat_fsm.stores.nats import NatsStore
from rat_fsm.testing.store_contract import StoreContract
from tests.servers.fixtures import fresh_stream, new_stream

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.stores.port import Store
    from tests.servers.nats import NatsCluster


class OnServers(StoreContract):
    """The contract, on whatever servers a subclass has."""

    def fresh_url(self) -> str:
        """Of a log that does not exist yet."""
        raise NotImplementedError

    def make_store(self, tmp_path: Path) -> Store:  # noqa: ARG002 - it is on a server
        """A stream of its own."""
        return open_store(self.fresh_url(), writable=True)

    def reopen_store(self, store: Store, tmp_path: Path) -> Store:  # noqa: ARG002 - likewise
        """The same stream."""
        assert isinstance(store, NatsStore)
        return NatsStore(store.address, writable=True)

    def second_store(self, store: Store, tmp_path: Path) -> Store:
        """The same stream, as another process would have it."""
        return self.reopen_store(store, tmp_path)


class TestNatsStore(OnServers):
    """One server."""

    @pytest.fixture(autouse=True)
    def _server(self, nats_url: str) -> None:
        self.url = nats_url

    def fresh_url(self) -> str:
        """A stream on it."""
        return fresh_stream(self.url)


@pytest.mark.slow
class TestNatsStoreOfThree(OnServers):
    """Three servers, each frame on all of them."""

    @pytest.fixture(autouse=True)
    def _cluster(self, nats_cluster: NatsCluster) -> None:
        self.cluster = nats_cluster

    def fresh_url(self) -> str:
        """A stream on them."""
        return self.cluster.url(new_stream())
