"""The JetStream store on three servers, some of which are away, stopped or behind."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING, Final

import pytest

from rat_fsm.errors import StoreUnreadable, WriterFenced
from rat_fsm.stores import open_store
from rat_fsm.stores.port import StoredFrame
from rat_fsm.testing.store_contract import make_chain, make_frame
from tests.faults.network import Network
from tests.servers.fixtures import nats_binary, new_stream
from tests.servers.nats import running_cluster, wait_until
from tests.stores.opened_nats import opened

if TYPE_CHECKING:
    from rat_fsm.stores.nats import NatsStore
    from rat_fsm.stores.port import Frame
    from tests.servers.nats import NatsCluster

PATIENCE: Final = 90.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def append(store: NatsStore, frame: Frame) -> int:
    """Appends as a log does: what fails is settled and tried again."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            return store.append(frame)
        except OSError:
            with contextlib.suppress(OSError):
                store.reopen()
                head = store.head(frame.writer)
                if head is not None and head.frame == frame:
                    return head.position
    raise AssertionError("it cannot be appended")


class Writing:
    """A thread that appends to a chain of its own until it is told to end."""

    def __init__(self, store: NatsStore, writer: str) -> None:
        self.stored: list[StoredFrame] = []
        self._store, self._writer = store, writer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        frame: Frame | None = None
        while not self._ended.is_set():
            frame = make_frame(self._writer, frame)
            self.stored.append(StoredFrame(append(self._store, frame), frame))

    def wait_for(self, frames: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while len(self.stored) < frames:
            assert time.monotonic() < deadline, "it does not go on"
            time.sleep(0.01)

    def end(self) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def test_it_says_that_most_of_three_have_it(nats_cluster: NatsCluster) -> None:
    """An acknowledgement is a majority's."""
    with opened(nats_cluster.url(new_stream())) as store:
        assert store.guarantee == (
            "in the memory of 2 of 3 servers, synced to disk at intervals unless they run with "
            "sync_interval: always"
        )


def test_room_that_a_cluster_does_not_have_is_named(nats_cluster: NatsCluster) -> None:
    """It says so at once, and which option to change."""
    with pytest.raises(StoreUnreadable, match=r"no room for .* bytes.*max_bytes="):
        open_store(nats_cluster.url(new_stream(), f"replicas=3&max_bytes={2**50}"), writable=True)


def test_a_reader_sees_what_was_acknowledged_whoever_answers(nats_cluster: NatsCluster) -> None:
    """A follower that is behind is asked again, until it has what the leader had."""
    name, chain = new_stream(), make_chain("w0", 150)
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(opened(nats_cluster.url(name)))
        readers = [
            stack.enter_context(opened(f"nats://{server.server}/{name}", writable=False))
            for server in nats_cluster.servers
        ]
        for number, frame in enumerate(chain):
            writer.append(frame)
            for reader in readers:
                assert [stored.position for stored in reader.read(number)] == [number + 1]
        assert [stored.frame for stored in readers[0].read(0, "w0")] == chain


def test_a_log_of_one_server_is_spread_over_three(nats_cluster: NatsCluster) -> None:
    """By the next opening with replicas=3, with everything in it."""
    name, chain = new_stream(), make_chain("w0", 3)
    with opened(nats_cluster.url(name, "max_bytes=1000000")) as store:
        for frame in chain:
            store.append(frame)
    with opened(nats_cluster.url(name)) as store:
        assert "2 of 3 servers" in store.guarantee
        assert [stored.frame for stored in store.read()] == chain


@pytest.mark.parametrize("by", ["kill", "pause"])
def test_writers_go_on_without_the_leader(mortal_cluster: NatsCluster, by: str) -> None:
    """It dies or is stopped while they append: every frame is there once, in order, soon."""
    name = new_stream()
    url = mortal_cluster.url(name)
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(opened(url)) for _ in range(3)]
        reader = stack.enter_context(opened(url, writable=False))
        writings = [Writing(store, f"w{number}") for number, store in enumerate(stores)]
        for writing in writings:
            writing.wait_for(30)
        leader = mortal_cluster.leader_of(name)
        getattr(leader, by)()
        for writing in writings:
            writing.wait_for(len(writing.stored) + 30)
        for writing in writings:
            writing.end()
        everything = itertools.chain(*(writing.stored for writing in writings))
        assert list(reader.read()) == sorted(everything, key=lambda stored: stored.position)
        if by == "pause":
            leader.resume()


@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_a_reader_leaves_a_server_that_is_stopped(
    mortal_cluster: NatsCluster, *, leads: bool
) -> None:
    """It accepts what is asked and says nothing: another one is asked."""
    name, chain = new_stream(), make_chain("w0", 2)
    with opened(mortal_cluster.url(name)) as store:
        for frame in chain:
            append(store, frame)
    leader = mortal_cluster.leader_of(name)
    follower, other = (one for one in mortal_cluster.servers if one is not leader)
    stopped = leader if leads else follower
    url = f"nats://{stopped.server},{other.server}/{name}"
    with opened(url, writable=False) as reader:
        assert len(list(reader.read())) == 2
        stopped.pause()
        try:
            assert [stored.frame for stored in reader.read()] == chain
            assert reader.wait(1, PATIENCE)
        finally:
            stopped.resume()


def connected_to(store: NatsStore) -> str | None:
    """The server that a store asks."""
    wire = store._link._wire
    address = None if wire is None else wire.client.connected_url
    return None if address is None else address.netloc


def test_a_leader_that_was_cut_off_fences_nobody(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """It thinks for a while that it still leads, and does not know what the others stored."""
    name, chain = new_stream(), make_chain("w0", 4)
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        folder = tmp_path_factory.mktemp("cluster")
        cluster = stack.enter_context(running_cluster(folder, nats_binary(), way=network.way))
        store = stack.enter_context(opened(cluster.url(name)))
        append(store, chain[0])
        former = cluster.leader_of(name)
        network.cut_off(cluster.servers.index(former))
        append(store, chain[1])
        while connected_to(store) != former.server:
            store.reopen()
        assert [append(store, frame) for frame in chain[2:]] == [3, 4]
        network.heal()
        # A moment later it still answers whoever reads.
        wait_until(lambda: [stored.frame for stored in store.read()] == chain, "whole log")


def test_the_others_are_found_by_the_one_that_was_named(mortal_cluster: NatsCluster) -> None:
    """A server tells of the rest of its cluster, which are asked when it is gone."""
    name, chain = new_stream(), make_chain("w0", 2)
    named = mortal_cluster.servers[0]
    with opened(f"nats://{named.server}/{name}?replicas=3&max_bytes=1000000") as store:
        append(store, chain[0])
        named.kill()
        assert append(store, chain[1]) == 2
        assert [stored.frame for stored in store.read()] == chain


def test_a_slot_is_kept_while_servers_change(mortal_cluster: NatsCluster) -> None:
    """A lease goes on through a change of leader; nobody else gets it meanwhile."""
    name = new_stream()
    url = mortal_cluster.url(name, "replicas=3&max_bytes=1000000&lease=10")
    chain = make_chain("w0", 2)
    with opened(url) as store:
        store.claim("w0")
        append(store, chain[0])
        mortal_cluster.leader_of(f"{name}_slots").kill()
        with opened(url) as other:
            assert other.claim(None) == "w1"
        append(store, chain[1])
        assert store.holds("w0")
        assert store.slots()["w0"].epoch == 1
        with pytest.raises(WriterFenced):
            store.append(chain[0])
