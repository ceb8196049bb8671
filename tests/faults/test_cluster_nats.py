"""What only JetStream may meet: a leader that is killed or stopped, a stream that is full."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from rat_fsm.stores import open_store
from tests.faults import scenes
from tests.faults.plan import Plan
from tests.faults.proxy import Proxy
from tests.faults.runs import fault_run
from tests.faults.wires import NatsWire
from tests.servers.fixtures import nats_binary, new_stream
from tests.servers.nats import HOST, NatsCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.nats import NatsServer

SMALL = 150_000
LARGE = 50_000_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(("how", "times"), [("killed", 3), ("stopped", 1)])
def test_the_leader_is_killed_or_stopped_under_writers(
    mortal_cluster: NatsCluster, tmp_path: Path, how: str, times: int
) -> None:
    """The others elect a leader, and the writers make up for what was refused."""
    stream = new_stream()
    url = mortal_cluster.url(stream)
    with fault_run(url, tmp_path, 4) as run:
        for _ in range(times):
            run.acknowledge(50)
            leader = mortal_cluster.leader_of(stream)
            leave, come_back = {
                "killed": (leader.kill, leader.start),
                "stopped": (leader.pause, leader.resume),
            }[how]
            leave()
            run.record(100)
            run.acknowledge(100)
            come_back()
    assert not scenes.successions(url)


@contextlib.contextmanager
def behind_proxies(folder: Path, plan: Plan) -> Iterator[tuple[NatsCluster, str]]:
    """Three servers, and one of their proxies: by it clients find the others, and no server."""
    cluster = NatsCluster(folder, nats_binary())
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.close)
        proxies = [
            stack.enter_context(Proxy((HOST, server.port), NatsWire, plan))
            for server in cluster.servers
        ]
        for server, proxy in zip(cluster.servers, proxies, strict=True):
            server.advertise(proxy.address)
        cluster.start()
        yield cluster, proxies[0].address


@pytest.mark.parametrize("seed", [1])
def test_connections_to_a_cluster_are_cut_and_appends_come_late_or_twice(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Whichever server they go to, also while a killed leader is followed by another."""
    plan, stream = Plan(seed), new_stream()
    with behind_proxies(tmp_path_factory.mktemp("cluster"), plan) as (cluster, proxy):
        url = cluster.url(stream)
        through = f"nats://{proxy}/{url.rpartition('/')[2]}"
        with fault_run(url, tmp_path, 3, through=through) as run:
            scenes.go_through(run, plan, 20)
            leader = cluster.leader_of(stream)
            leader.kill()
            scenes.go_through(run, plan, 30)
            leader.start()
            run.acknowledge(100)
        assert not scenes.successions(url)


def test_a_full_stream_is_named_and_made_up_for(mortal_nats: NatsServer, tmp_path: Path) -> None:
    """Once it may be larger."""
    url = f"nats://{mortal_nats.server}/{new_stream()}"
    with fault_run(url, tmp_path, 2, through=f"{url}?max_bytes={SMALL}") as run:
        run.wait_for_status("failing")
        run.record(100)
        for writer in run.writers:
            assert "full" in str(writer.samples[-1].error)
        with contextlib.closing(open_store(f"{url}?max_bytes={LARGE}", writable=True)):
            run.wait_for_status("ok")
        run.acknowledge(100)
