"""The connection manager, from the outside."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from typing import Any, ClassVar

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from rat_fsm import (
    ConnectionManager,
    EventLog,
    GracefulShutdown,
    HealthMonitor,
    StreamMonitor,
    replay,
)
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    Registered,
    Stalled,
    Unstalled,
)
from rat_fsm.testing import VirtualClock


class Stream:
    """Something that a connection stands for."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def manager_and_clock(limit: int = 10, **options: Any) -> tuple[ConnectionManager, VirtualClock]:
    """A manager in virtual time."""
    clock = VirtualClock()
    return ConnectionManager(limit, clock=clock, **options), clock


def events_of(manager: ConnectionManager) -> list[Any]:
    """What was recorded of connections."""
    manager.log.flush()
    return [r.event for r in manager.log.read() if r.stream.lifecycle == "connection"]


BAD_IDS = ["", "x" * 513, "a\x00b", "a\nb", "\x85", "\ud800"]


@pytest.mark.parametrize("connection_id", BAD_IDS)
def test_an_id_that_cannot_be_one_is_refused_and_nothing_is_written(connection_id: str) -> None:
    """Empty, long and unprintable ids raise before anything changes."""
    manager, _ = manager_and_clock()
    with pytest.raises(InvalidArgument):
        manager.register_connection(connection_id, "10.0.0.1")
    assert events_of(manager) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((1, "10.0.0.1"), InvalidArgumentType),
        (("a", None), InvalidArgumentType),
        (("a", "\ud800"), InvalidArgument),
        (("a", "x" * 513), InvalidArgument),
        (("a", "x", None, ["no dict"]), InvalidArgumentType),
        (("a", "x", None, {1: "key"}), InvalidArgumentType),
        (("a", "x", None, {"a": {2: "inner key"}}), InvalidArgumentType),
        (("a", "x", None, {"a": [{3: "key in a list"}]}), InvalidArgumentType),
        (("a", "x", None, {"a": object()}), InvalidArgumentType),
        (("a", "x", None, {"a": float("nan")}), InvalidArgument),
        (("a", "x", None, {"a": [float("inf")]}), InvalidArgument),
        (("a", "x", None, {"a": "\ud800"}), InvalidArgument),
        (("a", "x", None, {"a": 2**70}), InvalidArgument),
        (("a", "x", None, {"a": "x" * 17_000}), InvalidArgument),
    ],
)
def test_bad_arguments_raise_and_nothing_is_written(
    arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    """What could never be right is an error that names it."""
    manager, _ = manager_and_clock()
    with pytest.raises(error):
        manager.register_connection(*arguments)
    assert events_of(manager) == []
    assert manager.get_stats()["refused_connections"] == 0


def test_metadata_nested_too_deep_is_refused() -> None:
    """Depth is bounded, so that no reader of the log can be made to overflow."""
    nested: dict[str, Any] = {}
    for _ in range(40):
        nested = {"a": nested}
    manager, _ = manager_and_clock()
    with pytest.raises(InvalidArgument, match="deeper"):
        manager.register_connection("a", "x", None, nested)


@pytest.mark.parametrize("count", [-1, 2**53, 1.5, "1", None, True])
def test_a_count_that_is_none_is_refused(count: Any) -> None:
    """Negative, huge and non-integer counts raise, whichever of the two they are."""
    manager, _ = manager_and_clock()
    manager.register_connection("a", "x")
    for arguments in ((count, 1), (1, count)):
        with pytest.raises((InvalidArgument, InvalidArgumentType)):
            manager.record_activity("a", *arguments)
    assert events_of(manager) == [Registered("x", "stream", {})]


def test_an_error_that_is_none_is_refused() -> None:
    """record_error takes an exception or a string."""
    manager, _ = manager_and_clock()
    manager.register_connection("a", "x")
    with pytest.raises(InvalidArgumentType):
        manager.record_error("a", 42)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"max_connections": 0},
        {"max_connections": -5},
        {"max_connections": 1.5},
        {"cleanup_interval": 0},
        {"cleanup_interval": float("nan")},
        {"stale_after": "soon"},
        {"activity_interval": -1},
        {"remote_addr": "sometimes"},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    """A manager that could not work is not made."""
    with pytest.raises((InvalidArgument, InvalidArgumentType)):
        ConnectionManager(**options)


def test_unknown_and_closed_ids_answer_false_and_write_nothing() -> None:
    """Handlers may be late: that is no error."""
    manager, _ = manager_and_clock()
    manager.register_connection("gone", "x")
    manager.unregister_connection("gone")
    before = events_of(manager)
    for name in ("gone", "never"):
        assert not manager.record_activity(name, 1)
        assert not manager.record_error(name, TimeoutError())
        assert not manager.unregister_connection(name)
        assert not manager.activate_connection(name)
        assert not manager.mark_healthy(name)
        assert not manager.on_close(name, print)
        assert not manager.is_connection_alive(name)
        assert manager.get_connection_info(name) is None
        assert name not in manager.connections
    assert events_of(manager) == before


def test_a_refused_registration_is_counted_with_its_cause() -> None:
    """At the limit, and for the id of an open connection; merged per cause and second."""
    manager, clock = manager_and_clock(1)
    assert manager.register_connection("a", "x")
    assert not manager.register_connection("a", "x")
    assert [manager.register_connection("b", "x") for _ in range(5)] == [False] * 5
    clock.advance(1.0)
    stats = manager.get_stats()
    assert stats["refused_by_cause"] == {"duplicate": 1, "max_connections": 5}
    recorded = [r for r in manager.log.read() if r.type == "node.connection_refused"]
    assert len(recorded) <= 3


def test_an_id_lives_again_once_its_connection_has_ended() -> None:
    """Each life is a stream of its own, from zero."""
    manager, _ = manager_and_clock()
    for _ in range(2):
        assert manager.register_connection("a", "x")
        manager.record_activity("a", 10, 1)
        assert manager.unregister_connection("a")
    manager.log.flush()
    closed = [r for r in manager.log.read() if isinstance(r.event, Closed)]
    assert [r.event.bytes_sent for r in closed] == [10, 10]
    assert len({r.stream.born for r in closed}) == 2


def test_a_duplicate_leaves_the_reference_of_the_accepted_one() -> None:
    """Even where a subclass has set its own reference before it asked."""

    class Eager(ConnectionManager):
        def register_connection(self, *arguments: Any, **options: Any) -> bool:
            connection_id, _, reference = arguments
            self.connection_refs[connection_id] = weakref.ref(reference)
            return super().register_connection(connection_id, "x", None, **options)

    manager, first, second = Eager(clock=VirtualClock()), Stream(), Stream()
    assert manager.register_connection("a", "x", first)
    assert not manager.register_connection("a", "x", second)
    assert manager.reference("a") is first


def test_a_lost_reference_is_found_by_the_cleanup() -> None:
    """A connection whose object was collected ends as reference_lost."""
    manager, clock = manager_and_clock(cleanup_interval=10)
    stream = Stream()
    manager.register_connection("a", "x", stream)
    del stream
    gc.collect()
    assert not manager.is_connection_alive("a")
    clock.advance(10)
    assert manager.get_stats()["closed_by_reason"] == {"reference_lost": 1}


@pytest.mark.parametrize("reference", [42, "text", (1, 2), Stream().close])
def test_references_that_cannot_be_weak_are_held(reference: Any) -> None:
    """Anything may stand for a connection; a bound method goes with its object."""
    manager, _ = manager_and_clock()
    manager.register_connection("a", "x", reference)
    gc.collect()
    kept = None if callable(reference) and reference.__self__ is None else reference
    assert manager.reference("a") in (kept, None)
    if not callable(reference):
        assert manager.reference("a") == reference


def test_stale_connections_are_ended_and_healthy_ones_are_not() -> None:
    """A healthy check postpones staleness; cleaning up by hand works too."""
    manager, clock = manager_and_clock(stale_after=100, cleanup_interval=1000)
    manager.register_connection("quiet", "x")
    manager.register_connection("healthy", "x")
    clock.advance(90)
    assert manager.mark_healthy("healthy")
    clock.advance(20)
    assert manager._cleanup_stale_connections() == 1
    assert list(manager.connections) == ["healthy"]
    assert manager.get_stats()["closed_by_reason"] == {"stale": 1}


def test_a_callback_runs_once_and_may_call_back_raise_or_be_a_coroutine() -> None:
    """However a connection ends, and whatever the callback does."""
    manager, _ = manager_and_clock()
    calls: list[tuple[str, bool]] = []

    def calling_back(connection_id: str) -> None:
        calls.append((connection_id, manager.register_connection(connection_id, "again")))

    def raising(_connection_id: str) -> None:
        raise RuntimeError("a user's mistake")

    manager.register_connection("a", "x")
    assert manager.on_close("a", raising)
    assert manager.on_close("a", calling_back)
    assert manager.unregister_connection("a")
    assert manager.unregister_connection("a")
    assert calls == [("a", True)]
    assert manager.get_stats()["callback_failures"] == 1
    with pytest.raises(InvalidArgumentType):
        manager.on_close("a", "not callable")  # type: ignore[arg-type]


def test_a_coroutine_callback_runs_on_the_loop_that_registered_it() -> None:
    """And where there is no loop, registering says so at once."""

    async def on_disconnect(connection_id: str) -> None:
        seen.append((connection_id, threading.get_ident()))
        done.set()

    async def serve() -> None:
        manager.register_connection("a", "x")
        manager.on_close("a", on_disconnect)
        manager.unregister_connection("a")
        await asyncio.wait_for(done.wait(), 10)

    seen: list[tuple[str, int]] = []
    manager, done = ConnectionManager(), asyncio.Event()
    asyncio.run(serve())
    assert seen == [("a", threading.get_ident())]
    manager.register_connection("b", "x")
    with pytest.raises(InvalidArgument, match="loop"):
        manager.on_close("b", on_disconnect)
    manager.shutdown()


def test_a_failing_coroutine_callback_is_recorded() -> None:
    """It hurts nobody and is an event."""

    async def failing(_connection_id: str) -> None:
        raise RuntimeError("later")

    async def serve() -> None:
        manager.register_connection("a", "x")
        manager.on_close("a", failing)
        manager.unregister_connection("a")
        await asyncio.to_thread(recorded.next, 10.0)

    manager = ConnectionManager()
    manager.log.flush()
    recorded = manager.log.subscribe(after=manager.log.flush())
    asyncio.run(serve())
    manager.shutdown()
    assert manager.log.read_model.totals.callback_failures == 1


def test_a_callback_whose_loop_is_closed_is_recorded() -> None:
    """Nothing hangs and nothing is lost in silence."""

    async def on_disconnect(_connection_id: str) -> None: ...

    async def serve() -> None:
        manager.register_connection("a", "x")
        manager.on_close("a", on_disconnect)

    manager, _ = manager_and_clock()
    asyncio.run(serve())
    manager.unregister_connection("a")
    assert manager.get_stats()["callback_failures"] == 1


def test_gathered_activity_comes_before_any_other_event() -> None:
    """With an interval, the first byte is recorded at once, sums on the timer and before others."""
    manager, clock = manager_and_clock(activity_interval=5.0)
    manager.register_connection("a", "x")
    manager.activate_connection("a")
    for _ in range(3):
        assert manager.record_activity("a", 100, 1)
    assert manager.get_stats()["total_bytes_sent"] == 100
    clock.advance(5)
    assert manager.get_stats()["total_bytes_sent"] == 300
    manager.record_activity("a", 50, 1)
    manager.log.append(("connection", "a"), Closing("kicked", "admin", "streaming", None))
    kinds = events_of(manager)[2:]
    assert kinds == [
        ActivityRecorded(100, 1),
        ActivityRecorded(200, 2),
        ActivityRecorded(50, 1),
        Closing("kicked", "admin", "streaming", None),
    ]


def test_a_connection_that_others_end_is_let_go_by_the_cleanup() -> None:
    """Whoever appends to the log directly, callbacks run all the same."""
    manager, clock = manager_and_clock(cleanup_interval=10)
    ended: list[str] = []
    manager.register_connection("a", "x", Stream())
    manager.on_close("a", ended.append)
    manager.log.append(
        ("connection", "a"),
        Closing("kicked", "admin", "handshake", None),
        Closed("kicked", 0, 0, 0, 0, 0.0),
    )
    clock.advance(10)
    assert ended == ["a"]
    assert manager.connection_refs == {}


@pytest.mark.parametrize(
    ("mode", "address", "kept"),
    [
        ("full", "192.0.2.77", "192.0.2.77"),
        ("truncated", "192.0.2.77", "192.0.2.0/24"),
        ("truncated", "2001:db8:1:2::5", "2001:db8:1::/48"),
        ("truncated", "a host name", ""),
        ("none", "192.0.2.77", ""),
    ],
)
def test_addresses_are_kept_as_asked(mode: str, address: str, kept: str) -> None:
    """What is not wanted never reaches the log."""
    manager, _ = manager_and_clock(remote_addr=mode)
    manager.register_connection("a", address)
    assert events_of(manager) == [Registered(kept, "stream", {})]


def test_pseudonyms_are_equal_for_equal_addresses() -> None:
    """HMAC keeps clients apart without keeping who they are."""
    manager, _ = manager_and_clock(remote_addr="hmac")
    for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.1"), ("c", "192.0.2.2")):
        manager.register_connection(name, address)
    first, second, third = (event.remote_addr for event in events_of(manager))
    assert first == second != third
    assert "192" not in first


def test_redact_sees_every_event_before_it_is_accepted() -> None:
    """What it removes is not even in memory."""

    def redact(event: Any) -> Any:
        return attrs.evolve(event, metadata={}) if isinstance(event, Registered) else event

    manager, _ = manager_and_clock(redact=redact)
    manager.register_connection("a", "x", None, {"token": "secret"})
    info = manager.get_connection_info("a")
    assert info is not None
    assert info.metadata == {}
    assert events_of(manager) == [Registered("x", "stream", {})]


def test_after_shutdown_everything_answers_false() -> None:
    """Connections ended as shutdown; nothing raises into a late handler."""
    manager, _ = manager_and_clock()
    manager.register_connection("a", "x")
    manager.shutdown()
    manager.shutdown()
    assert manager.closed
    assert not manager.register_connection("b", "x")
    assert not manager.record_activity("a", 1)
    assert manager.log.read_model.totals.closed_by_reason == {"shutdown": 1}


def test_the_log_given_stays_open() -> None:
    """A manager closes only what it made."""
    with EventLog(clock=VirtualClock()) as log:
        ConnectionManager(log=log).shutdown()
        log.append(("connection", "a"), Registered("x"))
        log.flush()


def test_monitored_connections_share_the_threads() -> None:
    """Ten thousand of them use at most four threads of ours, and statistics stay flat."""
    before = {thread.ident for thread in threading.enumerate()}
    manager = ConnectionManager(20_000)
    monitor = StreamMonitor(manager)
    streams = [Stream() for _ in range(10_000)]
    for number, stream in enumerate(streams):
        manager.register_connection(str(number), "x", stream)
        monitor.start_monitoring(str(number), stream)
    ours = [t for t in threading.enumerate() if t.ident not in before]
    assert len(ours) <= 4
    assert manager.get_stats()["active_connections"] == 10_000
    monitor.shutdown()
    manager.shutdown()


def test_closed_connections_cost_no_memory() -> None:
    """The model forgets what has ended, but for the totals."""
    manager, _ = manager_and_clock()
    for number in range(200):
        manager.register_connection(str(number), "x", Stream())
        manager.on_close(str(number), lambda _id: None)
        manager.unregister_connection(str(number))
    model = manager.log.read_model
    assert model.open_records() == []
    assert [r.lifecycle for r in model.records(manager.log.writer)] == ["node"]
    assert manager._belongings.ids() == set()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1000)), max_size=30))
def test_gathering_changes_granularity_and_not_totals(calls: list[tuple[str, int]]) -> None:
    """Whatever the interval, the sums are the same in the end."""
    totals = []
    for interval in (0.0, 3.0):
        manager, clock = manager_and_clock(activity_interval=interval)
        for name in "abc":
            manager.register_connection(name, "x")
        for name, sent in calls:
            manager.record_activity(name, sent, 1)
            clock.advance(1)
        manager.shutdown()
        totals.append(replay(manager.log).stats.as_dict()["total_bytes_sent"])
    assert totals[0] == totals[1] == sum(sent for _, sent in calls)


def test_a_manager_is_collected_when_nobody_holds_it() -> None:
    """Scheduled jobs hold their owners weakly."""
    manager: ConnectionManager | None = ConnectionManager()
    held = weakref.ref(manager)
    del manager
    gc.collect()
    assert held() is None or sys.getrefcount(held()) == 0


def test_an_operator_ends_a_connection() -> None:
    """With the reason given, by admin; an id that is not open answers False."""
    manager, _ = manager_and_clock()
    stream = Stream()
    manager.register_connection("a", "x", stream)
    assert manager.kick("a", reason="spam")
    assert not manager.kick("a")
    assert events_of(manager)[1:] == [
        Closing("spam", "admin", "handshake"),
        Closed("spam", 0, 0, 0, 0, 0.0),
    ]


def test_who_was_registered_by_hand_cannot_be_kept_out() -> None:
    """Nobody would be there to turn the client away: the connection goes on."""
    manager, _ = manager_and_clock()
    manager.register_connection("a", "x")
    with pytest.raises(InvalidArgument, match="registered by hand"):
        manager.kick("a", stay_out=True)
    assert manager.is_connection_alive("a")
    assert not manager.kick("unknown", stay_out=True)


def test_without_a_limit_nobody_is_one_too_many() -> None:
    """None is no limit, and its use is nothing per cent."""
    clock = VirtualClock()
    manager = ConnectionManager(None, clock=clock, stale_after=None, cleanup_interval=500)
    assert all(manager.register_connection(str(number), "x") for number in range(2_000))
    clock.advance(1_000)
    assert manager.get_stats()["active_connections"] == 2_000
    assert manager.get_stats()["max_connections"] is None
    assert HealthMonitor(manager=manager).check_health().healthy


def test_one_that_is_admitted_is_let_in_at_the_limit_and_in_a_drain() -> None:
    """It is being served already: refusing it would only hide it."""
    manager, _ = manager_and_clock(1)
    assert manager.register_connection("a", "x")
    assert not manager.register_connection("b", "x")
    assert manager.register_connection("b", "x", admitted=True)
    GracefulShutdown(manager).begin("ops")
    assert not manager.register_connection("c", "x")
    assert manager.register_connection("c", "x", admitted=True)
    assert not manager.register_connection("c", "x", admitted=True)
    manager.flush_activity()
    assert manager.get_stats()["refused_by_cause"] == {
        "max_connections": 1,
        "draining": 1,
        "duplicate": 1,
    }
    assert manager.log.read_model.drain.requested_by == "ops"


def test_stalls_are_recorded_once_each() -> None:
    """Of active connections, and counted while they last."""
    manager, _ = manager_and_clock()
    manager.register_connection("a", "x")
    manager.record_stall("a", 1.0)
    manager.activate_connection("a", route="/feed")
    for waited in (15.0, 16.0):
        assert manager.record_stall("a", waited)
    assert manager.get_stats()["stalled_connections"] == 1
    assert manager.record_unstall("a", 20.0)
    assert manager.record_unstall("a", 21.0)
    assert manager.get_stats()["stalled_connections"] == 0
    assert events_of(manager)[1:] == [Activated("/feed"), Stalled(15.0), Unstalled(20.0)]
    assert not manager.record_stall("unknown", 1.0)


def test_a_served_stream_that_is_stale_is_told_to_end_once() -> None:
    """It is closing until it reports its end, and is not told again by the next cleanup."""

    class Served:
        delivering = True
        told: ClassVar[list[tuple[str, str]]] = []

        def finish(self, reason: str, ended_by: str) -> None:
            self.told.append((reason, ended_by))

    manager, clock = manager_and_clock(stale_after=10, cleanup_interval=1000)
    served = Served()
    manager.register_connection("a", "x", served)
    clock.advance(11)
    assert [manager._cleanup_stale_connections() for _ in range(2)] == [1, 0]
    assert served.told == [("stale", "timeout")]
    assert manager.connections["a"].state.value == "closing"
    served.delivering = False
    assert manager._cleanup_stale_connections() == 1
    assert manager.get_stats()["closed_by_reason"] == {"stale": 1}
