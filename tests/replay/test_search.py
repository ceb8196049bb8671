"""What is found is what every life, looked at one by one, would have answered."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ErrorRecorded,
    Registered,
    RetryScheduled,
    Started,
    to_datetime,
)
from rat_fsm.replay.neighbours import neighbours
from rat_fsm.replay.query import SORTS, Query
from rat_fsm.replay.search import Found, find, searching
from tests.frames import START
from tests.histories import Recorder
from tests.replay.written import store_of

if TYPE_CHECKING:
    from rat_fsm.events import Recorded
    from rat_fsm.stores.memory import MemoryStore

MINUTE: Final = 60_000_000
ALL: Final = [f"c{number}" for number in range(4)]


def connection(recorder: Recorder, number: int, *events: Any) -> list[Recorded]:
    """A connection that begins a minute after the one before, and does something each second."""
    at = START + number * MINUTE
    return [
        recorder.record("connection", f"c{number}", event, at=at + count * 1_000_000)
        for count, event in enumerate(events)
    ]


def four() -> MemoryStore:
    """Four connections: one completed, one that erred and gave up, one open, one closing."""
    recorder = Recorder()
    timeout = ErrorRecorded("TimeoutError", "Straße closed", "network_error", retryable=True)
    retry = RetryScheduled(1, 1.0, None, 30.0, "network_error")
    history = [
        *connection(
            *(
                recorder,
                0,
                Registered("10.0.0.1", "sse"),
                Activated("/a"),
                ActivityRecorded(100, 3),
            ),
            *(Closing("completed", "server", "streaming"), Closed("completed", 100, 3, 0, 0, 3.0)),
        ),
        *connection(
            *(recorder, 1, Registered("10.0.1.1", "websocket"), Activated("/b"), timeout, retry),
            *(timeout, Closing("retries_exhausted", "app", "streaming", 1011)),
            Closed("retries_exhausted", 0, 0, 2, 1, 5.0),
        ),
        *connection(recorder, 2, Registered("2001:db8::1", "sse"), Activated("/a")),
        *connection(
            *(recorder, 3, Registered("client 7", "llm"), Closing("kicked", "admin", "handshake")),
        ),
        recorder.record("node", "w0:1", Started([], {}), at=START + 4 * MINUTE),
    ]
    return store_of(history, cuts={5})


def ids(**wanted: Any) -> list[str]:
    """The connections that a query finds."""
    return [found.tally.id for found in find(four(), Query(**wanted))]


def at(minutes: float) -> datetime.datetime:
    """So many minutes after the first connection began."""
    return to_datetime(START + round(minutes * MINUTE))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "0123"),
        ({"id": "c[12]"}, "12"),
        ({"id": "C1"}, ""),
        ({"state": ["active", "closing"]}, "23"),
        ({"reason": ["completed", "kicked"]}, "03"),
        ({"ended_by": ["app"]}, "1"),
        ({"kind": ["sse"], "route": ["/a"]}, "02"),
        ({"open": True}, "23"),
        ({"open": False}, "01"),
        ({"client": "10.0.0.1"}, "0"),
        ({"client": "10.0.*"}, "01"),
        ({"client": "10.0.0.0/16"}, "01"),
        ({"client": "2001:db8::/32"}, "2"),
        ({"client": "0.0.0.0/0"}, "01"),
        ({"error": "timeout"}, "1"),
        ({"error": "STRASSE"}, "1"),
        ({"error": "refused"}, ""),
        ({"longer": 5, "shorter": 6}, "1"),
        ({"longer": 60}, "23"),
        ({"shorter": 4}, "0"),
        ({"longer": 1e300}, ""),
        ({"since": at(1)}, "123"),
        ({"until": at(1)}, "01"),
        ({"since": at(1.05), "until": at(1.06)}, "1"),
        ({"since": at(0.5), "until": at(0.6)}, ""),
        ({"reason": ["\udcff"], "id": "\udcff"}, ""),
    ],
)
def test_each_filter(wanted: dict[str, Any], expected: str) -> None:
    """Finds those that it describes; all filters must hold, and one of several values."""
    assert ids(**wanted) == [f"c{number}" for number in expected]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("began", "0123"),
        ("ended", "3210"),
        ("lived", "2310"),
        ("bytes", "0123"),
        ("errors", "1023"),
        ("retries", "1023"),
        ("id", "0123"),
    ],
)
def test_each_order(sort: str, expected: str) -> None:
    """The oldest first, or the most of what is asked for; and no more than are wanted."""
    assert ids(sort=sort) == [f"c{number}" for number in expected]
    assert ids(sort=sort, limit=2) == [f"c{number}" for number in expected[:2]]


def test_what_is_known_of_one() -> None:
    """Everything that its events said, as plain values."""
    (found,) = find(four(), Query(id="c1"))
    assert found.as_dict() == {
        "stream": ["connection", "c1", "w0:6"],
        "life": 1,
        "state": "closed",
        "open": False,
        "began": "2027-01-15T08:01:00Z",
        "last": "2027-01-15T08:01:06Z",
        "lived": 6.0,
        "client": "10.0.1.1",
        "kind": "websocket",
        "route": "/b",
        "reason": "retries_exhausted",
        "ended_by": "app",
        "phase": "streaming",
        "code": 1011,
        "events": 7,
        "bytes": 0,
        "messages": 0,
        "errors": 2,
        "retries": 1,
        "illegal": 0,
        "frames": [2, 2],
    }


def test_other_lifecycles() -> None:
    """Connections are what is looked for, unless somebody says otherwise."""
    assert ids(lifecycle="node") == ["w0:1"]
    assert ids(lifecycle=None) == [*ALL, "w0:1"]
    with searching(four()) as search:
        assert search.count(Query(lifecycle=None, limit=1)) == 5
        assert list(search.find(Query(lifecycle="order"))) == []


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_lives_are_counted_by_id(names: list[str]) -> None:
    """Each is the first, second … of its id, whatever else is found."""
    recorder, history = Recorder(), []
    for name in names:
        history += [
            recorder.record("connection", name, event)
            for event in (
                Registered("10.0.0.1"),
                Closing("kicked", "admin", "handshake"),
                Closed("kicked", 0, 0, 0, 0, 0.0),
            )
        ]
    found = list(find(store_of(history), Query(id="[ab]", sort="id")))
    assert [(one.tally.id, one.life) for one in found] == [
        (name, life) for name in "ab" for life in range(1, names.count(name) + 1)
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        {"since": datetime.datetime(2027, 1, 1)},  # noqa: DTZ001 - that is what is wrong with it
        {"longer": -1},
        {"shorter": float("nan")},
        {"sort": "size"},
        {"client": "10.0.0.0/33"},
        {"id": "*" * 1001},
    ],
)
def test_what_cannot_be_asked(wanted: dict[str, Any]) -> None:
    """Is refused where the query is made."""
    with pytest.raises(InvalidArgument):
        Query(**wanted)


def test_a_log_with_nothing_in_it() -> None:
    """Has nothing to find, in whatever order."""
    for sort in SORTS:
        assert list(find(store_of([]), Query(sort=sort))) == []


def near(minutes: float, within: float, but: str = "") -> tuple[int, list[Any]]:
    """How many were there, and to whom something happened."""
    found = neighbours(four(), at(minutes), within=within, but=but)
    return found.there, [(x.found.tally.id, x.began, x.ended, x.errors) for x in found.near]


def test_neighbours() -> None:
    """Who erred, ended or began within some seconds of a moment, and how many were there."""
    assert near(62 / 60, 0.5) == (1, [("c1", False, False, 1)])
    assert near(1.0, 10) == (1, [("c1", True, True, 2)])
    assert near(1.0, 70) == (
        3,
        [("c1", True, True, 2), ("c0", True, True, 0), ("c2", True, False, 0)],
    )
    assert near(1.0, 70, but="c1") == (2, [("c0", True, True, 0), ("c2", True, False, 0)])
    assert near(2.5, 10) == (1, [])
    assert near(90, 1) == (0, [])


def test_neighbours_are_counted() -> None:
    """How many of them began, ended and had errors."""
    found = neighbours(four(), at(1), within=70)
    counts = [found.how_many(what) for what in ("began", "ended", "errors")]
    assert counts == [3, 2, 1]
    assert all(isinstance(one.found, Found) for one in found.near)
