"""Followers and cluster views of logs on servers: other machines' writers, and outages."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from rat_fsm import ClusterView, EventLog, follow, replay
from rat_fsm.replay.following import Lag
from tests.logs import register
from tests.processes import writer_process
from tests.servers.fixtures import fresh, fresh_stream

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE: Final = 40.0
STORES: Final = ("postgres", "nats")


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest) -> str:
    """A log that does not exist yet, whose slots are leased for two seconds."""
    if request.param == "postgres":
        return f"{fresh(request.getfixturevalue('postgres_url'))}&lease=2"
    return f"{fresh_stream(request.getfixturevalue('nats_url'))}&lease=2"


def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_stored_is_followed(url: str) -> None:
    """By a model of all writers and by one of each, until both say what a replay says."""
    with EventLog.open(url) as log, EventLog.open(url) as other:  # noqa: SIM117 - first the log
        with follow(url) as follower, ClusterView(url) as view:
            for number in range(20):
                register(log if number % 3 else other, f"c{number}")
                log.flush()
                other.flush()
            assert follower.wait(timeout=PATIENCE)
            assert view.wait(timeout=PATIENCE)
            assert follower.lag == Lag(0, 0.0)
            with follower.reading() as model:
                assert model == replay(url)
            found = view.writers()
            assert {name: one.slot.held for name, one in found.items()} == {"w0": True, "w1": True}
            assert [one.slot.epoch for one in found.values()] == [1, 1]
            for writer, status in found.items():
                assert status.stats == replay(url, writer=writer).stats.as_dict()
                assert status.last_seen is not None
            assert len(view.connections()) == 20
    assert "s3cr3t" not in repr((follower.url, view.url, follower.health, found))


@pytest.mark.slow
def test_processes_are_followed(url: str) -> None:
    """Four that write, one of them killed: it is held until its lease ends, and then dead."""
    EventLog.open(url, writer="maker").close()
    with follow(url) as follower, ClusterView(url) as view, contextlib.ExitStack() as stack:
        processes = [stack.enter_context(writer_process(url, name, 50)) for name in "abcd"]
        processes[3].kill()
        processes[0].run("log.append(('connection', 'late'), Registered('10.0.0.2'))")
        assert follower.wait(timeout=PATIENCE)
        assert follower.read_model == replay(url)
        assert view.wait(timeout=PATIENCE)
        until(lambda: view.writers()["d"].died)
        assert {name: view.writers()[name].slot.held for name in "abc"} == dict.fromkeys(
            "abc", True
        )
        assert view.stats()["active_connections"] == 201


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
def test_an_outage_is_survived(store: str, request: pytest.FixtureRequest) -> None:
    """The server is killed under writers and followers: they say so, and nothing is missed."""
    server: Any = request.getfixturevalue(f"mortal_{store}")
    url = fresh(server.url) if store == "postgres" else fresh_stream(f"nats://{server.server}")
    with EventLog.open(url) as log:
        register(log, "before")
        log.flush()
        with follow(url) as follower, ClusterView(url) as view:
            assert follower.wait(timeout=PATIENCE)
            assert view.wait(timeout=PATIENCE)
            server.kill()
            until(lambda: {follower.health.status, view.health.status} == {"failing"})
            register(log, "meanwhile")
            assert view.writers()["w0"].slot.held is None
            assert follower.lag.seconds > 0
            assert "s3cr3t" not in str(follower.health)
            server.start()
            assert follower.wait(log.flush(PATIENCE), PATIENCE)
            until(lambda: (follower.health.status, view.health.status) == ("ok", "ok"))
            register(log, "after")
            assert follower.wait(log.flush(PATIENCE), PATIENCE)
            assert view.wait(timeout=PATIENCE)
            assert follower.read_model == replay(url)
            assert {one.info.connection_id for one in view.connections()} == {
                *("before", "meanwhile", "after")
            }
