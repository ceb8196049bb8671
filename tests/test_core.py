"""Deciding: which events follow from a request, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.core import (
    Activate,
    Activity,
    BeginClose,
    Close,
    ForceDrain,
    Register,
    ReportError,
    ResetRetries,
    Retry,
    Serve,
    Stall,
    StartDrain,
    Unstall,
    abandon_connection,
    abandon_node,
    decide,
)
from rat_fsm.errors import Refused
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    DrainForced,
    DrainStarted,
    ErrorRecorded,
    Recovered,
    Registered,
    RetriesReset,
    RetryRefused,
    RetryScheduled,
    Serving,
    Stalled,
    Started,
    Stopped,
    Unstalled,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.projections.model import ReadModel
from tests.frames import START
from tests.histories import Recorder

SCHEDULED = RetryScheduled(1, 0.5, None, 30.0, "network_error")
ERROR = ReportError("OSError", "gone", "network_error", retryable=True)


def scheduled(view: Any) -> RetryScheduled:
    """A policy that always retries."""
    return attrs.evolve(SCHEDULED, attempt=view.retries + 1)


def refused(_view: object) -> RetryRefused:
    """A policy that never does."""
    return RetryRefused("exhausted")


class Server:
    """A model of one writer, and the requests made to it."""

    def __init__(self) -> None:
        self.recorder = Recorder((CONNECTION, NODE))
        self.model = ReadModel((CONNECTION, NODE))
        self.at = START

    def stream(self, lifecycle: str, stream_id: str) -> Any:
        """What the log hands to a decision: the stream's record, or a fresh one."""
        known = self.model.record(lifecycle, stream_id)
        machine = self.model.lifecycles[lifecycle]
        return known or self.model.new_record(machine, stream_id, "w0")

    def take(self, lifecycle: str, stream_id: str, *happened: Any) -> Server:
        """Records events and folds them."""
        for event in happened:
            recorded = self.recorder.record(lifecycle, stream_id, event, at=self.at)
            self.model.apply(recorded)
        return self

    def ask(self, request: object, stream_id: str = "c1", lifecycle: str = "connection") -> Any:
        """What a request leads to."""
        return decide(request, self.stream(lifecycle, stream_id), self.model)


HISTORIES: dict[str, tuple[Any, ...]] = {
    "new": (),
    "connecting": (Registered("a"),),
    "active": (Registered("a"), Activated()),
    "stalled": (Registered("a"), Activated(), Stalled(1.0)),
    "retrying early": (Registered("a"), SCHEDULED),
    "retrying": (Registered("a"), Activated(), SCHEDULED),
    "retrying, stalled": (Registered("a"), Activated(), Stalled(1.0), SCHEDULED),
    "recovered": (Registered("a"), Activated(), SCHEDULED, Recovered(1)),
    "closing": (Registered("a"), Activated(), Closing("normal", "app", "streaming", 200)),
    "closing, retried": (
        *(Registered("a"), SCHEDULED),
        Closing("normal", "app", "streaming"),
    ),
    "closed": (
        *(Registered("a"), Closing("normal", "app", "handshake")),
        Closed("normal", 0, 0, 0, 0, 0.0),
    ),
}
OPEN = [name for name in HISTORIES if name not in {"new", "closed"}]
CLOSING = ["closing", "closing, retried"]
RETRYING = ["retrying early", "retrying", "retrying, stalled"]
EARLY = ["connecting", "retrying early"]  # the handshake was never done


def in_state(name: str) -> Server:
    """A server whose connection c1 has this history."""
    return Server().take("connection", "c1", *HISTORIES[name])


CLOSED = Closed("timeout", 0, 0, 0, 0, 2.0)
CLOSE = Close("timeout", "timeout", START + 2_000_000, 1001)
ANSWERS: list[tuple[object, dict[str, tuple[Any, ...]]]] = [
    (
        Activate("/feed"),
        dict.fromkeys(RETRYING, (Recovered(1),)) | dict.fromkeys(EARLY, (Activated("/feed"),)),
    ),
    (
        Activity(5, 1),
        dict.fromkeys(OPEN, (ActivityRecorded(5, 1),))
        | {
            "connecting": (Activated(), ActivityRecorded(5, 1)),
        }
        | dict.fromkeys(RETRYING, (Recovered(1), ActivityRecorded(5, 1))),
    ),
    (ERROR, dict.fromkeys(OPEN, (ErrorRecorded("OSError", "gone", "network_error", True),))),  # noqa: FBT003 - an event's payload
    (ResetRetries(), dict.fromkeys((*RETRYING, "recovered"), (RetriesReset(),))),
    (Stall(3.0), {"active": (Stalled(3.0),), "recovered": (Stalled(3.0),)}),
    (Unstall(4.0), {"stalled": (Unstalled(4.0),)}),
    (
        BeginClose("completed", "app"),
        dict.fromkeys(OPEN, (Closing("completed", "app", "streaming"),))
        | dict.fromkeys(EARLY, (Closing("completed", "app", "handshake"),))
        | dict.fromkeys(CLOSING, ()),
    ),
    (
        CLOSE,
        dict.fromkeys(OPEN, (Closing("timeout", "timeout", "streaming", 1001), CLOSED))
        | {
            "connecting": (Closing("timeout", "timeout", "handshake", 1001), CLOSED),
            "closing": (attrs.evolve(CLOSED, reason="normal"),),
            "closing, retried": (attrs.evolve(CLOSED, reason="normal", retries=1),),
        }
        | dict.fromkeys(
            (*RETRYING, "recovered"),
            (
                Closing("timeout", "timeout", "streaming", 1001),
                attrs.evolve(CLOSED, retries=1),
            ),
        )
        | {
            "retrying early": (
                Closing("timeout", "timeout", "handshake", 1001),
                attrs.evolve(CLOSED, retries=1),
            )
        },
    ),
]


@pytest.mark.parametrize(
    ("request_", "answers", "state"),
    [(request, answers, state) for request, answers in ANSWERS for state in OPEN],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_follows_from_each_request_in_each_state(
    request_: object, answers: dict[str, tuple[Any, ...]], state: str
) -> None:
    """Nothing, where there is nothing to do."""
    assert in_state(state).ask(request_) == answers.get(state, ())


@pytest.mark.parametrize("state", ["new", "closed"])
@pytest.mark.parametrize(
    "request_",
    [request for request, _ in ANSWERS] + [Retry(scheduled)],
    ids=lambda request: type(request).__name__,
)
def test_a_connection_that_is_not_open_takes_nothing(request_: object, state: str) -> None:
    """Before it was registered and after it was closed it is equally unknown."""
    with pytest.raises(Refused, match="no open connection has this id") as error:
        in_state(state).ask(request_)
    assert error.value.cause == "unknown"


def test_a_record_that_says_closed_takes_nothing() -> None:
    """Though a model lets go of connections that have ended, a decision does not rely on it."""
    server = in_state("active")
    record = server.stream("connection", "c1")
    record.state = "closed"
    with pytest.raises(Refused, match="no open connection has this id"):
        decide(ERROR, record, server.model)


def test_a_route_need_not_be_known() -> None:
    """Then the event has none."""
    assert in_state("connecting").ask(Activate()) == (Activated(""),)


@pytest.mark.parametrize("state", [state for state in OPEN if state not in CLOSING])
def test_a_retry_is_what_the_policy_answers(state: str) -> None:
    """It sees where the connection stands; a refusal is an event too."""
    server = in_state(state)
    retries = server.stream("connection", "c1").retries
    assert server.ask(Retry(scheduled)) == (attrs.evolve(SCHEDULED, attempt=retries + 1),)
    assert server.ask(Retry(refused)) == (RetryRefused("exhausted"),)


@pytest.mark.parametrize("state", CLOSING)
def test_a_closing_connection_is_not_retried(state: str) -> None:
    """The policy is not even asked."""
    asked: list[object] = []
    with pytest.raises(Refused, match="the connection is closing") as error:
        in_state(state).ask(Retry(asked.append))  # type: ignore[arg-type]  # it must not be called
    assert (error.value.cause, asked) == ("closing", [])


@pytest.mark.parametrize("state", ["new", "closed"])
def test_an_id_that_is_free_can_be_registered(state: str) -> None:
    """With a copy of the metadata; also when it was used before."""
    metadata = {"user": "u1"}
    (event,) = in_state(state).ask(Register("10.0.0.1", "sse", metadata, 1))
    assert event == Registered("10.0.0.1", "sse", {"user": "u1"})
    assert event.metadata is not metadata


@pytest.mark.parametrize("state", OPEN)
def test_an_id_that_is_open_cannot_be_registered_again(state: str) -> None:
    """Nor while it is closing, nor at the limit: that it is taken is said first."""
    with pytest.raises(Refused, match="the id belongs to an open connection") as error:
        in_state(state).ask(Register("a", "sse", {}, 1))
    assert error.value.cause == "duplicate"


@given(st.integers(0, 4), st.integers(0, 4))
def test_no_more_connections_than_the_limit(count: int, limit: int) -> None:
    """One that is closing still counts."""
    server = Server()
    for number in range(count):
        server.take("connection", str(number), Registered("a"))
    server.take("connection", "0", Closing("normal", "app", "handshake"))
    if count < limit:
        assert server.ask(Register("a", "sse", {}, limit)) == (Registered("a", "sse"),)
        return
    with pytest.raises(Refused, match=f"{limit} connections are open already") as error:
        server.ask(Register("a", "sse", {}, limit))
    assert error.value.cause == "max_connections"


NODES: dict[str, tuple[Any, ...]] = {
    "new": (),
    "starting": (Started([], {}),),
    "serving": (Started([], {}), Serving()),
    "draining": (Started([], {}), Serving(), DrainStarted(30.0, 1)),
    "forcing": (Started([], {}), DrainStarted(30.0, 1), DrainForced(1)),
    "stopped": (Started([], {}), Stopped()),
}
NODE_ANSWERS: list[tuple[object, dict[str, tuple[Any, ...]]]] = [
    (Serve(), {"starting": (Serving(),)}),
    (
        StartDrain(5.0),
        {"starting": (DrainStarted(5.0, 1),), "serving": (DrainStarted(5.0, 1),)},
    ),
    (ForceDrain(), {"draining": (DrainForced(1),)}),
]


@pytest.mark.parametrize("state", NODES)
@pytest.mark.parametrize(
    ("request_", "answers"), NODE_ANSWERS, ids=[type(r).__name__ for r, _ in NODE_ANSWERS]
)
def test_what_follows_for_a_node_in_each_state(
    request_: object, answers: dict[str, tuple[Any, ...]], state: str
) -> None:
    """To serve, to drain and to force happen once each, and count what is open."""
    server = in_state("active").take("node", "n1", *NODES[state])
    assert server.ask(request_, "n1", "node") == answers.get(state, ())


@pytest.mark.parametrize("state", NODES)
def test_a_draining_node_takes_no_new_connection(state: str) -> None:
    """From the start of the drain until another run begins; it is said before all else."""
    server = in_state("active").take("node", "n1", *NODES[state])
    draining = state in {"draining", "forcing", "stopped"}
    assert server.model.draining == draining
    for stream_id in ("c1", "c2"):
        with pytest.raises(Refused) as error:
            server.ask(Register("a", "sse", {}, 1), stream_id)
        otherwise = "duplicate" if stream_id == "c1" else "max_connections"
        assert error.value.cause == ("draining" if draining else otherwise)


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("node", NODES)
def test_an_abandoned_connection_is_ended_as_a_crash(state: str, node: str) -> None:
    """Or as forced, where its writer was draining; one that was closing keeps its reason."""
    server = in_state(state).take("node", "n1", *NODES[node])
    stream = server.stream("connection", "c1")
    ended = abandon_connection(stream, server.model, START + 500_000)
    draining = node in {"draining", "forcing", "stopped"}
    reason, ended_by = ("forced", "shutdown") if draining else ("crash", "crash")
    phase = "handshake" if state in EARLY else "streaming"
    retries = int("retr" in state or state == "recovered")
    closed = Closed("normal" if state in CLOSING else reason, 0, 0, 0, retries, 0.5)
    closing = () if state in CLOSING else (Closing(reason, ended_by, phase),)
    assert ended == (*closing, closed)


@pytest.mark.parametrize("state", ["starting", "serving", "draining", "forcing"])
def test_an_abandoned_node_is_stopped(state: str) -> None:
    """And its report says that it was not clean."""
    server = Server().take("node", "n1", *NODES[state])
    events = abandon_node(server.stream("node", "n1"), server.model, START)
    assert events == (Stopped({"clean": False}),)
    assert NODE.next_state(state, events[0]) == "stopped"


def test_a_connection_is_never_older_than_its_end() -> None:
    """A clock that went back gives a duration of zero, not a negative one."""
    *_, closed = in_state("active").ask(Close("normal", "app", START - 1))
    assert closed == Closed("normal", 0, 0, 0, 0, 0.0)


counts = st.integers(0, 2**31)
seconds = st.floats(0, 1e6)
words = st.text(max_size=5)
REQUESTS = st.one_of(
    st.builds(Register, words, words, st.dictionaries(words, words), st.integers(0, 3)),
    st.just(Activate()),
    st.builds(Activity, counts, counts),
    st.builds(ReportError, words, words, words, st.booleans()),
    st.sampled_from([Retry(scheduled), Retry(refused)]),
    st.just(ResetRetries()),
    st.builds(Stall, seconds),
    st.builds(Unstall, seconds),
    st.builds(BeginClose, words, words),
    st.builds(Close, words, words, st.integers(START - 10, START + 10**9), st.none() | counts),
)
NODE_REQUESTS = st.one_of(
    st.just(Serve()), st.builds(StartDrain, seconds), st.sampled_from([ForceDrain(), "stop"])
)


@given(
    st.lists(
        st.tuples(st.just("connection"), REQUESTS, st.sampled_from("ab"))
        | st.tuples(st.just("node"), NODE_REQUESTS, st.just("n")),
        max_size=40,
    )
)
def test_what_is_decided_is_always_legal_and_a_refusal_changes_nothing(
    asked: list[tuple[str, Any, str]],
) -> None:
    """For any requests in any order: the same twice, the table takes it, the model is untouched."""
    server = Server().take("node", "n", Started([], {}))
    for lifecycle, request, stream_id in asked:
        before = copy.deepcopy(server.model.dump())
        if request == "stop":
            answer: Any = (Stopped(), Started([], {}))
            answer = answer if server.model.draining else ()
        else:
            answer = answer_of(server, lifecycle, request, stream_id)
            assert answer == answer_of(server, lifecycle, request, stream_id)
        assert server.model.dump() == before
        machine = server.model.lifecycles[lifecycle]
        state = server.stream(lifecycle, stream_id).state
        for event in () if isinstance(answer, str) else answer:
            state = machine.evolve("new" if isinstance(event, Started) else state, event)
            server.at += 1000
            server.take(lifecycle, stream_id, event)
    assert server.model.totals.illegal == 0
    totals = server.model.totals
    assert totals.open == len(server.model.open_records()) <= 3


def answer_of(server: Server, lifecycle: str, request: Any, stream_id: str) -> Any:
    """The events, or the cause of the refusal."""
    try:
        return server.ask(request, stream_id, lifecycle)
    except Refused as error:
        return error.cause
