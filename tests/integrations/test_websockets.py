"""The recorder of WebSocket servers, on real servers and sockets."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from rat_fsm import EventLog
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
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
from rat_fsm.integrations.websockets import ConnectionFilter, SocketRecorder
from tests.integrations.hosting import Program
from tests.integrations.websockets_app import Websockets, handle
from tests.servers.clients import Peer, read_until, wait_for_end, wait_for_start
from tests.servers.records import End

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from websockets.asyncio.server import Server, ServerConnection

LOST: Final = End("client_disconnect", "client", 1006)
CLOSED: Final = End("client_close", "client", 4001)
RESTARTED: Final = End("shutdown", "shutdown", 1012)


@pytest.fixture(scope="module")
def hosted() -> Iterator[Websockets]:
    """One server for the tests of how connections end, which each use paths of their own."""
    with Websockets(stall_after=0.1, drain_timeout=1) as running:
        yield running


@pytest.fixture
def server(hosted: Websockets) -> Iterator[Websockets]:
    """The same, whose clients go at the end of each test."""
    yield hosted
    hosted.dismiss()


@pytest.fixture
def label(request: pytest.FixtureRequest) -> str:
    """Tells the connections of this test from those of others."""
    name: str = request.node.originalname
    return name.removeprefix("test_")


LIVELY: Final = ("echo", "strict", "chatter", "asleep", "waits", "pieces")
every_handler = pytest.mark.parametrize("route", LIVELY)


@pytest.mark.parametrize("leave", [Peer.leave, Peer.vanish], ids=["fin", "rst"])
@every_handler
def test_a_client_that_is_lost(
    server: Websockets, label: str, route: str, leave: Callable[[Peer], None]
) -> None:
    """Without a close frame the client has disconnected, with 1006."""
    path = f"/{route}/{label}-{leave.__name__}"
    peer = server.socket(f"{path}?secret=1")
    wait_for_start(peer)
    leave(peer)
    life = server.life(path)
    assert (life.registered.kind, life.end, life.errors) == ("websocket", LOST, [])
    assert life.registered.metadata == {"path": path, "http_version": "1.1"}


@every_handler
def test_a_client_that_closes(server: Websockets, label: str, route: str) -> None:
    """Its own close code is recorded."""
    path = f"/{route}/{label}"
    peer = server.socket(path)
    wait_for_start(peer)
    peer.say_goodbye(4001)
    wait_for_end(peer)
    peer.leave()
    life = server.life(path)
    assert (life.end, life.errors) == (CLOSED, [])


def test_a_client_that_breaks_the_protocol(server: Websockets, label: str) -> None:
    """It has left in its own way; the code says which."""
    path = f"/echo/{label}"
    peer = server.socket(path)
    wait_for_start(peer)
    peer._socket.sendall(b"\xff\xff\xff\xff")
    wait_for_end(peer)
    assert server.life(path).end == End("client_disconnect", "client", 1002)


def test_a_client_that_does_not_answer_pings() -> None:
    """It is gone, as far as anybody can tell."""
    options = {"ping_interval": 0.05, "ping_timeout": 0.05}
    with Websockets(server=options) as server:
        peer = server.socket("/echo/1")
        wait_for_start(peer)
        life = server.life("/echo/1")
        assert (life.end, life.errors) == (LOST, [])


@pytest.mark.slow
def test_pongs_keep_a_silent_connection_alive() -> None:
    """A client that answers pings is not stale, one that cannot is."""
    manager = {"stale_after": 0.4, "cleanup_interval": 0.05}
    with (
        Websockets(manager=manager, server={"ping_interval": 0.05}, stall_after=0.1) as server,
        Websockets(manager=manager, server={"ping_interval": None}) as quiet,
    ):
        alive, silent = server.socket("/asleep/1"), quiet.socket("/asleep/1")
        wait_for_start(alive, silent)
        read_until(lambda: bool(silent.ending), alive, silent)
        assert quiet.life("/asleep/1").end == End("stale", "timeout", 1001)
        assert (alive.ending, silent.code) == ("", 1001)


def test_a_client_that_reads_on(server: Websockets, label: str) -> None:
    """It is stalled no more."""
    path = f"/flood/{label}"
    peer = server.socket(path)
    server.wait_for_stall(path)
    read_until(lambda: "Unstalled" in server.lives(path)[0].stalls, peer)
    peer.vanish()
    life = server.life(path)
    assert (life.end, life.stalls[:2]) == (LOST, ["Stalled", "Unstalled"])


def test_a_client_that_stops_reading_and_leaves(server: Websockets, label: str) -> None:
    """It is recorded as stalled while it is there, and as gone when it goes."""
    path = f"/flood/{label}"
    peer = server.socket(path)
    server.wait_for_stall(path)
    peer.vanish()
    life = server.life(path)
    assert (life.end, life.stalls) == (LOST, ["Stalled"])


def test_a_handler_that_raises(server: Websockets, label: str) -> None:
    """The client gets the library's 1011, the log the error."""
    path = f"/breaks/{label}"
    peer = server.socket(path)
    wait_for_end(peer)
    life = server.life(path)
    assert peer.code == 1011
    assert (life.end, life.errors) == (End("app_error", "app", None), ["LookupError"])


def test_a_handler_that_is_cancelled(server: Websockets, label: str) -> None:
    """Somebody on the server's side ended it."""
    path = f"/cancels/{label}"
    server.socket(path)
    life = server.life(path)
    assert (life.end, life.errors) == (End("cancelled", "server", None), [])


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/says_goodbye/{}-4000", End("completed", "app", 4000)),
        ("/says_goodbye/{}-1011", End("app_error", "app", 1011)),
        ("/pauses/{}", End("completed", "app", 1000)),
    ],
)
def test_a_handler_that_closes(server: Websockets, label: str, path: str, end: End) -> None:
    """Its code is recorded, which is 1000 where it only returns."""
    peer = server.socket(path.format(label))
    wait_for_end(peer)
    assert (server.life(path.format(label)).end, peer.code) == (end, end.code)


def test_what_is_sent_is_counted(server: Websockets, label: str) -> None:
    """Text in its bytes, a fragmented message as one, and what is broadcast."""
    path = f"/says/{label}"
    peer = server.socket(path)
    wait_for_end(peer)
    life = server.life(path)
    (closed,), (activated,) = life.every(Closed), life.every(Activated)
    assert (closed.bytes_sent, closed.messages_sent, activated.route) == (9, 3, path)


def test_a_handler_knows_its_connection(
    server: Websockets, label: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the context, as the log filter does; the access line tells the same id."""
    caplog.set_level(logging.INFO)
    caplog.handler.addFilter(ConnectionFilter())
    path = f"/knows/{label}"
    peer = server.socket(path)
    wait_for_end(peer)
    server.life(path)
    name, route = peer.messages[0].decode().split()
    records = [r for r in caplog.records if r.name in {"app", "rat_fsm.access"}]
    assert [r.__dict__["connection_id"] for r in records] == [name, name]
    assert route == path


def test_a_kicked_client(server: Websockets, label: str) -> None:
    """It is closed with 1008; one that is kept out does not come in again, once."""
    path = f"/asleep/{label}"
    peer = server.socket(path)
    wait_for_start(peer)
    read_until(lambda: server.lives(path)[0].every(Activated) != [])
    assert server.manager.kick(server.id_of(path), stay_out=True)
    wait_for_end(peer)
    assert server.life(path).end == End("kicked", "admin", 1008)
    again = server.socket(path)
    wait_for_end(again)
    assert (peer.code, again.status) == (1008, 403)
    later = server.socket(path)
    wait_for_start(later)


def test_a_drain_ends_every_connection() -> None:
    """With 1012 for the client, whatever its handler does, and at once."""
    with Websockets() as server:
        peers = [server.socket(f"/{route}/1") for route in LIVELY]
        wait_for_start(*peers)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        wait_for_end(*peers)
        for peer in peers:
            peer.leave()
        stopping.join()
        assert [peer.code for peer in peers] == [1012] * len(peers)
        assert [server.life(peer.path).end for peer in peers] == [RESTARTED] * len(peers)
        status = server.recorder.status()
        assert (status["total"], status["remaining"], status["ready"]) == (6, 0, False)


def test_a_handler_that_knows_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Only one that cannot have noticed the end is cancelled."""
    caplog.set_level(logging.INFO, "app")
    with Websockets() as server:
        peer = server.socket("/lingers/1")
        wait_for_start(peer)
        server.begin(server.recorder.drain())
        wait_for_end(peer)
        peer.leave()
        assert server.life("/lingers/1").end == RESTARTED
    assert [r.getMessage() for r in caplog.records if r.name == "app"] == ["left alone"]


def test_the_deadline_drops_who_does_not_answer() -> None:
    """And who takes nothing, and who was let finish and has not."""
    slow = {"close_timeout": 10}
    finish = {"/chatter/1": "finish"}
    with Websockets(server=slow, drain_timeout=0.3, stall_after=0.1, on_drain=finish) as server:
        peers = [server.socket(f"/{route}/1") for route in ("flood", "echo", "chatter")]
        wait_for_start(*peers)
        server.wait_for_stall("/flood/1")
        report = server.do(server.recorder.drain("somebody"))
        assert (report.total, report.ended, report.forced, report.not_closed) == (3, 0, 3, ())
        cut = End("forced", "shutdown", 1006)
        ends = [server.life(f"/{route}/1").end for route in ("flood", "echo", "chatter")]
        assert ends == [cut] * 3


def test_who_comes_during_a_drain_is_turned_away() -> None:
    """By 503, and told when to come back; what is being served goes on."""
    with Websockets(on_drain=lambda _: "finish") as server:
        peer = server.socket("/chatter/1")
        wait_for_start(peer)
        draining = server.begin(server.recorder.drain())
        read_until(lambda: not server.recorder.ready, peer)
        late = shake_hands(server, "/echo/1")
        assert (late.status_code, late.headers["connection"]) == (503, "close")
        assert 1 <= int(late.headers["retry-after"]) <= 5
        assert late.text == "this server is restarting\n"
        assert peer.ending == ""
        peer.vanish()
        assert draining.result(10).ended == 1


def shake_hands(server: Websockets, path: str, version: str = "13") -> httpx.Response:
    """The answer to a handshake that fails."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": version,
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    return httpx.get(f"http://127.0.0.1:{server.port}{path}", headers=headers, timeout=10)


def client_key(socket: ServerConnection) -> str | None:
    """The user, as the path tells."""
    assert socket.request is not None
    return socket.request.path.partition("?user=")[2] or None


@pytest.mark.parametrize("hooked", [True, False], ids=["hook", "fallback"])
def test_limits(*, hooked: bool) -> None:
    """Told in the handshake, or where the server has no hook by a close with 1013."""
    with Websockets(
        manager={"max_connections": 2}, hooked=hooked, max_per_client=1, client_key=client_key
    ) as server:
        first, second = server.socket("/echo/1?user=a"), server.socket("/echo/2?user=b")
        wait_for_start(first, second)
        read_until(lambda: server.manager.get_stats()["active_connections"] == 2)
        third = server.socket("/echo/3")
        wait_for_end(third)
        assert (third.status, third.code) == ((503, 1006) if hooked else (101, 1013))
        second.leave()
        server.life("/echo/2")
        fourth = server.socket("/echo/4?user=a")
        wait_for_end(fourth)
        assert (fourth.status, fourth.code) == ((429, 1006) if hooked else (101, 1013))
        first.leave()
        server.life("/echo/1")
        wait_for_start(server.socket("/echo/5?user=a"))


def test_a_hook_of_ones_own_may_refuse() -> None:
    """Its answer is recorded as the end; what is no handshake is no connection."""

    def process_request(socket: ServerConnection, request: Any) -> Any:
        return socket.respond(200, "well\n") if request.path == "/health" else None

    async def refuses(socket: ServerConnection, request: Any) -> Any:
        answer = process_request(socket, request)
        return answer or socket.respond(401, "who are you?\n")

    with Websockets(process_request=refuses, max_per_client=1, client_key=client_key) as server:
        assert server.fetch("/health").status == 200
        assert server.manager.get_stats()["total_connections"] == 0
        peer = server.socket("/echo/1?user=a")
        wait_for_end(peer)
        assert peer.status == 401
        assert server.life("/echo/1").end == End("completed", "app", 401, "handshake")


def test_a_handshake_that_fails_gives_its_slot_back() -> None:
    """A client that is let in and then found to speak another version has not held a slot."""
    with Websockets(max_per_client=1, client_key=client_key) as server:
        status = shake_hands(server, "/echo/1?user=a", version="12").status_code
        assert server.life("/echo/1").end == End("completed", "app", status, "handshake")
        wait_for_start(server.socket("/echo/2?user=a"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "reason", "ended_by"),
    [("idle_timeout", "idle_timeout", "timeout"), ("max_lifetime", "limit", "limit")],
)
def test_timeouts(option: str, reason: str, ended_by: str) -> None:
    """A connection that is idle, or old, is closed with 1001; a busy one is not idle."""
    options: dict[str, Any] = {option: 0.15}
    with Websockets(**options) as server:
        idle, busy = server.socket("/asleep/1"), server.socket("/chatter/1")
        wait_for_end(idle)
        assert (server.life("/asleep/1").end, idle.code) == (End(reason, ended_by, 1001), 1001)
        if option == "max_lifetime":
            wait_for_end(busy)
        assert bool(busy.ending) is (option == "max_lifetime")


def test_the_end_of_the_server_is_a_restart() -> None:
    """A program that closes its server by itself has not lost its clients."""
    with Websockets() as server:
        peer = server.socket("/echo/1")
        wait_for_start(peer)
        server.do(close(server.server))
        wait_for_end(peer)
        assert server.life("/echo/1").end == End("shutdown", "shutdown", 1001)


async def close(server: Server) -> None:
    """As a program does that leaves its context."""
    server.close()


def test_what_is_excluded() -> None:
    """Passes through untouched."""
    with Websockets(exclude=["/pauses"]) as server:
        wait_for_end(server.socket("/pauses/1"))
        assert server.manager.get_stats()["total_connections"] == 0


def test_a_cancel_anywhere() -> None:
    """Whenever the server's task is cancelled, its connection ends once."""
    steps = 0

    def process_request(_socket: ServerConnection, request: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        count_down(task, int(request.path.rpartition("=")[2]))

    def count_down(task: asyncio.Task[Any], left: int) -> None:
        if left == 0:
            task.cancel()
        elif not task.done():
            asyncio.get_running_loop().call_soon(count_down, task, left - 1)

    with Websockets(process_request=process_request) as server:
        reasons = set()
        while "completed" not in reasons:
            path = f"/pauses/{steps}"
            server.socket(f"{path}?after={steps}")
            reasons.add(server.life(path).end.reason)
            steps = steps + 1 if steps < 12 else steps * 2
        assert reasons == {"cancelled", "completed"}


def test_arguments_that_could_never_be_right() -> None:
    """They are refused."""
    wrong: tuple[dict[str, Any], ...] = (
        {"max_per_client": 1},
        {"process_request": "hook"},
        {"on_drain": "wait"},
        {"exclude": "/path"},
        {"stall_after": 0},
    )
    for options in wrong:
        with pytest.raises((InvalidArgument, InvalidArgumentType)):
            SocketRecorder(handle, **options)


def test_what_is_missing_is_named() -> None:
    """Without websockets the import says which extra to install."""
    script = (
        "import sys; sys.modules['websockets'] = None\n"
        "from rat_fsm.errors import MissingExtra\n"
        "try:\n    import rat_fsm.integrations.websockets\n"
        "except MissingExtra as missing:\n    print(missing.extra)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE)
    assert done.stdout == b"websockets\n"


OPENING: Final = """
import asyncio, contextlib, signal, sys
from websockets.asyncio.server import serve
from rat_fsm import ConnectionManager, EventLog
from rat_fsm.integrations.serving.served import GRACE
from rat_fsm.integrations.websockets import SocketRecorder
from tests.integrations.websockets_app import handle

def tell(server):
    print(next(iter(server.sockets)).getsockname()[1], flush=True)
"""
WAITING: Final = """
async def main(log):
    recorder = SocketRecorder(handle, ConnectionManager(log=log), drain_timeout=1, stall_after=0.2)
    async with recorder.serve("127.0.0.1", 0) as server:
        tell(server)
        await recorder.drained()
"""
STOPPING: Final = """
async def main(log):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    recorder = SocketRecorder(handle, ConnectionManager(log=log), drain_timeout=1, stall_after=0.2)
    async with recorder.serve("127.0.0.1", 0) as server:
        tell(server)
        await stop.wait()
"""
BY_ITSELF: Final = """
async def main(log):
    recorder = SocketRecorder(handle, ConnectionManager(log=log), drain_timeout=1, stall_after=0.2)
    hook = recorder.process_request
    async with serve(recorder, "127.0.0.1", 0, process_request=hook) as server:
        tell(server)
        await recorder.drained()
"""
RUNNING: Final = """
with EventLog.open(sys.argv[1]) as log, contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(log))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("main", "number"),
    [
        (WAITING, signal.SIGTERM),
        (WAITING, signal.SIGINT),
        (STOPPING, signal.SIGTERM),
        (BY_ITSELF, signal.SIGTERM),
    ],
    ids=["waiting", "interrupted", "stopping", "by itself"],
)
def test_a_signal(tmp_path: Path, main: str, number: int) -> None:
    """Connections end at once, a client that takes nothing at the deadline, then the program."""
    with Program(OPENING + main + RUNNING, tmp_path) as program:
        peers = [program.socket(f"/{route}/1") for route in LIVELY]
        program.socket("/flood/1")
        wait_for_start(*peers)
        read_until(lambda: program.is_stalled("/flood/1"), *peers)
        asked = program.signal(number)
        wait_for_end(*peers)
        last = max(peer.ended_at for peer in peers)
        for peer in peers:
            peer.leave()
        took = program.wait() - asked
        assert [peer.code for peer in peers] == [1012] * len(peers)
        assert last - asked < 0.5
        assert (program.process.returncode, 1 <= took < 2.5) == (0, True)
        ends = program.ends()
        assert ends.pop("/flood/1") == End("forced", "shutdown", 1006)
        assert list(ends.values()) == [RESTARTED] * len(peers)
        events = program.node_events()
        kinds = [type(event) for event in events]
        assert kinds == [Started, Serving, DrainStarted, DrainForced, Stopped]
        assert events[2].requested_by in {"SIGTERM", "SIGINT", "shutdown"}


@pytest.mark.slow
def test_a_second_signal(tmp_path: Path) -> None:
    """It does not wait for the deadline, and the program ends by itself all the same."""
    main = WAITING.replace("drain_timeout=1", "drain_timeout=60, on_drain='finish'")
    with Program(OPENING + main + RUNNING, tmp_path) as program:
        peer = program.socket("/chatter/1")
        wait_for_start(peer)
        program.signal()
        until = time.monotonic() + 1.1
        read_until(lambda: time.monotonic() >= until, peer)
        assert peer.ending == ""
        asked = program.signal()
        assert program.wait() - asked < 1
        assert program.process.returncode == 0
        assert program.ends() == {"/chatter/1": End("forced", "shutdown", 1006)}


@pytest.mark.slow
def test_an_operator_asks(tmp_path: Path) -> None:
    """A request in the log drains the server, and the program that waits for it ends."""
    with Program(OPENING + WAITING + RUNNING, tmp_path) as program:
        peer = program.socket("/asleep/1")
        wait_for_start(peer)
        with EventLog.open(program.log, writer="operator") as log:
            log.append_request(DrainRequested("me"))
            log.flush()
        wait_for_end(peer)
        peer.leave()
        program.wait()
        assert (program.process.returncode, peer.code) == (0, 1012)
        assert program.ends() == {"/asleep/1": RESTARTED}
