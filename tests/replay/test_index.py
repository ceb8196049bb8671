"""The index of a log says of every life what folding it says, however it was caught up."""

from __future__ import annotations

import contextlib
from array import array
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm.codec import definitions, hash_of
from rat_fsm.errors import DamagedFrame, StoreUnreadable
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ErrorRecorded,
    Registered,
    RetryScheduled,
    Started,
    Stream,
)
from rat_fsm.log import EventLog
from rat_fsm.replay.cache import Cache, cache_file
from rat_fsm.replay.index import Index, is_compact
from rat_fsm.replay.indexing import indexed, kept_index
from rat_fsm.replay.lives import Life, lives_of
from rat_fsm.replay.picking import Picker, places
from rat_fsm.replay.scan import Scan
from rat_fsm.replay.sources import opened
from rat_fsm.replay.tally import Tally
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.table import Lifecycle
from tests.cli.logs import change
from tests.frames import LIFECYCLES
from tests.histories import IDS, Recorder, histories
from tests.logs import begin, close_connection, execute, register
from tests.replay.written import store_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rat_fsm.events import Recorded
    from rat_fsm.stores.port import Store

CUTS: Final = st.sets(st.integers(0, 60))
DEFINED: Final = {lifecycle.name: lifecycle for lifecycle in LIFECYCLES}
HOSTILE: Final = st.text('[],0123 "\\{}:aü', max_size=12)

ERRORS: Final = [ErrorRecorded("OSError", f"reset {n}", "bug", retryable=False) for n in range(5)]
FEW: Final = settings(max_examples=25)


@st.composite
def stores(draw: st.DrawFn) -> MemoryStore:
    """Logs of two writers, some of which say what the lifecycle of an order is."""
    store, history = MemoryStore(), draw(histories(least=3))
    if draw(st.booleans()):
        store_of([begun()], store=store)
    return store_of(history, draw(CUTS), store=store)


def begun() -> Recorded:
    """What another writer says of all lifecycles when it starts."""
    started = Started(definitions(DEFINED), {}, {}, {"max_retries": 3})
    recorded = Recorder().record("node", "other:1", started)
    return attrs.evolve(recorded, writer="other", stream=Stream("node", "other:1", "other:1"))


def caught_up(cache: Cache, step: int = 2_000) -> Index:
    """A new index that is as far as the log."""
    index = Index(cache, step)
    index.catch_up()
    return index


def everything(index: Index) -> dict[str, list[Any]]:
    """All that an index holds."""
    names = ("lives", "errors", "texts", "runs", "definitions", "frames", "reached")
    rows = {name: index.connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}  # noqa: S608 - constants only
    return {name: sorted(found) for name, found in rows.items()}


def folded(life: Life, number: int) -> Tally:
    """What the index must say of a life."""
    first, last = life.steps[0], life.steps[-1]
    assert first.position is not None
    assert last.position is not None
    legal = [step.event for step in life.steps if step.legal]
    registered = [event for event in legal if isinstance(event, Registered)]
    routes = [event.route for event in legal if isinstance(event, Activated)]
    is_connection = life.stream.lifecycle == "connection"
    tally = Tally(
        *(number, life.stream.lifecycle, life.stream.id, life.writer),
        born=int(life.stream.born.rpartition(":")[2]),
        first_at=first.micros,
        first_frame=first.position.frame,
        state=life.state,
        last_at=last.until,
        last_frame=last.position.frame,
        events=len(life.steps),
        over=life.over,
    )
    tally.illegal = sum(not step.legal for step in life.steps)
    tally.bytes_sent, tally.messages_sent = life.sent, life.messages
    tally.errors, tally.retries = life.errors, life.retries
    if registered and is_connection:
        tally.kind, tally.client = registered[-1].kind, registered[-1].remote_addr
    tally.route = routes[-1] if routes and is_connection else ""
    if life.closing is not None:
        end = life.closing
        tally.reason, tally.ended_by = end.reason, end.ended_by
        tally.phase, tally.code = end.phase, end.code
    return tally


@given(stores())
@FEW
def test_it_is_what_folding_every_life_gives(store: MemoryStore) -> None:
    """One row a life, of any lifecycle, legal or not, in the order they began."""
    with indexed(store, None) as index:
        for name in {*IDS, "other:1"} & set(index.ids()):
            found = index.of(name)
            expected = [
                folded(life, tally.number)
                for life, tally in zip(lives_of(store, name), found, strict=True)
            ]
            assert list(map(attrs.astuple, found)) == list(map(attrs.astuple, expected))


@given(stores())
@FEW
def test_errors_are_kept_with_their_texts(store: MemoryStore) -> None:
    """Each legal error: whose, when, its type and its message."""
    sql = """SELECT id, at, type, message FROM errors JOIN texts ON text = texts.number
             JOIN lives ON life = lives.number"""
    with indexed(store, None) as index:
        found = index.connection.execute(sql).fetchall()
        expected = [
            (life.stream.id, step.micros, step.event.error_type, step.event.message)
            for name in index.ids()
            for life in lives_of(store, name)
            for step in life.steps
            if step.legal and isinstance(step.event, ErrorRecorded)
        ]
    assert sorted(found) == sorted(expected)


@given(histories(least=3), CUTS, st.integers(1, 3), st.data())
@FEW
def test_catching_up_in_steps_is_catching_up_at_once(
    history: list[Recorded], cuts: set[int], step: int, data: st.DataObject
) -> None:
    """Whoever did the steps before, in this process or in another, and however many frames each."""
    store = MemoryStore()
    whole = store_of(history, cuts)
    with Cache(store) as cache, Cache(whole) as other:
        index = Index(cache, step)
        for stored in whole.read():
            store.append(stored.frame)
            if data.draw(st.booleans()):
                index = data.draw(st.sampled_from([index, Index(cache, step)]))
                index.catch_up()
        assert everything(caught_up(cache, step)) == everything(caught_up(other))


@given(stores())
@FEW
def test_picking_is_scanning(store: MemoryStore) -> None:
    """The events of an id are the same, found by an index or by reading every frame."""
    with indexed(store, None) as index:
        for name in (*IDS, "other:1", "nobody"):
            assert list(Picker(index).events(name)) == list(Scan(store).events(name))


@given(
    st.lists(st.tuples(HOSTILE, HOSTILE, st.lists(st.integers(0, 3)), st.booleans()), min_size=1),
    st.sampled_from([lambda store: store, lambda store: spaced(store)]),  # noqa: PLW0108 - below
)
@FEW
def test_picking_what_looks_like_rows(
    clients: list[tuple[str, str, list[int], bool]], written: Callable[[Store], Store]
) -> None:
    """Brackets, numbers and quotes in ids, messages and metadata are not taken for rows.

    Nor are rows overlooked that another program has written with spaces between them.
    """
    with EventLog() as log:
        for number, (name, text, numbers, flush) in enumerate(clients):
            stream = ("connection", f"{name}{number}")
            log.append(stream, Registered(text, "sse", {"a": [numbers, {text: numbers}]}))
            log.append(stream, ErrorRecorded(text, f"],[1,{number},0,", "bug", retryable=True))
            if flush:
                log.flush()
        log.flush()
        store = written(log.store)
        with indexed(store, None) as index:
            for number, (name, *_) in enumerate(clients):
                stream_id = f"{name}{number}"
                found = list(Picker(index).events(stream_id))
                assert found == list(Scan(store).events(stream_id))
                assert len(found) == 2


def spaced(store: Store) -> MemoryStore:
    """The same log, its bodies written as another program might."""
    copy, prev = MemoryStore(), bytes(32)
    for stored in store.read():
        body = msgspec.json.format(stored.frame.body, indent=1)
        frame = attrs.evolve(stored.frame, body=body, prev=prev)
        frame = attrs.evolve(frame, hash=hash_of(frame))
        copy.append(frame)
        prev = frame.hash
    return copy


@given(st.lists(st.sampled_from([0, 1, 256, 257, 2**16 - 1]), max_size=20), st.sampled_from("HI"))
def test_places_of_a_number_among_numbers(numbers: list[int], code: str) -> None:
    """Each place where it stands, and none where it only seems to, between two others."""
    packed = array(code, numbers)
    for wanted in (0, 1, 256):
        expected = [place for place, number in enumerate(numbers) if number == wanted]
        assert places(packed.tobytes(), wanted, packed.itemsize) == expected


def test_an_activity_that_has_become_illegal() -> None:
    """Is none, also where the state was another when the index was last caught up."""
    recorder = Recorder()
    retry = RetryScheduled(1, 1.0, None, 30.0, "network_error")
    events = (Registered("10.0.0.1"), Activated(), retry, ActivityRecorded(5, 1))
    store = store_of([recorder.record("connection", "c1", x) for x in events], cuts={2})
    with Cache(store) as cache:
        (tally,) = caught_up(cache, step=1).of("c1")
    assert (tally.state, tally.bytes_sent, tally.illegal) == ("retrying", 0, 1)


@given(st.recursive(HOSTILE | st.integers(), lambda inner: st.lists(inner, max_size=3)))
def test_compact_is_without_spaces_outside_of_strings(value: Any) -> None:
    """As we write JSON; a space anywhere else than in a string is seen."""
    body = msgspec.json.encode(value)
    assert is_compact(body)
    assert not is_compact(body + b" ")
    assert not is_compact(b"[" + body + b", " + body + b"]")


def two_lives(path: Path) -> None:
    """A log in which c1 lives twice and c2 once, its frames small."""
    with EventLog.open(path) as log:
        begin(log)
        for number in range(2):
            register(log, "c1", f"c2-{number}")
            log.flush()
            close_connection(log, "c1")
            log.flush()


def test_it_is_kept_and_caught_up(tmp_path: Path) -> None:
    """What was found once is not looked for again, and what was added is found."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    two_lives(path)
    with contextlib.closing(open_store(path)) as store:
        with Cache(store, folder) as cache:
            reached = caught_up(cache).reached
        told: list[int] = []
        with kept_index(store, folder, told.append) as index:
            assert index is not None
            assert (len(index.of("c1")), index.reached, told) == (2, reached, [])
        with EventLog.open(path, writer="other") as log:
            register(log, "c1")
        with kept_index(store, folder, told.append) as index:
            assert index is not None
            assert (len(index.of("c1")), told) == (3, [index.reached])
    assert list(folder.iterdir()) == [cache_file(store, folder)]


def test_a_short_log_leaves_nothing(tmp_path: Path, cache_home: Path) -> None:
    """An index of a short log is made in memory: the user's cache is for what takes long."""
    path = tmp_path / "events.db"
    two_lives(path)
    with contextlib.closing(open_store(path)) as store:
        with indexed(store, None) as index:
            assert len(index.of("c1")) == 2
        with kept_index(store, None) as nothing:
            assert nothing is None
    assert not cache_home.exists()


def test_another_log_at_its_place(tmp_path: Path) -> None:
    """A log that goes on differently from its beginning is indexed anew."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    two_lives(path)
    with contextlib.closing(open_store(path)) as store, Cache(store, folder) as cache:
        caught_up(cache)
    execute(path, "DELETE FROM frames WHERE position > 3")
    with EventLog.open(path) as log:
        register(log, *(f"new-{number}" for number in range(9)))
    with (
        contextlib.closing(open_store(path)) as store,
        kept_index(store, folder) as index,
        Cache(store, kept=False) as fresh,
    ):
        assert index is not None
        assert everything(index) == everything(caught_up(fresh))


def test_two_at_the_same_time(tmp_path: Path) -> None:
    """Two processes that catch up by turns end with the same index."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    two_lives(path)
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(opened(path)) for _ in range(2)]
        caches = [stack.enter_context(Cache(store, folder)) for store in stores]
        indexes = [Index(cache, step=1) for cache in caches]
        while [True for index in indexes if index._step()]:
            pass
        fresh = stack.enter_context(Cache(stores[0], kept=False))
        assert everything(indexes[0]) == everything(caught_up(fresh))


def test_a_damaged_frame(tmp_path: Path) -> None:
    """What stands before it is kept; who asks the index is told, and may search instead."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    two_lives(path)
    execute(path, "UPDATE frames SET body = 'x' WHERE position = 4")
    with contextlib.closing(open_store(path)) as store, Cache(store, folder) as cache:
        index = Index(cache, step=1)
        with pytest.raises(DamagedFrame):
            index.catch_up()
        assert index.reached == 3
        assert len(lives_of(store, "c2-0", cache=folder)) == 1
        with pytest.raises(DamagedFrame), indexed(store, folder):
            pass


@pytest.mark.parametrize(
    ("streams", "problem"),
    [
        ([["connection", "c9", 3, 0]], "which was c1"),
        ([["connection", "x", 2**64, 0]], "a second stream begins"),
        ([["connection", "x", 4, 0], ["connection", "y", 4, 0]], "a second stream begins"),
    ],
)
def test_a_frame_that_contradicts_itself(streams: list[Any], problem: str) -> None:
    """Two streams cannot have begun with the same event, and no event has such a number."""
    body = {
        "types": [["connection.activated", 1, []]],
        "streams": streams,
        "events": [[0, number, 0] for number in range(len(streams))],
    }
    refuses(body, problem)


def test_numbers_beyond_sixty_four_bits() -> None:
    """A sum that no integer of SQLite can be is damage, not a crash."""
    body = {
        "types": [["connection.activity_recorded", 1, ["bytes_sent", "messages_sent"]]],
        "streams": [["connection", "c1", 3, 2]],
        "events": [[0, 0, 0, 2**63 - 1, 1]] * 2,
    }
    refuses(body, "64 bits")


def refuses(body: dict[str, Any], problem: str) -> None:
    """A frame with this body after two of a sound log cannot be taken in."""
    with EventLog() as log:
        begin(log)
        log.append(("connection", "c1"), Registered("10.0.0.1"))
        log.append(("connection", "c1"), Activated())
        log.flush()
        head = log.store.heads()["w0"].frame
        frame = attrs.evolve(
            head,
            first=head.first + head.count,
            count=len(body["events"]),
            first_at=head.last_at,
            last_at=head.last_at,
            body=msgspec.json.encode(body),
            prev=head.hash,
        )
        store = MemoryStore()
        for stored in log.store.read():
            store.append(stored.frame)
        store.append(attrs.evolve(frame, hash=hash_of(frame)))
    with pytest.raises(DamagedFrame, match=problem), indexed(store, None):
        pass


def test_a_code_beyond_sixty_four_bits_is_as_large_as_can_be() -> None:
    """What a forged event says does not keep a log from being indexed."""
    code = 2**63 - 1
    with EventLog() as log:
        begin(log)
        log.append(("connection", "c1"), Registered("10.0.0.1"))
        log.append(("connection", "c1"), Closing("kicked", "admin", "handshake", code))
        log.flush()
        with indexed(log.store, None) as index:
            assert index.of("c1")[0].code == code


def test_another_definition_of_a_connection() -> None:
    """Bytes are counted by whatever definition a frame was written under."""
    old = Lifecycle(
        "connection",
        states=("active", "closed"),
        final={"closed"},
        transitions=[
            [Registered, "new", "active"],
            [ActivityRecorded, "active", None],
            [Closed, "active", "closed"],
        ],
    )
    with EventLog(lifecycles=(old,)) as log:
        log.begin()
        log.append(("connection", "c1"), Registered("10.0.0.1"), ActivityRecorded(5, 1))
        log.append(("connection", "c1"), Closed("done", 5, 1, 0, 0, 1.0))
        log.flush()
        with indexed(log.store, None) as index:
            (tally,) = index.of("c1")
    assert (tally.state, tally.bytes_sent, tally.messages_sent) == ("closed", 5, 1)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("c2-1", '"c2-1"', '"c2-x"'),
        ("c2-1", ",1,0,", ",7,0,"),
        ("c1", "[0,1,", "[0,1,9"),
        ("c1", '"types"', '"Types"'),
        ("c1", '"events"', '"Events"'),
        ("c1", "[[0,0,0,", "[[0,0,9,"),
        ("c1", "[[0,0,0,", "[[0,0,[1],"),
        ("c1", "[[0,0,0,", "[[0,0,null,"),
    ],
)
def test_a_frame_that_was_changed_since(tmp_path: Path, name: str, old: str, new: str) -> None:
    """What an index says of a life in it holds no longer: it is read as if there were none."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    two_lives(path)
    with contextlib.closing(open_store(path)) as store, Cache(store, folder) as cache:
        index = caught_up(cache)
        change(path, "UPDATE frames SET body = replace(body, ?, ?) WHERE position = 4", old, new)
        assert outcome(Picker(index), name) == outcome(Scan(store), name)


def outcome(finder: Picker | Scan, name: str) -> Any:
    """The events that are found, or the error instead."""
    try:
        return list(finder.events(name))
    except DamagedFrame as problem:
        return str(problem)


def test_a_frame_that_has_gone(tmp_path: Path) -> None:
    """Is one clear error where the index knows that there was one."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    two_lives(path)
    with contextlib.closing(open_store(path)) as store, Cache(store, folder) as cache:
        index = caught_up(cache)
        for gone in ("position = 4", "position >= 3"):
            execute(path, f"DELETE FROM frames WHERE {gone}")  # noqa: S608 - a constant
            with pytest.raises(StoreUnreadable, match="no frame"):
                list(Picker(index).events("c1"))


def test_many_streams_that_do_not_end() -> None:
    """Of lives that may go on only so many are held in memory; others are found again."""
    recorder = Recorder()
    history = [recorder.record("connection", f"c{n}", Registered("10.0.0.1")) for n in range(9)]
    again = [recorder.record("connection", f"c{n}", Activated()) for n in range(9)]
    sent = [recorder.record("connection", f"c{n}", ActivityRecorded(n, 1)) for n in range(9)]
    erred = [recorder.record("connection", "c0", error) for error in (*ERRORS, *ERRORS)]
    store = store_of([*history, *again, *sent, *erred], cuts={9, 18})
    with Cache(store) as cache:
        index = Index(cache, step=1, held=3)
        index.catch_up()
        assert [index.of(f"c{n}")[0].bytes_sent for n in range(9)] == list(range(9))
        assert index.of("c0")[0].errors == len(everything(index)["errors"]) == 10
        assert len(everything(index)["texts"]) == 5


def test_a_damaged_cache(tmp_path: Path) -> None:
    """It is deleted with one clear line, and the next question is answered."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    two_lives(path)
    with contextlib.closing(open_store(path)) as store:
        with Cache(store, folder) as cache:
            caught_up(cache)
        file = cache_file(store, folder)
        assert file is not None
        ((page,),) = execute(file, "SELECT rootpage FROM sqlite_master WHERE name = 'lives'")
        with file.open("r+b") as opened_file:
            opened_file.seek((page - 1) * 4096)
            opened_file.write(b"\xff" * 4096)
        with pytest.raises(StoreUnreadable, match="damaged"), indexed(store, folder) as index:
            index.of("c1")
        with indexed(store, folder) as index:
            assert len(index.of("c1")) == 2


def test_a_cache_that_is_in_use(tmp_path: Path) -> None:
    """What keeps the cache from being used is said, and how to use another."""
    path, folder = tmp_path / "events.db", tmp_path / "folder"
    two_lives(path)
    with (
        contextlib.closing(open_store(path)) as store,
        pytest.raises(StoreUnreadable, match="--cache"),
        indexed(store, folder) as index,
    ):
        index.connection.execute("SELECT nothing")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A log is searched where no index can be kept, and found in all the same."""
    path = tmp_path / "events.db"
    two_lives(path)
    (tmp_path / "file").write_bytes(b"")
    assert len(lives_of(path, "c1", cache=tmp_path / "file")) == 2


def test_the_policy_of_a_run() -> None:
    """A life is decided about by the policy of the run that it began in."""
    with EventLog() as log:
        log.begin({}, {"max_retries": 7})
        log.append(("connection", "c1"), Registered("10.0.0.1"))
        log.flush()
        with indexed(log.store, None) as index:
            born = index.of("c1")[0].born
            for finder in (index, Scan(log.store)):
                assert finder.policy("w0", born) == {"max_retries": 7}
                assert finder.policy("w9", born) == {}


def test_a_lifecycle_that_only_the_log_knows() -> None:
    """Its definition is kept, so that nobody searches for it twice."""
    with indexed(store_of([begun()]), None) as index:
        known = index.tables().by_name(tuple(lc.fingerprint for lc in LIFECYCLES))
    assert set(known) == {"connection", "node", "order"}
