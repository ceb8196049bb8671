"""What only JetStream may meet: a leader that is killed or stopped, a stream that is full."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from rat_fsm.stores import open_store
from tests.faults.runs import fault_run
from tests.servers.fixtures import new_stream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.nats import NatsCluster, NatsServer

SMALL = 150_000
LARGE = 50_000_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_leader_is_killed_or_stopped_under_writers(
    mortal_cluster: NatsCluster, tmp_path: Path, how: str
) -> None:
    """Three times; the others elect a leader, and the writers make up for what was refused."""
    stream = new_stream()
    with fault_run(mortal_cluster.url(stream), tmp_path, 4) as run:
        for _ in range(3):
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
