"""The read model: what any history folds to, told again by a naive recomputation."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    CallbackFailed,
    Closed,
    Closing,
    ConnectionRefused,
    DrainForced,
    DrainRequested,
    DrainStarted,
    ErrorRecorded,
    Recorded,
    Recovered,
    Registered,
    RetriesReset,
    RetryRefused,
    RetryScheduled,
    Serving,
    Stalled,
    Started,
    Stopped,
    Stream,
    UnknownEvent,
    Unstalled,
    to_datetime,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.projections.connections import ConnectionInfo, ConnectionState
from rat_fsm.projections.drain import Drain
from rat_fsm.projections.model import ReadModel
from rat_fsm.projections.record import ConnectionRecord, StreamRecord
from rat_fsm.table import Lifecycle, fingerprint_of
from tests.frames import LIFECYCLES, START
from tests.histories import Recorder, histories
from tests.orders import ORDER, Done, New, Packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REGISTERED = Registered("10.0.0.1", "sse", {"user": "u1"})
CLOSING = Closing("normal", "app", "streaming")
CLOSED = Closed("normal", 0, 0, 0, 0, 1.0)


def folded(recorded: Iterable[Recorded], lifecycles: Sequence[Lifecycle] = LIFECYCLES) -> ReadModel:
    """The model of what was recorded."""
    model = ReadModel(lifecycles)
    for one in recorded:
        model.apply(one)
    return model


@attrs.define
class Naive:
    """What there is to know, told from the events alone with loops and lists."""

    happened: list[tuple[Stream, int, Any]] = attrs.field(factory=list)
    states: dict[Stream, str] = attrs.field(factory=dict)
    versions: Counter[Stream] = attrs.field(factory=Counter)
    illegal: int = 0
    unknown: int = 0
    peak: int = 0

    def take(self, recorded: Recorded) -> None:
        """One event more."""
        stream, event = recorded.stream, recorded.event
        self.versions[stream] += 1
        if isinstance(event, UnknownEvent):
            self.unknown += 1
            return
        lifecycle = next(lc for lc in LIFECYCLES if lc.name == stream.lifecycle)
        state = lifecycle.next_state(self.states.get(stream, "new"), event)
        if state is None:
            self.illegal += 1
            return
        self.states[stream] = state
        self.happened.append((stream, recorded.micros, event))
        self.peak = max(self.peak, len(self.open()))

    def open(self) -> list[Stream]:
        """The connections that are open."""
        return [
            s for s in self.states if s.lifecycle == "connection" and self.states[s] != "closed"
        ]

    def all(self, cls: type, stream: Stream | None = None) -> list[Any]:
        """Every event of a class, of a stream."""
        return [e for s, _, e in self.happened if isinstance(e, cls) and stream in {None, s}]

    def at(self, cls: type, stream: Stream) -> int:
        """When the first event of a class happened to a stream."""
        return next(at for s, at, e in self.happened if s == stream and isinstance(e, cls))

    def stats(self) -> dict[str, Any]:
        """The statistics."""
        refused: Counter[str] = Counter()
        for event in self.all(ConnectionRefused):
            refused[event.cause] += event.count
        opened = dict.fromkeys(s for s, _, e in self.happened if isinstance(e, Activated))
        continued = {s for s, _, e in self.happened if isinstance(e, Registered) and e.continues}
        waited = [self.at(Activated, s) - self.at(Registered, s) for s in opened.keys() - continued]
        states = Counter(self.states[stream] for stream in self.open())
        started = self.all(Started)
        limits = started[-1].limits if started else {}
        return {
            "active_connections": len(self.open()),
            "total_connections": len(self.all(Registered)),
            "continued_connections": len(continued),
            "max_connections": limits.get("max_connections"),
            "peak_connections": self.peak,
            "closed_connections": len(self.all(Closed)),
            "refused_connections": sum(refused.values()),
            "refused_by_cause": dict(refused),
            "total_bytes_sent": sum(e.bytes_sent for e in self.all(ActivityRecorded)),
            "total_messages_sent": sum(e.messages_sent for e in self.all(ActivityRecorded)),
            "total_errors": len(self.all(ErrorRecorded)),
            "total_retries": len(self.all(RetryScheduled)),
            "total_retries_refused": len(self.all(RetryRefused)),
            "total_recoveries": len(self.all(Recovered)),
            "connections_with_errors": sum(bool(self.all(ErrorRecorded, s)) for s in self.open()),
            "stalled_connections": sum(map(self.stalled, self.open())),
            "average_response_time": sum(waited) / len(waited) / 1_000_000 if waited else 0.0,
            "state_distribution": {
                state: states[state] for state in ("connecting", "active", "retrying", "closing")
            },
            "closed_by_reason": dict(Counter(e.reason for e in self.all(Closed))),
            "callback_failures": len(self.all(CallbackFailed)),
            "illegal_events": self.illegal,
            "unknown_events": self.unknown,
        }

    def stalled(self, stream: Stream) -> bool:
        """Whether its client takes nothing."""
        told = (Stalled, Unstalled, Closing)
        events = [e for s, _, e in self.happened if s == stream and isinstance(e, told)]
        return bool(events) and isinstance(events[-1], Stalled)

    def info(self, stream: Stream) -> ConnectionInfo:
        """What is known of an open connection."""
        registered = self.all(Registered, stream)[0]
        counts = self.all(ActivityRecorded, stream)
        sent = sum(e.bytes_sent for e in counts)
        own = [(at, e) for s, at, e in self.happened if s == stream]
        active = [at for at, e in own if isinstance(e, (Registered, ActivityRecorded))]
        retries = 0
        for _, event in own:
            if isinstance(event, RetryScheduled):
                retries = event.attempt
            elif isinstance(event, RetriesReset):
                retries = 0
        return ConnectionInfo(
            connection_id=stream.id,
            remote_addr=registered.remote_addr,
            kind=registered.kind,
            metadata=registered.metadata,
            state=ConnectionState(self.states[stream]),
            created_at=to_datetime(own[0][0]),
            last_activity=to_datetime(active[-1]),
            bytes_sent=sent,
            messages_sent=sum(e.messages_sent for e in counts),
            error_count=len(self.all(ErrorRecorded, stream)),
            retry_count=retries,
            total_retries=len(self.all(RetryScheduled, stream)),
            committed=sent > 0,
            stalled=self.stalled(stream),
            draining=self.drain().draining,
            route=next((e.route for e in reversed(self.all(Activated, stream))), ""),
        )

    def delay(self, stream: Stream) -> float | None:
        """The delay that was last scheduled and holds."""
        told = (RetryScheduled, RetryRefused, RetriesReset)
        events = [e for s, _, e in self.happened if s == stream and isinstance(e, told)]
        return events[-1].delay if events and isinstance(events[-1], RetryScheduled) else None

    def drain(self) -> Drain:
        """The shutdown of the run that began last."""
        begun = [s for s, _, e in self.happened if isinstance(e, Started)]
        remaining = len(self.open())
        stalled = sum(map(self.stalled, self.open()))
        if not begun:
            return Drain("none", None, None, 0, remaining, stalled)
        drains = self.all(DrainStarted, begun[-1])
        state = self.states[begun[-1]]
        if not drains:
            return Drain(state, None, None, 0, remaining, stalled)
        at = self.at(DrainStarted, begun[-1])
        started = drains[0]
        return Drain(
            state, at, started.deadline, started.open, remaining, stalled, started.requested_by
        )


def told(recorded: Iterable[Recorded]) -> Naive:
    """The naive account of what was recorded."""
    naive = Naive()
    for one in recorded:
        naive.take(one)
    return naive


@given(histories())
def test_statistics_are_what_the_events_say(recorded: list[Recorded]) -> None:
    """Of several writers, legal and illegal, after each event: nothing raises, all of it counts."""
    model, naive = ReadModel(LIFECYCLES), Naive()
    for one in recorded:
        model.apply(one)
        naive.take(one)
        assert model.stats.as_dict() == naive.stats()
        assert (model.drain, model.draining) == (naive.drain(), naive.drain().draining)
        assert model.open_connections == len(naive.open())


@given(histories(writers=["w0"]))
def test_open_connections_are_what_the_events_say(recorded: list[Recorded]) -> None:
    """Each with its attributes, its retries and its delay."""
    model, naive = folded(recorded), told(recorded)
    infos = {stream.id: naive.info(stream) for stream in naive.open()}
    assert dict(model.connections) == dict(model.connections.items()) == infos
    assert list(model.connections.values()) == model.connections.infos() == list(infos.values())
    assert len(model.connections) == len(infos)
    assert dict(model.retry) == {
        i.connection_id: i.retry_count for i in infos.values() if i.retry_count
    }
    assert len(model.retry) == len(dict(model.retry))
    delays = {stream.id: naive.delay(stream) for stream in naive.open()}
    assert {stream_id: model.retry.delay(stream_id) for stream_id in infos} == delays


@given(histories())
def test_records_are_kept_while_they_are_needed(recorded: list[Recorded]) -> None:
    """Of each writer, in the order they began; ended ones only where ids do not come again."""
    model, naive = folded(recorded), told(recorded)
    assert {
        (record.writer, record.lifecycle, record.id, record.born, record.state, record.version)
        for writer in ("w0", "w1", "nobody")
        for record in model.records(writer)
    } == {
        (*s.born.split(":")[:1], s.lifecycle, s.id, int(s.born[3:]), state, naive.versions[s])
        for s, state in naive.states.items()
        if state not in {"closed", "stopped"}
    }
    for writer in ("w0", "w1"):
        births = [record.born for record in model.records(writer)]
        assert births == sorted(births)


def attributes(record: StreamRecord) -> dict[str, Any]:
    """All that a record knows."""
    slots = [slot for cls in type(record).__mro__ for slot in getattr(cls, "__slots__", ())]
    return {slot: getattr(record, slot) for slot in slots}


@given(histories())
def test_a_model_survives_json(recorded: list[Recorded]) -> None:
    """What was dumped loads into an equal model that reads on from the same place."""
    model, loaded = folded(recorded), ReadModel(LIFECYCLES)
    loaded.load(json.loads(json.dumps(model.dump())))
    assert loaded == model
    assert loaded.dump() == model.dump()
    assert loaded.stats.as_dict() == model.stats.as_dict()
    assert (loaded.drain, loaded.limits) == (model.drain, model.limits)
    for writer in ("w0", "w1"):
        # What is written is the log's business: all of what was loaded is.
        expected = [attributes(r) | {"written": r.version} for r in model.records(writer)]
        assert [attributes(record) for record in loaded.records(writer)] == expected


@given(histories(writers=["w0"]), st.integers(0, 30))
def test_a_loaded_model_goes_on_as_the_other_would_have(recorded: list[Recorded], cut: int) -> None:
    """Wherever the snapshot was taken."""
    loaded = ReadModel(LIFECYCLES)
    loaded.load(json.loads(json.dumps(folded(recorded[:cut]).dump())))
    for one in recorded[cut:]:
        loaded.apply(one)
    whole = folded(recorded)
    assert loaded == whole
    assert dict(loaded.connections) == dict(whole.connections)


def test_a_run_that_was_loaded_drains_as_the_other_would_have() -> None:
    """What is told of the drain is told of the run that goes on."""
    events = history(Started([], {}), Serving(), DrainStarted(30.0, 2, "ops"), lifecycle="node")
    loaded = ReadModel(LIFECYCLES)
    loaded.load(json.loads(json.dumps(folded(events[:2]).dump())))
    loaded.apply(events[2])
    assert loaded.drain == folded(events).drain
    assert loaded.draining


@attrs.frozen
class Reader:
    """How rows of one type are read, as the codec says it."""

    kind: Any
    hot: bool

    def read(self, payload: Sequence[Any]) -> Any:
        """The event that stands in the row; of an activity it takes true integers only."""
        if len(payload) == 1:
            return payload[0]
        if [type(value) for value in payload] != [int, int]:
            return UnknownEvent("connection.activity_recorded", 1, {}, "unreadable")
        return ActivityRecorded(*payload)


def fold_in_rows(recorded: Sequence[Recorded]) -> ReadModel:
    """The model of what was recorded, each writer's run of events in one go."""
    model = ReadModel(LIFECYCLES)
    kinds = {kind.tag: kind for lifecycle in LIFECYCLES for kind in lifecycle.events}
    readers = {
        tag: Reader(kinds.get(tag), tag == "connection.activity_recorded")
        for tag in [*kinds, *(f"{lifecycle.name}.novelty" for lifecycle in LIFECYCLES)]
    }
    types = list(readers)
    for writer, run in groupby(recorded, key=lambda one: one.writer):
        events = list(run)
        streams = list(dict.fromkeys(one.stream for one in events))
        records = [model.resolve(writer, s.lifecycle, s.id, int(s.born[3:])) for s in streams]
        rows = [
            (one.micros - events[0].micros, streams.index(one.stream), types.index(one.type))
            + (
                attrs.astuple(one.event)
                if isinstance(one.event, ActivityRecorded)
                else (one.event,)
            )
            for one in events
        ]
        model.fold_rows(records, list(readers.values()), events[0].seq, events[0].micros, rows)
    return model


@given(histories())
def test_rows_fold_to_what_their_events_fold_to(recorded: list[Recorded]) -> None:
    """The hot path of frames, and the way by single events, lead to the same model."""
    assert fold_in_rows(recorded) == folded(recorded)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ((5, 1), (5, 1, 0)),
        ((True, 1), (0, 0, 1)),
        ((1, False), (0, 0, 1)),
        ((1.0, 1), (0, 0, 1)),
        ((1, 1, 1), (0, 0, 1)),
        ((ActivityRecorded(5, 1),), (5, 1, 0)),
    ],
    ids=str,
)
def test_the_hot_path_takes_integers_only(
    payload: tuple[Any, ...], expected: tuple[int, int, int]
) -> None:
    """Anything else is read as any event is, and may turn out to be unreadable."""
    model = ReadModel([CONNECTION])
    record = model.new_record(CONNECTION, "a", "w0")
    for seq, event in enumerate((REGISTERED, Activated()), 1):
        kind = CONNECTION.event_type(type(event))
        assert kind is not None
        model.fold(record, kind, seq, START, event)
    reader = Reader(CONNECTION.event_type(ActivityRecorded), hot=True)
    model.fold_rows([record], [reader], 3, START, [(0, 0, 0, *payload)])
    totals = model.totals
    assert (totals.bytes_sent, totals.messages_sent, totals.unknown) == expected
    assert record.version == 3


@pytest.mark.parametrize(
    ("before", "bytes_sent", "illegal"),
    [
        ([], 0, 1),
        ([REGISTERED], 0, 1),
        ([REGISTERED, Activated()], 5, 0),
        ([REGISTERED, RetryScheduled(1, 1.0, None, 30.0, "bug")], 0, 1),
        ([REGISTERED, CLOSING], 5, 0),
    ],
)
def test_the_hot_path_is_for_legal_activity_only(
    before: list[Any], bytes_sent: int, illegal: int
) -> None:
    """In any other state it is an illegal event, and of no stream that is known an unknown one."""
    model = ReadModel([CONNECTION])
    record = model.new_record(CONNECTION, "a", "w0")
    for seq, event in enumerate(before, 1):
        kind = CONNECTION.event_type(type(event))
        assert kind is not None
        model.fold(record, kind, seq, START, event)
    reader = Reader(CONNECTION.event_type(ActivityRecorded), hot=True)
    model.fold_rows([record, None], [reader], 9, START, [(0, 0, 0, 5, 1), (0, 1, 0, 5, 1)])
    totals = model.totals
    assert (totals.bytes_sent, totals.illegal, totals.unknown) == (bytes_sent, illegal, 1)


@given(histories(least=1))
def test_models_are_equal_when_they_folded_the_same(recorded: list[Recorded]) -> None:
    """One event more makes a difference; how far they read does not."""
    model, same = folded(recorded), folded(recorded)
    same.cursor["w0"] = same.last_at["w0"] = 10**6
    assert model == same
    assert model != folded(recorded[:-1])
    assert (model == "a model") is False
    with pytest.raises(TypeError):
        hash(model)


def test_a_cursor_says_how_far_each_writer_was_read() -> None:
    """The last sequence number and the last time."""
    recorder = Recorder()
    model = folded(
        [
            recorder.record("connection", "a", REGISTERED),
            recorder.record("connection", "a", Activated(), at=START + 5),
            recorder.record("connection", "a", REGISTERED, at=START + 3, writer="w1"),
        ]
    )
    assert (model.cursor, model.last_at) == (
        {"w0": 2, "w1": 1},
        {"w0": START + 5, "w1": START + 3},
    )


def history(*events: Any, stream_id: str = "a", lifecycle: str = "connection") -> list[Recorded]:
    """One stream's events, a second apart."""
    recorder = Recorder()
    return [
        recorder.record(lifecycle, stream_id, event, at=START + number * 1_000_000)
        for number, event in enumerate(events)
    ]


def test_what_is_known_of_a_connection() -> None:
    """A frozen copy, with aware times, that the model does not change any more."""
    model = folded(history(REGISTERED, Activated("/feed"), ActivityRecorded(100, 2), Stalled(3.0)))
    info = model.connections["a"]
    second = datetime.timedelta(seconds=1)
    created = to_datetime(START)
    assert info == ConnectionInfo(
        connection_id="a",
        remote_addr="10.0.0.1",
        kind="sse",
        metadata={"user": "u1"},
        state=ConnectionState.ACTIVE,
        created_at=created,
        last_activity=created + 2 * second,
        bytes_sent=100,
        messages_sent=2,
        error_count=0,
        retry_count=0,
        total_retries=0,
        committed=True,
        stalled=True,
        draining=False,
        route="/feed",
    )
    model.apply(history(REGISTERED, Activated(), ActivityRecorded(1, 1), Stalled(1.0), CLOSING)[-1])
    closing = model.connections["a"]
    assert closing == attrs.evolve(info, state=ConnectionState.CLOSING, stalled=False)


def test_the_states_of_a_connection_are_those_of_its_lifecycle() -> None:
    """By the same names."""
    assert tuple(state.value for state in ConnectionState) == CONNECTION.states


@pytest.mark.parametrize(("sent", "committed"), [(0, False), (1, True)])
def test_a_byte_commits(sent: int, committed: bool) -> None:  # noqa: FBT001 - what is expected
    """The first that goes downstream, and no message without one."""
    model = folded(history(REGISTERED, Activated(), ActivityRecorded(sent, 1)))
    assert model.connections["a"].committed is committed


def test_who_holds_a_record_sees_its_connection_end() -> None:
    """The retry count is cleared, and a connection with errors is none that is open any more."""
    scheduled = RetryScheduled(1, 4.0, None, 30.0, "network_error")
    error = ErrorRecorded("OSError", "reset", "network_error", retryable=True)
    events = history(REGISTERED, Activated(), error, error, scheduled, CLOSING, CLOSED)
    model = folded(events[:-1])
    record: Any = model.record("connection", "a")
    assert (record.activated, record.reason, record.retries, record.delay) == (
        *(True, "normal", 1, 4.0),
    )
    assert model.stats.as_dict()["connections_with_errors"] == 1
    model.apply(events[-1])
    assert (record.state, record.retries, record.delay) == ("closed", 0, None)
    assert model.stats.as_dict()["connections_with_errors"] == 0


def test_metadata_is_copied_all_the_way_down() -> None:
    """Whatever is done to a copy, the model and what the log will hold stay as they are."""
    plain = {"user": "u1", "tags": ["a", {"b": None}], "plan": {"seats": [1, 2.5]}}
    model = folded(history(Registered("x", "sse", plain)))
    metadata: Any = model.connections["a"].metadata
    assert metadata == plain
    metadata["user"] = metadata["tags"][1]["b"] = "changed"
    metadata["tags"].append("more")
    metadata["plan"]["seats"][0] = 9
    assert model.connections["a"].metadata == {
        "user": "u1",
        "tags": ["a", {"b": None}],
        "plan": {"seats": [1, 2.5]},
    }


def test_connections_are_a_read_only_mapping() -> None:
    """Of ids to infos of the open ones; a closed one is not in it."""
    recorder = Recorder()
    model = folded(
        recorder.record("connection", stream_id, REGISTERED) for stream_id in ("a", "b", "c")
    )
    connections = model.connections
    model.apply(recorder.record("connection", "b", CLOSING))
    assert connections["b"].state is ConnectionState.CLOSING
    model.apply(recorder.record("connection", "b", CLOSED))
    assert (list(connections), len(connections), "a" in connections, "b" in connections) == (
        *(["a", "c"], 2),
        *(True, False),
    )
    assert connections.get("b") is None
    with pytest.raises(KeyError, match="b"):
        connections["b"]
    with pytest.raises(KeyError, match="never"):
        connections["never"]
    with pytest.raises(TypeError):
        connections["d"] = connections["a"]  # type: ignore[index]  # that is the point


def test_connections_may_close_while_somebody_iterates() -> None:
    """Over a copy; the ids of those that closed meanwhile are still told."""
    recorder = Recorder()
    model = folded(recorder.record("connection", i, REGISTERED) for i in ("a", "b", "c"))
    untouched = iter(model.connections)
    walks: list[Any] = [
        iter(view)
        for view in (
            *(model.connections, model.connections.keys(), model.connections.items()),
            *(model.connections.values(), model.open_records(), model.records("w0")),
        )
    ]
    first = [next(walk) for walk in walks]
    for stream_id in ("a", "b", "c"):
        model.apply(recorder.record("connection", stream_id, CLOSING))
        model.apply(recorder.record("connection", stream_id, CLOSED))
    assert len(first) == 6
    assert [len(list(walk)) for walk in walks] == [2] * 6
    assert (list(untouched), list(model.connections)) == (["a", "b", "c"], [])


def test_retries_are_a_read_only_mapping() -> None:
    """Of the open connections that were retried since the last reset, also while they close."""
    recorder = Recorder()
    scheduled = RetryScheduled(2, 4.0, 0.5, 30.0, "network_error")
    model = folded(recorder.record("connection", i, REGISTERED) for i in ("a", "b", "c"))
    for stream_id in ("a", "b"):
        model.apply(recorder.record("connection", stream_id, scheduled))
    assert (dict(model.retry), len(model.retry), "c" in model.retry) == ({"a": 2, "b": 2}, 2, False)
    walk, untouched = iter(model.retry), iter(model.retry)
    assert (next(walk), model.retry.delay("a"), model.retry.delay("c")) == ("a", 4.0, None)
    for event in (RetriesReset(), CLOSING, CLOSED):
        model.apply(recorder.record("connection", "b", event))
    assert (list(walk), list(untouched)) == (["b"], ["a", "b"])
    assert (dict(model.retry), model.retry.delay("b")) == ({"a": 2}, None)
    for missing in ("b", "c", "never"):
        with pytest.raises(KeyError, match=missing):
            model.retry[missing]
    with pytest.raises(TypeError):
        model.retry["a"] = 0  # type: ignore[index]  # that is the point


def test_a_refused_retry_forgets_the_delay_and_keeps_the_count() -> None:
    """Recovered keeps both, as a further failure goes on counting; a reset keeps neither."""
    scheduled = RetryScheduled(1, 4.0, None, 30.0, "network_error")
    recovered = folded(history(REGISTERED, scheduled, Recovered(1)))
    assert (dict(recovered.retry), recovered.retry.delay("a")) == ({"a": 1}, 4.0)
    refused = folded(history(REGISTERED, scheduled, RetryRefused("exhausted")))
    assert (dict(refused.retry), refused.retry.delay("a")) == ({"a": 1}, None)
    reset = folded(history(REGISTERED, scheduled, RetriesReset()))
    assert (dict(reset.retry), reset.retry.delay("a")) == ({}, None)


def test_reasons_are_bounded() -> None:
    """Sixty-four of them are told apart; later ones are other, earlier ones still counted."""
    recorder = Recorder()
    reasons = [f"reason_{number}" for number in range(70)] + ["reason_0", "reason_69"]
    model = ReadModel([CONNECTION])
    for reason in reasons:
        for event in (REGISTERED, CLOSING, attrs.evolve(CLOSED, reason=reason)):
            model.apply(recorder.record("connection", "a", event))
    expected = {f"reason_{number}": 1 for number in range(64)} | {"reason_0": 2, "other": 7}
    assert model.stats.as_dict()["closed_by_reason"] == expected


def test_closed_connections_leave_nothing_behind() -> None:
    """After a hundred lives of one id the model holds what it held before, but for its totals."""
    recorder = Recorder()
    model = ReadModel([CONNECTION])
    for _ in range(100):
        for event in (REGISTERED, Activated(), Stalled(1.0), CLOSING, CLOSED):
            model.apply(recorder.record("connection", "a", event))
    assert (model.open_records(), model.records("w0"), dict(model.ids("connection"))) == (
        [],
        [],
        {},
    )
    assert model.dump()["records"] == []
    assert model.totals.states["connection"] == {
        **dict.fromkeys(("new", "connecting", "active", "retrying", "closing"), 0),
        "closed": 100,
    }


def test_a_stream_that_ends_as_it_begins_leaves_nothing_behind() -> None:
    """Where ids come again, so does this one."""

    @attrs.frozen
    class Flashed:
        """It began and ended."""

    flash = Lifecycle(
        *("flash",),
        states=("over",),
        final={"over"},
        transitions=[[Flashed, "new", "over"]],
        reusable_ids=True,
    )
    recorder = Recorder([flash])
    model = folded((recorder.record("flash", "a", Flashed()) for _ in range(3)), [flash])
    assert (model.records("w0"), model.record("flash", "a")) == ([], None)
    assert (model.totals.illegal, model.totals.states["flash"]) == (0, {"new": 0, "over": 3})


def test_streams_whose_ids_do_not_come_again_are_kept() -> None:
    """So that a decision sees that they ended."""
    placed = New.Placed("tea", 100, "EUR")
    model = folded(history(placed, Packed(), Done(), lifecycle="order"))
    record = model.record("order", "a")
    assert record is not None
    assert (record.state, record.version, record.born, model.records("w0")) == (
        *("done", 3, 1),
        [record],
    )
    assert model.record("order", "b") is None


def test_an_illegal_event_keeps_the_state_and_is_counted() -> None:
    """It also counts as a version; nothing of what it says is believed."""
    model = folded(history(REGISTERED, Closed("normal", 9, 9, 9, 9, 9.0), REGISTERED, Activated()))
    record = model.record("connection", "a")
    assert isinstance(record, ConnectionRecord)
    assert (record.state, record.version, record.reason) == ("active", 4, None)
    stats = model.stats.as_dict()
    assert (stats["illegal_events"], stats["total_connections"], stats["closed_by_reason"]) == (
        *(2, 1),
        {},
    )


def test_what_nobody_here_knows_is_counted() -> None:
    """An unknown event, an unknown tag, an unknown lifecycle; a known stream's versions go on."""
    unknown = UnknownEvent("connection.novelty", 1, {}, "unknown tag")
    known = history(REGISTERED, unknown, Activated())
    stranger = Recorded(
        *(None, START, Stream("stranger", "a", "w0:4"), 1, "w0", 4),
        *("stranger.began", Activated()),
    )
    untagged = attrs.evolve(known[2], seq=5, version=4, type="connection.untold")
    model = folded([*known, stranger, untagged])
    record = model.record("connection", "a")
    assert record is not None
    assert (record.state, record.version) == ("active", 4)
    stats = model.stats.as_dict()
    assert (stats["unknown_events"], stats["illegal_events"]) == (3, 0)
    assert model.cursor == {"w0": 5}


def test_writers_may_use_the_same_ids() -> None:
    """Each stream is its writer's; asked by id, the one registered last answers."""
    recorder = Recorder()
    model = folded(
        [
            recorder.record("connection", "a", Registered("first"), writer="w1"),
            recorder.record("connection", "a", Registered("second"), writer="w0"),
            recorder.record("connection", "a", Activated(), writer="w1"),
            recorder.record("connection", "a", ActivityRecorded(7, 1), writer="w1"),
        ]
    )
    assert (model.open_connections, model.connections["a"].remote_addr) == (2, "second")
    assert [(r.writer, r.state, r.bytes_sent) for r in model.open_records()] == [
        ("w1", "active", 7),
        ("w0", "connecting", 0),
    ]
    model.apply(recorder.record("connection", "a", CLOSING, writer="w1"))
    model.apply(recorder.record("connection", "a", CLOSED, writer="w1"))
    assert (model.open_connections, model.connections["a"].remote_addr) == (1, "second")


def test_a_drain_is_told_from_the_run_that_began_last() -> None:
    """Its phase, when it began, how long it may take; a request to others is no run."""
    recorder = Recorder()
    model = ReadModel([CONNECTION, NODE])
    seen = []

    def then(lifecycle: str, stream_id: str, event: Any, at: int) -> None:
        model.apply(recorder.record(lifecycle, stream_id, event, at=START + at))
        seen.append((model.drain, model.drain.closed, model.drain.draining))

    assert (model.drain, model.limits) == (Drain("none", None, None, 0, 0, 0, ""), {})
    then("node", "w0:1", Started([], {}, {"max_connections": 9}), 0)
    then("node", "w0:1", Serving(), 1)
    model.apply(recorder.record("connection", "a", REGISTERED))
    then("connection", "b", REGISTERED, 2)
    then("node", "w0:1", DrainStarted(30.0, 2, "SIGTERM"), 3)
    model.apply(recorder.record("node", "w1:1", DrainRequested("ops@host"), writer="w1"))
    model.apply(recorder.record("connection", "b", CLOSING))
    then("connection", "b", CLOSED, 4)
    then("node", "w0:1", DrainForced(1), 5)
    then("node", "w0:1", Stopped(), 6)
    assert model.stats.as_dict()["max_connections"] == 9
    then("node", "w0:9", Started([], {}), 7)
    began = START + 3
    assert seen == [
        (Drain("starting", None, None, 0, 0), 0, False),
        (Drain("serving", None, None, 0, 0), 0, False),
        (Drain("serving", None, None, 0, 2), 0, False),
        (Drain("draining", began, 30.0, 2, 2, 0, "SIGTERM"), 0, True),
        (Drain("draining", began, 30.0, 2, 1, 0, "SIGTERM"), 1, True),
        (Drain("forcing", began, 30.0, 2, 1, 0, "SIGTERM"), 1, True),
        (Drain("stopped", began, 30.0, 2, 1, 0, "SIGTERM"), 1, True),
        (Drain("starting", None, None, 0, 1), 0, False),
    ]
    assert model.stats.as_dict()["max_connections"] is None


def test_definitions_that_a_run_recorded_are_kept_by_fingerprint() -> None:
    """Those of earlier runs too, so that their streams can be judged."""
    first, second = dict(CONNECTION.definition), dict(ORDER.definition)
    recorder = Recorder()
    model = folded(
        [
            recorder.record("node", "1", Started([first], {})),
            recorder.record("node", "1", Stopped()),
            recorder.record("node", "2", Started([second], {})),
        ]
    )
    assert model.totals.definitions == {
        CONNECTION.fingerprint: first,
        fingerprint_of(second): second,
    }


def test_a_model_without_connections_has_statistics_too() -> None:
    """Of a lifecycle of one's own, all zero."""
    stats = ReadModel([ORDER]).stats.as_dict()
    assert (stats["state_distribution"], stats["active_connections"]) == ({}, 0)


def test_stalls_that_are_told_twice_count_once() -> None:
    """Also an end of a stall that never was: whatever is in the log folds."""
    events = [Stalled(1.0), Stalled(2.0), Unstalled(3.0), Unstalled(4.0), Stalled(5.0)]
    recorded = history(REGISTERED, Activated(), *events, CLOSING)
    counts = [folded(recorded[: 2 + n]).totals.stalled for n in range(7)]
    assert counts == [0, 1, 1, 0, 0, 1, 0]
