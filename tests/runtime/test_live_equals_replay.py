"""The law that everything rests on: live is replay, whatever the components are asked to do."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rat_fsm import (
    ConnectionManager,
    ErrorRecovery,
    EventLog,
    GracefulShutdown,
    StreamMonitor,
    replay,
)
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import VirtualClock

if TYPE_CHECKING:
    from rat_fsm.stores.port import Store

IDS = st.sampled_from(["a", "b", "c", "d"])
ERRORS = st.sampled_from(
    [
        ConnectionResetError("reset by peer"),
        Exception("503 service unavailable"),
        ValueError("a bug"),
        Exception("who knows"),
        "timeout while sending",
    ]
)


class Stream:
    """The simplest object that a connection can stand for."""

    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


class Server(RuleBasedStateMachine):
    """A server in virtual time: every public way to change a connection, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.log = EventLog(self.make_store(), clock=self.clock)
        self.manager = ConnectionManager(3, 30, log=self.log, stale_after=100.0)
        self.gathering = ConnectionManager(3, 30, log=self.log, activity_interval=2.0)
        self.monitor = StreamMonitor(self.manager, check_interval=1.0)
        draws = random.Random(7)  # noqa: S311 - chance, not secrecy
        self.recovery = ErrorRecovery(2, log=self.log, jitter="full", random=draws.random)
        self.streams: dict[str, Stream] = {}
        self.ended: list[str] = []
        self.registered = 0
        self.shut_down = False

    def make_store(self) -> Store:
        """A fresh store for one example; see tests/contract/test_live_equals_replay.py."""
        return MemoryStore()

    @rule(connection_id=IDS, monitored=st.booleans())
    def register(self, connection_id: str, *, monitored: bool) -> None:
        before = self.manager.get_stats()
        stream = Stream()
        accepted = self.manager.register_connection(connection_id, "10.0.0.1", stream)
        full = before["active_connections"] >= 3
        assert not (accepted and (full or self.shut_down))
        if accepted:
            self.registered += 1
            self.streams[connection_id] = stream
            if monitored:
                assert self.monitor.start_monitoring(connection_id, stream, self.ended.append)

    @rule(connection_id=IDS, sent=st.integers(0, 5000), messages=st.integers(0, 5))
    def record_activity(self, connection_id: str, sent: int, messages: int) -> None:
        alive = self.manager.get_connection_info(connection_id) is not None
        before = self.manager.get_stats()["total_bytes_sent"]
        assert self.manager.record_activity(connection_id, sent, messages) == alive
        after = self.manager.get_stats()["total_bytes_sent"]
        assert after - before >= (sent if alive else 0)

    @rule(connection_id=IDS, sent=st.integers(0, 5000))
    def gather_activity(self, connection_id: str, sent: int) -> None:
        self.gathering.record_activity(connection_id, sent, 1)

    @rule(connection_id=IDS, error=ERRORS)
    def fail(self, connection_id: str, error: Any) -> None:
        if self.manager.record_error(connection_id, error) and self.recovery.should_retry(
            connection_id, error
        ):
            assert 0 <= self.recovery.get_retry_delay(connection_id) <= 30
            info = self.manager.get_connection_info(connection_id)
            assert info is not None
            assert info.state.value == "retrying"
            assert 1 <= info.retry_count <= 2

    @rule(connection_id=IDS)
    def succeed(self, connection_id: str) -> None:
        self.recovery.reset_retry_count(connection_id)
        assert connection_id not in self.recovery.retry_counts

    @rule(connection_id=IDS)
    def close_stream(self, connection_id: str) -> None:
        if connection_id in self.streams:
            self.streams[connection_id].close()

    @rule(connection_id=IDS)
    def lose_stream(self, connection_id: str) -> None:
        self.streams.pop(connection_id, None)

    @rule(connection_id=IDS)
    def unregister(self, connection_id: str) -> None:
        open_before = self.manager.get_connection_info(connection_id) is not None
        assert self.manager.unregister_connection(connection_id) == open_before
        assert self.manager.get_connection_info(connection_id) is None

    @rule(connection_id=IDS)
    def stop_monitoring(self, connection_id: str) -> None:
        self.monitor.stop_monitoring(connection_id)

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 40.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    @precondition(lambda self: not self.shut_down)
    def shut_down_gracefully(self) -> None:
        self.shut_down = True
        self.gathering.flush_activity()
        open_before = self.manager.get_stats()["active_connections"]
        report = GracefulShutdown(self.manager, self.monitor, timeout=5.0).initiate_shutdown()
        assert report.total == open_before
        assert report.ended + report.forced == report.total
        assert self.manager.get_stats()["active_connections"] == 0
        assert GracefulShutdown(self.manager).initiate_shutdown() == report

    @invariant()
    def live_is_replay(self) -> None:
        self.log.flush()
        assert replay(self.log) == self.log.read_model
        assert replay(list(self.log.read())) == self.log.read_model

    @invariant()
    def statistics_add_up(self) -> None:
        stats = self.manager.get_stats()
        assert stats["total_connections"] == self.registered
        assert stats["total_connections"] - stats["closed_connections"] == len(
            self.manager.connections
        )
        assert sum(stats["state_distribution"].values()) == stats["active_connections"]
        assert sum(stats["closed_by_reason"].values()) == stats["closed_connections"]
        assert stats["illegal_events"] == 0

    @invariant()
    def callbacks_run_once_for_those_that_ended(self) -> None:
        assert len(self.ended) <= self.manager.get_stats()["closed_connections"]

    def teardown(self) -> None:
        self.manager.shutdown()
        self.log.close()
        assert self.log.read_model.open_connections == 0


TestServer = Server.TestCase
TestServer.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_sixteen_threads_leave_what_a_replay_finds() -> None:
    """Under sixteen threads the limit holds, nothing is lost, and live equals replay."""
    manager = ConnectionManager(40)
    barrier = threading.Barrier(16)
    accepted: list[str] = []

    def work(number: int) -> None:
        barrier.wait(10)
        for turn in range(10):
            connection_id = f"{number}-{turn}"
            if not manager.register_connection(connection_id, "10.0.0.1"):
                continue
            accepted.append(connection_id)
            for _ in range(20):
                assert manager.record_activity(connection_id, 100, 1)
            manager.record_error(connection_id, TimeoutError("slow"))
            if turn % 2:
                assert manager.unregister_connection(connection_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    stats = manager.get_stats()
    manager.log.flush()
    assert stats["peak_connections"] <= 40
    assert stats["total_connections"] == len(accepted)
    assert stats["refused_connections"] + len(accepted) <= 160
    assert stats["total_bytes_sent"] == 2000 * len(accepted)
    assert stats["total_errors"] == len(accepted)
    assert replay(manager.log) == manager.log.read_model
    manager.shutdown()
