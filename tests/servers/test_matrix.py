"""How every kind of end is told, on every server: the cells of servers times ends.

The tests of one server share its process; each uses paths of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.servers.clients import Peer, fetch, read_until, wait_for_end, wait_for_start
from tests.servers.harness import Server, wait_for_stall
from tests.servers.kinds import KINDS
from tests.servers.records import End, check_stats, read_life, read_lives
from tests.servers.scenes import READERS, SOCKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

LEFT: Final = End("client_disconnect", "client", 200)
LOST: Final = End("client_disconnect", "client", 1006)
COMPLETED: Final = End("completed", "app", 200)
# What the application hears of a client that closes with 4001. hypercorn reports 1006 for every
# close: https://github.com/pgjones/hypercorn/issues/127.
CLIENT_CLOSES: Final = {"hypercorn": LOST}
# What a client gets where the handler raises: from granian no code, from uvicorn no frame.
HANDLER_RAISES: Final = {"granian": 1005, "hypercorn": 1011, "uvicorn": 1006}

ways_to_leave = pytest.mark.parametrize("leave", [Peer.leave, Peer.vanish], ids=["fin", "rst"])


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One server for all tests of its kind; whatever is still open ends with it."""
    folder = tmp_path_factory.mktemp(request.param.name)
    with Server(request.param, folder, stall_after=0.5, drain_timeout=1) as running:
        yield running


@pytest.fixture(autouse=True)
def _nobody_stays(server: Server) -> Iterator[None]:
    """The clients of a test are gone after it."""
    yield
    server.dismiss()


@pytest.fixture
def label(request: pytest.FixtureRequest) -> str:
    """Tells the connections of this test from those of others."""
    name: str = request.node.originalname
    return name.removeprefix("test_")


@ways_to_leave
def test_readers_that_go(server: Server, label: str, leave: Callable[[Peer], None]) -> None:
    """They left the stream, busy or idle, whether its handler looks or not."""
    paths = [f"{route}/{label}-{leave.__name__}" for route in READERS]
    peers = [server.reads(path) for path in paths]
    wait_for_start(*peers)
    for peer in peers:
        leave(peer)
    lives = [server.ended(path) for path in paths]
    told = [(life.registered.kind, life.end, life.errors) for life in lives]
    assert told == [("sse", LEFT, [])] * len(READERS)


def test_websocket_clients_that_close(server: Server, label: str) -> None:
    """Their own close code is recorded, where the server tells it."""
    paths = [f"{route}/{label}" for route in SOCKETS]
    peers = [server.talks(path) for path in paths]
    wait_for_start(*peers)
    for peer in peers:
        peer.say_goodbye(4001)
    wait_for_end(*peers)
    assert [peer.code for peer in peers] == [4001] * len(SOCKETS)
    lives = [server.ended(path) for path in paths]
    told = [(life.registered.kind, life.end, life.errors) for life in lives]
    end = CLIENT_CLOSES.get(server.kind.family, End("client_close", "client", 4001))
    assert told == [("websocket", end, [])] * len(SOCKETS)


@ways_to_leave
def test_websockets_that_are_lost(
    server: Server, label: str, leave: Callable[[Peer], None]
) -> None:
    """Without a close frame the client has disconnected, with 1006 on every server."""
    paths = [f"{route}/{label}-{leave.__name__}" for route in SOCKETS]
    peers = [server.talks(path) for path in paths]
    wait_for_start(*peers)
    for peer in peers:
        leave(peer)
    lives = [server.ended(path) for path in paths]
    assert [(life.end, life.errors) for life in lives] == [(LOST, [])] * len(SOCKETS)


def test_a_client_that_stops_reading_and_leaves(server: Server, label: str) -> None:
    """It is recorded as stalled while it is there, and as gone when it goes."""
    path = f"/raw/firehose/{label}"
    peer = server.reads(path, small_buffer=True)
    wait_for_stall(server, path)
    peer.vanish()
    life = server.ended(path)
    assert (life.end, life.stalls[0]) == (LEFT, "Stalled")


def test_a_client_that_reads_on(server: Server, label: str) -> None:
    """It is stalled no more."""
    path = f"/raw/firehose/{label}"
    peer = server.reads(path)
    wait_for_stall(server, path)
    read_until(lambda: "Unstalled" in read_life(server.log, path).stalls, peer)
    peer.vanish()
    life = server.ended(path)
    assert (life.end, life.stalls[:2]) == (LEFT, ["Stalled", "Unstalled"])


def test_a_handler_that_raises_before_its_response(server: Server, label: str) -> None:
    """The connection ends in its handshake, with the error."""
    path = f"/raw/fails-before/{label}"
    assert fetch(server.port, path, "text/event-stream").status == 500
    life = server.ended(path)
    assert life.end == End("app_error", "app", None, "handshake")
    assert life.errors == ["LookupError"]


def test_a_handler_that_raises_within_its_response(server: Server, label: str) -> None:
    """The client sees that something is missing, the log why."""
    path = f"/raw/fails-midway/{label}"
    peer = server.reads(path)
    wait_for_end(peer)
    life = server.ended(path)
    assert peer.ending in {"cut", "reset"}
    assert (life.end, life.errors) == (End("app_error", "app", 200), ["LookupError"])


def test_a_websocket_handler_that_raises(server: Server, label: str) -> None:
    """The server closes with a code of its choice, of which the application hears nothing."""
    path = f"/raw/breaks/{label}"
    peer = server.talks(path)
    wait_for_end(peer)
    life = server.ended(path)
    assert peer.code == HANDLER_RAISES[server.kind.family]
    assert (life.end, life.errors) == (End("app_error", "app", None), ["LookupError"])


def test_a_handler_that_is_cancelled(server: Server, label: str) -> None:
    """Somebody on the server's side ended it, and nothing looks complete."""
    path = f"/raw/cancels/{label}"
    peer = server.reads(path)
    wait_for_start(peer)
    life = server.ended(path)
    assert (life.end, life.errors) == (End("cancelled", "server", 200), [])
    assert peer.ending != "complete"


@pytest.mark.parametrize(
    ("path", "kind", "accept"),
    [
        ("/raw/finish/{}?seconds=0.3", "sse", "text/event-stream"),
        ("/raw/finish/{}-unasked?seconds=0.3", "sse", "*/*"),
        ("/raw/chunked/{}?seconds=0.2", "chunked", "*/*"),
    ],
    ids=["events", "events-unasked", "chunks"],
)
def test_a_stream_that_ends_by_itself(
    server: Server, label: str, path: str, kind: str, accept: str
) -> None:
    """It is completed, whether its kind was known before it began or not."""
    target = path.format(label)
    peer = fetch(server.port, target, accept)
    life = server.ended(target.partition("?")[0])
    assert peer.ending == "complete"
    assert (life.registered.kind, life.end) == (kind, COMPLETED)


def test_what_is_no_stream(server: Server, label: str) -> None:
    """Short answers and files of known size are not in the log."""
    short, file = f"/starlette/short/{label}", f"/starlette/download/{label}?seconds=0.1"
    assert fetch(server.port, short).json() == {"short": True}
    assert len(fetch(server.port, file).body) == 50 * (1 << 16)
    server.states()
    assert not [life for life in read_lives(server.log) if label in life.path]


def test_a_websocket_that_the_application_closes(server: Server, label: str) -> None:
    """Its code is recorded."""
    path = f"/raw/says-goodbye/{label}"
    peer = server.talks(path)
    wait_for_end(peer)
    assert server.ended(path).end == End("completed", "app", 4000)
    assert peer.code == 4000


def test_a_kicked_client(server: Server, label: str) -> None:
    """An operator's kick ends a stream cleanly, a WebSocket with 1008."""
    server.skip_unless_alone("a kick reaches the connections of one process")
    paths = [f"/starlette/busy/{label}", f"/raw/echo/{label}"]
    reader, socket = server.reads(paths[0]), server.talks(paths[1])
    wait_for_start(reader, socket)
    for path in paths:
        assert list(fetch(server.port, f"/kick?path={path}").json().values()) == [True]
    wait_for_end(reader, socket)
    ends = [server.ended(path).end for path in paths]
    assert ends == [End("kicked", "admin", 200), End("kicked", "admin", 1008)]
    assert (reader.ending, reader.drained, socket.code) == ("complete", False, 1008)


def test_a_client_that_is_kept_out(server: Server, label: str) -> None:
    """Its next attempt is answered with 204, which ends an EventSource for good."""
    server.skip_unless_alone("a kick reaches the connections of one process")
    path = f"/raw/idle/{label}"
    peer = server.reads(path)
    wait_for_start(peer)
    fetch(server.port, f"/kick?path={path}&stay_out=1")
    wait_for_end(peer)
    assert fetch(server.port, path, "text/event-stream").status == 204


def test_nothing_leaks(server: Server, label: str) -> None:
    """Slots, tasks and file descriptors are given back, and live statistics are the replayed."""
    visit(server, f"{label}-first")
    before = server.states()
    visit(server, f"{label}-second")
    for pid, state in server.states().items():
        assert (state["slots"], state["stats"]["active_connections"]) == (0, 0)
        assert state["tasks"] <= before[pid]["tasks"]
        assert state["fds"] <= before[pid]["fds"]
        check_stats(server.log, state["writer"], state["stats"])


def visit(server: Server, label: str) -> None:
    """Some of everything, gone without a word."""
    readers = [server.reads(f"{route}/{label}") for route in READERS]
    sockets = [server.talks(f"{route}/{label}") for route in SOCKETS]
    peers = (*readers, *sockets)
    wait_for_start(*peers)
    for peer in peers:
        peer.vanish()
    for peer in peers:
        server.ended(peer.path)
