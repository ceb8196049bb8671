"""The recorder of aiohttp applications, on real servers and sockets."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import web

from rat_fsm import EventLog
from rat_fsm.errors import InvalidArgument, InvalidArgumentType, StreamClosed
from rat_fsm.events import (
    Activated,
    Closed,
    DrainForced,
    DrainRequested,
    DrainStarted,
    Serving,
    Started,
    Stopped,
)
from rat_fsm.integrations.aiohttp import (
    ConnectionFilter,
    StreamRecorder,
)
from tests.integrations.aiohttp_app import BLOCK, TICK, Aiohttp, begin, routes
from tests.integrations.hosting import Program
from tests.servers.clients import (
    Peer,
    read_until,
    wait_for_end,
    wait_for_start,
)
from tests.servers.records import End

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LEFT: Final = End("client_disconnect", "client", 200)
LOST: Final = End("client_disconnect", "client", 1006)
COMPLETED: Final = End("completed", "app", 200)
CANCELS: Final = {"handler_cancellation": True}
SLOW: Final = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=[pytest.param({}, id="default"), pytest.param(CANCELS, id="cancels", marks=SLOW)],
)
def hosted(request: pytest.FixtureRequest) -> Iterator[Aiohttp]:
    """One server for the tests of how connections end, which each use paths of their own."""
    with Aiohttp(runner=request.param, stall_after=0.1, drain_timeout=1) as running:
        yield running


@pytest.fixture
def server(hosted: Aiohttp) -> Iterator[Aiohttp]:
    """The same, whose clients go at the end of each test."""
    yield hosted
    hosted.dismiss()


@pytest.fixture
def label(request: pytest.FixtureRequest) -> str:
    """Tells the connections of this test from those of others."""
    name: str = request.node.originalname
    return name.removeprefix("test_")


def hosted_cancels(server: Aiohttp) -> bool:
    """Whether aiohttp cancels handlers whose client has left."""
    return bool(server.runner)


both_ways = pytest.mark.parametrize("leave", [Peer.leave, Peer.vanish], ids=["fin", "rst"])


@both_ways
@pytest.mark.parametrize("route", ["busy", "idle"])
def test_a_reader_that_goes(
    server: Aiohttp, label: str, route: str, leave: Callable[[Peer], None]
) -> None:
    """It left the stream, whether its handler writes or not."""
    path = f"/{route}/{label}-{leave.__name__}"
    peer = server.reader(path)
    wait_for_start(peer)
    leave(peer)
    life = server.life(path)
    assert (life.registered.kind, life.end, life.errors) == ("sse", LEFT, [])


@both_ways
@pytest.mark.parametrize("route", ["echo", "strict", "chatter", "asleep"])
def test_a_websocket_that_is_lost(
    server: Aiohttp, label: str, route: str, leave: Callable[[Peer], None]
) -> None:
    """Without a close frame the client has disconnected, with 1006."""
    path = f"/{route}/{label}-{leave.__name__}"
    peer = server.socket(path)
    wait_for_start(peer)
    leave(peer)
    life = server.life(path)
    assert (life.registered.kind, life.end, life.errors) == ("websocket", LOST, [])


@pytest.mark.parametrize("route", ["echo", "strict"])
def test_a_websocket_client_that_closes(server: Aiohttp, label: str, route: str) -> None:
    """Its own close code is recorded."""
    path = f"/{route}/{label}"
    peer = server.socket(path)
    wait_for_start(peer)
    peer.say_goodbye(4001)
    wait_for_end(peer)
    life = server.life(path)
    assert (life.end, life.errors) == (End("client_close", "client", 4001), [])


@pytest.mark.parametrize("route", ["chatter", "asleep"])
def test_a_websocket_client_that_closes_unheard(server: Aiohttp, label: str, route: str) -> None:
    """Its close code is recorded when it has gone, although its handler never receives."""
    path = f"/{route}/{label}"
    peer = server.socket(path)
    wait_for_start(peer)
    peer.say_goodbye(4001)
    peer.leave()
    life = server.life(path)
    expected = LOST if hosted_cancels(server) else End("client_close", "client", 4001)
    assert (life.end, life.errors) == (expected, [])


def test_a_client_that_reads_on(server: Aiohttp, label: str) -> None:
    """It is stalled no more."""
    path = f"/firehose/{label}"
    peer = server.reader(path, small_buffer=True)
    server.wait_for_stall(path)
    read_until(lambda: "Unstalled" in server.lives(path)[0].stalls, peer)
    peer.vanish()
    life = server.life(path)
    assert (life.end, life.stalls[:2]) == (LEFT, ["Stalled", "Unstalled"])


@pytest.mark.parametrize("kind", ["reader", "socket"])
def test_a_client_that_stops_reading_and_leaves(server: Aiohttp, label: str, kind: str) -> None:
    """It is recorded as stalled while it is there, and as gone when it goes."""
    path = f"/{'firehose' if kind == 'reader' else 'flood'}/{label}"
    peer = server.reader(path, small_buffer=True) if kind == "reader" else server.socket(path)
    server.wait_for_stall(path)
    peer.vanish()
    life = server.life(path)
    assert (life.end, life.stalls) == (LEFT if kind == "reader" else LOST, ["Stalled"])


def test_a_handler_that_raises_before_its_response(server: Aiohttp, label: str) -> None:
    """The connection ends in its handshake, with the error."""
    path = f"/fails-before/{label}"
    assert server.fetch(path, "text/event-stream").status == 500
    life = server.life(path)
    assert life.end == End("app_error", "app", None, "handshake")
    assert life.errors == ["LookupError"]


def test_a_handler_that_answers_by_an_exception(server: Aiohttp, label: str) -> None:
    """That is an answer, and no error."""
    path = f"/missing/{label}"
    assert server.fetch(path, "text/event-stream").status == 404
    life = server.life(path)
    assert (life.end, life.errors) == (End("completed", "app", 404, "handshake"), [])


def test_a_handler_that_raises_within_its_response(server: Aiohttp, label: str) -> None:
    """The client sees that something is missing, the log why."""
    path = f"/fails-midway/{label}"
    peer = server.reader(path)
    wait_for_end(peer)
    life = server.life(path)
    assert peer.ending in {"cut", "reset"}
    assert (life.end, life.errors) == (End("app_error", "app", 200), ["LookupError"])


def test_a_websocket_handler_that_raises(server: Aiohttp, label: str) -> None:
    """Aiohttp drops the connection, and the log says why."""
    path = f"/breaks/{label}"
    peer = server.socket(path)
    wait_for_end(peer)
    life = server.life(path)
    assert peer.code == 1006
    assert (life.end, life.errors) == (End("app_error", "app", None), ["LookupError"])


def test_a_handler_that_is_cancelled(server: Aiohttp, label: str) -> None:
    """Somebody on the server's side ended it, and nothing looks complete."""
    path = f"/cancels/{label}"
    peer = server.reader(path)
    wait_for_end(peer)
    life = server.life(path)
    assert peer.ending in {"cut", "reset"}
    assert (life.end, life.errors) == (End("cancelled", "server", 200), [])


@pytest.mark.parametrize(
    ("route", "kind", "accept"),
    [
        ("finish", "sse", "text/event-stream"),
        ("finish", "sse", "*/*"),
        ("chunked", "chunked", "*/*"),
    ],
)
def test_a_stream_that_ends_by_itself(
    server: Aiohttp, label: str, route: str, kind: str, accept: str
) -> None:
    """It is completed, whether it was known to be a stream before it began or not."""
    path = f"/{route}/{label}-{len(accept)}"
    peer = server.fetch(path, accept)
    life = server.life(path)
    (closed,) = life.every(Closed)
    assert peer.ending == "complete"
    assert (life.registered.kind, life.end) == (kind, COMPLETED)
    assert (closed.bytes_sent, closed.messages_sent) == (len(peer.body), 3)
    (activated,) = life.every(Activated)
    assert activated.route == f"/{route}/{{label}}"


def test_what_is_no_stream(server: Aiohttp, label: str) -> None:
    """A short answer is not in the log."""
    path = f"/short/{label}"
    assert server.fetch(path, "*/*").json() == {"connection": False}
    assert server.lives(path) == []


@pytest.mark.parametrize(
    ("query", "end"),
    [
        ("?code=4000", End("completed", "app", 4000)),
        ("?code=1011", End("app_error", "app", 1011)),
        ("", End("completed", "app", 1000)),
    ],
)
def test_a_websocket_that_the_application_closes(
    server: Aiohttp, label: str, query: str, end: End
) -> None:
    """Its code is recorded."""
    path = f"/says-goodbye/{label}-{end.code}"
    peer = server.socket(path + query)
    wait_for_end(peer)
    assert (server.life(path).end, peer.code) == (end, end.code)


def test_a_handler_knows_its_connection(server: Aiohttp, label: str) -> None:
    """By the context, and by the request."""
    path = f"/knows/{label}"
    body = server.fetch(path, "text/event-stream").body.decode()
    (activated,) = server.life(path).every(Activated)
    assert body.split()[2] == activated.route == "/knows/{label}"


DRAINED: Final = End("shutdown", "shutdown", 200)
RESTARTED: Final = End("shutdown", "shutdown", 1012)
FORCED: Final = End("forced", "shutdown", 200)
READERS: Final = ("busy", "idle", "midway")
SOCKETS: Final = ("echo", "strict", "chatter", "asleep")


def test_a_shutdown_ends_streams_cleanly() -> None:
    """Readers get a farewell between two events, WebSockets 1012, whatever their handlers do."""
    with Aiohttp() as server:
        readers = [server.reader(f"/{route}/1") for route in READERS]
        sockets = [server.socket(f"/{route}/1") for route in SOCKETS]
        wait_for_start(*readers, *sockets)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        wait_for_end(*readers, *sockets)
        stopping.join()
        assert [reader for reader in readers if not reader.drained] == []
        assert [socket.code for socket in sockets] == [1012] * len(sockets)
        assert [server.life(reader.path).end for reader in readers] == [DRAINED] * len(readers)
        assert [server.life(socket.path).end for socket in sockets] == [RESTARTED] * len(sockets)
        report = server.recorder.status()
        assert (report["total"], report["remaining"], report["ready"]) == (7, 0, False)


def test_a_shutdown_waits_for_the_rest_and_cuts_it_at_the_deadline() -> None:
    """What ends in time is complete; what does not is cut, also for a client that takes nothing."""
    with Aiohttp(
        drain_timeout=0.3, stall_after=0.1, on_drain={"/finish/{label}": "finish"}
    ) as server:
        short = server.reader("/finish/short?events=8")
        long = server.reader("/chunked/long?blocks=1000", accept="*/*")
        deaf = [server.reader("/firehose/1", small_buffer=True), server.socket("/flood/1")]
        wait_for_start(short, long)
        server.wait_for_stall("/firehose/1")
        server.wait_for_stall("/flood/1")
        draining = server.begin(server.recorder.drain("somebody"))
        wait_for_end(short, long)
        report = draining.result(10)
        assert (short.ending, long.ending in {"cut", "reset"}) == ("complete", True)
        assert (report.total, report.ended, report.forced, report.not_closed) == (4, 1, 3, ())
        ends = [server.life(path).end for path in ("/finish/short", "/chunked/long")]
        assert ends == [COMPLETED, FORCED]
        assert server.life("/firehose/1").end == FORCED
        assert server.life("/flood/1").end == End("forced", "shutdown", 1006)
        wait_for_end(*deaf)
        assert {peer.ending for peer in deaf} <= {"cut", "reset"}


def test_who_comes_during_a_drain_is_turned_away() -> None:
    """By 503, and told when to come back, elsewhere; what is being served goes on."""
    with Aiohttp(on_drain="finish") as server:
        reader = server.reader("/busy/1")
        wait_for_start(reader)
        draining = server.begin(server.recorder.drain())
        read_until(lambda: not server.recorder.ready, reader)
        for path, accept in (("/idle/1", "text/event-stream"), ("/short/1", "*/*")):
            late = server.fetch(path, accept)
            assert late.status == (503 if accept != "*/*" else 200)
        refused = server.fetch("/busy/1", "text/event-stream")
        assert (refused.status, refused.headers["connection"]) == (503, "close")
        assert 1 <= int(refused.headers["retry-after"]) <= 5
        socket = server.socket("/echo/1")
        wait_for_end(socket)
        assert socket.status == 503
        assert reader.ending == ""
        reader.vanish()
        assert draining.result(10).ended == 1


def test_limits() -> None:
    """The process's limit is told with 503, a client's with 429; a slot comes back with its end."""
    with Aiohttp(
        manager={"max_connections": 2},
        max_per_client=1,
        client_key=lambda request: request.query.get("user"),
        stall_after=0.1,
    ) as server:
        first = server.reader("/idle/1?user=a")
        wait_for_start(first)
        assert server.fetch("/idle/2?user=a", "text/event-stream").status == 429
        second = server.socket("/asleep/2?user=b")
        wait_for_start(second)
        third = server.fetch("/idle/3", "text/event-stream")
        assert (third.status, bytes(third.body)) == (503, b"too many connections\n")
        first.vanish()
        server.life("/idle/1")
        again = server.reader("/idle/4?user=a")
        wait_for_start(again)


def test_a_kicked_client(server: Aiohttp, label: str) -> None:
    """An operator's kick ends a stream cleanly, a WebSocket with 1008, a download at once."""
    paths = [f"/busy/{label}", f"/echo/{label}", f"/chunked/{label}"]
    reader, socket = server.reader(paths[0]), server.socket(paths[1])
    download = server.reader(f"{paths[2]}?blocks=1000", accept="*/*")
    wait_for_start(reader, socket, download)
    assert [server.manager.kick(server.id_of(path)) for path in paths] == [True, True, True]
    wait_for_end(reader, socket, download)
    ends = [(server.life(path).end.reason, server.life(path).end.ended_by) for path in paths]
    assert ends == [("kicked", "admin")] * 3
    assert (reader.ending, reader.drained, socket.code) == ("complete", False, 1008)
    assert download.ending in {"cut", "reset"}


def test_a_client_that_is_kept_out(server: Aiohttp, label: str) -> None:
    """Its next attempt is answered with 204, which ends an EventSource; a WebSocket gets 403."""
    paths = [f"/idle/{label}", f"/asleep/{label}"]
    peers = [server.reader(paths[0]), server.socket(paths[1])]
    wait_for_start(*peers)
    for path in paths:
        server.manager.kick(server.id_of(path), stay_out=True)
    wait_for_end(*peers)
    again = server.socket(paths[1])
    wait_for_end(again)
    assert (server.fetch(paths[0], "text/event-stream").status, again.status) == (204, 403)
    wait_for_start(server.reader(paths[0]))


@pytest.mark.parametrize(
    ("option", "reason", "ended_by"),
    [("idle_timeout", "idle_timeout", "timeout"), ("max_lifetime", "limit", "limit")],
)
def test_timeouts(option: str, reason: str, ended_by: str) -> None:
    """A stream that is idle, or old, is ended cleanly; a busy one is not idle."""
    options: dict[str, Any] = {option: 0.15}
    with Aiohttp(**options) as server:
        reader, socket = server.reader("/idle/1"), server.socket("/asleep/1")
        busy = server.reader("/busy/1")
        wait_for_end(reader, socket)
        assert (reader.ending, socket.code) == ("complete", 1001)
        assert server.life("/idle/1").end.reason == reason
        assert server.life("/asleep/1").end == End(reason, ended_by, 1001)
        if option == "max_lifetime":
            wait_for_end(busy)
        assert bool(busy.ending) is (option == "max_lifetime")


def test_a_heartbeat_goes_between_events() -> None:
    """An idle stream gets comments, and one that stands within an event gets none."""
    with Aiohttp(heartbeat=0.03) as server:
        idle, midway = server.reader("/idle/1"), server.reader("/midway/1")
        read_until(lambda: idle.body.count(b":\n\n") > 1, idle, midway)
        read_until(lambda: midway.body.count(b"and half") > 5, idle, midway)
        assert idle.body.startswith(b"data: only\n\n:\n\n")
        assert b"half :" not in midway.body


def test_what_is_excluded(label: str) -> None:
    """Passes through untouched."""
    exclude = ["/finish", lambda request: "skip" in request.query]
    with Aiohttp(exclude=exclude) as server:
        for path in (f"/finish/{label}", f"/chunked/{label}?skip=1"):
            assert server.fetch(path, "text/event-stream").ending == "complete"
        assert server.manager.get_stats()["total_connections"] == 0


def test_handlers_are_told_by_the_exceptions_of_aiohttp() -> None:
    """One that writes hears what it would of a client that has gone; an idle one is cancelled."""
    told: dict[str, BaseException] = {}

    async def writes(request: web.Request) -> web.StreamResponse:
        response = await begin(request)
        try:
            while True:
                await response.write(b"data: x\n\n")
                await asyncio.sleep(TICK)
        except ConnectionResetError as error:
            told["writes"] = error
        return response

    async def waits(request: web.Request) -> web.StreamResponse:
        response = await begin(request)
        try:
            await response.write(b"data: x\n\n")
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            told["waits"] = error
        return response

    server = Aiohttp()
    server.app.router.add_get("/writes", writes)
    server.app.router.add_get("/waits", waits)
    with server:
        readers = [server.reader("/writes"), server.reader("/waits")]
        wait_for_start(*readers)
        report = server.do(server.recorder.drain())
        wait_for_end(*readers)
        assert [reader.drained for reader in readers] == [True, True]
        assert [server.life(reader.path).end for reader in readers] == [DRAINED] * 2
        assert (report.ended, report.forced) == (2, 0)
    assert isinstance(told["writes"], StreamClosed)
    assert isinstance(told["waits"], asyncio.CancelledError)


def test_a_handler_may_have_the_last_word() -> None:
    """One that ends by itself when it sees the drain is followed by the farewell."""
    server = Aiohttp(on_drain=lambda request: "finish" if "wait" in request.query else None)

    async def looks(request: web.Request) -> web.StreamResponse:
        response = await begin(request)
        await response.write(b"data: half")
        await until(lambda: server.recorder._service.telling)
        await response.write_eof(b"\n\ndata: bye\n\n")
        return response

    server.app.router.add_get("/looks", looks)
    with server:
        reader = server.reader("/looks")
        wait_for_start(reader)
        server.do(server.recorder.drain())
        wait_for_end(reader)
        assert reader.drained
        assert reader.body.startswith(b"data: half\n\ndata: bye\n\nretry: ")
        assert server.life("/looks").end == DRAINED


def test_a_stream_that_begins_while_others_are_told_to_end() -> None:
    """It is told as well, as soon as it has begun."""
    server = Aiohttp()

    async def slow(request: web.Request) -> web.StreamResponse:
        await until(lambda: server.recorder._service.telling)
        response = await begin(request)
        await response.write(b"data: late\n\n")
        await asyncio.Event().wait()
        return response

    server.app.router.add_get("/slow", slow)
    with server:
        reader = server.reader("/slow")
        read_until(lambda: server.recorder.members != set(), reader)
        server.do(server.recorder.drain())
        wait_for_end(reader)
        assert reader.drained


def test_a_client_that_waits_for_its_answer_at_the_deadline_gets_one() -> None:
    """It is told 503, as nothing was sent that could look complete."""
    server = Aiohttp(drain_timeout=0.05)

    async def ponders(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    server.app.router.add_get("/ponders", ponders)
    with server:
        readers = [server.reader("/ponders?1"), server.reader("/ponders?2", accept="*/*")]
        read_until(lambda: len(server.recorder.members) == 2, *readers)
        server.do(server.recorder.drain())
        wait_for_end(*readers)
        assert [reader.status for reader in readers] == [503, 503]
        assert server.life("/ponders").end == End("forced", "shutdown", None, "handshake")


def test_a_file_that_is_called_a_stream(tmp_path: Path) -> None:
    """Its end is recorded when it is sent, after its handler has returned."""
    file = tmp_path / "file.bin"
    file.write_bytes(BLOCK * 3)
    server = Aiohttp(streams=lambda request: "download" if request.path == "/file" else False)

    async def download(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(file)

    server.app.router.add_get("/file", download)
    with server:
        assert len(server.fetch("/file").body) == 3 * len(BLOCK)
        life = server.life("/file")
        assert (life.registered.kind, life.end) == ("download", COMPLETED)


def test_sub_applications_are_recorded() -> None:
    """With the templates of both applications as the route."""
    server = Aiohttp()
    below = web.Application()
    below.add_routes(routes)
    server.app.add_subapp("/below", below)
    with server:
        server.fetch("/below/finish/1", "text/event-stream")
        (activated,) = server.life("/below/finish/1").every(Activated)
        assert activated.route == "/below/finish/{label}"


@pytest.mark.parametrize("route", ["/finish/{}", "/chunked/{}"])
def test_a_head_request(server: Aiohttp, label: str, route: str) -> None:
    """Has no body that anything could be put into."""
    server.do(head(server.port, route.format(label)))
    lives = server.lives(route.format(label))
    assert [life.end.reason for life in lives if life.closed] in ([], ["completed"])


async def until(condition: Callable[[], bool]) -> None:
    """Looks at every turn of the loop."""
    while not condition():  # noqa: ASYNC110 - nobody would set an event
        await asyncio.sleep(0)


async def head(port: int, path: str) -> None:
    """Asks for the headers of an event stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"HEAD {path} HTTP/1.0\r\nHost: x\r\nAccept: */*\r\n\r\n".encode())
    assert (await reader.readline()).split()[1] == b"200"
    await reader.read()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("route", ["finish", "pauses"])
def test_a_cancel_anywhere(route: str) -> None:
    """Whenever a handler is cancelled, its connection ends once."""
    server = Aiohttp()
    steps = 0

    @web.middleware
    async def cancelling(request: web.Request, handler: Any) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        count_down(task, int(request.query["after"]))
        response: web.StreamResponse = await handler(request)
        return response

    def count_down(task: asyncio.Task[Any], left: int) -> None:
        if left == 0:
            task.cancel()
        elif not task.done():
            asyncio.get_running_loop().call_soon(count_down, task, left - 1)

    server.app.middlewares.append(cancelling)
    with server:
        reasons = set()
        while "completed" not in reasons:
            path = f"/{route}/{steps}"
            peer = (
                server.reader(f"{path}?events=1&after={steps}")
                if route == "finish"
                else server.socket(f"{path}?after={steps}")
            )
            wait_for_end(peer)
            reasons.add(server.life(path).end.reason)
            steps = steps + 1 if steps < 10 else steps * 2
        assert reasons == {"cancelled", "completed"}


def test_the_access_line_and_the_filter(caplog: pytest.LogCaptureFixture) -> None:
    """Each connection gets one line at its end; what a handler logs carries its id."""
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(ConnectionFilter())
    server = Aiohttp()

    async def logs(request: web.Request) -> web.StreamResponse:
        response = await begin(request)
        logging.getLogger("app").info("serving")
        await response.write(b"data: x\n\n")
        return response

    server.app.router.add_get("/logs", logs)
    with server:
        server.fetch("/logs", "text/event-stream")
        server.life("/logs")
    (line,) = [r for r in caplog.records if r.name == "rat_fsm.access"]
    (logged,) = [r for r in caplog.records if r.name == "app"]
    assert logged.__dict__["connection_id"] == line.__dict__["connection_id"]
    identity = line.__dict__["connection_id"]
    assert line.getMessage().startswith(f"127.0.0.1 sse /logs {identity} ")


def test_arguments_that_could_never_be_right() -> None:
    """They are refused before anything is attached to the application."""
    app = web.Application()
    wrong: tuple[dict[str, Any], ...] = (
        {"max_per_client": 1},
        {"streams": "sse"},
        {"on_drain": "wait"},
        {"exclude": "/path"},
        {"idle_timeout": -1},
    )
    for options in wrong:
        with pytest.raises((InvalidArgument, InvalidArgumentType)):
            StreamRecorder(app, **options)
    assert list(app.middlewares) == []


def test_what_is_missing_is_named() -> None:
    """Without aiohttp the import says which extra to install."""
    script = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from rat_fsm.errors import MissingExtra\n"
        "try:\n    import rat_fsm.integrations.aiohttp\n"
        "except MissingExtra as missing:\n    print(missing.extra)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE)
    assert done.stdout == b"aiohttp\n"


PROGRAM: Final = """
import socket, sys
from aiohttp import web
from rat_fsm import ConnectionManager, EventLog
from rat_fsm.integrations.aiohttp import StreamRecorder
from tests.integrations.aiohttp_app import routes

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
with EventLog.open(sys.argv[1]) as log:
    app = web.Application()
    app.add_routes(routes)
    StreamRecorder(app, ConnectionManager(log=log), {options})
    web.run_app(app, sock=listener, print=None, shutdown_timeout=3, access_log=None)
"""


@pytest.mark.slow
def test_sigterm(tmp_path: Path) -> None:
    """Streams end at once, the rest by itself, a client that takes nothing at the deadline."""
    options = "drain_timeout=1.0, stall_after=0.2"
    with Program(PROGRAM.format(options=options), tmp_path) as program:
        readers = [program.reader(f"/{route}/1") for route in READERS]
        sockets = [program.socket(f"/{route}/1") for route in SOCKETS]
        download = program.reader("/chunked/1?blocks=20", accept="*/*")
        program.reader("/firehose/1", small_buffer=True)
        wait_for_start(*readers, *sockets, download)
        read_until(lambda: program.is_stalled("/firehose/1"), download)
        asked = program.signal()
        wait_for_end(*readers, *sockets, download)
        took = program.wait() - asked
        assert [reader for reader in readers if not reader.drained] == []
        assert [socket.code for socket in sockets] == [1012] * len(sockets)
        assert max(peer.ended_at for peer in [*readers, *sockets]) - asked < 0.5
        assert download.ending == "complete"
        assert (program.process.returncode, 1 <= took < 2) == (0, True)
        ends = program.ends()
        assert ends.pop("/firehose/1") == FORCED
        assert ends.pop("/chunked/1") == COMPLETED
        assert sorted(ends.values(), key=repr) == [RESTARTED] * 4 + [DRAINED] * 3
        kinds = [type(event) for event in program.node_events()]
        assert kinds == [Started, Serving, DrainStarted, DrainForced, Stopped]


@pytest.mark.slow
def test_a_second_signal(tmp_path: Path) -> None:
    """Nobody waits for anything then, and what was open has been cut."""
    with Program(PROGRAM.format(options="drain_timeout=60.0"), tmp_path) as program:
        download = program.reader("/chunked/1?blocks=10000", accept="*/*")
        reader = program.reader("/busy/1")
        wait_for_start(download, reader)
        program.signal()
        wait_for_end(reader)
        asked = program.signal()
        wait_for_end(download)
        assert program.wait() - asked < 1
        assert download.ending in {"cut", "reset"}
        assert program.ends() == {"/chunked/1": FORCED, "/busy/1": DRAINED}


@pytest.mark.slow
def test_an_operator_asks(tmp_path: Path) -> None:
    """A request in the log drains the application, which goes on to answer who probes it."""
    with Program(PROGRAM.format(options=""), tmp_path) as program:
        reader, socket = program.reader("/idle/1"), program.socket("/asleep/1")
        wait_for_start(reader, socket)
        with EventLog.open(program.log, writer="operator") as log:
            log.append_request(DrainRequested("me"))
            log.flush()
        wait_for_end(reader, socket)
        assert (reader.drained, socket.code) == (True, 1012)
        assert program.fetch("/short/1").status == 200
        program.signal()
        program.wait()
        assert set(program.ends().values()) == {DRAINED, RESTARTED}
