"""What is written is read back, whatever it is; what is not sound is refused, however bent."""

from __future__ import annotations

import contextlib
import datetime
import enum
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rat_fsm import events
from rat_fsm.codec import (
    MAX_BODY,
    MAX_DEPTH,
    MAX_EVENT,
    MAX_EVENTS,
    MAX_INTEGER,
    check_frame,
    decode,
    encode_body,
    encode_recorded,
    event_of,
    hash_of,
    open_body,
    payload_of,
    split,
    too_deep,
)
from rat_fsm.errors import DamagedFrame, InvalidArgument, InvalidArgumentType, UnsupportedFormat
from rat_fsm.events import UnknownEvent
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.log import EventLog
from rat_fsm.stores.port import GENESIS, Frame, StoredFrame
from rat_fsm.table import Lifecycle
from rat_fsm.testing import strategies
from tests.frames import (
    LIFECYCLES,
    START,
    accepted,
    flat,
    frame_of,
    frame_with,
    new_model,
    recorded_as,
    usual_body,
)
from tests.orders import OLD_ORDER, ORDER, New, Noted, Old, Packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.table import EventType

KINDS: Final = tuple(kind for lifecycle in LIFECYCLES for kind in lifecycle.events)
NOTED: Final = next(kind for kind in ORDER.events if kind.cls is Noted)


@given(accepted())
def test_events_are_read_back_as_they_were(drawn: tuple[list[Any], list[Any]]) -> None:
    """Any events of any lifecycle, in any mixture, come back in their envelopes."""
    rows, happened = drawn
    stored = frame_of(rows)
    check_frame(stored, GENESIS)
    assert list(decode(stored, new_model()).recorded()) == recorded_as(rows, happened)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.tag)
@given(data=st.data())
@settings(max_examples=15)
def test_what_is_folded_is_what_is_read_back(kind: EventType, data: st.DataObject) -> None:
    """The event made of an event's payload is equal to it, for every type there is."""
    event = data.draw(strategies.events(kind.cls))
    assert event_of(kind, payload_of(kind, event)) == event


@given(accepted())
def test_a_body_is_plain_json(drawn: tuple[list[Any], list[Any]]) -> None:
    """Any JSON reader makes the documented shape of a body, and each stream is named once."""
    rows, _ = drawn
    body = msgspec.json.decode(encode_body(flat(rows))[0])
    streams = dict.fromkeys(
        (record.lifecycle, record.id, record.born, record.written) for _, record, *_ in rows
    )
    types = dict.fromkeys((kind.tag, kind.version, kind.fields) for _, _, kind, *_ in rows)
    assert [tuple(stream) for stream in body["streams"]] == list(streams)
    assert {(tag, version, tuple(fields)) for tag, version, fields in body["types"]} == set(types)
    assert [
        (row[0], body["streams"][row[1]][1], body["types"][row[2]][0]) for row in body["events"]
    ] == [(at - rows[0][0], record.id, kind.tag) for at, record, kind, *_ in rows]


@given(accepted(lifecycles=(OLD_ORDER,)))
def test_old_schema_versions_are_lifted(drawn: tuple[list[Any], list[Any]]) -> None:
    """A payload written under an older version goes through every upcaster since."""
    rows, happened = drawn
    try:
        lifted = [
            New.Placed(event.item, round(event.price * 100), "EUR")
            if isinstance(event, Old.Placed)
            else event
            for event in happened
        ]
    except OverflowError:  # a price of 1e308: the upcaster fails, see below
        return
    read = list(decode(frame_of(rows, (OLD_ORDER,)), new_model()).recorded())
    assert read == recorded_as(rows, lifted)


def test_an_upcaster_that_fails_makes_an_unknown_event() -> None:
    """What an upcaster cannot lift is kept with its old payload and the reason."""
    body = usual_body()
    body["types"].append(["order.placed", 1, ["item", "price"]])
    body["streams"].append(["order", "o1", 9, 0])
    body["events"].append([99, 2, len(body["types"]) - 1, "tea", "much"])
    *_, last = decode(frame_with(body, last_at=START + 99), new_model()).recorded()
    assert attrs.astuple(last.event)[:3] == ("order.placed", 1, {"item": "tea", "price": "much"})
    assert last.event.problem.startswith("unreadable: ")


HEADER: Final[dict[str, Callable[[Any], Any]]] = {
    "writer": lambda writer: writer + "x",
    "first": lambda first: first + 1,
    "count": lambda count: count + 1,
    "first_at": lambda at: at - 1,
    "last_at": lambda at: at + 1,
    "fingerprints": lambda fingerprints: fingerprints[::-1],
    "salt": lambda salt: salt[:-1] + b"\xff",
    "body": lambda body: body + b" ",
    "prev": lambda prev: b"\x01" + prev[1:],
    "hash": lambda digest: b"\x01" + digest[1:],
}


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Frame)])
def test_the_hash_covers_every_field(field: str) -> None:
    """Whatever is changed in a frame, verifying it fails; a format of its own is refused too."""
    stored = frame_with(usual_body())
    check_frame(stored, None)
    if field in {"format", "algorithm"}:
        newer: dict[str, Any] = {"format": 2, "algorithm": "md5"}
        changed = attrs.evolve(stored.frame, **{field: newer[field]})
        assert hash_of(changed) != stored.frame.hash
        with pytest.raises(UnsupportedFormat):
            check_frame(StoredFrame(1, changed), None)
        return
    changed = attrs.evolve(stored.frame, **{field: HEADER[field](getattr(stored.frame, field))})
    with pytest.raises(DamagedFrame, match="frame 7 is damaged: its hash"):
        check_frame(StoredFrame(7, changed), None)


@given(st.data())
def test_the_hash_covers_every_bit(data: st.DataObject) -> None:
    """One bit flipped anywhere in a body is found."""
    stored = frame_with(usual_body())
    body = bytearray(stored.frame.body)
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    body[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DamagedFrame):
        check_frame(StoredFrame(1, attrs.evolve(stored.frame, body=bytes(body))), None)


def test_a_frame_that_continues_another_chain_is_damaged() -> None:
    """The previous hash must be the one that the reader has seen."""
    stored = frame_with(usual_body())
    check_frame(stored, GENESIS)
    with pytest.raises(DamagedFrame, match="does not continue the chain of w0"):
        check_frame(stored, bytes(31) + b"\x01")


def nested(depth: int) -> Any:
    """Arrays and objects by turns, so deep."""
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return value


def put(body: Any, path: tuple[Any, ...], value: Any) -> None:
    """Replaces what stands somewhere in a JSON value."""
    for step in path[:-1]:
        body = body[step]
    body[path[-1]] = value


def bent(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A usual body with one value replaced."""
    body = usual_body()
    put(body, path, value)
    return body


DAMAGED: Final[dict[str, StoredFrame]] = {
    "no JSON": frame_with(b"{"),
    "another shape": frame_with(b"[]"),
    "no UTF-8": frame_with(b'{"types":[["\xff",1,[]]],"streams":[],"events":[[0,0,0]]}'),
    "empty": frame_with(b""),
    "nested too deep": frame_with(bent(("events", 2, 5), nested(MAX_DEPTH - 2))),
    "a bomb of brackets": frame_with(b"[" * MAX_BODY),
    "a bomb of turns": frame_with(b'{"a":[' * (MAX_BODY // 6)),
    "too large": frame_with(b" " * (MAX_BODY + 1)),
    "more events than said": frame_with(usual_body(), count=7),
    "fewer events than said": frame_with(usual_body(), count=9),
    "no events": frame_with({**usual_body(), "events": []}, count=0),
    "too many events": frame_with(usual_body(), count=MAX_EVENTS + 1),
    "an empty row": frame_with(bent(("events", 7), [])),
    "a row without a type": frame_with(bent(("events", 7), [7, 0])),
    "a stream out of range": frame_with(bent(("events", 4, 1), 2)),
    "a stream counted from the end": frame_with(bent(("events", 4, 1), -1)),
    "a stream that is a string": frame_with(bent(("events", 4, 1), "0")),
    "a stream that is a list": frame_with(bent(("events", 4, 1), [])),
    "a type out of range": frame_with(bent(("events", 4, 2), 7)),
    "a type counted from the end": frame_with(bent(("events", 4, 2), -1)),
    "a type that is null": frame_with(bent(("events", 4, 2), None)),
    "a time that is a string": frame_with(bent(("events", 4, 0), "4")),
    "a time that is a float": frame_with(bent(("events", 4, 0), 4.5)),
    "a time that goes back": frame_with(bent(("events", 4, 0), 2)),
    "a time before the first": frame_with(bent(("events", 0, 0), -1)),
    "another end than said": frame_with(usual_body(), last_at=START + 8),
    "a time beyond calendars": frame_with(bent(("events", 7, 0), 10**30), last_at=START + 10**30),
    "a beginning after the end": frame_with(usual_body(), first_at=START + 9, last_at=START),
    "format zero": frame_with(usual_body(), format=0),
}


@pytest.mark.parametrize("stored", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_frame_is_refused(stored: StoredFrame) -> None:
    """A frame whose hash is right and whose content is not is DamagedFrame, naming its position."""
    with pytest.raises(DamagedFrame) as caught:
        decode(stored, new_model())
    assert caught.value.position == 1


def test_a_newer_format_is_one_clear_error() -> None:
    """A newer format or hash is not damage, and what a newer body looks like does not matter."""
    for header in ({"format": 2}, {"format": 3, "algorithm": "blake3"}, {"algorithm": "sha3"}):
        stored = frame_with(b"\x00", **header)
        for read in (lambda s: decode(s, new_model()), lambda s: check_frame(s, GENESIS)):
            with pytest.raises(UnsupportedFormat, match="newer than this rat_fsm"):
                read(stored)


def test_a_bomb_of_quotes_is_refused_at_once() -> None:
    """The time to refuse a body grows with its length, not with the square of it."""
    bombs = [b'"' + rb"\"" * (MAX_BODY // 2 - 1), b'"' + b"\\" * (MAX_BODY - 2) + b"\n"]
    begun = time.process_time()
    for bomb in bombs:
        with pytest.raises(DamagedFrame):
            decode(frame_with(bomb), new_model())
    assert time.process_time() - begun < 1.0


@pytest.mark.parametrize("limit", [1, 2, 15, MAX_DEPTH])
def test_depth_is_counted_exactly(limit: int) -> None:
    """Brackets of both kinds count, those in strings do not, and siblings do not add up."""
    fits, over = msgspec.json.encode(nested(limit)), msgspec.json.encode(nested(limit + 1))
    assert (too_deep(fits, limit), too_deep(over, limit)) == (False, True)
    assert not too_deep(b"[" + rb'"[[[\"[[\\","]"' * limit + b"]", 1)
    assert not too_deep(b"[" + b",".join([fits] * 50) + b"]", limit + 1)


UNKNOWN: Final[dict[str, tuple[dict[str, Any], int, str]]] = {
    "an unknown tag": (bent(("types", 3, 0), "connection.invented"), 2, "unknown tag"),
    "a newer schema version": (bent(("types", 3, 1), 2), 2, "newer schema version"),
    "a version without an upcaster": (bent(("types", 3, 1), 0), 2, "unreadable: 0"),
    "a field of another type": (bent(("events", 2, 3), 7), 2, "unreadable: Expected `str`"),
    "a hot field of another type": (bent(("events", 4, 3), "100"), 4, "unreadable: Expected `int`"),
    "a hot field that is a float": (bent(("events", 4, 3), 1.5), 4, "unreadable: Expected `int`"),
    "a hot field that is a bool": (bent(("events", 4, 3), not 0), 4, "unreadable: Expected `int`"),
    "too few values": (bent(("events", 4), [4, 1, 0, 100]), 4, "unreadable: 1 values for 2"),
    "too many values": (bent(("events", 4), [4, 1, 0, 1, 2, 3]), 4, "unreadable: 3 values for 2"),
}


@pytest.mark.parametrize(("body", "offset", "problem"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_cannot_be_read_is_kept_as_unknown(
    body: dict[str, Any], offset: int, problem: str
) -> None:
    """An event that this process cannot read is an UnknownEvent with its data, and is counted."""
    tag, version, fields = body["types"][body["events"][offset][2]]
    data = dict(zip(fields, body["events"][offset][3:], strict=False))
    decoded = decode(frame_with(body), new_model())
    read = list(decoded.recorded())
    event = read[offset].event
    assert attrs.evolve(event, problem="") == UnknownEvent(tag, version, data, "")
    assert event.problem.startswith(problem)
    assert msgspec.json.decode(encode_recorded(read[offset]))["data"] == data
    model = new_model()
    decoded.fold_into(model)
    assert model.totals.unknown == sum(isinstance(r.event, UnknownEvent) for r in read)


def test_rows_of_another_lifecycle_do_not_fold() -> None:
    """A frame that gives an event to a stream of another lifecycle, or renames one, is damaged."""
    model = new_model()
    decode(frame_with(usual_body()), model).fold_into(model)
    renamed = bent(("streams", 1), ["connection", "c2", 1, 0])
    with pytest.raises(DamagedFrame, match="which was node/w0:1"):
        decode(frame_with(renamed), model).fold_into(model)
    misled = bent(("streams", 0), ["order", "o1", 1, 0])
    with pytest.raises(DamagedFrame, match="do not fit its header"):
        decode(frame_with(misled), model).fold_into(new_model())


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = [(*path, key) for key, _ in items]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        if isinstance(item, (dict, list)):
            found += paths(item, (*path, key))
    return found


PATHS: Final = paths(usual_body())
odd_values = strategies.plain_json | st.sampled_from(
    [-1, -2, 10**30, 2**63, 1e300, "connection", "node", 3]
)


def read_everything(stored: StoredFrame) -> None:
    """Reads a frame in all ways; only the errors that say so may come of it."""
    try:
        decoded = decode(stored, new_model())
        for recorded in decoded.recorded():
            msgspec.json.decode(encode_recorded(recorded))
        model = new_model()
        decoded.fold_into(model)
        decode(stored, model).fold_into(model)
        assert model.stats.as_dict()
    except (DamagedFrame, UnsupportedFormat):
        pass


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(PATHS), odd_values), min_size=1, max_size=3))
@settings(max_examples=300)
@example([(("streams", 0, 0), "connection")])
@example([(("streams", 1, 0), "node")])
@example([(("streams", 1, 2), 1)])
@example([(("events", 0, 3, 0), {"name": "connection"})])
@example([(("events", 0, 3, 0, "edges"), [["connection.registered", "new", "nowhere"]])])
def test_a_hostile_body_raises_nothing_else(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """Any values in place of any values in a body lead to events, UnknownEvents or DamagedFrame."""
    body = usual_body()
    for path, value in changes:
        with contextlib.suppress(LookupError, TypeError):  # an earlier change took it away
            put(body, path, value)
    raw = msgspec.json.encode(body)
    read_everything(frame_with(raw))
    read_everything(frame_with(raw, fingerprints=("old", CONNECTION.fingerprint)))


@given(st.data())
@settings(max_examples=200)
def test_hostile_bytes_raise_nothing_else(data: st.DataObject) -> None:
    """Bytes cut, replaced or inserted anywhere lead to events or DamagedFrame."""
    raw = msgspec.json.encode(usual_body())
    start = data.draw(st.integers(0, len(raw)))
    end = start + data.draw(st.integers(0, 8))
    inserted = data.draw(st.binary(max_size=6) | st.sampled_from([b"[", b"}", b'"', b"-", b"1e9"]))
    read_everything(frame_with(raw[:start] + inserted + raw[end:]))


class Colour(enum.Enum):
    """Something that is no JSON."""

    RED = "red"


loop: list[Any] = []
loop.append(loop)

REFUSED: Final[dict[str, tuple[Any, type[Exception], str]]] = {
    "NaN": (float("nan"), InvalidArgument, "holds nan, which JSON cannot express"),
    "infinity": (float("inf"), InvalidArgument, "holds inf"),
    "minus infinity inside": ([{"x": (float("-inf"),)}], InvalidArgument, "holds -inf"),
    "NaN in a set": ({float("nan")}, InvalidArgumentType, "cannot give back"),
    "a lone surrogate": ("\ud800", InvalidArgument, "surrogates not allowed"),
    "a lone surrogate as key": ({"\udfff": 1}, InvalidArgument, "surrogates not allowed"),
    "a huge integer": (MAX_INTEGER + 1, InvalidArgument, "more than 64 bits"),
    "a huge negative integer": ([-(2**63) - 1], InvalidArgument, "more than 64 bits"),
    "a huge integer in a set": ({2**70}, InvalidArgument, "more than 64 bits"),
    "bytes": (b"x", InvalidArgumentType, "cannot give back"),
    "a set": ({1, 2}, InvalidArgumentType, "cannot give back"),
    "a datetime": (
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        InvalidArgumentType,
        "give back",
    ),
    "an enum": (Colour.RED, InvalidArgumentType, "cannot give back"),
    "integer keys": ({"x": {1: 2}}, InvalidArgumentType, "cannot give back"),
    "an event": (events.Activated(), InvalidArgumentType, "cannot give back"),
    "an object": (object(), InvalidArgumentType, "cannot be stored"),
    "a loop": (loop, InvalidArgumentType, "cannot be stored"),
    "too much": ("x" * MAX_EVENT, InvalidArgument, "bytes, at most"),
    "too deep": (nested(MAX_DEPTH - 2), InvalidArgument, "nested deeper than 14"),
}


@pytest.mark.parametrize(("value", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_stored_is_refused_first(
    value: Any, error: type[Exception], message: str
) -> None:
    """Such an event is refused before anything is accepted, alone or after others."""
    with EventLog(lifecycles=(ORDER,)) as log:
        log.append(("order", "o1"), New.Placed("tea", 250, "EUR"))
        before = log.flush()
        for batch in ((Noted(value),), (Packed(), Noted("fine"), Noted(value))):
            with pytest.raises(error, match=message):
                log.append(("order", "o1"), *batch)
        record = log.read_model.record("order", "o1")
        assert record is not None
        assert (record.version, record.state, log.flush()) == (1, "open", before)


def test_the_deepest_event_that_is_accepted_is_read() -> None:
    """The limit on events and the limit on frames agree."""
    event = Noted(nested(MAX_DEPTH - 3))
    with EventLog(lifecycles=(ORDER,)) as log:
        log.append(("order", "o1"), New.Placed("tea", 250, "EUR"), event)
        log.flush()
        assert [recorded.event for recorded in log.read()][-1] == event


@attrs.frozen
class Rich:
    """An event whose fields are richer than JSON, which their types say."""

    at: datetime.datetime
    colour: Colour
    parts: tuple[int, ...]
    sizes: frozenset[int]
    raw: bytes


@attrs.frozen
class Untyped:
    """An event of a type that nobody can read back."""

    what: "Nowhere"  # type: ignore[name-defined]  # noqa: F821, UP037 - that is the point


RICH: Final = Lifecycle(
    "rich",
    states=("here",),
    final={"here"},
    transitions=[[Rich, "new", "here"], [Untyped, "new", "here"]],
)


def test_rich_fields_are_stored_where_their_types_tell_how() -> None:
    """What a class can make of its JSON again is accepted, the rest refused."""
    kind, untyped = RICH.events
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    event = Rich(at, Colour.RED, (1, 2), frozenset({3}), b"\xff")
    assert event_of(kind, payload_of(kind, event)) == event
    with pytest.raises(InvalidArgumentType, match="Nowhere"):
        event_of(untyped, payload_of(untyped, Untyped(1)))


def test_a_field_without_a_type_is_named() -> None:
    """Nobody knows how to read it back."""
    vague = attrs.make_class("Vague", ["what"], frozen=True)
    lifecycle = Lifecycle(
        "job", states=("done",), final={"done"}, transitions=[[vague, "new", "done"]]
    )
    with (
        EventLog(lifecycles=(lifecycle,)) as log,
        pytest.raises(
            InvalidArgumentType,
            match=r"job\.vague cannot be read back: its field 'what' has no type",
        ),
    ):
        log.append((lifecycle, "j1"), vague(1))


def test_hot_rows_and_others_are_told_apart() -> None:
    """Activities beside other events in one frame keep their own type, whichever comes first."""
    for order in (1, -1):
        body = usual_body()
        rows = body["events"][::order]
        assert len({row[2] for row in rows if len(row) == 5}) == 1


transactions = st.lists(st.integers(1, 7), min_size=1, max_size=12)


def rows_of(sizes: list[int], *, hot: bool) -> list[Any]:
    """Rows of transactions of these sizes; the first of each does not continue another."""
    last = 1 if hot else False
    return [
        (START, None, None, 0 if hot and not number else (), number > 0 or last)
        if number
        else (START, None, None, 0 if hot else (), last)
        for size in sizes
        for number in range(size)
    ]


@given(sizes=transactions, most=st.integers(1, 100), hot=st.booleans())
@example(sizes=[3, 1], most=2, hot=False)
def test_splitting_never_cuts_a_transaction(sizes: list[int], most: int, *, hot: bool) -> None:
    """A frame takes whole transactions, as many as fit, and at least the first."""
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    expected = max([end for end in ends if end <= most], default=ends[0])
    assert split(flat(rows_of(sizes, hot=hot)), most) == expected


def test_a_long_batch_is_split_between_transactions() -> None:
    """By default a frame takes at most as many events as a reader accepts."""
    assert split(flat(rows_of([1] * MAX_EVENTS, hot=False))) == MAX_EVENTS
    assert split(flat(rows_of([1] * (MAX_EVENTS - 1) + [2], hot=False))) == MAX_EVENTS - 1


def test_an_envelope_is_a_line_of_json() -> None:
    """The envelope is the documented one."""
    recorded = list(decode(frame_with(usual_body()), new_model()).recorded())[4]
    assert msgspec.json.decode(encode_recorded(recorded)) == {
        "position": "1.4",
        "at": "2027-01-15T08:00:00.000004Z",
        "stream": ["connection", "c1", "w0:3"],
        "version": 3,
        "writer": "w0",
        "seq": 5,
        "type": "connection.activity_recorded",
        "data": {"bytes_sent": 100, "messages_sent": 1},
    }
    assert b"\n" not in encode_recorded(recorded)


def test_a_whole_frame_can_be_opened() -> None:
    """The largest frame that may be written may be read."""
    rows = [(START, *frame_rows) for frame_rows in [_largest()] * MAX_EVENTS]
    assert len(open_body(frame_of(rows)).events) == MAX_EVENTS


def _largest() -> tuple[Any, ...]:
    model = new_model()
    record = model.new_record(CONNECTION, "c" * 512, "w0")
    kind = CONNECTION.event_type(events.ActivityRecorded)
    return record, kind, MAX_INTEGER, 1
