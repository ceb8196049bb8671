"""XES holds every life as a trace that process-mining tools read."""

from __future__ import annotations

import datetime
import importlib.util
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given

from rat_fsm import CONNECTION, EventLog, read_events
from rat_fsm.events import (
    ActivityRecorded,
    Closed,
    Closing,
    ErrorRecorded,
    Recovered,
    Registered,
    RetryRefused,
    RetryScheduled,
    Stalled,
    UnknownEvent,
    Unstalled,
)
from rat_fsm.exports import Selection, without_personal_data, write_xes
from rat_fsm.exports.selecting import EVERYTHING, selected
from rat_fsm.exports.spool import Spool
from rat_fsm.exports.xml import plain_text
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import edge_tour
from tests.cli.logs import HOSTILE, Ticking, a_life
from tests.exports.stores import stores, written
from tests.frames import START, frame_with
from tests.orders import ORDER, New, Noted

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.events import Recorded
    from rat_fsm.replay.sources import LogSource

NAMESPACE: Final = "{http://www.xes-standard.org/}"
VALUES: Final[dict[str, Any]] = {
    "string": plain_text,
    "date": datetime.datetime.fromisoformat,
    "int": int,
    "float": float,
    "boolean": {"true": True, "false": False}.__getitem__,
}
# What the schema of IEEE Std 1849-2016 calls xs:Name and xs:NCName, as far as ASCII goes.
NAME: Final = re.compile(r"[A-Za-z_:][\w:.\-]*", re.ASCII)
NC_NAME: Final = re.compile(r"[A-Za-z_][\w.\-]*", re.ASCII)
ORDER_OF_A_LOG: Final = re.compile(
    "(extension )*(global )*(classifier )*((string|date|int|float|boolean) )*(trace )*"
)


def exported(source: LogSource, selection: Selection = EVERYTHING) -> bytes:
    """The XML of a log."""
    file = io.BytesIO()
    write_xes(source, file, selection)
    return file.getvalue()


def read(element: ET.Element) -> dict[str, Any]:
    """The attributes of a trace or an event, each of the type it says."""
    found: dict[str, Any] = {}
    for attribute in element:
        kind = attribute.tag.removeprefix(NAMESPACE)
        if kind in VALUES:
            key = attribute.attrib["key"]
            assert NAME.fullmatch(key)
            assert key not in found
            found[key] = VALUES[kind](attribute.attrib["value"])
    return found


def traces(document: bytes) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The traces of a document, each with its events; the document is as the schema wants it."""
    root = ET.fromstring(document)  # noqa: S314 - our own
    assert root.attrib == {"xes.version": "1849.2016", "xes.features": ""}
    assert ORDER_OF_A_LOG.fullmatch("".join(f"{child.tag[len(NAMESPACE) :]} " for child in root))
    for child in [*root.iter(f"{NAMESPACE}extension"), *root.iter(f"{NAMESPACE}classifier")]:
        assert NC_NAME.fullmatch(child.attrib["name"])
    found = []
    for trace in root.iter(f"{NAMESPACE}trace"):
        kinds = [child.tag == f"{NAMESPACE}event" for child in trace]
        assert kinds == sorted(kinds), "attributes come first"
        found.append((read(trace), [read(child) for child in trace.iter(f"{NAMESPACE}event")]))
    return found


def plain(event: Any) -> dict[str, Any]:
    """The fields of a payload that are no null."""
    fields = event.data if isinstance(event, UnknownEvent) else attrs.asdict(event)
    return {name: value for name, value in fields.items() if value is not None}


def check(told: dict[str, Any], recorded: Recorded) -> None:
    """Whether the attributes of an event are those of what was recorded."""
    assert told["concept:name"] == recorded.type
    assert told["time:timestamp"] == recorded.at
    assert told["org:resource"] == recorded.writer
    assert told["position"] == str(recorded.position)
    assert told["version"] == recorded.version
    data = {key[5:]: value for key, value in told.items() if key.startswith("data.")}
    for name, value in plain(recorded.event).items():
        if isinstance(value, (dict, list)):
            data[name] = json.loads(data[name])
    assert data == plain(recorded.event)


@given(store=stores())
def test_every_event_is_in_the_trace_of_its_life(store: MemoryStore) -> None:
    """In its order, with time, state, place and payload; several traces only after an end."""
    lives: dict[Any, list[Any]] = {}
    for recorded in selected(store, EVERYTHING):
        lives.setdefault(recorded.stream, []).append(recorded)
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for trace, events in traces(exported(store)):
        key = trace["lifecycle"], trace["id"], trace["born"]
        assert trace["concept:name"] == f"{trace['id']} {trace['born']}"
        found.setdefault(key, []).extend(events)
    assert found.keys() == {attrs.astuple(stream) for stream in lives}
    for stream, life in lives.items():
        for told, recorded in zip(found[attrs.astuple(stream)], life, strict=True):
            check(told, recorded)


def test_a_life_is_a_trace(tmp_path: Path) -> None:
    """Each life of an id is a trace of its own; they come in the order they ended."""
    path = written(tmp_path / "events.db", "c1", "c1")
    with EventLog.open(path, clock=Ticking(2 * 10**15)) as log:
        log.append(("connection", "still open"), Registered("10.0.0.1"))
        log.flush()
        found = traces(exported(path, Selection(lifecycles=frozenset({"connection"}))))
    assert [trace["id"] for trace, _ in found] == ["c1", "c1", "still open"]
    assert len({trace["concept:name"] for trace, _ in found}) == 3
    assert [event["state"] for event in found[0][1]] == [
        *("connecting", "active", "active", "active", "active"),
        *("retrying", "active", "closing", "closed"),
    ]
    assert {event["lifecycle:transition"] for event in found[0][1]} == {"complete"}
    error = found[0][1][4]
    assert (error["data.retryable"], error["data.message"]) == (True, "reset by peer")
    assert (found[0][1][5]["data.delay"], found[0][1][2]["data.bytes_sent"]) == (1.0, 1000)
    assert "data.draw" not in found[0][1][5]


def test_hostile_text(tmp_path: Path) -> None:
    """What XML cannot hold comes back, and a raw file moves no cursor."""
    nasty = {"\0\ufffe": f"{HOSTILE}<&>\"' _x0041_ _x005F_ \ud7ff\U0001f600"}
    with EventLog.open(tmp_path / "events.db", lifecycles=[CONNECTION, ORDER]) as log:
        log.append(("connection", "<c> & \u202e"), Registered("10.0.0.1", HOSTILE, nasty))
        log.append(("order", "o"), New.Placed("\0\t\n ]]>", 2**62, ""), Noted({"\x1b": [1e300]}))
    document = exported(tmp_path / "events.db")
    text = document.decode()
    assert not any(character in text for character in "\x1b\x9b\x07\x7f\0\ufffe\u202e\u2066\r\t")
    by_id = {trace["id"]: events for trace, events in traces(document)}
    (registered, *_) = by_id["<c> & \u202e"]
    assert registered["data.kind"] == HOSTILE
    assert json.loads(registered["data.metadata"]) == nasty
    placed, noted = by_id["o"]
    assert (placed["data.item"], placed["data.cents"]) == ("\0\t\n ]]>", 2**62)
    assert json.loads(noted["data.note"]) == {"\x1b": [1e300]}


def test_names_that_nobody_would_give() -> None:
    """Lifecycles, tags and fields of a hostile log make no markup, and come back."""
    store, fields = MemoryStore(), ['a b"<', "\0", ""]
    body = {
        "types": [['x"<', 1, fields]],
        "streams": [["\x1b", "s", 1, 0]],
        "events": [[0, 0, 0, 10**30, "t", False]],
    }
    store.append(frame_with(body, first_at=START, last_at=START).frame)
    ((trace, (event,)),) = traces(exported(store))
    assert (trace["lifecycle"], event["concept:name"]) == ("\x1b", 'x"<')
    data = {plain_text(key[5:]): value for key, value in event.items() if key[:5] == "data."}
    assert data == dict(zip(fields, [str(10**30), "t", False], strict=True))


def test_a_redacted_export(tmp_path: Path) -> None:
    """No address, no metadata and no message leave."""
    path = written(tmp_path / "events.db", "c1")
    text = exported(path, Selection(redact=without_personal_data)).decode()
    assert "completed" in text
    assert not any(secret in text for secret in ("10.0.0.1", "browser", "reset by peer"))


def test_open_lives_go_to_a_file(tmp_path: Path) -> None:
    """What does not fit in memory is written and read back, to the same document."""
    path = tmp_path / "events.db"
    with EventLog.open(path, clock=Ticking()) as log:
        for events in zip(*(a_life(f"c{number}") for number in range(10)), strict=True):
            for connection_id, event in events:
                log.append(("connection", connection_id), event)
    whole = exported(path)
    file = io.BytesIO()
    write_xes(path, file, memory=1000)
    assert file.getvalue() == whole


@pytest.mark.parametrize("limit", [0, 7, 1000])
def test_a_spool_keeps_pieces_in_order(limit: int) -> None:
    """Whatever was spilled, a key's pieces come back in order, once."""
    with Spool[str](limit) as spool:
        for number in range(20):
            spool.add(f"k{number % 3}", b"%d " % number)
        assert sorted(spool.waiting()) == ["k0", "k1", "k2"]
        assert b"".join(spool.take("k1")) == b"1 4 7 10 13 16 19 "
        spool.add("k1", b"again")
        assert b"".join(spool.take("k1")) == b"again"
        assert b"".join(spool.take("k1")) == b""
        assert sorted(spool.waiting()) == ["k0", "k2"]


# Lives that take every edge of CONNECTION, of events like these.
TOUR: Final = {
    str(walk): walk.events(
        Registered("10.0.0.1"),
        ActivityRecorded(1, 1),
        ErrorRecorded("OSError", "reset", "network_error", retryable=True),
        RetryScheduled(1, 1.0, None, 30.0, "network_error"),
        RetryRefused("exhausted"),
        Recovered(2),
        Stalled(1.0),
        Unstalled(2.0),
        Closing("normal", "app", "streaming"),
        Closed("normal", 1, 1, 1, 1, 1.0),
    )
    for walk in edge_tour(CONNECTION)
}
MINING: Final = """
import json, sys
import pm4py

log = pm4py.read_xes(sys.argv[1])
pairs, starts, ends = pm4py.discover_dfg(log)
with open(sys.argv[2], "w") as file:
    json.dump([[[a, b, n] for (a, b), n in pairs.items()], starts, ends, len(log)], file)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pm4py") is None, reason="needs the extra mining")
def test_pm4py_finds_the_table(tmp_path: Path) -> None:
    """Its directly-follows graph of the tour is the successive pairs of events in the log.

    In a process of its own: it takes seconds to import, and warns about what is not ours.
    """
    path, tour, target = (tmp_path / name for name in ("events.db", "tour.xes", "found.json"))
    with EventLog.open(path, clock=Ticking()) as log:
        for connection_id, life in TOUR.items():
            log.append(("connection", connection_id), *life)
    chosen = Selection(lifecycles=frozenset({"connection"}))
    tour.write_bytes(exported(path, chosen))
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        MINING,
        str(tour),
        str(target),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    pairs, starts, ends, events = json.loads(target.read_text())
    tags: dict[str, list[str]] = {}
    for recorded in read_events(path):
        if recorded.stream.lifecycle == "connection":
            tags.setdefault(recorded.stream.id, []).append(recorded.type)
    expected = Counter(pair for life in tags.values() for pair in pairwise(life))
    assert {(a, b): count for a, b, count in pairs} == dict(expected)
    legal = {
        (first.tag, second.tag)
        for first in CONNECTION.events
        for second in CONNECTION.events
        if set(first.moves.values()) & set(second.moves)
    }
    assert {(a, b) for a, b, _ in pairs} <= legal
    assert starts == {"connection.registered": len(TOUR)}
    assert ends == {"connection.closed": len(TOUR)}
    assert events == sum(map(len, TOUR.values()))
