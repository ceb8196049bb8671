"""A PostgreSQL server that dies, stops, or answers late, and clients that do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from rat_fsm.codec import check_frame
from rat_fsm.errors import StoreUnreadable, WriterBusy
from rat_fsm.stores import open_store
from rat_fsm.stores.port import GENESIS
from rat_fsm.stores.postgres import PostgresStore
from rat_fsm.stores.postgres import store as waiting
from rat_fsm.stores.postgres.line import Line
from rat_fsm.stores.postgres.rows import values_of
from rat_fsm.stores.postgres.statements import APPEND
from rat_fsm.testing.store_contract import make_chain, make_frame, refusal_of
from tests.processes import PATIENCE, PROJECT
from tests.servers import postgres as pg
from tests.servers.certificates import self_signed
from tests.servers.fixtures import fresh
from tests.stores.test_postgres import blocked, execute, schema_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rat_fsm.stores.port import Frame
    from rat_fsm.stores.postgres.session import Session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PAUSE: Final = threading.Event()  # never set: a wait on it is a pause between two looks


def until(condition: Callable[[], object]) -> None:
    """Looks until something is so; pytest's timeout bounds it."""
    while not condition():
        PAUSE.wait(0.02)


def append_somehow(store: PostgresStore, frame: Frame) -> int:
    """What a log does: after a failure reopens, looks at the head, and appends the same again."""
    while True:
        with contextlib.suppress(OSError):
            return store.append(frame)
        with contextlib.suppress(OSError):
            store.reopen()
            head = store.head(frame.writer)
            if head is not None and head.frame.hash == frame.hash:
                return head.position
        PAUSE.wait(0.05)


STOPPED: Final = """
import sys
from rat_fsm.errors import WriterFenced
from rat_fsm.stores.postgres import PostgresStore
from rat_fsm.testing.store_contract import make_chain

first, second = make_chain("w0", 2)
store = PostgresStore(sys.argv[1] + "&lease=1", writable=True)
store.claim("w0")
print(store.append(first), flush=True)
for line in sys.stdin:
    try:
        print(store.append(second), flush=True)
    except WriterFenced as problem:
        print(problem, store.holds("w0"), flush=True)
store.close()
"""


@pytest.mark.parametrize("rival", [True, False], ids=["taken", "free"])
def test_a_process_that_was_stopped_past_its_lease_is_fenced(
    postgres_url: str, *, rival: bool
) -> None:
    """It may go on where nobody took its slot; otherwise its next append says who it lost it to."""
    url = fresh(postgres_url)
    other = PostgresStore(url, writable=True)
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, url],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "1\n"
            assert isinstance(refusal_of(other.claim, "w0"), WriterBusy)
            os.kill(process.pid, signal.SIGSTOP)
            until(lambda: not other.slots()["w0"].held)
            if rival:
                assert other.claim("w0") == "w0"
            os.kill(process.pid, signal.SIGCONT)
            told, _ = process.communicate("go\n", timeout=PATIENCE)
        finally:
            process.kill()
    lost = "the slot of w0 was not renewed in time, and another log has taken it False\n"
    assert told == (lost if rival else "2\n")
    assert (len(list(other.read())), other.slots()["w0"].held) == (
        (1, True) if rival else (2, False)
    )
    other.close()


def test_a_killed_server_loses_nothing_it_acknowledged(mortal_postgres: pg.PostgresServer) -> None:
    """Through three kills under four writers, every frame is there once, in order, acknowledged."""
    url = fresh(mortal_postgres.url)
    store = PostgresStore(url, writable=True)
    chains = {f"w{number}": make_chain(f"w{number}", 150) for number in range(4)}
    positions: dict[int, Frame] = {}
    kills = threading.Semaphore(0)

    def write(chain: list[Frame]) -> None:
        with contextlib.closing(PostgresStore(url, writable=True)) as own:
            own.claim(chain[0].writer)
            for number, frame in enumerate(chain, 1):
                positions[append_somehow(own, frame)] = frame
                if number % 40 == 0:
                    kills.release()

    threads = [threading.Thread(target=write, args=(chain,)) for chain in chains.values()]
    for thread in threads:
        thread.start()
    for _ in range(3):
        kills.acquire(timeout=PATIENCE)
        mortal_postgres.kill()
        assert isinstance(refusal_of(lambda: list(store.read())), StoreUnreadable)
        mortal_postgres.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [(s.position, s.frame) for s in store.read()] == sorted(
        positions.items(), key=lambda item: item[0]
    )
    assert sorted(positions) == list(range(1, 601))
    for writer, chain in chains.items():
        prev = GENESIS
        for stored in store.read(0, writer):
            check_frame(stored, prev)
            prev = stored.frame.hash
        assert prev == chain[-1].hash
    store.close()


def test_a_slot_outlives_its_server(mortal_postgres: pg.PostgresServer) -> None:
    """After a restart the holder renews its lease, and nobody else gets the slot."""
    url = fresh(mortal_postgres.url)
    store = PostgresStore(f"{url}&lease=1", writable=True)
    store.claim("w0")
    mortal_postgres.kill()
    assert store.holds("w0")
    mortal_postgres.start()
    other = PostgresStore(url, writable=True)
    until(lambda: other.slots()["w0"].held)
    assert isinstance(refusal_of(other.claim, "w0"), WriterBusy)
    assert (store.holds("w0"), store.append(make_frame("w0"))) == (True, 1)
    store.close()
    other.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores wait for a second where they wait for five or ten."""
    monkeypatch.setattr(waiting, "WRITE_TIMEOUT", 1.0)
    monkeypatch.setattr(waiting, "READ_TIMEOUT", 1.0)


@pytest.mark.usefixtures("impatient")
def test_nothing_hangs_on_a_server_that_is_stopped(mortal_postgres: pg.PostgresServer) -> None:
    """Everything ends in an error of its own, and works again once the server goes on."""
    store = PostgresStore(f"{fresh(mortal_postgres.url)}&connect_timeout=2", writable=True)
    first, second = make_chain("w0", 2)
    store.claim("w0")
    store.append(first)
    list(store.read())
    mortal_postgres.pause()
    append = refusal_of(store.append, second)
    assert isinstance(append, OSError)
    assert "has not answered in 1 s" in str(append)
    calls = (store.heads, lambda: list(store.read()), lambda: store.wait(1, 0.0))
    for call in (*calls, store.reopen, lambda: store.claim("w1"), lambda: store.head("w0")):
        assert isinstance(refusal_of(call), OSError)
    mortal_postgres.resume()
    assert append_somehow(store, second) == 2
    assert [stored.frame for stored in store.read()] == [first, second]
    store.close()


def test_closing_does_not_wait_for_a_server_that_is_away(
    mortal_postgres: pg.PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The slot cannot be given back then: it is said, and the lease ends by itself."""
    url = fresh(mortal_postgres.url)
    store = PostgresStore(f"{url}&lease=2", writable=True)
    store.claim("w0")
    mortal_postgres.kill()
    store.close()
    assert "w0 is free once its lease is over" in caplog.text
    assert pg.PASSWORD not in caplog.text
    mortal_postgres.start()
    with contextlib.closing(PostgresStore(url, writable=True)) as other:
        until(lambda: not other.slots()["w0"].held)
        assert other.claim("w0") == "w0"


def test_a_connection_that_is_cut_before_the_commit_stores_nothing(postgres_url: str) -> None:
    """The append fails, and repeating it stores the frame once."""
    url = fresh(postgres_url)
    store = PostgresStore(url, writable=True)
    first, second = make_chain("w0", 2)
    store.append(first)
    failures: list[Exception] = []
    with psycopg.connect(postgres_url) as connection:
        connection.execute(f"LOCK TABLE {schema_of(url)}.log".encode())
        waiting = threading.Thread(target=lambda: failures.append(refusal_of(store.append, second)))
        waiting.start()
        until(lambda: blocked(url))
        execute(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND query LIKE '%append%'",
        )
        waiting.join(PATIENCE)
    assert [type(failure) for failure in failures] == [OSError]
    store.reopen()
    assert (store.head("w0"), store.append(second)) == (next(store.read()), 2)
    assert [stored.frame for stored in store.read()] == [first, second]
    store.close()


@pytest.mark.usefixtures("impatient")
def test_an_append_whose_commit_comes_late_is_stored_once(
    mortal_postgres: pg.PostgresServer,
) -> None:
    """A commit that waits for a standby for ever has an unknown outcome; both attempts are one."""
    url = fresh(mortal_postgres.url)
    store = PostgresStore(url, writable=True)
    first, second = make_chain("w0", 2)
    store.append(first)
    names = "ALTER SYSTEM SET synchronous_standby_names = '{}'"
    mortal_postgres.execute(names.format("nobody"), "SELECT pg_reload_conf()")
    until(lambda: mortal_postgres.execute("SHOW synchronous_standby_names") == [("nobody",)])
    assert "not answered in 1 s" in str(refusal_of(store.append, second))
    store.reopen()
    assert store.head("w0") == next(store.read())
    assert "statement timeout" in str(refusal_of(store.append, second))
    mortal_postgres.execute(names.format(""), "SELECT pg_reload_conf()")
    assert append_somehow(store, second) == 2
    assert [stored.frame for stored in store.read()] == [first, second]
    store.close()


def test_a_wait_for_a_standby_that_was_ended_acknowledges_nothing(
    mortal_postgres: pg.PostgresServer,
) -> None:
    """The server says that the commit succeeded, and warns; what came of it is looked up later."""
    store = PostgresStore(fresh(mortal_postgres.url), writable=True)
    first, second = make_chain("w0", 2)
    store.append(first)
    mortal_postgres.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    mortal_postgres.execute("SELECT pg_reload_conf()")
    until(lambda: mortal_postgres.execute("SHOW synchronous_standby_names") == [("nobody",)])
    failures: list[Exception] = []
    thread = threading.Thread(target=lambda: failures.append(refusal_of(store.append, second)))
    thread.start()
    ending = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    until(lambda: mortal_postgres.execute(ending))
    thread.join(PATIENCE)
    assert [type(failure) for failure in failures] == [OSError]
    store.close()


def test_what_is_late_does_not_hold_a_slot_that_was_given_back(postgres_url: str) -> None:
    """An append that was under way for long is stored, as nobody has taken the slot; it is free."""
    url = fresh(postgres_url)
    store = PostgresStore(url, writable=True)
    first, second = make_chain("w0", 2)
    store.claim("w0")
    store.append(first)
    values = {**values_of(second), "epoch": 1, "lease": 15.0}
    store.release("w0")
    with contextlib.closing(Line(store._address, PATIENCE)) as late:
        assert late.ask(APPEND, **values) == [(2,)]
    assert not store.slots()["w0"].held
    assert store.claim("w0") == "w0"
    store.close()


def without_commit(session: Session, statement: str, values: dict[str, Any]) -> None:
    """As behind a pooler, where a commit takes several words, and the last one does not come."""
    session.execute("BEGIN")
    session.configure()
    session.execute(statement.encode(), values)


def without_end(session: Session, statement: str, values: dict[str, Any]) -> None:
    """The end of what was said is lost on the way: the server has appended, and waits for it."""
    whole = psycopg.ClientCursor(session).mogrify(statement, values)
    session.pgconn.enter_pipeline_mode()
    session.pgconn.send_query_params(whole.encode(), None)
    session.pgconn.send_flush_request()
    session.pgconn.flush()


UNFINISHED: Final = """
SELECT pid FROM pg_stat_activity
WHERE wait_event = 'ClientRead' AND xact_start IS NOT NULL AND query LIKE '%{}%append(%'
"""


@pytest.mark.parametrize("send", [without_commit, without_end])
def test_an_append_that_does_not_end_stops_nobody_else_for_long(
    postgres_url: str, send: Callable[[Session, str, dict[str, Any]], None]
) -> None:
    """Its client is stopped, or cut off, and holds a lock: the server gives it up."""
    url = fresh(postgres_url)
    store = PostgresStore(url, writable=True)
    with contextlib.closing(Line(store._address, 3.0)) as line, line.connected() as session:
        statement = APPEND.replace("{schema}", store._address.quoted)
        send(session, statement, {**values_of(make_frame("w0")), "epoch": None, "lease": 15.0})
        until(lambda: execute(url, UNFINISHED.format(schema_of(url))))
        assert append_somehow(store, make_frame("w1")) == 1
    assert list(store.heads()) == ["w1"]
    store.close()


def test_waiting_goes_on_after_a_restart(mortal_postgres: pg.PostgresServer) -> None:
    """A wait that the server interrupted is told so; the next one hears again what is appended."""
    url = fresh(mortal_postgres.url)
    other = PostgresStore(url, writable=True)
    store = PostgresStore(url)
    assert not store.wait(0, 0.3)
    mortal_postgres.stop()
    assert isinstance(refusal_of(store.wait, 0, PATIENCE), StoreUnreadable)
    mortal_postgres.start()
    append_somehow(other, make_frame())
    assert store.wait(0, PATIENCE)
    store.close()
    other.close()


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for the loopback address, and its key."""
    return self_signed(tmp_path)


@pytest.fixture
def tls_postgres(tmp_path: Path, certificates: tuple[Path, Path]) -> Iterator[pg.PostgresServer]:
    """PostgreSQL 15, which Debian builds with TLS, on an encrypted connection."""
    binaries = pg.system_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL 15 is not installed, and no package brings it")
    certificate, key = certificates
    folder = tmp_path / "postgres"
    folder.mkdir()
    with pg.running(
        folder, binaries, ssl="on", ssl_cert_file=str(certificate), ssl_key_file=str(key)
    ) as server:
        yield server


def test_tls_is_the_drivers(
    tls_postgres: pg.PostgresServer, certificates: tuple[Path, Path], tmp_path: Path
) -> None:
    """A server whose certificate is known is trusted, and another is not, as the URL asks."""
    url = f"{fresh(tls_postgres.url)}&sslmode=verify-full&sslrootcert="
    with contextlib.closing(open_store(f"{url}{certificates[0]}", writable=True)) as store:
        assert isinstance(store, PostgresStore)
        ((encrypted,),) = store._ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert encrypted is True
    (tmp_path / "none.pem").write_text("")
    with pytest.raises(StoreUnreadable) as caught:
        open_store(f"{url}{tmp_path}/none.pem")
    said: Any = str(caught.value)
    assert not any(secret in said for secret in (pg.PASSWORD, pg.QUOTED, str(tmp_path)))
