"""The examples for one server each, as real programs with real clients."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from rat_fsm import replay
from tests.examples.test_examples import running, vanish
from tests.servers.clients import (
    HttpPeer,
    WebSocketPeer,
    read_until,
    wait_for_end,
    wait_for_start,
)
from tests.servers.records import End, ended_lives, read_lives

if TYPE_CHECKING:
    from pathlib import Path

both_signals = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
EQUAL: Final = "the replay equals what was live"


@both_signals
def test_aiohttp_sse_drains_and_replays(tmp_path: Path, number: int) -> None:
    """A client vanishes, others are told of the restart; the file says so and replays equal."""
    log = tmp_path / "events.db"
    with running("aiohttp_sse.py", "--log", str(log)) as program:
        vanish(program.port, "/ticks", b"event: tick")
        reader, socket = HttpPeer(program.port, "/ticks"), WebSocketPeer(program.port, "/chat")
        wait_for_start(reader, socket)
        socket.send("hello")
        read_until(lambda: socket.messages != [], reader, socket)
        assert socket.messages[0].endswith(b": hello")
        status = httpx.get(f"{program.url}/status", timeout=20)
        assert (status.status_code, status.json()["phase"]) == (200, "serving")
        read_until(lambda: ended_lives(log, "/ticks") != [], reader, socket)
        program.process.send_signal(number)
        wait_for_end(reader, socket)
        output, _ = program.process.communicate(timeout=20)
        assert (reader.drained, socket.code) == (True, 1012)
        for peer in (reader, socket):
            peer.leave()
    stats = replay(log).stats.as_dict()
    assert stats["closed_by_reason"] == {"client_disconnect": 1, "shutdown": 2}
    assert str(stats["closed_by_reason"]) in output
    assert EQUAL in output
    assert program.process.returncode == 0


@both_signals
def test_websockets_server_drains_and_replays(tmp_path: Path, number: int) -> None:
    """A client closes, others are told of the restart; the file says so and replays equal."""
    log = tmp_path / "events.db"
    with running("websockets_server.py", "--log", str(log)) as program:
        sockets = [WebSocketPeer(program.port, path) for path in ("/chat", "/ticks", "/leaves")]
        wait_for_start(*sockets)
        talker, reader, leaver = sockets
        talker.send("hello")
        read_until(lambda: all(peer.messages for peer in (talker, reader)), talker, reader)
        assert talker.messages[0].endswith(b": hello")
        assert httpx.get(f"{program.url}/ready", timeout=20).text == "serving\n"
        leaver.say_goodbye(4000)
        wait_for_end(leaver)
        leaver.leave()
        read_until(lambda: ended_lives(log, "/leaves") != [], talker, reader)
        program.process.send_signal(number)
        wait_for_end(talker, reader)
        for peer in (talker, reader):
            assert peer.code == 1012
            peer.leave()
        output, _ = program.process.communicate(timeout=20)
    ends = {life.path: life.end for life in read_lives(log)}
    drained = End("shutdown", "shutdown", 1012)
    left = End("client_close", "client", 4000)
    assert ends == {"/chat": drained, "/ticks": drained, "/leaves": left}
    assert EQUAL in output
    assert program.process.returncode == 0
