"""How the JetStream store gets in and holds on: connections that break, servers that say no."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socketserver
import threading
from typing import TYPE_CHECKING

import pytest

from rat_fsm.errors import DamagedFrame, StoreUnreadable
from rat_fsm.stores import open_store
from rat_fsm.stores.nats.address import parse
from rat_fsm.stores.nats.link import Link
from rat_fsm.stores.port import StoredFrame
from rat_fsm.testing.store_contract import make_chain, make_frame, refusal_of
from tests.servers.fixtures import fresh_stream
from tests.servers.nats import NOWHERE, NatsServer, wait_until
from tests.stores.opened_nats import opened

if TYPE_CHECKING:
    from rat_fsm.stores.port import Store

PATIENCE = 20.0


def ours() -> list[str]:
    """The threads of links."""
    return [thread.name for thread in threading.enumerate() if thread.name == "rat-fsm-nats"]


def test_a_wait_is_woken_by_another_handle(nats_url: str) -> None:
    """Each frame is heard of, so that nobody waits for the next look; also after a reconnection."""
    url, chain = fresh_stream(nats_url), make_chain("w0", 2)
    with opened(url) as store, opened(url) as reader:
        assert not reader.wait(0, 0.01)  # it listens from here on
        for number, frame in enumerate(chain):
            store.append(frame)
            wait_until(lambda: reader._heard == number + 1, "word of it")  # noqa: B023
            reader.reopen()
            assert reader.wait(number, PATIENCE)


def test_an_address_that_is_gone_is_forgotten(nats_url: str) -> None:
    """One that a server told of, and that the URL does not name."""
    with opened(fresh_stream(nats_url)) as store:
        link = store._link
        link._servers.insert(0, NOWHERE)
        for _ in range(2):
            store.reopen()
        assert link._servers == list(store.address.servers)


def test_a_thread_that_cannot_start_leaves_nothing_half_done(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said each time, and once it can start everything works."""
    link = Link(parse(f"{nats_url}/events"))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            assert isinstance(refusal_of(link.run, link.ask("INFO")), RuntimeError)
    assert "memory" in link.run(link.ask("INFO"))
    link.close()


def test_nothing_is_left_when_it_is_closed(nats_url: str) -> None:
    """Neither its thread nor that of a reading after it was closed; nor where nobody closes it."""
    before = ours()
    store: Store = open_store(fresh_stream(nats_url), writable=True)
    store.append(make_frame())
    store.close()
    assert len(list(store.read())) == 1
    assert ours() == before
    store = open_store(fresh_stream(nats_url), writable=True)
    thread = store._link._thread  # type: ignore[attr-defined]
    del store
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_server_that_is_too_old_is_refused() -> None:
    """It says which version there is and which there must be."""

    class Old(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            info = {"server_id": "x", "version": "2.11.4", "max_payload": 1048576, "headers": True}
            self.wfile.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
            for line in self.rfile:
                if line.startswith(b"PING"):
                    self.wfile.write(b"PONG\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Old) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            with pytest.raises(StoreUnreadable, match=r"is 2\.11\.4; rat_fsm needs 2\.12 or newer"):
                open_store(f"nats://127.0.0.1:{server.server_address[1]}/events")
        finally:
            server.shutdown()
            serving.join(PATIENCE)


def test_a_server_that_went_away_is_said_and_found_again(mortal_nats: NatsServer) -> None:
    """Killed, then started again: everything fails in time, and then goes on where it was."""
    first, second = make_chain("w0", 2)
    with opened(fresh_stream(f"nats://{mortal_nats.server}")) as store:
        store.claim("w0")
        store.append(first)
        mortal_nats.kill()
        problem = refusal_of(store.append, second)
        assert isinstance(problem, OSError)
        assert not isinstance(problem, DamagedFrame)
        for call in (store.reopen, lambda: store.head("w0"), lambda: list(store.read())):
            assert isinstance(refusal_of(call), OSError)
        assert store.holds("w0")
        mortal_nats.start()
        store.reopen()
        assert store.head("w0") == StoredFrame(1, first)
        assert [store.append(second), store.append(second)] == [2, 2]
        assert store.wait(1, PATIENCE)


def test_a_connection_that_breaks_ends_what_waits_for_it(mortal_nats: NatsServer) -> None:
    """At once, not when its time is up."""
    first, second = make_chain("w0", 2)
    with opened(fresh_stream(f"nats://{mortal_nats.server}")) as store:
        store.append(first)
        mortal_nats.pause()
        seen: list[Exception] = []
        appending = threading.Thread(target=lambda: seen.append(refusal_of(store.append, second)))
        appending.start()
        wire = store._link._wire
        assert wire is not None
        wait_until(lambda: bool(wire._awaited), "question")
        mortal_nats.kill()
        appending.join(PATIENCE)
        assert [str(problem) for problem in seen] == ["the connection was lost"]


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(mortal_nats: NatsServer) -> None:
    """It accepts connections and says nothing: every call ends, and it is closed in the end."""
    first, second = make_chain("w0", 2)
    store = open_store(fresh_stream(f"nats://{mortal_nats.server}"), writable=True)
    store.append(first)
    mortal_nats.pause()
    try:
        for call in (lambda: store.append(second), store.reopen):
            assert isinstance(refusal_of(call), OSError)
        assert isinstance(refusal_of(store.wait, 1, 0.1), StoreUnreadable)
    finally:
        mortal_nats.resume()
    store.reopen()
    assert store.append(second) == 2
    mortal_nats.pause()
    store.close()
    mortal_nats.resume()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_a_connection_of_its_own(nats_url: str) -> None:
    """It reads and writes beside its parent, whose connection and slots it leaves alone."""
    ours_, theirs = make_chain("w0", 3), make_frame("w1")
    with opened(fresh_stream(nats_url)) as store:
        store.claim("w0")
        for frame in ours_[:2]:
            store.append(frame)
        begun = store.read()
        begun = itertools.chain([next(begun)], begun)
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                found = [stored.frame for stored in (*begun, *store.read())]
                store.append(theirs)
                code = 0 if found == ours_[:2] + ours_[:2] and not store.holds("w0") else 2
                store.close()
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.append(ours_[2]) == 4
        assert store.holds("w0")
        assert [stored.frame for stored in store.read()] == [*ours_[:2], theirs, ours_[2]]
