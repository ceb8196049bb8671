"""What the middleware puts into a stream: heartbeats and farewells, never inside an event."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import TYPE_CHECKING, Any, Final

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from rat_fsm.integrations.serving.boundary import is_boundary, tail_of
from tests.integrations.asgi import handlers
from tests.integrations.asgi.driver import SSE, Call, Stage, life, totals
from tests.integrations.asgi.events import parse, stands_between_events
from tests.integrations.asgi.handlers import EVENT, body, start

if TYPE_CHECKING:
    from tests.integrations.asgi.driver import App

HEARTBEAT: Final = b":\n\n"
FAREWELL: Final = re.compile(rb"retry: \d+\n\nevent: drain\ndata: \{\}\n\n")
BEAT: Final = 0.2
LINE_ENDS: Final = (b"\n", b"\r", b"\r\n")
LINES: Final = st.sampled_from(
    [b"", b":", b"data: x", b"data:", b"event: e", b"id: 1", b"id", b"retry: 10", b": c", b"x"]
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Bodies made of lines with every kind of end."""
    lines = draw(st.lists(st.tuples(LINES, st.sampled_from(LINE_ENDS)), max_size=8))
    return b"".join(line + end for line, end in lines)


def cut(text: bytes, places: list[int]) -> list[bytes]:
    """The text in pieces."""
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


@given(bodies(), st.lists(st.integers(0, 60), max_size=6))
@example(b"data: x\r\n\r\n", [9])
@example(b"\n", [])
def test_the_place_between_two_events(text: bytes, places: list[int]) -> None:
    """Wherever the middleware sees one, there is one; and a plain blank line is one."""
    seen = tail = b""
    for chunk in cut(text, places):
        tail = tail_of(tail, chunk)
        seen += chunk
        if is_boundary(tail):
            assert stands_between_events(seen), seen
        elif seen.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
            pytest.fail(f"not seen: {seen!r}")


@given(bodies(), st.lists(st.integers(0, 60), max_size=6))
@example(b"data: x\r\n\r\n", [9, 10])
def test_what_is_put_there(text: bytes, places: list[int]) -> None:
    """Clients see the same events with heartbeats as without, wherever chunks are cut."""
    tail = with_heartbeats = b""
    for chunk in cut(text, places):
        if is_boundary(tail):
            with_heartbeats += HEARTBEAT
        tail = tail_of(tail, chunk)
        with_heartbeats += chunk
    assert parse(with_heartbeats) == parse(text)


def test_the_end_of_a_chunk_may_be_a_memoryview() -> None:
    """Starlette lets applications stream them."""
    assert is_boundary(tail_of(b"data", memoryview(b": x\n\n")))  # type: ignore[arg-type]


class Pieces:
    """A stream in pieces, with silence after each; it ends by itself or goes on in silence."""

    def __init__(self, pieces: list[bytes], *, headers: Any = SSE, status: int = 200) -> None:
        self.pieces = pieces
        self.headers = headers
        self.status = status
        self.ends = True

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        await start(send, self.headers, self.status)
        for piece in self.pieces:
            await asyncio.sleep(3 * BEAT)
            await body(send, piece)
        await asyncio.sleep(3 * BEAT)
        if not self.ends:
            await asyncio.Event().wait()
        await body(send, b"", more=False)


def played(app: App, *, drain_at: float | None = None, **scope: Any) -> tuple[Stage, Call]:
    """The stage and the call after the end."""
    calls = []

    async def scenario(stage: Stage) -> None:
        call = stage.stream(**scope)
        calls.append(call)
        if drain_at is not None:
            await asyncio.sleep(drain_at)
            await stage.middleware.drain("me")
        await call.end()

    stage = Stage(app, heartbeat=BEAT, drain_timeout=5)
    stage.run(scenario)
    return stage, calls[0]


@given(bodies(), st.lists(st.integers(0, 60), max_size=3))
def test_a_served_stream_with_heartbeats(text: bytes, places: list[int]) -> None:
    """It is valid, says the same events, and its totals are what the application sent."""
    pieces = cut(text, places)
    stage, call = played(Pieces(pieces))
    assert parse(call.body) == parse(text)
    assert HEARTBEAT in call.body
    assert totals(stage.log) == (len(text), len([piece for piece in pieces if piece]))


@given(bodies(), st.lists(st.integers(0, 60), max_size=3), st.floats(0.01, 2.0))
def test_a_served_stream_that_is_drained(text: bytes, places: list[int], at: float) -> None:
    """Whenever that is, clients see events that the application sent, then the drain's."""
    app = Pieces(cut(text, places))
    app.ends = False
    _, call = played(app, drain_at=at)
    whole, events = told(text), told(call.body)
    sent = [event for event in events if event[0] != "drain"]
    assert sent == whole[: len(sent)]
    assert events[len(sent) :] == ([("drain", "{}")] if FAREWELL.search(call.body) else [])
    assert call.complete


def told(text: bytes) -> list[tuple[str, str]]:
    """Types and data of the events of a body."""
    return [(event.type, event.data) for event in parse(text)]


ENCODED: Final = (*SSE, (b"content-encoding", b"gzip"))
SIZED: Final = (*SSE, (b"content-length", b"18"))
NOT_SSE: Final = ((b"content-type", b"text/plain"),)


@pytest.mark.parametrize("drain_at", [None, 1.0])
@pytest.mark.parametrize(
    ("headers", "scope"),
    [(ENCODED, {}), (SIZED, {}), (NOT_SSE, {}), (SSE, {"method": "HEAD"})],
    ids=["encoded", "sized", "not-sse", "head"],
)
def test_where_nothing_can_be_put(headers: Any, scope: dict[str, Any], drain_at: float) -> None:
    """What the client gets is what the application sent, up to where a drain ended it."""
    _, call = played(Pieces([EVENT, EVENT], headers=headers), drain_at=drain_at, **scope)
    assert call.body in (EVENT, EVENT * 2)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body(status: int) -> None:
    """Nothing is put where no body is allowed."""
    _, call = played(Pieces([b""], status=status))
    assert call.body == b""


def test_names_of_headers_in_capitals() -> None:
    """The specification wants lower case, and servers take what they get."""
    headers = [(b"Content-Type", b"text/event-stream")]
    _, call = played(Pieces([EVENT], headers=headers))
    assert HEARTBEAT in call.body


def test_the_rhythm() -> None:
    """A comment follows after each interval of silence, and none while there is none."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await start(send)
        for _ in range(20):
            await body(send, EVENT)
            await asyncio.sleep(BEAT / 2)
        await asyncio.sleep(2.5 * BEAT)
        await body(send, EVENT, more=False)

    _, call = played(app)
    assert call.body == EVENT * 20 + HEARTBEAT * 2 + EVENT


def test_a_start_that_waits() -> None:
    """No heartbeat overtakes the headers."""

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        call.taking.clear()
        await asyncio.sleep(5 * BEAT)
        call.taking.set()
        await call.end()

    Stage(handlers.once, heartbeat=BEAT).run(scenario)


@pytest.mark.parametrize("ending", ["nothing", "drain", "cancel"])
def test_a_heartbeat_that_waits(ending: str) -> None:
    """What the application sends meanwhile, and the farewell, come after it."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await start(send)
        await body(send, EVENT)
        await asyncio.sleep(2 * BEAT)
        await body(send, b"data: last\n\n")
        await asyncio.sleep(4)
        await body(send, b"", more=False)

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        await call.until(lambda: bool(call.body))
        call.taking.clear()
        await asyncio.sleep(3 * BEAT)
        if ending == "drain":
            stage.middleware.begin_drain("me")
        elif ending == "cancel":
            call.task.cancel()
        await asyncio.sleep(3 * BEAT)
        call.taking.set()
        await call.end()
        assert call.body.startswith(EVENT + HEARTBEAT)
        assert (b"last" in call.body) == (ending in {"nothing", "drain"})
        assert bool(FAREWELL.search(call.body)) == (ending == "drain")

    Stage(app, heartbeat=BEAT).run(scenario)


def test_a_stream_that_stands_within_an_event() -> None:
    """A drain waits a second for it, then ends it without a word that would become part of it."""
    app = Pieces([EVENT, b"data: half"])
    app.ends = False
    stage, call = played(app, drain_at=7 * BEAT)
    assert call.body.endswith(b"data: half")
    assert call.complete
    assert stage.clock.monotonic() < 7 * BEAT + 2
    assert life(stage.log)[-1].reason == "shutdown"


def test_a_kick_is_no_drain() -> None:
    """A client that was kicked is not told to come back."""

    async def scenario(stage: Stage) -> None:
        call = stage.stream()
        await call.until(lambda: bool(call.body))
        stage.manager.kick(stage.id)
        await call.end()
        assert (call.body, call.complete) == (EVENT, True)

    Stage(handlers.idle).run(scenario)


def test_a_handler_that_ends_its_stream_when_it_is_told() -> None:
    """Its own last message carries the farewell, also as a memoryview."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, EVENT)
        await receive()  # the request
        await receive()
        await body(send, memoryview(b"data: bye\n\n"), more=False)  # type: ignore[arg-type]

    _, call = played(app, drain_at=BEAT / 2)
    assert FAREWELL.fullmatch(call.body.removeprefix(EVENT + b"data: bye\n\n"))
