"""Live is replay on every store: the machine of tests/runtime, whose log is kept elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from rat_fsm.stores import open_store
from tests.runtime.test_live_equals_replay import Server
from tests.servers.fixtures import fresh, fresh_stream, new_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.stores.port import Store
    from tests.servers.nats import NatsCluster
    from tests.servers.postgres import PostgresServer

EXAMPLES: Final = 10


def hold_live_to_replay(new_url: Callable[[], str]) -> None:
    """Runs the machine, each example on a log of its own."""

    class Elsewhere(Server):
        def make_store(self) -> Store:
            return open_store(new_url(), writable=True)

    run_state_machine_as_test(
        Elsewhere, settings=settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
    )


@pytest.mark.slow
def test_on_postgres_18(postgres_url: str) -> None:
    """What PostgreSQL 18 gives back folds into what was live."""
    hold_live_to_replay(lambda: fresh(postgres_url))


@pytest.mark.slow
def test_on_postgres_15(postgres_15: PostgresServer) -> None:
    """And PostgreSQL 15."""
    hold_live_to_replay(lambda: fresh(postgres_15.url))


@pytest.mark.slow
def test_on_nats(nats_url: str) -> None:
    """And one NATS server."""
    hold_live_to_replay(lambda: fresh_stream(nats_url))


@pytest.mark.slow
def test_on_three_nats_servers(nats_cluster: NatsCluster) -> None:
    """And three of them."""
    hold_live_to_replay(lambda: nats_cluster.url(new_stream()))
