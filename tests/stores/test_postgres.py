"""What is particular to a log in PostgreSQL; the rest is in tests/contract."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import attrs
import hypothesis.strategies as st
import psycopg
import pytest
from hypothesis import given, settings

from rat_fsm.codec import check_frame, encode_recorded
from rat_fsm.errors import (
    DamagedFrame,
    HistoryEvicted,
    InvalidArgument,
    LogClosed,
    StoreUnreadable,
    UnsupportedFormat,
    WriterFenced,
)
from rat_fsm.events import Activated, ActivityRecorded, Closed, Closing, ErrorRecorded, Registered
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.replay import replay
from rat_fsm.stores import open_store
from rat_fsm.stores.port import GENESIS, Snapshot
from rat_fsm.stores.postgres import PostgresStore
from rat_fsm.stores.postgres import store as waiting
from rat_fsm.testing.store_contract import make_chain, make_frame, refusal_of
from tests.orders import ORDER, New, Noted
from tests.processes import PATIENCE, PROJECT
from tests.servers.fixtures import fresh
from tests.servers.postgres import PASSWORD, QUOTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres import PostgresServer

DEFAULT: Final = (CONNECTION, NODE)


@pytest.fixture
def url(postgres_url: str) -> str:
    """A log that does not exist yet."""
    return fresh(postgres_url)


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    """An empty log, open for writing."""
    store = PostgresStore(url, writable=True)
    yield store
    store.close()


def schema_of(url: str) -> str:
    """The schema that a URL names."""
    return url.rpartition("schema=")[2]


def execute(url: str, *statements: str) -> list[Any]:
    """Runs SQL as any program would, with ``S`` for the log's schema; the last one's rows."""
    rows: list[Any] = []
    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.replace("S.", schema_of(url) + ".").encode())
            rows = cursor.fetchall() if cursor.description else []
    return rows


def filled(url: str) -> None:
    """A closed log of two connections and an order, with the text that JSON in SQL is afraid of."""
    with EventLog.open(url, lifecycles=(*DEFAULT, ORDER)) as log:
        log.append(("connection", "c1"), Registered("10.0.0.1", "sse", {"user": "ü\U0001f980"}))
        log.append(("connection", "c1"), Activated(), ActivityRecorded(100, 1))
        log.flush()
        log.append(("connection", "c2"), Registered("10.0.0.2"))
        log.append(("order", 'o"1\\'), New.Placed("tea", 250, "EUR"), Noted([1.5, None, {"a": []}]))
        log.append(
            ("connection", "c2"), ErrorRecorded("E", "a\\u0000b\x00", "bug", retryable=False)
        )
        log.append(
            ("connection", "c1"),
            Closing("normal", "app", "streaming"),
            Closed("normal", 100, 1, 0, 0, 0.5),
        )
        log.flush()


# Each is a URL that no call could accept, with a password that nobody may see.
BAD_URLS: Final = {
    "unescaped": "postgresql://user:hunter2%zz@host/db",
    "slash": "postgresql://owner:hunter2/hunter2@127.0.0.1/db",
    "bracket": "postgresql://user:hunter2@[host/db",
    "unknown option": "postgresql://user:hunter2@host/db?shema=x",
    "no value": "postgresql://user:hunter2@host/db?sslmode",
    "lease": "postgresql://user:hunter2@host/db?lease=hunter2",
    "short lease": "postgresql://user:hunter2@host/db?lease=0.1",
    "endless lease": "postgresql://user:hunter2@host/db?lease=inf",
    "schema": f"postgresql://user:hunter2@host/db?schema={'hunter2' * 10}",
}


@pytest.mark.parametrize("bad", BAD_URLS.values(), ids=BAD_URLS.keys())
def test_a_malformed_url_is_refused_without_repeating_it(bad: str) -> None:
    """The driver's own message prints what it did not understand, which is mostly a password."""
    for writable in (False, True):
        with pytest.raises(InvalidArgument) as caught:
            open_store(bad, writable=writable)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_an_unknown_option_names_those_that_are_known() -> None:
    """A misspelt option is no option of libpq's either."""
    with pytest.raises(InvalidArgument, match="no option 'shema'; ours are lease and schema"):
        open_store("postgresql://host/db?shema=x")


def test_no_message_holds_the_password(postgres_url: str, postgres_18: PostgresServer) -> None:
    """A refused login, a missing database and a server that is not there tell no secrets."""
    wrong = postgres_url.replace(QUOTED, "hunter2%21hunter2")
    missing = postgres_18.url_as("owner", "nowhere")
    away = postgres_url.replace(f":{postgres_18.port}", ":1")
    for bad in (wrong, missing, away):
        with pytest.raises(StoreUnreadable, match="cannot open postgresql://127") as caught:
            open_store(bad)
        assert not any(s in str(caught.value) for s in ("hunter2", PASSWORD, QUOTED, "owner"))
        assert caught.value.__cause__ is None


def test_a_schema_may_have_any_name(postgres_url: str) -> None:
    """Whatever must be quoted in a URL, in SQL or for the driver."""
    name = "wé\"i'r %s{}$$ d"
    with EventLog.open(f"{postgres_url}?schema={quote(name)}") as log:
        log.append(("connection", "c1"), Registered("10.0.0.1"))
        log.flush()
        store = log.store
        assert isinstance(store, PostgresStore)
        assert store.url.endswith(f"/postgres (schema {name})")
        assert (len(list(store.naming("c1"))), store.wait(1, 0.0)) == (1, False)
        assert store._ask("SELECT {schema}.allow_writing('owner') IS NULL") == [(False,)]


def test_an_address_tells_logs_apart(store: PostgresStore, url: str) -> None:
    """Host, port, database and schema, and nothing secret, also in the representation."""
    address, _, schema = url.partition("?schema=")
    assert store.url == f"postgresql://{address.rpartition('@')[2]} (schema {schema})"
    assert QUOTED not in repr(vars(store))


def test_options_of_the_driver_reach_it(url: str) -> None:
    """What is not ours is libpq's, such as TLS, which this server does not speak."""
    with pytest.raises(StoreUnreadable, match="does not support SSL"):
        open_store(f"{url}&sslmode=require", writable=True)


def test_reading_what_is_not_there_creates_nothing(url: str) -> None:
    """A missing log is one clear error, and stays missing."""
    with pytest.raises(StoreUnreadable, match=r"no log at postgresql://127\.0\.0\.1:"):
        open_store(url)
    assert execute(url, f"SELECT to_regnamespace('{schema_of(url)}')") == [(None,)]


@pytest.mark.parametrize("writable", [False, True], ids=["reading", "writing"])
def test_a_schema_of_something_else_is_left_alone(url: str, *, writable: bool) -> None:
    """No log is made among the tables of another program."""
    schema = schema_of(url)
    execute(url, f"CREATE SCHEMA {schema}", "CREATE TABLE S.users (name text)")
    with pytest.raises(StoreUnreadable, match="holds something else"):
        open_store(url, writable=writable)
    found = execute(url, "SELECT schemaname, tablename FROM pg_tables")
    assert [table for where, table in found if where == schema] == ["users"]


@pytest.mark.parametrize("writable", [False, True], ids=["reading", "writing"])
def test_a_newer_log_is_refused(store: PostgresStore, url: str, *, writable: bool) -> None:
    """What a later rat_fsm made is not touched by this one."""
    execute(url, "UPDATE S.log SET version = 99")
    with pytest.raises(UnsupportedFormat, match="has schema 99, newer"):
        open_store(url, writable=writable)
    store.close()


def test_many_may_create_it_at_the_same_time(url: str) -> None:
    """Whoever comes first makes the log, the others wait and find it."""
    start, stores = threading.Barrier(4), []

    def make() -> None:
        start.wait(PATIENCE)
        stores.append(PostgresStore(url, writable=True))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(store.claim(None) for store in stores) == ["w0", "w1", "w2", "w3"]
    for store in stores:
        store.close()


def test_positions_are_given_in_the_order_of_commits(store: PostgresStore, url: str) -> None:
    """While a writer's transaction is open no later position is given: a reader skips nothing."""
    mine, other = make_frame("w0"), make_frame("w1")
    done = threading.Event()
    reader = PostgresStore(url)

    def append() -> None:
        assert store.append(other) == 2
        done.set()

    with psycopg.connect(url.partition("?")[0]) as connection:
        call = f"SELECT {schema_of(url)}.append({', '.join(14 * ['%s'])})"
        values = [*vars_of(mine), None, 15.0]
        ((position,),) = connection.execute(call.encode(), values).fetchall()
        assert position == 1
        waiting = threading.Thread(target=append)
        waiting.start()
        while not blocked(url):
            assert not done.is_set()
        assert (list(reader.read()), reader.wait(0, 0.0)) == ([], False)
        connection.commit()
    waiting.join(PATIENCE)
    assert [(s.position, s.frame) for s in reader.read()] == [(1, mine), (2, other)]
    reader.close()


def blocked(url: str) -> bool:
    """Whether an append to a log waits for a lock."""
    waiting = execute(url, "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return any(schema_of(url) in query and "append" in query for (query,) in waiting)


def vars_of(frame: Any) -> list[Any]:
    """The arguments of the function that appends."""
    return [
        *(frame.writer, frame.first, frame.count, frame.first_at, frame.last_at),
        *(list(frame.fingerprints), frame.salt, frame.body, frame.prev, frame.hash),
        *(frame.format, frame.algorithm),
    ]


def test_a_slot_that_another_took_is_lost(store: PostgresStore, url: str) -> None:
    """Whoever takes a slot whose lease is over raises its epoch, which fences the one before."""
    first, second = make_chain("w0", 2)
    store.claim("w0")
    store.append(first)
    other = PostgresStore(url, writable=True)
    execute(url, "UPDATE S.writers SET lease_until = now() - interval '1 second'")
    assert not other.slots()["w0"].held
    assert other.claim("w0") == "w0"
    assert (store.holds("w0"), other.holds("w0")) == (True, True)
    assert isinstance(refusal_of(store.append, second), WriterFenced)
    assert (store.holds("w0"), other.holds("w0")) == (False, True)
    store.release("w0")
    slot = store.slots()["w0"]
    assert (slot.epoch, slot.held) == (2, True)
    assert other.append(second) == 2
    other.close()
    assert not store.slots()["w0"].held


def test_a_lease_that_nobody_took_is_renewed(postgres_url: str) -> None:
    """A holder renews by itself, also one that was late."""
    url = fresh(postgres_url)
    store = PostgresStore(f"{url}&lease=1", writable=True)
    store.claim("w0")
    execute(url, "UPDATE S.writers SET lease_until = now() - interval '1 hour'")
    held = threading.Event()
    while not store.slots()["w0"].held:
        held.wait(0.02)
    assert (store.slots()["w0"].epoch, store.holds("w0")) == (1, True)
    store.close()


def test_a_late_renewal_does_not_take_back_what_was_released(
    store: PostgresStore, url: str
) -> None:
    """A renewal that was under way when the slot was given back finds it free, and leaves it so."""
    store.claim("w0")
    store.release("w0")
    assert execute(url, "SELECT S.renew('w0', 1, 60)") == [(False,)]
    assert not store.slots()["w0"].held


def test_an_append_renews_the_lease(store: PostgresStore, url: str) -> None:
    """Who writes needs no renewal beside it."""
    store.claim("w0")
    execute(url, "UPDATE S.writers SET lease_until = now() + interval '1 second', seen = NULL")
    store.append(make_frame("w0"))
    left = "SELECT extract(epoch FROM lease_until - now()) > 10, seen IS NOT NULL FROM S.writers"
    assert execute(url, left) == [(True, True)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE S.frames SET body = body",
        "DELETE FROM S.frames",
        "TRUNCATE S.frames",
        "DELETE FROM S.frames WHERE position = 1",
    ],
)
def test_frames_are_final_even_for_the_owner(store: PostgresStore, url: str, change: str) -> None:
    """Triggers refuse every change of a frame that is there."""
    chain = make_chain("w0", 2)
    for frame in chain:
        store.append(frame)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="use prune"):
        execute(url, change)
    assert [stored.frame for stored in store.read()] == chain


# What is changed in the second frame, and what is said about it.
DAMAGE: Final = {
    "body": ("body = body || '.'", "its hash"),
    "hash": ("hash = prev", "its hash"),
    "time": ("last_at = last_at + 1", "its hash"),
    "format": ("format = 7", "format"),
    "fingerprints": ("fingerprints = ARRAY[NULL::text]", "its fingerprints"),
    "position": ("position = 9", "does not continue"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_in_the_table_is_found(
    store: PostgresStore, url: str, change: str, message: str
) -> None:
    """Whatever the owner changes in a frame, triggers off, following the chain finds it."""
    for frame in make_chain("w0", 4):
        store.append(frame)
    table = "ALTER TABLE S.frames {} TRIGGER USER"
    update = f"UPDATE S.frames SET {change} WHERE position = 2"  # noqa: S608 - see above
    execute(url, table.format("DISABLE"), update, table.format("ENABLE"))

    def follow() -> None:
        prev = GENESIS
        for stored in store.read():
            check_frame(stored, prev)
            prev = stored.frame.hash

    with pytest.raises((DamagedFrame, UnsupportedFormat), match=message):
        follow()
    assert [stored.position for stored in store.read(2)][:2] == [3, 4]


def test_what_was_pruned_is_said_to_be_gone(store: PostgresStore, url: str) -> None:
    """The oldest frames go as a whole; asking for them raises, the heads stay."""
    early, chain = make_frame("w1", streams=["s"]), make_chain("w0", 5)
    for frame in (early, *chain):
        store.append(frame)
    list(store.naming("s"))
    with pytest.raises(psycopg.Error, match="no snapshot of frames up to 4: w0, w1"):
        execute(url, "CALL S.prune(4)")
    with pytest.raises(psycopg.Error, match="there is no frame 7"):
        execute(url, "CALL S.prune(7)")
    store.save_snapshot(Snapshot("w0", 1, 4, b"", chain[2].hash))
    store.save_snapshot(Snapshot("w1", 1, 1, b"", early.hash))
    execute(url, "CALL S.prune(4)", "CALL S.prune(3)")
    assert [stored.position for stored in store.read(4)] == [5, 6]
    assert (list(store.read(1, "w1")), len(list(store.read(4, "w0")))) == ([], 2)
    assert [stored.position for stored in store.naming("s", 4)] == []
    for after, writer in ((0, None), (3, None), (0, "w1"), (3, "w0")):
        problem = refusal_of(lambda *where: list(store.read(*where)), after, writer)
        assert isinstance(problem, HistoryEvicted)
    assert isinstance(refusal_of(lambda: list(store.naming("s"))), HistoryEvicted)
    assert {name: head.position for name, head in store.heads().items()} == {"w0": 6, "w1": 1}
    assert (store.append(early), store.append(make_frame("w1", early))) == (1, 7)
    kept = "SELECT array_agg(position ORDER BY position) FROM S.frames"
    assert execute(url, kept) == [([1, 5, 6, 7],)]


def test_the_events_view_agrees_with_the_log(url: str) -> None:
    """Plain SQL sees every event as ``log.read()`` does, but for U+0000, which it cannot hold."""
    filled(url)
    with EventLog.open(url, lifecycles=(*DEFAULT, ORDER)) as log:
        expected = [
            (
                *(str(r.position), r.micros, r.writer, r.seq),
                *(r.stream.lifecycle, r.stream.id, r.stream.born, r.type),
                json.loads(encode_recorded(r).replace(b'\\u0000",', b'\xef\xbf\xbd",'))["data"],
            )
            for r in log.read()
        ]
        rows = execute(url, "SELECT * FROM S.events ORDER BY writer, seq")
        closed = execute(url, "SELECT id FROM S.events WHERE type = 'connection.closed'")
    seen = [(*columns, dict(zip(fields, row[3:], strict=True))) for *columns, fields, row in rows]
    assert seen == expected
    assert sorted(closed) == [("c1",), ("c2",)]


@functools.cache
def log_of_texts(server: str) -> str:
    """The schema of a log that all examples share."""
    url = fresh(server)
    PostgresStore(url, writable=True).close()
    return schema_of(url)


TEXTS: Final = st.lists(st.sampled_from(["\0", "\\", "u0000", '"', "a", "\U0001f980"])).map("".join)


@settings(max_examples=15)
@given(st.lists(TEXTS))
def test_sql_reads_any_text(postgres_url: str, texts: list[str]) -> None:
    """A body is JSON to PostgreSQL as it is to us, with U+FFFD for U+0000 and nothing else."""
    schema = log_of_texts(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        body = json.dumps(texts).encode()
        ((seen,),) = connection.execute(
            f"SELECT {schema}.document(%s)".encode(), (body,)
        ).fetchall()
    assert seen == [text.replace("\0", "\ufffd") for text in texts]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"\\ud800"', b"[1e999999]", b"[" * 100_000])
def test_a_body_that_is_no_json_hides_no_other(store: PostgresStore, url: str, body: bytes) -> None:
    """The view leaves out what it cannot read, and who looks for a name is shown it."""
    store.append(attrs.evolve(make_frame("w1"), body=body))
    store.append(make_frame("w0", streams=["s"]))
    assert execute(url, "SELECT * FROM S.events") == []
    assert execute(url, "SELECT S.catch_up(100)") == [(2,)]
    found = execute(url, "SELECT position FROM S.names WHERE name IN (S.hashed('s'), 0)")
    assert sorted(found) == [(1,), (2,)]


def test_fingerprints_may_be_any_text(store: PostgresStore) -> None:
    """What the port calls text is given back as it was."""
    odd = attrs.evolve(make_frame(), fingerprints=("", 'a"b', "c\\d", "{e,f}", "NULL", " ü "))
    store.append(odd)
    assert [stored.frame for stored in store.read()] == [odd]


def test_names_are_found_by_the_index_and_beyond(store: PostgresStore, url: str) -> None:
    """Ids and tags are found wherever they stand, whoever extends the index, and however far."""
    chain: list[Any] = []
    for number in range(200):
        before = chain[-1] if chain else None
        streams = ["ü", "all"] if number % 50 == 7 else ["all"]
        chain.append(make_frame("w0", before, streams=streams))
        store.append(chain[-1])
    expected = [8, 58, 108, 158]
    reader = PostgresStore(url)
    for reach in (0, 150, 200):
        execute(url, f"SELECT S.catch_up({reach})")
        assert [stored.position for stored in reader.naming("ü")] == expected
        assert [stored.position for stored in reader.naming("ü", 8)] == expected[1:]
        assert len(list(reader.naming("test.happened"))) == 200
        assert list(reader.naming("nobody")) == []
    assert execute(url, "SELECT upto FROM S.named") == [(200,)]
    reader.close()


@pytest.fixture
def roles(postgres_18: PostgresServer, url: str) -> Iterator[tuple[str, str]]:
    """URLs of a log as a role that may write it, and as one that may only read it."""
    schema = schema_of(url)
    PostgresStore(url, writable=True).close()
    names = [f"{schema}_writer", f"{schema}_reader"]
    for name, may in zip(names, ("writing", "reading"), strict=True):
        execute(url, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        execute(url, f"SELECT S.allow_{may}('{name}')")
    writer, reader = (f"{postgres_18.url_as(name)}?schema={schema}" for name in names)
    yield writer, reader
    execute(url, f"DROP SCHEMA {schema} CASCADE", *(f"DROP ROLE {name}" for name in names))


def test_a_writer_needs_the_functions_only(roles: tuple[str, str], url: str) -> None:
    """A role that may append has no right to change, delete or prune what is there."""
    writer, _ = roles
    with EventLog.open(writer) as log:
        log.append(("connection", "c1"), Registered("10.0.0.1"))
        log.flush()
        assert replay(log) == log.read_model
        assert log.store.url.startswith("postgresql://127.0.0.1")
    for statement in (
        "UPDATE S.frames SET body = ''",
        "DELETE FROM S.frames",
        "INSERT INTO S.frames SELECT * FROM S.frames",
        "UPDATE S.log SET pruned = 1",
        "UPDATE S.writers SET epoch = 9",
        "CALL S.prune(1)",
        "SELECT S.allow_writing('postgres')",
        "CREATE TABLE S.x ()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(writer.replace(schema_of(writer), schema_of(url)), statement)


def test_a_reader_may_only_read(roles: tuple[str, str], url: str) -> None:
    """A role that may read replays, looks up and waits, and can append or claim nothing."""
    filled(url)
    _, reader = roles
    store = PostgresStore(reader)
    assert replay(store).stats.as_dict()["total_connections"] == 2
    assert [stored.position for stored in store.naming("c1")] == [1, 2]
    assert (store.wait(0, 0.0), store.wait(99, 0.01)) == (True, False)
    assert isinstance(refusal_of(store.append, make_frame("w9")), LogClosed)
    store.close()
    writing = PostgresStore(reader, writable=True)
    with pytest.raises(OSError, match="permission denied for function append"):
        writing.append(make_frame("w9"))
    with pytest.raises(StoreUnreadable, match="permission denied for function claim"):
        writing.claim("w9")
    writing.close()


def test_closing_gives_every_slot_back(store: PostgresStore, url: str) -> None:
    """After close the slots are free, and appending, claiming or reopening is LogClosed."""
    assert (store.claim(None), store.claim("w1")) == ("w0", "w1")
    store.close()
    other = PostgresStore(url, writable=True)
    assert (other.claim(None), other.claim("w1")) == ("w0", "w1")
    other.close()
    for call in (store.reopen, lambda: store.append(make_frame()), lambda: store.claim(None)):
        assert isinstance(refusal_of(call), LogClosed)


def test_a_session_is_never_asynchronous(store: PostgresStore) -> None:
    """A server that acknowledges before it syncs is told not to; what then holds is said."""
    options = "&options=-c%20synchronous_commit%3D"
    base = store._address.url
    for asked, used in (
        ("off", "on"),
        ("on", "on"),
        ("local", "local"),
        ("remote_apply", "remote_apply"),
    ):
        other = PostgresStore(base + options + asked, writable=True)
        assert other._ask("SELECT current_setting('synchronous_commit')") == [(used,)]
        assert other.guarantee == "synced to the disk of one server"
        other.close()


FORKING: Final = """
import json, os, sys
from rat_fsm.errors import WriterFenced
from rat_fsm.stores.postgres import PostgresStore
from rat_fsm.stores.postgres import store as waiting
from rat_fsm.testing.store_contract import make_chain

first, second = make_chain("w0", 2)
store = PostgresStore(sys.argv[1], writable=True)
store.claim("w0")
store.append(first)
store.wait(1, 0.05)
sessions = [s.fetch("SELECT pg_backend_pid()") for s in (store._writing, store._reading)]
child = os.fork()
if child == 0:
    try:
        store.append(second)
    except WriterFenced:
        print("fenced", store.holds("w0"), flush=True)
    print(len(list(store.read())), store.wait(1, 0.05), flush=True)
    store.release("w0")
    store.close()
    other = PostgresStore(sys.argv[1], writable=True)
    print(other.claim(None), flush=True)
    other.close()
    sys.exit(0)
print(os.waitpid(child, 0)[1], flush=True)
print(sessions == [s.fetch("SELECT pg_backend_pid()") for s in (store._writing, store._reading)])
print(store.append(second), len(list(store.read())), store.wait(1, 0), store.slots()["w0"].held)
store.close()
"""


def test_a_forked_child_leaves_its_parent_alone(url: str) -> None:
    """A child has connections of its own, holds no slot of its parent's, and ends nothing of it."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORKING, url],
        cwd=PROJECT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    told = result.stdout.split("\n")
    expected = ["fenced False", "1 False", "w1", "0", "True", "2 2 True True", ""]
    assert told == expected, result.stderr
    assert result.stderr == ""


GIVEN_BACK: Final = """
import os, sys
from rat_fsm.stores.postgres import PostgresStore

store = PostgresStore(sys.argv[1], writable=True)
store.claim("w0")
given_back, told = os.pipe()
child = os.fork()
if child == 0:
    os.read(given_back, 1)
    print(store.claim("w0"), flush=True)
    store.close()
    sys.exit(0)
store.release("w0")
os.write(told, b"!")
os.waitpid(child, 0)
"""


def test_a_forked_child_may_take_what_its_parent_gave_back(url: str) -> None:
    """It holds no slot of its parent's, and is kept from none that is free."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", GIVEN_BACK, url],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("w0\n", "")


@pytest.fixture
def threadless() -> Iterator[None]:
    """No thread can be started: each would get more memory than any machine has."""
    before = threading.stack_size(1 << 52)
    yield
    threading.stack_size(before)


@pytest.mark.usefixtures("threadless")
def test_a_slot_that_nobody_would_renew_is_given_back(store: PostgresStore, url: str) -> None:
    """Where no thread can be started, nothing is half done: another may take it at once."""
    for call in (lambda: store.claim("w0"), lambda: store.wait(0, PATIENCE)):
        with pytest.raises(RuntimeError, match="start new thread"):
            call()
    assert not store.holds("w0")
    other = PostgresStore(url, writable=True)
    assert not other.slots()["w0"].held
    other.close()


def test_the_migrations_are_the_released_ones(store: PostgresStore, url: str) -> None:
    """A log says how many migrations it has seen, and opening it again adds none."""
    PostgresStore(url, writable=True).close()
    assert execute(url, "SELECT version, last FROM S.log") == [(1, 0)]
    assert store.writable


def test_a_notification_ends_a_wait(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits need not poll: another handle's append is heard at once, and so is closing."""
    monkeypatch.setattr(waiting, "POLL_INTERVAL", PATIENCE)
    other = PostgresStore(url, writable=True)
    store = PostgresStore(url)
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(store.wait(0, PATIENCE))),
        threading.Thread(target=lambda: answers.append(refusal_of(store.wait, 1, PATIENCE))),
    ]
    for thread in threads:
        thread.start()
    listening = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN \"{}\"'"
    while execute(url, listening.format(schema_of(url))) != [(1,)]:
        pass
    other.append(make_frame())
    threads[0].join(PATIENCE)
    store.close()
    threads[1].join(PATIENCE)
    assert [answers[0], type(answers[1])] == [True, LogClosed]
    other.close()
