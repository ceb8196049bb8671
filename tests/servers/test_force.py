"""What does not end by itself: cut at the deadline, at a second signal, or with the server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest

from rat_fsm import EventLog
from rat_fsm.events import DrainForced
from tests.servers.clients import HttpPeer, read_until, wait_for_end, wait_for_start
from tests.servers.harness import Server, wait_for_stall
from tests.servers.kinds import BACKSTOP, GRANIAN, UVICORN_H11, every_kind
from tests.servers.records import End, lives_of, node_events, read_life, read_lives
from tests.servers.scenes import READERS, SOCKETS, finite_responses, open_streams

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.kinds import Kind

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

FORCED: Final = End("forced", "shutdown", 200)


@every_kind
def test_the_deadline_cuts_visibly(kind: Kind, tmp_path: Path) -> None:
    """What has not ended by then is cut off, so that no client takes it for whole."""
    with Server(kind, tmp_path, drain_timeout=1) as server:
        short = server.reads("/raw/finish/short?seconds=0.5")
        long = finite_responses(server, seconds=30)
        wait_for_start(short)
        asked = server.ask_to_stop()
        wait_for_end(short, *long)
        server.wait()
        check_cut(long)
        assert short.ending == "complete"
        assert all(0.9 < peer.ended_at - asked < kind.late + 1.6 for peer in long)
        paths = ("/raw/finish/short", "/raw/chunked/1", "/raw/finish/1")
        ends = [read_life(server.log, path).end for path in paths]
        assert ends == [End("completed", "app", 200), FORCED, FORCED]
        forced = [event for run in node_events(server.log).values() for event in run]
        assert sum(event.remaining for event in forced if isinstance(event, DrainForced)) == 2
        server.check_last_words()


def check_cut(peers: list[HttpPeer]) -> None:
    """Every client can tell that something is missing."""
    assert {peer.ending for peer in peers} <= {"cut", "reset"}


@every_kind
def test_a_second_signal_forces(kind: Kind, tmp_path: Path) -> None:
    """Who insists, a second later, does not wait for the deadline."""
    with Server(kind, tmp_path, backstop=False) as server:
        long = finite_responses(server, seconds=30)
        server.ask_to_stop()
        server.wait_for_drain()
        until = time.monotonic() + 1.1
        read_until(lambda: time.monotonic() >= until, *long)
        assert not any(peer.ending for peer in long)
        insisted = server.insist()
        wait_for_end(*long, timeout=10)
        server.wait(10)
        check_cut(long)
        assert max(peer.ended_at for peer in long) - insisted < 1
        ends = [read_life(server.log, path).end for path in ("/raw/chunked/1", "/raw/finish/1")]
        assert ends == [FORCED, FORCED]


@every_kind
def test_a_client_that_stops_reading(kind: Kind, tmp_path: Path) -> None:
    """Nobody claims to have ended it: the server's own timeout does, and the next start says so."""
    path = "/raw/firehose/1"
    with Server(kind, tmp_path, drain_timeout=1, stall_after=0.5) as server:
        server.reads(path, small_buffer=True)
        wait_for_stall(server, path)
        others, sockets = open_streams(server)
        asked = server.ask_to_stop()
        wait_for_end(*others, *sockets)
        wait_for_backstop(server, asked)
        assert [reader for reader in others if not reader.drained] == []
        left = read_life(server.log, path)
        assert "Stalled" in left.stalls
        assert not left.closed or left.end == FORCED
        EventLog.open(server.log).close()
        end = read_life(server.log, path).end
        assert (end.reason, end.ended_by, end.phase) == ("forced", "shutdown", "streaming")


def wait_for_backstop(server: Server, asked: float) -> None:
    """Waits until the server's own timeout has ended it, or kills it as a supervisor would."""
    if server.kind.endless:
        time.sleep(BACKSTOP + 1)
        assert server.runs
        server.kill()
    else:
        assert server.wait(BACKSTOP + 10) - asked < BACKSTOP + 3


@pytest.mark.parametrize("kind", [UVICORN_H11, GRANIAN], ids=lambda kind: kind.name)
def test_a_killed_server(kind: Kind, tmp_path: Path) -> None:
    """The next start ends what it had open, as crashed."""
    with Server(kind, tmp_path) as server:
        open_streams(server)
        server.states()  # flushes
        server.kill()
        assert not any(life.closed for life in read_lives(server.log))
        with EventLog.open(server.log) as again:
            again.flush()
            ends = [life.end for life in lives_of(again.read())]
        crashed = End("crash", "crash", None)
        assert ends == [crashed] * (len(READERS) + len(SOCKETS))
