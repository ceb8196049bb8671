"""The leaves of a log: every event, spelt out, salted, and the same whoever computes it."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Final

from hypothesis import given

from rat_fsm.audit.leaves import SALT, leaves_of
from rat_fsm.codec import encode_recorded, open_body
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.log import EventLog
from rat_fsm.testing import VirtualClock
from tests.frames import accepted, frame_of, frame_with, usual_body
from tests.logs import LIFECYCLES, close_connection, register
from tests.orders import New, Noted

if TYPE_CHECKING:
    from rat_fsm.stores.port import StoredFrame

# What a leaf was in the first version: it may never become anything else.
GOLDEN: Final = "555234fc6b7a8f38b1e857a96c299fe697496cdf6b6cb536c484b04459a01752"


def rows_of(body: bytes) -> list[str]:
    """The text of every row in a body, found by nothing but a decoder of JSON."""
    text, decoder = body.decode(), json.JSONDecoder()
    at, rows = text.index('"events":[') + len('"events":['), []
    while text[at] != "]":
        _, end = decoder.raw_decode(text, at)
        rows.append(text[at:end])
        at = end + (text[end] == ",")
    return rows


def compact(value: Any) -> str:
    """JSON without spaces, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def expected(stored: StoredFrame) -> list[bytes]:
    """The leaves of a frame as the module describes them, computed by other means."""
    frame, body = stored.frame, json.loads(stored.frame.body)
    leaves, seen = [], [base for *_, base in body["streams"]]
    for offset, (row, text) in enumerate(zip(body["events"], rows_of(frame.body), strict=True)):
        lifecycle, name, born, _ = body["streams"][row[1]]
        seen[row[1]] += 1
        facts = [
            *(stored.position, frame.writer, frame.first, frame.first_at, offset),
            [lifecycle, name, f"{frame.writer}:{born}"],
            seen[row[1]],
            body["types"][row[2]],
        ]
        salt = hmac.digest(frame.salt, offset.to_bytes(8, "big"), "sha256")
        leaves.append(salt + f"{compact(facts)[:-1]},{text}]".encode())
    return leaves


@given(accepted())
def test_leaves_are_what_the_module_says(drawn: tuple[list[Any], list[Any]]) -> None:
    """Whatever events a frame holds, others compute the same leaves from the description."""
    stored = frame_of(drawn[0])
    assert list(leaves_of(stored, open_body(stored))) == expected(stored)


def test_odd_strings_are_written_as_everybody_writes_them() -> None:
    """Writers, ids and tags that JSON must escape, or that a format might take for its own."""
    body = usual_body()
    odd = 'a"\\/%d%b%\b\f\n\r\t\x00\x1f\x7f\x80ü\u2028\U0001f980'
    body["streams"][0][1] = body["types"][0][0] = body["types"][0][2][0] = odd
    stored = frame_with(body, writer=odd)
    assert list(leaves_of(stored, open_body(stored))) == expected(stored)


def test_a_leaf_holds_what_a_reader_of_the_log_sees() -> None:
    """Position, time, sequence number, stream, version and payload follow from the leaf."""
    clock = VirtualClock()
    with EventLog(lifecycles=LIFECYCLES, clock=clock) as log:
        for name in ("c1", "c2"):
            register(log, name)
            clock.advance(0.5)
            log.append(("order", name), New.Placed("tea", 250, "EUR"), Noted(1e-7))
        close_connection(log, "c1")
        log.flush()
        events = [json.loads(encode_recorded(recorded)) for recorded in log.read()]
        frames = list(log.store.read())
        micros = [recorded.micros for recorded in log.read()]
    leaves = [leaf[SALT:] for s in frames for leaf in leaves_of(s, open_body(s))]
    assert len(events) > 10
    for event, at, leaf in zip(events, micros, leaves, strict=True):
        frame, writer, first, start, offset, stream, version, (tag, _, fields), row = json.loads(
            leaf
        )
        assert {
            "position": f"{frame}.{offset}",
            "at": event["at"],
            "stream": stream,
            "version": version,
            "writer": writer,
            "seq": first + offset,
            "type": tag,
            "data": dict(zip(fields, row[3:], strict=True)),
        } == event
        assert start + row[0] == at


def test_equal_events_have_different_leaves() -> None:
    """The salt of each is its own: who guesses an event cannot find out whether it is there."""
    stored = frame_with(usual_body())
    leaves = list(leaves_of(stored, open_body(stored)))
    assert len({leaf[:SALT] for leaf in leaves}) == len(leaves) == stored.frame.count
    other = frame_with(usual_body(), salt=bytes(16))
    assert {leaf[:SALT] for leaf in leaves}.isdisjoint(
        leaf[:SALT] for leaf in leaves_of(other, open_body(other))
    )


def test_the_leaves_of_the_first_version() -> None:
    """Checkpoints outlive programs: these bytes are the leaves of version 1 for ever."""
    body = usual_body()
    body["types"] = [["connection.activity_recorded", 1, ["bytes_sent", "messages_sent"]]]
    body["streams"] = [["connection", "c1", 3, 2]]
    body["events"] = [[0, 0, 0, 100, 1], [7, 0, 0, 50, 2]]
    stored = frame_with(body, fingerprints=(CONNECTION.fingerprint,), last_at=1_800_000_000_000_007)
    leaves = list(leaves_of(stored, open_body(stored)))
    assert leaves[1][SALT:] == (
        b'[1,"w0",1,1800000000000000,1,["connection","c1","w0:3"],4,'
        b'["connection.activity_recorded",1,["bytes_sent","messages_sent"]],[7,0,0,50,2]]'
    )
    assert leaves == expected(stored)
    assert hashlib.sha256(b"".join(leaves)).hexdigest() == GOLDEN
