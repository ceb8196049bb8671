"""Processes record into a server's store while it, they and the network between them fail."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.faults import scenes
from tests.faults.plan import FAULTS, Fault, Plan
from tests.faults.proxy import Proxy, Wire
from tests.faults.runs import Run, fault_run
from tests.faults.wires import NatsWire, PostgresWire
from tests.servers.fixtures import fresh, fresh_stream
from tests.servers.nats import HOST, NatsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.postgres import PostgresServer

LEASE = 4
# Of PostgreSQL only whole appends are told apart, and those cannot be sent twice in one session.
ONCE = tuple(fault for fault in FAULTS if fault != "duplicate")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@attrs.frozen
class Stand:
    """A server for one test, and what is known of its kind.

    Attributes:
        server: the server.
        url: of a log there that does not exist yet; options may be added.
        wire: splits what its clients say.
        faults: what may happen to that.
    """

    server: NatsServer | PostgresServer
    url: str
    wire: Callable[[], Wire]
    faults: tuple[Fault, ...]

    @property
    def leased(self) -> str:
        """The URL with a lease that a test can wait for."""
        return f"{self.url}&lease={LEASE}"

    @contextlib.contextmanager
    def behind(self, plan: Plan, url: str) -> Iterator[tuple[Proxy, str]]:
        """A proxy before the server, and the URL that leads through it."""
        with Proxy((HOST, self.server.port), self.wire, plan) as proxy:
            yield proxy, url.replace(f"{HOST}:{self.server.port}", proxy.address)


@pytest.fixture(params=["nats", "postgres"])
def stand(request: pytest.FixtureRequest) -> Stand:
    """A server of each kind in turn."""
    if request.param == "nats":
        nats: NatsServer = request.getfixturevalue("mortal_nats")
        return Stand(nats, fresh_stream(f"nats://{nats.server}"), NatsWire, FAULTS)
    postgres: PostgresServer = request.getfixturevalue("mortal_postgres")
    return Stand(postgres, fresh(postgres.url), PostgresWire, ONCE)


def test_the_server_is_killed_under_writers(stand: Stand, tmp_path: Path) -> None:
    """Three times; what was acknowledged is there, and what was not is stored afterwards."""
    with fault_run(stand.url, tmp_path, 4) as run:
        for _ in range(3):
            scenes.kill_and_start(run, stand.server)


def test_a_server_that_hangs_blocks_nobody(stand: Stand, tmp_path: Path) -> None:
    """It accepts connections and never answers; what was meant for it is stored afterwards."""
    with fault_run(stand.url, tmp_path, 2) as run:
        scenes.pause_and_resume(run, stand.server)


@pytest.mark.parametrize("seed", [1])
def test_connections_are_cut_and_appends_come_late_or_twice(
    stand: Stand, tmp_path: Path, seed: int
) -> None:
    """Before, within, and after what they store."""
    plan = Plan(seed, stand.faults)
    with (
        stand.behind(plan, stand.url) as (_, through),
        fault_run(stand.url, tmp_path, 3, through=through) as run,
    ):
        scenes.go_through(run, plan, 30)


def test_a_killed_writer_is_recovered_by_the_next_claim_of_its_slot(
    stand: Stand, tmp_path: Path
) -> None:
    """Once its lease has run out, and no sooner."""
    with fault_run(stand.leased, tmp_path, 2) as run:
        scenes.kill_a_writer(run)


@pytest.mark.parametrize("gone", [False, True])
def test_a_writer_that_was_stopped_past_its_lease_goes_on_as_a_new_one(
    stand: Stand, tmp_path: Path, *, gone: bool
) -> None:
    """It is fenced, and what nobody stores any more is kept and counted."""
    with fault_run(stand.leased, tmp_path, 2) as run:
        former = run.writers[0]
        scenes.lose_a_slot(run, former.stop, former.go_on, gone=gone)


@contextlib.contextmanager
def cut_off(stand: Stand, folder: Path, spill: Path | None = None) -> Iterator[tuple[Run, Proxy]]:
    """A writer that records through a proxy."""
    with (
        stand.behind(Plan(0), stand.leased) as (proxy, through),
        fault_run(stand.leased, folder, 1, through=through, spill=spill) as run,
    ):
        yield run, proxy


def test_a_writer_that_was_cut_off_past_its_lease_goes_on_as_a_new_one(
    stand: Stand, tmp_path: Path
) -> None:
    """What it had sent before arrives late, and is refused."""
    with cut_off(stand, tmp_path) as (run, proxy):
        scenes.cut_off(run, proxy, proxy.part, spills=False)


def test_a_writer_whose_answers_are_lost_past_its_lease_knows_what_was_stored(
    stand: Stand, tmp_path: Path
) -> None:
    """It sets aside what was not, although the last of its chain is another's by then."""
    with cut_off(stand, tmp_path, spill=tmp_path / "spill.db") as (run, proxy):
        scenes.cut_off(run, proxy, proxy.mute, spills=True)


def test_an_outage_spills_into_files(stand: Stand, tmp_path: Path) -> None:
    """Nothing is lost, and the order is kept."""
    with fault_run(stand.url, tmp_path, 3, spill=tmp_path / "spill.db") as run:
        scenes.spill(run, stand.server)


@pytest.mark.parametrize("taken", [False, True])
def test_what_a_killed_writer_spilled_is_delivered_by_the_next(
    stand: Stand, tmp_path: Path, *, taken: bool
) -> None:
    """In the order in which it was accepted; set aside where its slot was taken before."""
    spill = tmp_path / "spill.db"
    with fault_run(stand.leased, tmp_path, 1, spill=spill) as run:
        scenes.kill_one_that_has_spilled(run, stand.server, spill, taken=taken)
