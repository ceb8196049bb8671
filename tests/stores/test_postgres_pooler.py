"""A log in PostgreSQL behind a pooler, which gives one session to many, one after the other."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from rat_fsm import ConnectionManager, EventLog, follow, replay
from rat_fsm.errors import WriterBusy
from rat_fsm.stores.postgres import PostgresStore
from rat_fsm.testing.store_contract import make_chain, refusal_of
from tests.contract import test_postgres
from tests.processes import PATIENCE
from tests.servers import pgbouncer
from tests.servers.fixtures import fresh
from tests.servers.postgres import OWNER
from tests.stores.test_postgres import schema_of
from tests.stores.test_postgres_faults import append_somehow, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.stores.port import Frame
    from tests.servers.postgres import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
FRAMES: Final = 20
SESSIONS: Final = 3
MANY: Final = 50
WRITERS: Final = 4


@pytest.fixture(scope="module", params=["session", "transaction"])
def mode(request: pytest.FixtureRequest) -> str:
    """For how long a client of the pooler keeps a session."""
    return str(request.param)


@pytest.fixture(scope="module")
def pooler(
    tmp_path_factory: pytest.TempPathFactory, postgres_18: PostgresServer, mode: str
) -> Iterator[str]:
    """The URL of a database through a pooler; of few sessions, where transactions share them."""
    if pgbouncer.system_pooler() is None:
        pytest.skip("PgBouncer is not installed, and no package brings it")
    size = SESSIONS if mode == "transaction" else MANY
    folder = tmp_path_factory.mktemp("pooler")
    with pgbouncer.pooled(folder, postgres_18.port, mode, size=size) as url:
        yield url


@pytest.fixture
def pooled(pooler: str) -> str:
    """The URL of a log that does not exist yet."""
    return fresh(pooler)


def settings_of(session: psycopg.Connection[Any]) -> list[Any]:
    """What a stranger finds set in a session."""
    return session.execute(
        "SELECT current_setting('statement_timeout'), current_setting('synchronous_commit'),"
        " current_setting('default_transaction_isolation'),"
        " (SELECT count(*) FROM pg_listening_channels()),"
        " (SELECT count(*) FROM pg_prepared_statements)"
    ).fetchall()


def append_all(store: PostgresStore, chain: list[Frame]) -> None:
    """One after the other."""
    for frame in chain:
        append_somehow(store, frame)


def test_many_writers_share_a_few_sessions(pooled: str) -> None:
    """Each holds its slot and its chain, and a reader sees every frame once, in order."""
    with contextlib.ExitStack() as stack:

        def opened(*, writable: bool) -> PostgresStore:
            store = PostgresStore(pooled, writable=writable)
            return stack.enter_context(contextlib.closing(store))

        stores = [opened(writable=True) for _ in range(WRITERS)]
        chains = [make_chain(store.claim(None), FRAMES) for store in stores]
        threads = [
            threading.Thread(target=append_all, args=pair)
            for pair in zip(stores, chains, strict=True)
        ]
        for thread in threads:
            thread.start()
        reading = opened(writable=False)
        assert reading.wait(WRITERS * FRAMES - 1, PATIENCE)
        for thread in threads:
            thread.join(PATIENCE)
        positions = [stored.position for stored in reading.read()]
        assert positions == list(range(1, WRITERS * FRAMES + 1))
        for chain in chains:
            assert [stored.frame for stored in reading.read(0, chain[0].writer)] == chain
        assert isinstance(refusal_of(stores[0].claim, "w1"), WriterBusy)


def test_nothing_is_left_in_the_sessions_of_others(pooled: str, mode: str) -> None:
    """No setting, no listening, no prepared statement: others get the same sessions next."""
    store = PostgresStore(f"{pooled}&lease=1", writable=True)
    store.claim("w0")
    append_all(store, make_chain("w0", FRAMES))
    assert not store.wait(FRAMES, 0.5)
    store.close()
    with contextlib.ExitStack() as stack:
        for _ in range(SESSIONS if mode == "transaction" else 1):
            plain = pooled.partition("?")[0]
            session = stack.enter_context(psycopg.connect(plain))
            assert settings_of(session) == [("0", "on", "read committed", 0, 0)]


NOTING: Final = """
CREATE TABLE S.noted (commit text, timeout text);
CREATE FUNCTION S.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO S.noted
    VALUES (current_setting('synchronous_commit'), current_setting('statement_timeout'));
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER noting AFTER INSERT ON S.frames DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION S.note()
"""


def test_each_transaction_waits_for_the_disk(pooled: str, postgres_18: PostgresServer) -> None:
    """A database may be set to acknowledge before it syncs: an append never is."""
    name = f"hasty_{schema_of(pooled)}"
    postgres_18.execute(
        f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET synchronous_commit = off"
    )
    url = pooled.replace("/postgres?", f"/{name}?")
    with contextlib.closing(PostgresStore(url, writable=True)) as store:
        with psycopg.connect(postgres_18.url_as(OWNER, name)) as session:
            session.execute(NOTING.replace("S.", f"{schema_of(url)}.").encode())
        append_all(store, make_chain("w0", 3))
        assert store._ask("SELECT DISTINCT commit, timeout FROM {schema}.noted") == [
            ("on", "4500ms")
        ]
    postgres_18.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_log_and_a_follower_work_through_a_pooler(pooled: str) -> None:
    """From opening to replay, with slots that are renewed meanwhile."""
    with EventLog.open(f"{pooled}&lease=1") as log, follow(pooled) as follower:
        manager = ConnectionManager(log=log)
        manager.register_connection("c0", "10.0.0.1")
        with contextlib.closing(PostgresStore(pooled)) as other:
            renewed = other.slots()["w0"].seen
            until(lambda: other.slots()["w0"].seen != renewed)
        manager.record_activity("c0", 100, 1)
        assert follower.wait(log.flush(PATIENCE), PATIENCE)
        assert follower.read_model == replay(pooled)
        assert log.health.guarantee == "synced to the disk of one server"
        manager.shutdown()


@pytest.mark.parametrize("mode", ["transaction"], indirect=True, scope="module")
class TestPooledStore(test_postgres.TestPostgresStore):
    """The contract holds where each transaction may be in another session."""

    @pytest.fixture(autouse=True)
    def _server(self, pooler: str) -> None:
        self.url = pooler
        self.log = ""
