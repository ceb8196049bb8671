"""What clients of an event stream see, on a real server, and what is booked about them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route

from rat_fsm.errors import InvalidArgument, InvalidArgumentType, Refused
from rat_fsm.runtime.manager import ConnectionManager
from rat_fsm.streaming import Ending, HttpResponse, SSEResponse, create_sse_response
from rat_fsm.streaming.delivery import Delivery
from rat_fsm.streaming.framing import comment_frame, event_frame
from rat_fsm.streaming.ledger import Ledger
from rat_fsm.streaming.outbox import CHUNK_BYTES, Outbox, Parcel
from rat_fsm.streaming.starlette import StarletteResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from starlette.requests import Request
    from starlette.responses import Response

    from rat_fsm.streaming.asgi import ASGIResponse, Message, Send

pytestmark = pytest.mark.timeout(60)

PATIENCE = 20.0
PARCEL = Parcel(b"x", 1)
HTTP_SCOPE: dict[str, Any] = {"type": "http", "method": "GET"}


@attrs.define(eq=False)
class Book:
    """A connection book that keeps its calls and, as the manager does, closes what has ended."""

    response: SSEResponse | None = None
    activities: list[tuple[str, int, int]] = attrs.field(factory=list)
    endings: list[tuple[str, str, str]] = attrs.field(factory=list)
    ended: threading.Event = attrs.field(factory=threading.Event)

    def record_activity(
        self, connection_id: str, bytes_sent: int, messages_sent: int = 1, /
    ) -> bool:
        """Keep the call."""
        self.activities.append((connection_id, bytes_sent, messages_sent))
        return True

    def close_connection(self, connection_id: str, /, *, reason: str, ended_by: str) -> bool:
        """Keep the call and close the response once more."""
        self.endings.append((connection_id, reason, ended_by))
        if self.response is not None:
            self.response.close()
        self.ended.set()
        return True

    @property
    def bytes_sent(self) -> int:
        """All bytes."""
        return sum(sent for _, sent, _ in self.activities)

    @property
    def messages_sent(self) -> int:
        """All messages."""
        return sum(messages for _, _, messages in self.activities)


def bound(response: SSEResponse) -> Book:
    """A book in which the response is bound as connection ``c1``."""
    book = Book(response)
    response.bind_connection(book, "c1")
    return book


@contextlib.contextmanager
def serving(app: Callable[..., Any]) -> Iterator[int]:
    """A real uvicorn for the app on a loopback port, gone at the end."""
    config = uvicorn.Config(app, lifespan="off", log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    # Listening before the thread starts: nobody has to wait for the server.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
    assert not thread.is_alive()


def get(port: int, method: str = "GET") -> httpx.Response:
    """The whole answer to one request."""
    return httpx.request(method, f"http://127.0.0.1:{port}/", timeout=PATIENCE)


@contextlib.contextmanager
def raw_client(port: int, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """A connected socket that has sent its request and read nothing."""
    with socket.socket() as client:
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        yield client


def read_until(client: socket.socket, needle: bytes) -> bytes:
    """What the client received up to and including the needle's chunk."""
    seen = b""
    while needle not in seen:
        part = client.recv(65536)
        assert part, f"the server hung up after {seen!r}"
        seen += part
    return seen


@attrs.frozen
class Event:
    """An event as a client dispatches it."""

    type: str
    data: str
    last_id: str


def parse(body: bytes) -> list[Event]:
    """The events a client dispatches: WHATWG HTML 9.2.6, step by step, on the whole stream."""
    events: list[Event] = []
    data: list[str] = []
    kind, last_id = "", ""
    text = body.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    for line in text.split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(Event(kind or "message", "\n".join(data), last_id))
            kind, data = "", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last_id = value
    return events


TEXT = st.text(st.characters(codec="utf-8")) | st.text("a:\r\n \0\ufeff\u2028\x0b\x85dt")
ONE_LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"))
ARGUMENTS = st.tuples(st.none() | ONE_LINE, TEXT, st.none() | ONE_LINE)


@given(st.lists(ARGUMENTS | TEXT))
def test_a_client_reads_what_was_framed(sent: list[Any]) -> None:
    """Any text arrives as it was, line ends as newlines, and comments between events as nothing."""
    body, expected, last_id = b"", [], ""
    for item in sent:
        if isinstance(item, str):
            body += comment_frame(item)
            continue
        kind, data, event_id = item
        body += event_frame(kind, data, event_id)
        last_id = last_id if event_id is None else event_id
        lines = data.replace("\r\n", "\n").replace("\r", "\n")
        expected.append(Event(kind or "message", lines, last_id))
    assert parse(body) == expected


def test_the_frame_that_a_reader_should_see() -> None:
    """Fields stand one a line, and a blank line ends the frame."""
    assert event_frame("data", "a\r\nb\rc\n", "7") == (
        b"event: data\nid: 7\ndata: a\ndata: b\ndata: c\ndata: \n\n"
    )


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b", "\ud800"])
@pytest.mark.parametrize("field", ["event", "id"])
def test_event_and_id_are_one_line(field: str, bad: str) -> None:
    """A line break, NUL or lone surrogate in event or id is refused and nothing is queued."""
    response = create_sse_response(max_queue=1)
    arguments: dict[str, Any] = {"event": "e", "data": "x", field: bad}
    with pytest.raises(InvalidArgument):
        response.send_event(**arguments)
    assert response.send_data("the only place was still free")


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"event": "data", "data": {"counter": 1}}, "json.dumps"),
        ({"event": "data", "data": None}, "json.dumps"),
        ({"event": "data", "data": b"x"}, "decode"),
        ({"event": 1, "data": "x"}, "event must be a str"),
        ({"event": None, "data": "x", "id": 1}, "id must be a str"),
    ],
)
def test_only_text_is_sent(arguments: dict[str, Any], advice: str) -> None:
    """Anything but text is refused with what to do about it, and nothing is queued."""
    response = create_sse_response(max_queue=1)
    with pytest.raises(InvalidArgumentType, match=advice):
        response.send_event(**arguments)
    assert response.send_data("the only place was still free")


def test_data_without_utf8_is_refused() -> None:
    """A lone surrogate in the data is an InvalidArgument, not a broken stream."""
    with pytest.raises(InvalidArgument, match="surrogates"):
        create_sse_response().send_data("\udfff")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"retry": -1}, InvalidArgument),
        ({"retry": 1.5}, InvalidArgumentType),
        ({"retry": True}, InvalidArgumentType),
        ({"heartbeat": 0}, InvalidArgument),
        ({"heartbeat": "1"}, InvalidArgumentType),
        ({"max_queue": 0}, InvalidArgument),
        ({"stall_after": float("nan")}, InvalidArgument),
        ({"stall_after": float("inf")}, InvalidArgument),
        ({"status": 100}, InvalidArgument),
        ({"status": 600}, InvalidArgument),
        ({"status": 204}, InvalidArgument),
        ({"headers": {"x-a": "b\r\nset-cookie: c"}}, InvalidArgument),
        ({"headers": {"x a": "b"}}, InvalidArgument),
        ({"headers": {"x-a": "数"}}, InvalidArgument),
        ({"headers": {"x-a": 1}}, InvalidArgumentType),
        ({"headers": ["x-a"]}, InvalidArgumentType),
    ],
)
def test_options_are_checked(options: dict[str, Any], error: type[Exception]) -> None:
    """An option no stream could have is refused where it is given."""
    with pytest.raises(error):
        create_sse_response(**options)


def test_queued_events_are_delivered_after_close() -> None:
    """What was sent before the start and before close() arrives, then the stream ends cleanly."""
    response = create_sse_response()
    book = bound(response)
    assert all(response.send_event("data", json.dumps({"counter": n})) for n in range(100))
    response.close()
    assert not response.send_event("data", "too late")
    assert (response.is_closed, response.ending) == (True, None)
    with serving(response) as port:
        answer = get(port)
    assert response.ending == Ending("completed", "app")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert parse(answer.content) == [Event("data", f'{{"counter": {n}}}', "") for n in range(100)]
    assert book.activities == [("c1", len(answer.content), 100)]
    assert book.endings == [("c1", "completed", "app")]


def test_large_backlogs_go_in_several_chunks() -> None:
    """A chunk ends at the server's high-water mark, so that a slow client shows early."""
    response = create_sse_response()
    book = bound(response)
    for _ in range(5):
        response.send_data("x" * (CHUNK_BYTES // 2))
    response.close()
    with serving(response) as port:
        answer = get(port)
    assert [messages for _, _, messages in book.activities] == [2, 2, 1]
    assert book.bytes_sent == len(answer.content)


def test_threads_send_at_once() -> None:
    """Events of eight threads all arrive, each thread's in its order, and are counted exactly."""
    response = create_sse_response(max_queue=8 * 500)
    book = bound(response)

    def produce(thread: int) -> None:
        for n in range(500):
            assert response.send_event(str(thread), str(n))

    def produce_all() -> None:
        threads = [threading.Thread(target=produce, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        response.close()

    with serving(response) as port:
        producer = threading.Thread(target=produce_all)
        producer.start()
        answer = get(port)
        producer.join(PATIENCE)
    by_thread: dict[str, list[str]] = {}
    for event in parse(answer.content):
        by_thread.setdefault(event.type, []).append(event.data)
    assert by_thread == {str(n): [str(m) for m in range(500)] for n in range(8)}
    assert (book.bytes_sent, book.messages_sent) == (len(answer.content), 4000)


def test_an_idle_stream_wakes_for_an_event_from_a_thread() -> None:
    """An event sent while the delivery sleeps arrives without any other stir."""
    response = create_sse_response()
    book = bound(response)
    response.send_data("first")
    with serving(response) as port, raw_client(port) as client:
        read_until(client, b"data: first\n\n")
        response.send_data("second")
        read_until(client, b"data: second\n\n")
        response.close()
        read_until(client, b"0\r\n\r\n")
        assert book.ended.wait(PATIENCE)
    assert book.endings == [("c1", "completed", "app")]


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_ends_the_stream(*, reset: bool) -> None:
    """FIN or RST in mid-stream is booked once as client_disconnect and refuses further events."""
    response = create_sse_response()
    book = bound(response)
    response.send_data("first")
    with serving(response) as port:
        with raw_client(port) as client:
            read_until(client, b"data: first\n\n")
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert book.ended.wait(PATIENCE)
        assert response.is_closed
        assert not response.send_data("to nobody")
    assert book.endings == [("c1", "client_disconnect", "client")]
    assert book.messages_sent == 1


def test_a_client_that_stops_reading_stalls() -> None:
    """A queue that stays full for stall_after ends the stream as stalled, by itself."""
    response = create_sse_response(max_queue=8, stall_after=0.3)
    book = bound(response)
    with serving(response) as port, raw_client(port, receive_buffer=4096) as client:
        read_until(client, b"\r\n\r\n")
        # Refused while the queue is full: the same event is offered again.
        while not response.is_closed:
            response.send_data("x" * 100_000)
        assert book.ended.wait(PATIENCE)
        assert not response.send_data("more")
    assert book.endings == [("c1", "stalled", "timeout")]


def test_closing_does_not_wait_for_ever_on_a_client_that_stopped_reading() -> None:
    """After close() a stream whose last events nobody takes ends as stalled too."""
    response = create_sse_response(max_queue=1000, stall_after=0.3)
    book = bound(response)
    for _ in range(200):
        response.send_data("x" * 100_000)
    with serving(response) as port, raw_client(port, receive_buffer=4096) as client:
        read_until(client, b"\r\n\r\n")
        response.close()
        assert book.ended.wait(PATIENCE)
    assert book.endings == [("c1", "stalled", "timeout")]
    assert 0 < book.messages_sent < 200


def test_a_full_queue_refuses_and_drops_nothing() -> None:
    """The event that finds no room is refused, the stream stays open, those queued arrive."""
    response = create_sse_response(max_queue=3)
    assert [response.send_data(str(n)) for n in range(5)] == [True, True, True, False, False]
    assert not response.is_closed
    response.close()
    with serving(response) as port:
        answer = get(port)
    assert [event.data for event in parse(answer.content)] == ["0", "1", "2"]


def test_head_gets_headers_only() -> None:
    """A HEAD request ends at once with the headers of the stream and no bytes booked."""
    response = create_sse_response(headers={"X-Own": "1"})
    book = bound(response)
    response.send_data("not for HEAD")
    with serving(response) as port:
        answer = get(port, "HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-own"] == "1"
    assert not response.send_data("more")
    assert (book.activities, book.endings) == ([], [("c1", "completed", "app")])


def test_headers_status_and_retry() -> None:
    """Own headers take the place of ours, and the stream opens with the reconnection time."""
    response = create_sse_response(retry=2500, status=201, headers={"Cache-Control": "no-cache"})
    book = bound(response)
    response.send_comment("one\ntwo")
    response.close()
    with serving(response) as port:
        answer = get(port)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-cache")
    assert answer.content == b"retry: 2500\n\n: one\n: two\n\n"
    assert (book.bytes_sent, book.messages_sent) == (len(answer.content), 0)


def test_heartbeats_fill_the_silence() -> None:
    """A quiet stream sends comments, which count as bytes and not as messages."""
    response = create_sse_response(heartbeat=0.01)
    book = bound(response)
    with serving(response) as port, raw_client(port) as client:
        read_until(client, b"\r\n:\n\n\r\n3\r\n:\n\n\r\n")
        response.send_data("event")
        read_until(client, b"data: event\n\n")
        response.close()
        assert book.ended.wait(PATIENCE)
    assert book.messages_sent == 1
    assert ("c1", 3, 0) in book.activities


def test_a_server_that_gives_up_cancels() -> None:
    """A stream cut at the server's shutdown is booked as cancelled by the server."""
    response = create_sse_response()
    book = bound(response)
    response.send_data("first")
    with contextlib.ExitStack() as client_outlives_server:
        with serving(response) as port:
            client = client_outlives_server.enter_context(raw_client(port))
            read_until(client, b"data: first\n\n")
        assert book.ended.wait(PATIENCE)
    assert book.endings == [("c1", "cancelled", "server")]


def test_starlette_routes_return_it() -> None:
    """A Starlette handler returns the stream as it is, through a middleware too."""
    book = Book()

    async def handler(_request: Request) -> SSEResponse:
        response = create_sse_response()
        response.bind_connection(book, "c1")
        response.send_data("hello")
        asyncio.get_running_loop().call_soon(response.close)
        return response

    async def pass_on(request: Request, call_next: Callable[[Request], Any]) -> Response:
        answer: Response = await call_next(request)
        return answer

    app = Starlette(routes=[Route("/", handler)])
    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    with serving(app) as port:
        answer = get(port)
    assert parse(answer.content) == [Event("message", "hello", "")]
    assert book.endings == [("c1", "completed", "app")]


def test_a_starlette_response_around_it() -> None:
    """For FastAPI it is wrapped in a Response: headers added there and background tasks work."""
    ran = threading.Event()

    def handler(_request: Request) -> Response:
        inner = create_sse_response()
        inner.send_data("hello")
        inner.close()
        response = StarletteResponse(inner)
        response.set_cookie("seen", "1")
        response.background = BackgroundTask(ran.set)
        return response

    with serving(Starlette(routes=[Route("/", handler)])) as port:
        answer = get(port)
        assert ran.wait(PATIENCE)
    assert parse(answer.content) == [Event("message", "hello", "")]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.cookies["seen"] == "1"


@pytest.mark.parametrize(
    ("leaves", "ending"), [(False, ("completed", 2)), (True, ("client_disconnect", 1))]
)
def test_a_manager_sees_what_its_stream_did(*, leaves: bool, ending: tuple[str, int]) -> None:
    """Registered as reference, a stream fills its connection's totals and ends it by itself."""
    manager = ConnectionManager()
    response = create_sse_response()
    ended = threading.Event()
    assert manager.register_connection("c1", "127.0.0.1", response)
    manager.on_close("c1", lambda _: ended.set())
    response.send_data("first")
    with serving(response) as port:
        with raw_client(port) as client:
            read_until(client, b"data: first\n\n")
            if not leaves:
                response.send_data("final")
                response.close()
                read_until(client, b"0\r\n\r\n")
        assert ended.wait(PATIENCE)
    stats = manager.get_stats()
    manager.shutdown()
    reason, messages = ending
    assert stats["closed_by_reason"] == {reason: 1}
    assert stats["total_messages_sent"] == messages
    assert stats["total_bytes_sent"] == messages * len(b"data: first\n\n")


def test_a_stream_that_its_manager_closes_is_ended_at_the_client() -> None:
    """A connection kicked in the manager delivers what is queued and hangs up cleanly."""
    manager = ConnectionManager()
    response = create_sse_response()
    assert manager.register_connection("c1", "127.0.0.1", response)
    response.send_data("last words")
    with serving(response) as port, raw_client(port) as client:
        read_until(client, b"data: last words\n\n")
        assert manager.close_connection("c1", reason="kicked", ended_by="admin")
        read_until(client, b"0\r\n\r\n")
        assert not response.send_data("more")
    assert manager.get_stats()["closed_by_reason"] == {"kicked": 1}
    manager.shutdown()


@attrs.define(eq=False)
class HandServer:
    """An ASGI server of which a test decides what it says and when; ``block`` stops sends."""

    app: ASGIResponse
    failure: Exception | None = None
    sent: list[Message] = attrs.field(factory=list)
    block: asyncio.Event | None = None
    gone: asyncio.Event = attrs.field(factory=asyncio.Event)
    started: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def receive(self) -> Message:
        """Tell of the client's leave, once it left."""
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Keep the message; fail or block if so told."""
        if self.failure is not None:
            raise self.failure
        self.sent.append(message)
        self.started.set()
        if self.block is not None:
            await self.block.wait()

    async def run(self, method: str = "GET") -> None:
        """Serve one request."""
        await self.app({"type": "http", "method": method}, self.receive, self.send)


def test_a_send_that_fails_is_a_client_that_left() -> None:
    """OSError from send ends the stream as client_disconnect, without an error."""
    response = create_sse_response()
    book = bound(response)
    asyncio.run(HandServer(response, failure=ConnectionResetError()).run())
    assert book.endings == [("c1", "client_disconnect", "client")]


def test_any_other_failure_of_send_is_raised() -> None:
    """What a middleware raises from send is booked as app_error and reaches the server."""
    response = create_sse_response()
    book = bound(response)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(HandServer(response, failure=ZeroDivisionError()).run())
    assert book.endings == [("c1", "app_error", "server")]


def test_cancellation_is_booked_before_anything_else_runs() -> None:
    """One step of the loop after the cancel it is booked: no await may come before."""
    response = create_sse_response()
    book = bound(response)

    async def cancelled() -> list[tuple[str, str, str]]:
        server = HandServer(response, block=asyncio.Event())
        task = asyncio.create_task(server.run())
        await server.started.wait()
        task.cancel()
        await asyncio.sleep(0)
        endings = list(book.endings)
        with pytest.raises(asyncio.CancelledError):
            await task
        return endings

    assert asyncio.run(cancelled()) == [("c1", "cancelled", "server")] == book.endings
    assert not response.send_data("more")


def test_a_disconnect_during_the_last_send_is_no_disconnect() -> None:
    """Servers that say http.disconnect once a response is complete leave it completed."""
    response = create_sse_response()
    book = bound(response)
    response.close()

    async def finished() -> None:
        server = HandServer(response)

        async def send(message: Message) -> None:
            if message.get("more_body") is False:
                server.gone.set()
                for _ in range(5):
                    await asyncio.sleep(0)
            await server.send(message)

        await response(HTTP_SCOPE, server.receive, send)
        assert server.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}

    asyncio.run(finished())
    assert book.endings == [("c1", "completed", "app")]


def test_a_blocked_send_ends_when_the_client_leaves() -> None:
    """A server whose send still blocks after http.disconnect does not hold the stream."""
    response = create_sse_response()
    book = bound(response)

    async def left() -> None:
        server = HandServer(response, block=asyncio.Event())
        task = asyncio.create_task(server.run())
        await server.started.wait()
        server.gone.set()
        await asyncio.wait_for(task, PATIENCE)

    asyncio.run(left())
    assert book.endings == [("c1", "client_disconnect", "client")]


def test_a_busy_producer_does_not_starve_the_loop() -> None:
    """With an event ready after every send, a client's leave is noticed all the same."""
    response = create_sse_response()
    book = bound(response)

    async def left() -> None:
        server = HandServer(response)

        async def send(message: Message) -> None:
            await server.send(message)
            assert len(server.sent) < 1000, "the loop had no turn"
            response.send_data("another")
            asyncio.get_running_loop().call_soon(server.gone.set)

        await response(HTTP_SCOPE, server.receive, send)

    asyncio.run(left())
    assert book.endings == [("c1", "client_disconnect", "client")]


def test_a_woken_delivery_sleeps_again() -> None:
    """After an event that woke it, the delivery leaves the loop to others."""
    response = create_sse_response()
    bound(response)

    async def woken() -> None:
        server = HandServer(response)
        task = asyncio.create_task(server.run())
        await server.started.wait()
        server.started.clear()
        response.send_data("x")
        await server.started.wait()
        server.gone.set()
        await asyncio.wait_for(task, PATIENCE)

    asyncio.run(woken())


def test_a_stream_that_stalled_before_it_was_served_says_nothing() -> None:
    """Nobody came for a full queue: once somebody does, the stream is there and empty."""
    ticks = itertools.count()
    book = Book()
    ledger = Ledger()
    outbox = Outbox(1, 2.0, ledger.report, monotonic=lambda: float(next(ticks)))
    response = SSEResponse(200, [], outbox, ledger, b"", None)
    response.bind_connection(book, "c1")
    assert [response.send_data("x") for _ in range(3)] == [True, False, False]
    assert book.endings == [("c1", "stalled", "timeout")]
    server = HandServer(response)
    asyncio.run(server.run())
    assert [message.get("body") for message in server.sent] == [None, b""]


def test_one_response_serves_one_request() -> None:
    """A second request is refused and the end of the first is not touched."""
    response = create_sse_response()
    book = bound(response)
    response.close()
    asyncio.run(HandServer(response).run())
    with pytest.raises(Refused, match="one for each"):
        asyncio.run(HandServer(response).run())
    assert book.endings == [("c1", "completed", "app")]


def test_binding_late_and_unbinding() -> None:
    """A stream bound after its end reports at once; an unbound one books nothing."""
    response = create_sse_response()
    early = bound(response)
    response.unbind_connection()
    response.send_data("x")
    response.close()
    asyncio.run(HandServer(response).run())
    assert (early.activities, early.endings) == ([], [])
    assert bound(response).endings == [("c1", "completed", "app")]


def test_a_failing_book_does_not_cut_the_stream(caplog: pytest.LogCaptureFixture) -> None:
    """What the manager raises is logged, and the client gets every event all the same."""

    class Broken(Book):
        def record_activity(
            self, connection_id: str, bytes_sent: int, messages_sent: int = 1, /
        ) -> bool:
            raise RuntimeError(connection_id, bytes_sent, messages_sent)

        def close_connection(self, connection_id: str, /, *, reason: str, ended_by: str) -> bool:
            raise RuntimeError(connection_id, reason, ended_by)

    response = create_sse_response()
    response.bind_connection(Broken(), "c1")
    response.send_data("x")
    response.close()
    server = HandServer(response)
    asyncio.run(server.run())
    assert [message.get("body") for message in server.sent] == [None, b"data: x\n\n", b""]
    assert [record.name for record in caplog.records] == ["rat_fsm", "rat_fsm"]


def test_the_loop_is_woken_only_when_it_waits() -> None:
    """A hundred events wake a sleeping delivery once, and a busy one not at all."""
    wakes: list[None] = []
    outbox = Outbox(1000, 15.0, lambda _: None)
    outbox.attach(lambda: wakes.append(None))
    for _ in range(100):
        outbox.put(Parcel(b"x", 1))
    assert (len(wakes), outbox.take(), outbox.take()) == (0, Parcel(b"x" * 100, 100), None)
    for _ in range(100):
        outbox.put(Parcel(b"x", 1))
    assert (len(wakes), outbox.take(), outbox.take()) == (1, Parcel(b"x" * 100, 100), None)
    outbox.close()
    assert len(wakes) == 2


def interrupted_take(outbox: Outbox, step: int, act: Callable[[], object]) -> Parcel | None:
    """What take() gives when something acts before its line number ``step``."""
    steps = itertools.count()

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        if frame.f_code is not Outbox.take.__code__:
            return None
        if kind == "line" and next(steps) == step:
            act()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        taken = outbox.take()
    finally:
        sys.settrace(before)
    if next(steps) <= step:
        raise StopIteration
    return taken


@pytest.mark.parametrize("act", ["put", "close"])
def test_no_interruption_loses_a_wake_up(act: str) -> None:
    """A signal handler may send or close between any two lines of a look at the queue."""
    wakes: list[int] = []
    for step in itertools.count():
        outbox = Outbox(10, 15.0, lambda _: None)
        outbox.attach(partial(wakes.append, step))
        deed = outbox.close if act == "close" else partial(outbox.put, Parcel(b"x", 1))
        try:
            taken = interrupted_take(outbox, step, deed)
        except StopIteration:
            break
        assert taken or step in wakes or outbox.drained
    assert step > 5


def test_what_is_queued_stays_takeable_after_close_and_not_after_the_end() -> None:
    """A closed outbox is drained once all is taken, an ended one has nothing more to give."""
    closed, ended = Outbox(10, 15.0, lambda _: None), Outbox(10, 15.0, lambda _: None)
    for outbox in (closed, ended):
        assert outbox.put(PARCEL)
    closed.close()
    ended.end(Ending("kicked", "admin"))
    assert [closed.drained, closed.take(), closed.drained] == [False, PARCEL, True]
    assert [ended.drained, ended.take(), ended.closed] == [True, None, True]


def test_the_stall_clock() -> None:
    """It runs while the outbox is full or closed, and starts again with every step forward."""
    now = 0.0
    endings: list[Ending] = []
    outbox = Outbox(1, 10.0, endings.append, monotonic=lambda: now)

    def patience_at(moment: float, act: Callable[[], object]) -> float:
        nonlocal now
        now = moment
        act()
        return outbox.patience()

    assert patience_at(1.0, lambda: None) == 10.0  # empty: nothing to wait for
    assert patience_at(2.0, lambda: outbox.put(PARCEL)) == 10.0  # full
    assert patience_at(5.0, lambda: outbox.put(PARCEL)) == 7.0  # refused
    assert patience_at(6.0, lambda: outbox.attach(lambda: None)) == 10.0  # now it is served
    assert patience_at(9.0, outbox.take) == 10.0  # room again
    assert patience_at(10.0, outbox.close) == 10.0
    assert patience_at(14.0, outbox.close) == 6.0  # closing twice gives no time
    assert patience_at(15.0, outbox.take) == 10.0  # the chunk before went through
    assert patience_at(24.9, outbox.check_stall) > 0
    assert not endings
    assert patience_at(25.0, outbox.check_stall) == 0
    assert endings == [Ending("stalled", "timeout")]


def test_an_event_sent_by_a_signal_handler_that_interrupted_a_send() -> None:
    """The handler's send returns while the interrupted one holds the lock."""
    answers: list[bool] = []

    def clock() -> float:
        signal.raise_signal(signal.SIGUSR1)
        return 0.0

    def handler(*_: object) -> None:
        answers.append(outbox.put(Parcel(b"from the handler", 1)))

    outbox = Outbox(1, 15.0, lambda _: None, monotonic=clock)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        # The clock is read, and so the signal raised, under the lock as the queue gets full.
        assert outbox.put(Parcel(b"interrupted", 1))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert answers
    assert not any(answers)


def test_an_event_for_a_loop_that_was_closed() -> None:
    """When its loop is closed the stream is over, and the event is refused."""
    endings: list[Ending] = []
    outbox = Outbox(10, 15.0, endings.append)

    async def attach(send: Send) -> None:
        outbox.attach(Delivery(outbox, Ledger(), send, {}).wake)
        assert outbox.take() is None

    asyncio.run(attach(HandServer(create_sse_response()).send))
    assert not outbox.put(Parcel(b"x", 1))
    assert endings == [Ending("cancelled", "server")]


def test_importing_it_does_not_import_asyncio() -> None:
    """Programs that only build responses pay neither for asyncio nor for Starlette."""
    script = (
        "import sys, rat_fsm.streaming as s; s.create_sse_response().send_data('x');"
        "sys.exit(bool({'asyncio', 'starlette'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)


def test_http_response_as_the_guide_uses_it() -> None:
    """Status, body and headers set one by one are what the client gets."""
    response = HttpResponse()
    response.set_status(503)
    response.set_body("Too many connections: 太多")
    response.set_header("Retry-After", "3")
    response.set_header("retry-after", "5")
    with serving(response) as port:
        answer, head = get(port), get(port, "HEAD")
    assert (answer.status_code, answer.text) == (503, "Too many connections: 太多")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["retry-after"] == "5"
    assert (head.status_code, head.content) == (503, b"")
    assert head.headers["content-length"] == str(len(answer.content))


def test_http_response_without_a_body() -> None:
    """204 goes without body and length, as HTTP wants."""
    with serving(HttpResponse(204, b"ignored")) as port:
        answer = get(port)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda response: response.set_status(99), InvalidArgument),
        (lambda response: response.set_status("200"), InvalidArgumentType),
        (lambda response: response.set_body({"a": 1}), InvalidArgumentType),
        (lambda response: response.set_body("\ud800"), InvalidArgument),
        (lambda response: response.set_header("a b", "c"), InvalidArgument),
        (lambda response: response.set_header("a", "b\n"), InvalidArgument),
    ],
)
def test_http_response_refuses(
    change: Callable[[HttpResponse], None], error: type[Exception]
) -> None:
    """A setter refuses what HTTP cannot carry and leaves the response as it was."""
    response = HttpResponse(200, "as it was")
    before = (response.status, response.body, response.headers)
    with pytest.raises(error):
        change(response)
    assert (response.status, response.body, response.headers) == before
