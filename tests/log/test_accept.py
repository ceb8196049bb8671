"""What the accepting half of a log promises: all or none, in order, under any number of threads."""

from __future__ import annotations

import copy
import itertools
import logging
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.codec import MAX_EVENTS, WIDTH
from rat_fsm.errors import (
    IllegalEvent,
    InvalidArgument,
    InvalidArgumentType,
    LogClosed,
    LogUnavailable,
    Refused,
    WrongExpectedVersion,
)
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ConnectionRefused,
    ErrorRecorded,
    Recovered,
    Registered,
    RetriesReset,
    RetryScheduled,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.log.accept import Acceptor
from rat_fsm.projections.model import ReadModel
from rat_fsm.replay import replay
from rat_fsm.table import Lifecycle
from rat_fsm.testing import FaultyStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

END = (Closing("normal", "app", "streaming"), Closed("normal", 0, 0, 0, 0, 0.0))
EVENTS: Sequence[Any] = (
    Registered("192.0.2.1"),
    Activated(),
    ActivityRecorded(10, 1),
    ErrorRecorded("OSError", "reset", "network_error", retryable=True),
    RetryScheduled(1, 0.5, None, 30.0, "network_error"),
    Recovered(1),
    RetriesReset(),
    *END,
)


@attrs.frozen
class Opened:
    """A session was opened."""


@attrs.frozen
class Left:
    """It is over."""


SESSION = Lifecycle(
    "session",
    states=("open", "over"),
    transitions=[[Opened, "new", "open"], [Left, "open", "over"]],
    final={"over"},
)


@contextmanager
def nothing_written(log: EventLog) -> Iterator[None]:
    """Checks that what happens inside writes, folds and leaves nothing."""
    before, model = log.flush(), copy.deepcopy(log.read_model.dump())
    yield
    assert log.health.pending == 0
    assert (log.flush(), log.read_model.dump()) == (before, model)


@pytest.fixture
def log() -> Iterator[EventLog]:
    """A log in memory with one connection that is active, at version 2."""
    with EventLog(lifecycles=(CONNECTION, SESSION)) as log:
        log.append(("connection", "a"), Registered("192.0.2.1"), Activated())
        yield log


@given(st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.sampled_from(EVENTS), max_size=4))))
def test_a_transaction_is_accepted_whole_or_not_at_all(
    transactions: list[tuple[str, list[Any]]],
) -> None:
    """Legal events count a stream's version up one by one; one illegal event refuses them all."""
    with EventLog() as log:
        log.begin()
        streams: dict[str, tuple[str | None, int]] = dict.fromkeys("ab", ("new", 0))
        for name, events in transactions:
            state, version = streams[name]
            states: list[str | None] = [state]
            states.extend(_walk(state, events))
            if None in states:
                with nothing_written(log), pytest.raises(IllegalEvent) as refusal:
                    log.append(("connection", name), *events)
                assert refusal.value.stream == f"connection/{name}"
            else:
                log.append(("connection", name), *events, expected_version=version)
                moved = states[-1], version + len(events)
                streams[name] = ("new", 0) if moved[0] == "closed" else moved
                record = log.read_model.record("connection", name)
                found = ("new", 0) if record is None else (record.state, record.version)
                assert found == streams[name]
        log.flush()
        assert log.read_model == replay(log)
        seqs = [recorded.seq for recorded in log.read()]
        assert seqs == list(range(1, len(seqs) + 1))


def _walk(state: str | None, events: list[Any]) -> Iterator[str | None]:
    """The states that events lead through, None from the first illegal one on."""
    for event in events:
        state = None if state is None else CONNECTION.next_state(state, event)
        yield state


def test_transact_answers_with_the_last_sequence_number(log: EventLog) -> None:
    """Two for the run that begins, two for the connection, and none for a decision of none."""
    assert log.transact("connection", "a", lambda _stream, _model: ()) == 4
    assert (
        log.transact(CONNECTION, "a", lambda _stream, _model: iter([Closing("x", "app", "y")])) == 5
    )
    assert log.append(("connection", "a")) == 5


def test_a_decision_sees_its_stream_and_the_model(log: EventLog) -> None:
    """The stream's state and version, and how many connections are open."""
    seen: list[tuple[str, int, int]] = []

    def decide(stream: Any, model: ReadModel) -> tuple[Any, ...]:
        seen.append((stream.state, stream.version, model.open_connections))
        return (Registered("192.0.2.1"),) if stream.state == "new" else ()

    log.transact("connection", "a", decide)
    log.transact("connection", "b", decide)
    log.transact("connection", "b", decide)
    assert seen == [("active", 2, 1), ("new", 0, 1), ("connecting", 1, 2)]


def test_the_first_thing_in_a_log_is_the_start_of_its_run(log: EventLog) -> None:
    """Started and Serving come in one transaction before anything else, once."""
    log.begin()
    log.flush()
    tags = [recorded.type for recorded in log.read()]
    assert tags == ["node.started", "node.serving", "connection.registered", "connection.activated"]


@pytest.mark.parametrize("expected", [0, 1, 3, -1])
def test_another_expected_version_is_refused(log: EventLog, expected: int) -> None:
    """The refusal names the stream, what was expected and what it is."""
    with nothing_written(log), pytest.raises(WrongExpectedVersion) as refusal:
        log.append(("connection", "a"), RetriesReset(), expected_version=expected)
    facts = refusal.value.stream, refusal.value.expected, refusal.value.actual
    assert facts == ("connection/a", expected, 2)


def test_the_expected_version_of_a_new_stream_is_zero(log: EventLog) -> None:
    """An id that is free, or free again, is at version 0."""
    for _ in range(2):
        log.append(("connection", "b"), Registered("192.0.2.1"), *END, expected_version=0)


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (("connection", ""), InvalidArgument),
        (("connection", "x" * 513), InvalidArgument),
        (("connection", "a\n"), InvalidArgument),
        (("connection", "\x00"), InvalidArgument),
        (("connection", "\x7f"), InvalidArgument),
        (("connection", "\x85"), InvalidArgument),
        (("connection", "\ud800"), InvalidArgument),
        (("connection", "a\udfff"), InvalidArgument),
        (("connection", None), InvalidArgumentType),
        (("connection", 7), InvalidArgumentType),
        (("connection", b"a"), InvalidArgumentType),
        (("connection", ["a"]), InvalidArgumentType),
        (("order", "a"), InvalidArgument),
        ((7, "a"), InvalidArgumentType),
        ((None, "a"), InvalidArgumentType),
        (("connection",), InvalidArgumentType),
        (("connection", "a", "b"), InvalidArgumentType),
        (None, InvalidArgumentType),
    ],
)
def test_what_is_no_stream_is_refused(log: EventLog, stream: Any, error: type[Exception]) -> None:
    """Unknown lifecycles and impossible ids are errors before anything is written."""
    with nothing_written(log), pytest.raises(error):
        log.append(stream, Registered("192.0.2.1"))


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=512))
def test_any_other_id_is_a_stream(name: str) -> None:
    """Whatever else Unicode has is an id, and is read back as it was."""
    with EventLog() as log:
        log.append(("connection", name), Registered("192.0.2.1"))
        log.flush()
        assert [*log.read()][-1].stream.id == name
        assert list(replay(log).connections) == [name]


def test_another_lifecycle_of_the_same_name_is_refused(log: EventLog) -> None:
    """Its table would not be the one that the log checks by."""
    other = Lifecycle(
        "session", states=("gone",), transitions=[[Left, "new", "gone"]], final={"gone"}
    )
    with nothing_written(log), pytest.raises(InvalidArgument, match="another lifecycle"):
        log.append((other, "a"), Left())
    assert log.append((SESSION, "a"), Opened()) == 5


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([Opened()], InvalidArgumentType),
        ([object()], InvalidArgumentType),
        ([ActivityRecorded], InvalidArgumentType),
        ([ConnectionRefused("draining")], InvalidArgumentType),
        ([Registered("192.0.2.1")], IllegalEvent),
        ([ActivityRecorded(1, 1), Activated()], IllegalEvent),
        ([*END, ActivityRecorded(1, 1)], IllegalEvent),
        ([ActivityRecorded(1, 1), ActivityRecorded(2**63, 1)], InvalidArgument),
        ([ActivityRecorded(1, 1), ActivityRecorded("1", 1)], InvalidArgumentType),  # type: ignore[arg-type]
        ([ErrorRecorded("E", "\ud800", "bug", retryable=False)], InvalidArgument),
        ([ErrorRecorded("E", "x" * 300_000, "bug", retryable=False)], InvalidArgument),
        ([ActivityRecorded(1, 1)] * (MAX_EVENTS + 1), InvalidArgument),
        ([ErrorRecorded("E", "x" * 250_000, "bug", retryable=False)] * 3, InvalidArgument),
    ],
)
def test_what_cannot_be_stored_is_refused(
    log: EventLog, events: list[Any], error: type[Exception]
) -> None:
    """Foreign, illegal and oversized events leave nothing of what stands beside them either."""
    with nothing_written(log), pytest.raises(error):
        log.append(("connection", "a"), *events)


def test_the_largest_transaction_is_one_frame(log: EventLog) -> None:
    """Half a megabyte at once is stored in one piece, however little fits beside it."""
    large = ErrorRecorded("E", "x" * 100_000, "bug", retryable=False)
    for _ in range(3):
        log.append(("connection", "a"), RetriesReset())
        log.append(("connection", "a"), *[large] * 5)
    log.append(("connection", "a"), *[ActivityRecorded(1, 1)] * MAX_EVENTS)
    log.flush()
    assert log.read_model == replay(log)
    frames: dict[int, list[int]] = {}
    for recorded in log.read():
        if recorded.type == "connection.error_recorded" and recorded.position is not None:
            frames.setdefault(recorded.position.frame, []).append(recorded.seq)
    assert [len(seqs) for seqs in frames.values()] == [5, 5, 5]


def test_a_decision_that_raises_writes_nothing(log: EventLog) -> None:
    """Its exception is the caller's, and the next call finds everything as it was."""

    def decide(_stream: Any, _model: ReadModel) -> Iterator[Any]:
        yield RetriesReset()
        raise Refused("not today", cause="whim")

    with nothing_written(log), pytest.raises(Refused, match="not today"):
        log.transact("connection", "a", decide)
    assert log.append(("connection", "a"), RetriesReset()) == 5


def test_a_call_from_inside_is_queued_and_runs_next(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """What interrupts a transaction is accepted right after it; what is then refused is said."""

    def decide(stream: Any, _model: ReadModel) -> tuple[Any, ...]:
        assert log.inside
        assert log.append(("connection", "b"), Registered("192.0.2.2")) is None
        assert log.append(("connection", "a"), Registered("192.0.2.2")) is None
        assert not log.record_activity(stream, 1, 1)
        return (RetriesReset(),)

    with caplog.at_level(logging.ERROR, "rat_fsm"):
        assert log.transact("connection", "a", decide) == 5
        assert not log.inside
        assert "b" in log.read_model.connections
        log.flush()
    assert [recorded.type for recorded in log.read()][4:] == [
        "connection.retries_reset",
        "connection.registered",
    ]
    assert [
        str(record.exc_info[1]).partition(" ")[0] for record in caplog.records if record.exc_info
    ] == ["connection/a"]


def test_a_closed_log_accepts_nothing() -> None:
    """Every way of appending says that it was closed; the hot one answers False."""
    log = EventLog()
    log.append(("connection", "a"), Registered("192.0.2.1"), Activated())
    record: Any = log.read_model.record("connection", "a")
    log.close()
    for _ in range(2):
        with pytest.raises(LogClosed):
            log.append(("connection", "a"), RetriesReset())
        with pytest.raises(LogClosed):
            log.append_node(ConnectionRefused("draining"))
    assert not log.record_activity(record, 1, 1)


def _full(open_connections: int, room: int) -> tuple[Acceptor, int]:
    """An acceptor nobody takes anything from, full of errors; and how many fit."""
    acceptor = Acceptor(
        ReadModel([CONNECTION, NODE]), "w0", lambda: 1, lambda: None, max_pending=room
    )
    for number in range(open_connections):
        acceptor.transact(CONNECTION, str(number), lambda *_: (Registered("a"), Activated()))
    error = ErrorRecorded("E", "", "bug", retryable=False)
    for count in itertools.count():
        try:
            acceptor.transact(CONNECTION, "0", lambda *_: (error,))
        except LogUnavailable:
            return acceptor, count
    raise AssertionError


def test_past_the_bound_there_is_room_for_ends_alone() -> None:
    """Two events for each open connection, and those of the node's own end."""
    acceptor, count = _full(open_connections=5, room=100)
    assert acceptor.under_pressure
    assert count == 100 - 3 - 5 * (2 + 2)
    record: Any = acceptor.model.record("connection", "0")
    assert not acceptor.record_activity(record, 1, 1)
    for refused in ("5", "6"):
        with pytest.raises(LogUnavailable):
            acceptor.transact(CONNECTION, refused, lambda *_: (Registered("a"),))
    for number in range(4):
        acceptor.transact(CONNECTION, str(number), lambda *_: END)
    acceptor.transact(CONNECTION, "4", lambda *_: END[:1], reserved=True)
    acceptor.transact(CONNECTION, "4", lambda *_: END[1:])
    assert acceptor.model.open_connections == 0
    assert len(acceptor.pending) == WIDTH * (100 - 3)
    with pytest.raises(LogUnavailable):
        acceptor.transact(CONNECTION, "5", lambda *_: (Registered("a"),))
    acceptor.take()
    acceptor.transact(CONNECTION, "5", lambda *_: (Registered("a"),))


def test_a_log_whose_store_is_away_keeps_what_it_accepted() -> None:
    """It fills up to its bound, refuses, lets connections end, and loses nothing."""
    store = FaultyStore()
    with EventLog(store) as log:
        log.append(("connection", "a"), Registered("192.0.2.1"), Activated())
        log.append(("connection", "b"), Registered("192.0.2.1"), Activated())
        log.flush()
        store.away = True
        record: Any = log.read_model.record("connection", "a")
        accepted = sum(
            itertools.takewhile(
                bool, (log.record_activity(record, 1, 1) for _ in itertools.count())
            )
        )
        assert log.under_pressure
        with pytest.raises(LogUnavailable):
            log.append(("connection", "c"), Registered("192.0.2.1"))
        with pytest.raises(LogUnavailable):
            log.append_node(ConnectionRefused("log_unavailable"))
        log.append(("connection", "a"), *END)
        log.append(("connection", "b"), *END)
        store.away = False
        log.flush(30)
        restored = 1  # the log says that its store was away
        number = log.append(("connection", "c"), Registered("192.0.2.1"))
        assert number == 6 + accepted + 4 + restored + 1
        log.flush()
        assert log.read_model.totals.bytes_sent == accepted
        assert log.read_model.totals.closed == 2
        head = store.heads()[log.writer].frame
        assert head.first + head.count - 1 == number


def test_sixteen_threads_leave_no_holes() -> None:
    """Each stream's versions and the writer's sequence have no holes; live is replay."""
    with EventLog() as log:
        barrier = threading.Barrier(16)
        seen: list[int | None] = []
        begun, error = Registered("192.0.2.1"), ErrorRecorded("E", "", "bug", retryable=False)

        def work(number: int) -> None:
            barrier.wait(30)
            for turn in range(40):
                name = f"{number % 4}-{turn}"
                _try(log, name, begun)
                _try(log, name, Activated())
                record: Any = log.read_model.record("connection", name)
                for _ in range(10):
                    if record is not None:
                        log.record_activity(record, 1, 1)
                _try(log, name, error)
                _try(log, name, *END)
                own = ("connection", f"own-{number}")
                seen.append(log.append(own, error if turn else begun, expected_version=turn))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        log.flush()
        assert len(set(seen)) == 16 * 40
        assert log.read_model == replay(log)
        recorded = list(log.read())
        assert [event.seq for event in recorded] == list(range(1, len(recorded) + 1))
        versions: dict[Any, list[int]] = {}
        for event in recorded:
            versions.setdefault(event.stream, []).append(event.version)
        assert all(found == list(range(1, len(found) + 1)) for found in versions.values())
        assert log.read_model.totals.illegal == 0


def _try(log: EventLog, name: str, *events: Any) -> None:
    with suppress(IllegalEvent):
        log.append(("connection", name), *events)
