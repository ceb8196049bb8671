"""What is particular to a log in a SQLite file; the rest is in tests/contract."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from rat_fsm.codec import check_frame, encode_recorded
from rat_fsm.errors import (
    DamagedFrame,
    InvalidArgument,
    LogClosed,
    StoreUnreadable,
    UnsupportedFormat,
    WriterBusy,
)
from rat_fsm.events import Activated, ActivityRecorded, Closed, Closing, Registered
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog
from rat_fsm.replay import replay
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import GENESIS, Snapshot
from rat_fsm.stores.sqlite import SqliteStore
from rat_fsm.testing.store_contract import make_chain, make_frame
from tests.orders import ORDER, New, Noted
from tests.processes import PATIENCE, PROJECT, untraced, writer_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.stores.port import Frame

NOBODY: Final = 65534
DEFAULT: Final = (CONNECTION, NODE)


def execute(path: Path, *statements: str) -> list[Any]:
    """Runs SQL on a file as any other program would; answers with the last one's rows."""
    rows: list[Any] = []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
    return rows


def files_of(path: Path) -> dict[str, bytes]:
    """Everything in a directory, by name."""
    return {file.name: file.read_bytes() for file in path.iterdir()}


def filled(path: Path) -> Path:
    """A file with a closed log of two connections and an order in it."""
    with EventLog.open(path, lifecycles=(*DEFAULT, ORDER)) as log:
        log.append(("connection", "c1"), Registered("10.0.0.1", "sse", {"user": "ü\U0001f980"}))
        log.append(("connection", "c1"), Activated(), ActivityRecorded(100, 1))
        log.flush()
        log.append(("connection", "c2"), Registered("10.0.0.2"))
        log.append(("order", 'o"1\\'), New.Placed("tea", 250, "EUR"), Noted([1.5, None, {"a": []}]))
        log.append(
            ("connection", "c1"),
            Closing("normal", "app", "streaming"),
            Closed("normal", 100, 1, 0, 0, 0.5),
        )
        log.flush()
    return path


def test_its_files_are_their_owners_only(tmp_path: Path) -> None:
    """The file and what stands beside it can be read by their owner alone, whatever the umask."""
    before = os.umask(0)
    try:
        with EventLog.open(tmp_path / "log.db") as log:
            log.begin()
            log.flush()
            modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    names = ("log.db", "log.db-shm", "log.db-wal", "log.db.w0.lock")
    assert modes == dict.fromkeys(names, "0o600")


def test_commits_are_synced_to_disk(tmp_path: Path) -> None:
    """WAL with full sync, read back from the handle that writes, also after reopening it."""
    store = SqliteStore(str(tmp_path / "log.db"), writable=True)
    for _ in range(2):
        names = "journal_mode", "synchronous", "fullfsync"
        pragmas = [store._query(f"PRAGMA {name}") for name in names]
        assert pragmas == [[("wal",)], [(2,)], [(1,)]]
        store.reopen()
    store.close()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryStore),
        ("sqlite:a.db", SqliteStore),
        ("a.db", SqliteStore),
        ("./memory:", SqliteStore),
        (Path("memory:"), SqliteStore),
        (Path("odd:name ?#%41.db"), SqliteStore),
        ("sqlite:dir/../ä?mode=memory&x#y.db", SqliteStore),
        (os.fsdecode(b"\xff.db"), SqliteStore),
    ],
)
def test_urls_choose_the_store(
    url: str | Path, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schemes are schemes, paths are paths, and a Path is always one, whatever is in its name."""
    monkeypatch.chdir(tmp_path)
    Path("dir").mkdir()
    store = open_store(url, writable=True)
    assert type(store) is kind
    frame = make_frame()
    store.append(frame)
    assert [stored.frame for stored in store.read()] == [frame]
    store.close()
    if kind is SqliteStore:
        assert Path(str(url).removeprefix("sqlite:")).is_file()
        again = open_store(url)
        assert [stored.frame for stored in again.read()] == [frame]


@pytest.mark.parametrize("url", ["mysql://user:secret@host/db", "https:x", "sqlite:", "", "a\0b"])
def test_other_urls_are_refused(url: str) -> None:
    """An unknown scheme or no path is one clear error, which repeats no secret."""
    for writable in (False, True):
        with pytest.raises(InvalidArgument) as caught:
            open_store(url, writable=writable)
        assert "secret" not in str(caught.value)


def make_foreign(path: Path) -> None:
    """A SQLite file of some other program."""
    execute(path, "CREATE TABLE users (name)", "INSERT INTO users VALUES ('x')")


def make_foreign_empty(path: Path) -> None:
    """A SQLite file that another program has marked as its own."""
    execute(path, "PRAGMA application_id = 7", "PRAGMA user_version = 1")


def make_newer(path: Path) -> None:
    """A log of a later rat_fsm."""
    filled(path)
    execute(path, "PRAGMA user_version = 2", "CREATE TABLE shiny (x)")


OBSTACLES: Final[dict[str, tuple[Callable[[Path], object], type[Exception], str]]] = {
    "foreign": (make_foreign, StoreUnreadable, "a SQLite file of something else"),
    "foreign, empty": (make_foreign_empty, StoreUnreadable, "a SQLite file of something else"),
    "no SQLite": (
        lambda path: path.write_bytes(b"x" * 5000),
        StoreUnreadable,
        "file is not a database",
    ),
    "text": (lambda path: path.write_text("hello"), StoreUnreadable, "file is not a database"),
    "a directory": (lambda path: path.mkdir(), StoreUnreadable, "no regular file"),
    "a pipe": (os.mkfifo, StoreUnreadable, "no regular file"),
    "a dangling link": (lambda path: path.symlink_to("gone"), StoreUnreadable, "No such file"),
    "newer": (make_newer, UnsupportedFormat, "has schema 2, newer than this rat_fsm"),
}


@pytest.mark.parametrize("writable", [False, True], ids=["reading", "writing"])
@pytest.mark.parametrize(("make", "error", "message"), OBSTACLES.values(), ids=OBSTACLES.keys())
def test_what_is_no_log_is_left_alone(
    make: Callable[[Path], object],
    error: type[Exception],
    message: str,
    tmp_path: Path,
    *,
    writable: bool,
) -> None:
    """Something else at the path is one clear error that names it, and is not touched."""
    path = tmp_path / "log.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    names = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message) as caught:
        open_store(path, writable=writable)
    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert sorted(tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    ("name", "writable", "message"),
    [
        ("missing.db", False, "No such file"),
        ("missing/log.db", False, "No such file"),
        ("missing/log.db", True, "No such file"),
        ("x" * 300, False, "File name too long"),
        ("x" * 300, True, "File name too long"),
        ("empty", False, "not a rat_fsm log"),
    ],
)
def test_a_missing_file_is_said(name: str, message: str, tmp_path: Path, *, writable: bool) -> None:
    """Nothing at the path, or an empty file, is one clear error for who wants to read."""
    (tmp_path / "empty").touch()
    with pytest.raises(StoreUnreadable, match=message):
        open_store(tmp_path / name, writable=writable)
    assert files_of(tmp_path) == {"empty": b""}


@pytest.mark.parametrize("writable", [False, True], ids=["reading", "writing"])
def test_a_file_without_permission_is_one_clear_error(tmp_path: Path, *, writable: bool) -> None:
    """Who may not read the file, or not look at its directory, is told so."""
    path = filled(tmp_path / "log.db")
    path.chmod(0)
    shut = tmp_path / "shut"
    shut.mkdir(mode=0)
    for directory in (tmp_path, *tmp_path.parents[:-1]):
        if not directory.stat().st_mode & 0o001:
            directory.chmod(0o711)
    script = f"""
import os
from rat_fsm.errors import StoreUnreadable
from rat_fsm.stores.sqlite import SqliteStore
if os.geteuid() == 0:
    os.setuid({NOBODY})
for path in ({str(path)!r}, {str(shut / "log.db")!r}):
    try:
        SqliteStore(path, writable={writable})
    except StoreUnreadable as problem:
        print(problem)
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env=untraced(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (len(result.stdout.splitlines()), result.stderr) == (2, "")


def test_opening_for_reading_changes_nothing(tmp_path: Path) -> None:
    """A closed log is read without a trace: no claim, no recovery, no file, not one byte."""
    path = tmp_path / "log.db"
    with writer_process(path) as crashed:
        crashed.kill()
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")  # the last to close removes the WAL
    before = files_of(tmp_path)
    assert set(before) == {"log.db", "log.db.w0.lock"}
    store = open_store(path)
    *_, last = store.read()
    assert (store.writable, store.heads()) == (False, {"w0": last})
    assert list(replay(path).connections) == ["w0 0"]
    assert (store.wait(0, 0.0), store.wait(last.position, 0.0)) == (True, False)
    with pytest.raises(LogClosed):
        store.append(make_frame("w1"))
    store.close()
    assert files_of(tmp_path) == before


def test_a_log_is_read_while_another_process_writes(tmp_path: Path) -> None:
    """A reader sees what a writer elsewhere has made durable, before and after it began to read."""
    path = tmp_path / "log.db"
    filled(path)
    store = open_store(path)
    reading = store.read()
    first = next(reading)
    with writer_process(path, "other", 2) as other:
        with pytest.raises(StoreUnreadable, match="readonly"):
            store.save_snapshot(Snapshot("w0", 1, 1, b""))  # type: ignore[attr-defined]
        assert set(store.heads()) == {"w0", "other"}
        after = store.heads()["other"].position
        assert store.wait(after, 0.0) is False
        other.run("log.append(('connection', 'late'), Registered('10.0.0.9'))")
        assert store.wait(after, PATIENCE) is True
        assert "late" in replay(store).connections
        other.end()
    assert [first, *reading] == list(store.read())
    assert list(store.read())[-1].frame.writer == "other"
    store.close()


def test_the_events_view_agrees_with_the_log(tmp_path: Path) -> None:
    """Plain SQL sees every event of every lifecycle as ``log.read()`` does."""
    path = filled(tmp_path / "log.db")
    with EventLog.open(path, lifecycles=(*DEFAULT, ORDER)) as log:
        expected = [
            (
                *(str(r.position), r.micros, r.writer, r.seq),
                *(r.stream.lifecycle, r.stream.id, r.stream.born, r.type),
                json.loads(encode_recorded(r))["data"],
            )
            for r in log.read()
        ]
        rows = execute(path, "SELECT * FROM events")
        closed = execute(path, "SELECT id FROM events WHERE type = 'connection.closed'")
    seen = [
        (*columns, dict(zip(json.loads(fields), json.loads(row)[3:], strict=True)))
        for *columns, fields, row in rows
    ]
    assert seen == expected
    assert closed == [("c1",), ("c2",)]


@pytest.mark.slow
def test_every_process_writes_under_a_slot_of_its_own(tmp_path: Path) -> None:
    """Several processes fill one new file at the same time, and each chain is whole."""
    path = tmp_path / "log.db"
    others: list[Any] = []
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            others.append(stack.enter_context(writer_process(path, count=50)))

        threads = [threading.Thread(target=begin) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(other.writer for other in others) == ["w0", "w1", "w2", "w3"]
        for other in others:
            other.end()
    store = open_store(path)
    prev: dict[str, bytes] = {}
    for stored in store.read():
        check_frame(stored, prev.get(stored.frame.writer, bytes(32)))
        prev[stored.frame.writer] = stored.frame.hash
    assert sorted(prev) == ["w0", "w1", "w2", "w3"]
    assert replay(store).stats.as_dict()["total_connections"] == 200
    store.close()


def test_a_killed_process_gives_its_slot_back(tmp_path: Path) -> None:
    """A slot is busy while its process lives, however idle, and free once it was killed."""
    path = tmp_path / "log.db"
    store = open_store(path, writable=True)
    with writer_process(path) as other:
        with pytest.raises(WriterBusy, match="writer w0 of"):
            store.claim("w0")
        other.kill()
        assert store.claim("w0") == "w0"
    store.close()


def test_no_writer_leaves_the_directory(tmp_path: Path) -> None:
    """Whatever a writer is called, its lock stands beside the file, under a name that fits."""
    path = tmp_path / "log.db"
    store = open_store(path, writable=True)
    for writer in ("../../up", "a/b", ".", "%2e", "ä" * 512, "x" * 512):
        store.claim(writer)
    locks = [name for name in files_of(tmp_path) if name.endswith(".lock")]
    assert len(locks) == 6
    store.close()
    with EventLog.open(path, writer="../a/b") as log:
        assert log.writer == "../a/b"


def test_closing_gives_every_slot_back(tmp_path: Path) -> None:
    """After close the slots are free, and appending or reopening is LogClosed."""
    store = open_store(tmp_path / "log.db", writable=True)
    store.claim("w0")
    store.close()
    other = open_store(tmp_path / "log.db", writable=True)
    assert other.claim("w0") == "w0"
    other.close()
    for call in (store.reopen, lambda: store.append(make_frame())):
        with pytest.raises(LogClosed):
            call()


# What is changed in the second frame, and what is said about it.
DAMAGE: Final = {
    "body": ("body = replace(body, 'w0 1', 'w0 9')", "its hash"),
    "hash": ("hash = randomblob(32)", "its hash"),
    "time": ("last_at = last_at + 1", "its hash"),
    "writer": ("writer = x'ff'", "not of their types"),
    "invalid text": ("algorithm = CAST(x'ff' AS TEXT)", "format"),
    "a text for a number": ("count = 'many'", "not of their types"),
    "fingerprints": ("fingerprints = '[1]'", "its fingerprints"),
}


def follow(path: Path) -> list[Frame]:
    """The frames of a file with one writer, each checked against the one before."""
    frames: list[Frame] = []
    with contextlib.closing(open_store(path)) as store:
        for stored in store.read():
            check_frame(stored, frames[-1].hash if frames else GENESIS)
            frames.append(stored.frame)
    return frames


def with_chain(path: Path, length: int) -> list[Frame]:
    """A file with one writer's frames in it."""
    chain = make_chain("w0", length)
    with contextlib.closing(open_store(path, writable=True)) as store:
        for frame in chain:
            store.append(frame)
    return chain


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_in_the_file_is_found(change: str, message: str, tmp_path: Path) -> None:
    """Whatever is changed in a frame by SQL, following the chain finds it."""
    path = tmp_path / "log.db"
    assert with_chain(path, 4) == follow(path)
    execute(path, f"UPDATE frames SET {change} WHERE position = 2")  # noqa: S608 - see above
    with pytest.raises((DamagedFrame, UnsupportedFormat), match=message):
        follow(path)


def test_a_frame_that_was_deleted_is_missed(tmp_path: Path) -> None:
    """The frame after a deleted one does not continue the one before it."""
    path = tmp_path / "log.db"
    with_chain(path, 4)
    execute(path, "DELETE FROM frames WHERE position = 2")
    with pytest.raises(DamagedFrame, match="frame 3 is damaged: it does not continue"):
        follow(path)


def test_reading_goes_on_after_a_row_that_is_no_frame(tmp_path: Path) -> None:
    """One bad row hides neither those before it nor those after it."""
    path = tmp_path / "log.db"
    chain = with_chain(path, 4)
    execute(path, "UPDATE frames SET salt = 7 WHERE position = 2")
    store = open_store(path)
    reading = store.read()
    assert next(reading).frame == chain[0]
    with pytest.raises(DamagedFrame) as caught:
        next(reading)
    assert caught.value.position == 2
    assert [stored.frame for stored in store.read(2)] == chain[2:]
    store.close()


def test_a_file_that_shrinks_is_one_clear_error(tmp_path: Path) -> None:
    """A truncated file is StoreUnreadable when its missing pages are asked for."""
    path = filled(tmp_path / "log.db")
    os.truncate(path, 8192)
    with pytest.raises(StoreUnreadable):
        list(open_store(path).read())


def test_a_reader_notices_a_writer_that_comes_and_goes(tmp_path: Path) -> None:
    """What was read while nobody wrote is read again if somebody has written meanwhile."""
    path = tmp_path / "log.db"
    chain = make_chain("w0", 64)
    with contextlib.closing(open_store(path, writable=True)) as writing:
        for frame in chain[:32]:
            writing.append(frame)
    store = open_store(path)
    reading = store.read()
    seen = [next(reading) for _ in range(16)]
    with contextlib.closing(open_store(path, writable=True)) as writing:
        for frame in chain[32:]:
            writing.append(frame)
    assert [stored.frame for stored in (*seen, *reading)] == chain
    store.close()


def test_a_deleted_file_is_not_made_again(tmp_path: Path) -> None:
    """Reopening after the file has gone is an error, not an empty log."""
    store = open_store(tmp_path / "log.db", writable=True)
    store.append(make_frame())
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(OSError, match="unable to open"):
        store.reopen()
    assert list(tmp_path.iterdir()) == []


def test_the_position_of_a_deleted_frame_is_not_given_again(tmp_path: Path) -> None:
    """Positions only grow, even past frames that were deleted behind our back."""
    path = tmp_path / "log.db"
    first, second = make_chain("w0", 2)
    store = open_store(path, writable=True)
    store.append(first)
    store.append(second)
    execute(path, "DELETE FROM frames WHERE position = 2")
    assert store.append(attrs.evolve(second)) == 3
    store.close()
