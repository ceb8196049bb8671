"""What a head beside the log finds that the log alone cannot."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final

import pytest

from rat_fsm.errors import DamagedFrame, StoreUnreadable, UnsupportedFormat
from rat_fsm.log import EventLog
from rat_fsm.log.heads import Head, KeptHeads, head_path, keep_heads, read_heads, replace_file
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store
from tests.chains import found, verified, with_two_writers
from tests.logs import execute, register

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def kept(path: Path) -> dict[str, Head]:
    """The heads of a file, noted beside it."""
    with contextlib.closing(open_store(path)) as store:
        return keep_heads(store, head_path(path))


def test_a_head_is_kept_beside_the_log(tmp_path: Path) -> None:
    """It is small, readable, its owner's only, and replaced as a whole."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    heads = kept(path)
    file = head_path(path)
    assert file == tmp_path / "log.db.head"
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    assert json.loads(file.read_text()) == {
        "format": 1,
        "heads": {w: {"position": h.position, "hash": h.hash} for w, h in heads.items()},
    }
    assert read_heads(file) == heads
    assert {writer: head.position for writer, head in heads.items()} == {"w0": 5, "w1": 6}
    assert [other.name for other in tmp_path.glob("*.head*")] == ["log.db.head"]


def test_a_log_that_has_grown_extends_its_head(tmp_path: Path) -> None:
    """What came since is no problem, and the head moves on with it."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    before = kept(path)
    with EventLog.open(path) as log:
        register(log, "c9")
        assert verify_log(log.store, [KeptHeads(before)]).sound
        log.flush()
        after = keep_heads(log.store, head_path(path))
    assert after["w0"].position > before["w0"].position
    assert verified(path, [KeptHeads(before)]).sound
    assert verified(path, [KeptHeads(after)]).sound


SHORTENED: Final = {
    "the last frame lost": ("DELETE FROM frames WHERE position = 6", [(6, "w1", "missing")]),
    "two frames lost": (
        "DELETE FROM frames WHERE position > 4",
        [(5, "w0", "missing"), (6, "w1", "missing")],
    ),
    "everything lost": (
        "DELETE FROM frames",
        [(5, "w0", "missing"), (6, "w1", "missing")],
    ),
    "a writer lost": (
        "DELETE FROM frames WHERE writer = 'w1'",
        [(2, "", "missing"), (4, "", "missing"), (6, "w1", "missing")],
    ),
}


@pytest.mark.parametrize(("statement", "expected"), SHORTENED.values(), ids=SHORTENED.keys())
def test_a_shortened_log_is_found(
    statement: str, expected: Sequence[tuple[int, str, str]], tmp_path: Path
) -> None:
    """Frames lost at the end are found against the head, and the head is not moved back."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    heads = kept(path)
    execute(path, statement)
    problems = found(verified(path, [KeptHeads(heads)]))
    assert [(position, writer) for position, writer, _ in problems] == [e[:2] for e in expected]
    assert all(word in problem[2] for problem, (_, _, word) in zip(problems, expected, strict=True))
    before = head_path(path).read_bytes()
    with pytest.raises(DamagedFrame, match="missing"):
        kept(path)
    assert head_path(path).read_bytes() == before


def test_a_swapped_tail_is_found(tmp_path: Path) -> None:
    """A log that was cut and has grown another end is not the one it was, though it is sound."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    heads = kept(path)
    execute(
        path,
        "DELETE FROM frames WHERE position = 6",
        "UPDATE sqlite_sequence SET seq = 5 WHERE name = 'frames'",
    )
    with EventLog.open(path, writer="w1") as log:
        register(log, "other")
    assert verified(path).sound
    assert found(verified(path, [KeptHeads(heads)])) == [
        (6, "w1", "frame 6 of w1 is not the one it was")
    ]
    with pytest.raises(DamagedFrame, match="not the one it was"):
        kept(path)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", StoreUnreadable),
        (b"[]", StoreUnreadable),
        (b"\xff", StoreUnreadable),
        (b"[" * 10_000, StoreUnreadable),
        (b'{"format": 1, "heads": {"w0": 3}}', StoreUnreadable),
        (b'{"format": 2, "heads": {}}', UnsupportedFormat),
        (None, StoreUnreadable),
    ],
)
def test_what_is_no_head_is_one_clear_error(
    content: bytes | None, error: type[Exception], tmp_path: Path
) -> None:
    """A missing or strange head file is refused, and never written over."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    file = head_path(path)
    if content is not None:
        file.write_bytes(content)
        with pytest.raises(error):
            kept(path)
        assert file.read_bytes() == content
    with pytest.raises(error, match=r"log\.db\.head"):
        read_heads(file)


def test_a_file_that_cannot_be_replaced_leaves_nothing(tmp_path: Path) -> None:
    """What was written beside it goes again."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(folder, b"x")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_head_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """A failed write raises and leaves no file behind."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    head_path(path).mkdir()
    with pytest.raises(StoreUnreadable, match="no head at"):
        kept(path)
    store = open_store(path)
    with pytest.raises(FileNotFoundError):
        keep_heads(store, tmp_path / "missing" / "x.head")
    store.close()
    assert {other.name for other in tmp_path.iterdir() if "head" in other.name} == {"log.db.head"}
