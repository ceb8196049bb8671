"""A real server in a second or two: ends are told apart, and SIGTERM drains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.clients import fetch, wait_for_end, wait_for_start
from tests.servers.harness import Server
from tests.servers.kinds import UVICORN
from tests.servers.records import End, node_events, read_lives

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One uvicorn for the tests of this file."""
    with Server(UVICORN, tmp_path_factory.mktemp("fast")) as running:
        yield running


def test_a_reader_that_leaves(server: Server) -> None:
    """The client has ended it, with the status its response had."""
    path = "/starlette/busy/leaves"
    peer = server.reads(path)
    wait_for_start(peer)
    peer.leave()
    assert server.ended(path).end == End("client_disconnect", "client", 200)


def test_a_websocket_client_that_closes(server: Server) -> None:
    """Its close code is in the log."""
    path = "/starlette/echo/closes"
    peer = server.talks(path)
    wait_for_start(peer)
    peer.say_goodbye(4001)
    wait_for_end(peer)
    assert server.ended(path).end == End("client_close", "client", 4001)


def test_a_handler_that_raises(server: Server) -> None:
    """The application has ended it, and the error is recorded."""
    path = "/raw/fails-before/raises"
    assert fetch(server.port, path, "text/event-stream").status == 500
    life = server.ended(path)
    assert life.end == End("app_error", "app", None, "handshake")
    assert life.errors == ["LookupError"]


def test_a_stream_that_completes(server: Server) -> None:
    """The application has said all it had to say."""
    path = "/raw/finish/completes"
    assert fetch(server.port, f"{path}?seconds=0.1", "text/event-stream").ending == "complete"
    assert server.ended(path).end == End("completed", "app", 200)


def test_sigterm_drains(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Clients see a clean end, downloads are whole, and what was live is what the log says."""
    with Server(UVICORN, tmp_path_factory.mktemp("drains")) as server:
        reader, socket = server.reads("/starlette/idle/1"), server.talks("/starlette/echo/1")
        file = server.reads("/starlette/download/1?seconds=0.5", accept="*/*")
        wait_for_start(reader, socket, file)
        server.ask_to_stop()
        wait_for_end(reader, socket, file)
        server.wait()
        assert (reader.drained, socket.code, len(file.body)) == (True, 1012, 50 * (1 << 16))
        lives = {life.path: life.end for life in read_lives(server.log)}
        assert lives == {
            "/starlette/idle/1": End("shutdown", "shutdown", 200),
            "/starlette/echo/1": End("shutdown", "shutdown", 1012),
        }
        (run,) = node_events(server.log).values()
        assert run[-2].requested_by == "SIGTERM"
        server.check_last_words()
