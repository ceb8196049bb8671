"""The cache: one file a log, in a folder of our own, that may be anything and is never an error."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from rat_fsm.log import EventLog
from rat_fsm.replay import cache as cache_module
from rat_fsm.replay.cache import Cache, default_folder
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from tests.logs import register

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.stores.port import Store

TABLES: Final = {"found": "CREATE TABLE found (what TEXT)"}


def write(path: Path, *ids: str) -> None:
    """A log with a frame or two."""
    with EventLog.open(path) as log:
        register(log, *ids)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A log on disk."""
    write(tmp_path / "events.db", "c1")
    with contextlib.closing(open_store(tmp_path / "events.db")) as store:
        yield store


def keep(cache: Cache, what: str, version: int = 1) -> list[Any]:
    """Adds something to what is kept, and answers with what is kept now."""
    connection = cache.prepare("part", version, TABLES)
    with cache.transaction():
        connection.execute("INSERT INTO found VALUES (?)", (what,))
    return [kept for (kept,) in connection.execute("SELECT what FROM found")]


def test_what_is_kept_is_there_the_next_time(store: Store, cache_home: Path) -> None:
    """It stands in one file in the user's cache folder, which nobody else may read."""
    with Cache(store) as cache:
        assert keep(cache, "a") == ["a"]
        path = cache.path
    with Cache(store) as cache:
        assert keep(cache, "a") == ["a", "a"]
    assert path is not None
    assert path.parent == cache_home / "rat_fsm" == default_folder()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def on_a_server(*ids: str) -> MemoryStore:
    """A store that has an address and no file, with a log in it."""
    store = MemoryStore()
    with EventLog(store) as log:
        register(log, *ids)
    store.url = "postgresql://host/db"
    return store


def test_a_log_on_a_server_has_a_cache_as_well(cache_home: Path) -> None:
    """By its address and its beginning: one address may have had other logs, or have many."""
    store, other = on_a_server("c1"), on_a_server("c2")
    for log, expected in ((store, ["a"]), (other, ["a"]), (store, ["a", "a"])):
        with Cache(log) as cache:
            assert keep(cache, "a") == expected
            assert cache.path is not None
            assert cache.path.parent == cache_home / "rat_fsm"
    empty = MemoryStore()
    empty.url = "postgresql://host/db"
    with Cache(empty) as cache:
        assert cache.path is None


def test_where_caches_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Under XDG_CACHE_HOME where that is absolute, else under ~/.cache."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for told in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", told)
        assert default_folder() == tmp_path / ".cache" / "rat_fsm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == tmp_path / ".cache" / "rat_fsm"


def test_a_version_is_kept_alone(store: Store) -> None:
    """What another version of a part has kept is dropped, and nothing of other parts."""
    with Cache(store) as cache:
        other = cache.prepare("other", 1, {"theirs": "CREATE TABLE theirs (what TEXT)"})
        other.execute("INSERT INTO theirs VALUES ('x')")
        assert keep(cache, "old", version=1) == ["old"]
        assert keep(cache, "new", version=2) == ["new"]
        assert keep(cache, "again", version=2) == ["new", "again"]
        assert other.execute("SELECT what FROM theirs").fetchall() == [("x",)]


def interrupted(cache: Cache, sql: str) -> None:
    """A transaction in which something happens after a statement."""
    with cache.transaction() as connection:
        connection.execute(sql)
        raise KeyboardInterrupt


def test_all_or_nothing(store: Store) -> None:
    """What is interrupted leaves nothing behind."""
    with Cache(store) as cache:
        assert keep(cache, "a") == ["a"]
        with pytest.raises(KeyboardInterrupt):
            interrupted(cache, "INSERT INTO found VALUES ('b')")
        assert keep(cache, "c") == ["a", "c"]


def test_who_ends_a_transaction_early_is_told_why(store: Store) -> None:
    """Where the transaction is over already, as on a full disk, the reason is what is raised."""
    with Cache(store) as cache, pytest.raises(KeyboardInterrupt):
        interrupted(cache, "ROLLBACK")


def test_another_log_has_another_cache(tmp_path: Path) -> None:
    """Each path has its own; where a path is another log than before, its cache begins anew."""
    first, second = tmp_path / "a.db", tmp_path / "b.db"
    write(first, "c1")
    write(second, "c1")
    for expected in (["a"], ["a", "a"]):
        for path in (first, second):
            with contextlib.closing(open_store(path)) as store, Cache(store) as cache:
                assert keep(cache, "a") == expected
    first.unlink()
    second.rename(first)
    with contextlib.closing(open_store(first)) as store, Cache(store) as cache:
        assert keep(cache, "b") == ["b"]


def test_one_log_has_one_cache(store: Store, tmp_path: Path) -> None:
    """By whatever name it is opened."""
    (tmp_path / "link").symlink_to(tmp_path / "events.db")
    with Cache(store) as cache:
        keep(cache, "a")
    with contextlib.closing(open_store(tmp_path / "link")) as same, Cache(same) as cache:
        assert keep(cache, "b") == ["a", "b"]


@pytest.mark.parametrize("rubbish", [b"", b"\0" * 5000, b"SQLite format 3\0" + b"\xa5" * 5000])
def test_rubbish_in_its_place_is_replaced(store: Store, rubbish: bytes) -> None:
    """What is no cache of this log is thrown away."""
    with Cache(store) as cache:
        path = cache.path
    assert path is not None
    for leftover in path.parent.iterdir():
        leftover.unlink()
    path.write_bytes(rubbish)
    for expected in (["a"], ["a", "a"]):
        with Cache(store) as cache:
            assert (cache.path, keep(cache, "a")) == (path, expected)


def test_a_damaged_file_is_discarded(store: Store) -> None:
    """Who finds it damaged lets the next begin anew, and may go on for itself."""
    with Cache(store) as cache:
        assert keep(cache, "a") == ["a"]
        cache.discard()
        assert keep(cache, "b") == ["a", "b"]
    with Cache(store) as cache:
        assert keep(cache, "c") == ["c"]


def without_a_file(source: Store, folder: Path | None = None) -> None:
    """Asserts that a cache works and keeps nothing for the next."""
    for _ in range(2):
        with Cache(source, folder) as cache:
            assert (cache.path, keep(cache, "a")) == (None, ["a"])
            cache.discard()


def test_where_no_file_can_be_kept(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log in memory, an empty log, a folder that is none, a user without a home: in memory."""
    without_a_file(MemoryStore())
    with contextlib.closing(open_store(tmp_path / "empty.db", writable=True)) as empty:
        without_a_file(empty)
    (tmp_path / "file").write_text("")
    without_a_file(store, tmp_path / "file")

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    without_a_file(store)


def test_a_cache_that_is_busy_is_done_without(store: Store, monkeypatch: Any) -> None:
    """Where another process writes for too long, this one works without a file."""
    with Cache(store) as cache:
        path = cache.path
    assert path is not None
    monkeypatch.setattr(cache_module, "BUSY_TIMEOUT", 0.0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        without_a_file(store)
    with Cache(store) as cache:
        assert cache.path == path
