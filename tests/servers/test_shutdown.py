"""What SIGTERM does to what is open, on every server."""

from __future__ import annotations

import os
import signal
import statistics
from typing import TYPE_CHECKING, Final

import pytest

from rat_fsm.events import DrainStarted, Serving, Started, Stopped
from tests.servers.clients import HttpPeer, WebSocketPeer, wait_for_end
from tests.servers.harness import Server
from tests.servers.kinds import every_kind
from tests.servers.records import End, node_events, read_life, read_lives
from tests.servers.scenes import finite_responses, open_streams

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.kinds import Kind

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

DRAINED: Final = End("shutdown", "shutdown", 200)
RESTARTED: Final = End("shutdown", "shutdown", 1012)
LOST_AT_SHUTDOWN: Final = End("shutdown", "shutdown", 1006)
SIZE: Final = 50 * (1 << 16)
# Of the streams of each run, in seconds: the middleware listens for clients of handlers that do not
# look only after a while.
AGES: Final = (0.0, 1.2, 1.2, 0.0, 1.2)
STREAM_LIMIT: Final = 0.5
PROCESS_LIMIT: Final = 1.0
# granian drops WebSockets at once when it is told to stop, mostly before a close frame is out.
DROPS_SOCKETS: Final = {"granian"}
# A granian worker that gets SIGINT from a terminal and SIGTERM from its parent at once may hang in
# its own handler (WorkerSignal.set) until it is killed.
DEADLOCKS: Final = {"granian"}


@every_kind
def test_streams_end_cleanly_and_at_once(kind: Kind, tmp_path: Path) -> None:
    """Each client sees a clean end, the log says shutdown; medians of some runs are in limits."""
    figures = [one_run(kind, tmp_path / str(number), age) for number, age in enumerate(AGES)]
    streams, process = (statistics.median(column) for column in zip(*figures, strict=True))
    print(f"{kind.name}: streams {streams:.2f} s, process {process:.2f} s, runs {figures}")  # noqa: T201 - the figures are wanted
    assert streams < kind.late + STREAM_LIMIT
    assert process < kind.late + PROCESS_LIMIT


def one_run(kind: Kind, folder: Path, age: float) -> tuple[float, float]:
    """Seconds from SIGTERM until the last stream and until the process had ended."""
    folder.mkdir()
    with Server(kind, folder) as server:
        readers, sockets = open_streams(server, for_seconds=age)
        asked = server.ask_to_stop()
        wait_for_end(*readers, *sockets)
        ended = server.wait()
        last = max(peer.ended_at for peer in (*readers, *sockets))
        assert [reader for reader in readers if not reader.drained] == []
        check_codes(kind, sockets)
        check_log(server, len(readers), len(sockets))
        return round(last - asked, 2), round(ended - asked, 2)


def check_codes(kind: Kind, sockets: list[WebSocketPeer]) -> None:
    """What WebSocket clients saw."""
    dropped = {1006} if kind.family in DROPS_SOCKETS else set()
    assert {socket.code for socket in sockets} <= {1012} | dropped


def check_log(server: Server, readers: int, sockets: int) -> None:
    """Each connection ended once, by the shutdown; each writer's run began and ended as told."""
    lives = read_lives(server.log)
    ends = [life.end for life in lives if life.registered.kind == "sse"]
    assert ends == [DRAINED] * readers
    ends = [life.end for life in lives if life.registered.kind == "websocket"]
    dropped = {LOST_AT_SHUTDOWN} if server.kind.family in DROPS_SOCKETS else set()
    assert len(ends) == sockets
    assert set(ends) <= {RESTARTED} | dropped
    runs = node_events(server.log)
    assert len(runs) == server.kind.workers
    for events in runs.values():
        kinds = [type(event) for event in events]
        assert kinds in (
            [Started, Serving, DrainStarted, Stopped],
            [Started, DrainStarted, Stopped],
        )
    server.check_last_words()


@every_kind
def test_downloads_end_by_themselves(kind: Kind, tmp_path: Path) -> None:
    """A drain waits for them, and for event streams that the application lets finish."""
    with Server(kind, tmp_path) as server:
        readers, sockets = open_streams(server)
        finite = finite_responses(server, seconds=0.8)
        asked = server.ask_to_stop()
        server.wait_for_drain()
        check_refusal(server)
        wait_for_end(*readers, *sockets, *finite)
        ended = server.wait()
        file, pieces, stream = finite
        assert [peer.ending for peer in finite] == ["complete"] * 3
        assert [len(file.body), len(pieces.body)] == [SIZE, SIZE]
        assert stream.body.endswith(b"data: last\n\n")
        assert [reader for reader in readers if not reader.drained] == []
        assert max(peer.ended_at for peer in readers) - asked < kind.late + STREAM_LIMIT + 0.2
        assert ended - max(peer.ended_at for peer in finite) < PROCESS_LIMIT
        ends = [read_life(server.log, path).end for path in ("/raw/chunked/1", "/raw/finish/1")]
        assert ends == [End("completed", "app", 200)] * 2
        server.check_last_words()


def check_refusal(server: Server) -> None:
    """New clients are turned away: by 503 where the server still listens, or by nobody."""
    answer = late_answer(server)
    if server.kind.family != "uvicorn" and answer is None:
        return
    assert answer is not None
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["connection"] == "close"


def late_answer(server: Server) -> HttpPeer | None:
    """What a client that comes late gets, None where nobody answers."""
    try:
        peer = server.reads("/raw/idle/late")
    except ConnectionRefusedError:
        return None
    wait_for_end(peer)
    return peer if peer.status else None


@every_kind
def test_an_interrupt_is_a_signal_too(kind: Kind, tmp_path: Path) -> None:
    """SIGINT drains as SIGTERM does, also where a terminal sends it to the whole group."""
    with Server(kind, tmp_path) as server:
        readers, sockets = open_streams(server)
        (os.kill if kind.family in DEADLOCKS else os.killpg)(server.pid, signal.SIGINT)
        wait_for_end(*readers, *sockets)
        server.wait()
        assert [reader for reader in readers if not reader.drained] == []
        check_log(server, len(readers), len(sockets))
