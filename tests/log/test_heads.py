"""What verifying finds, and what a head beside the log finds that the log alone cannot."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.codec import hash_of
from rat_fsm.errors import DamagedFrame, HistoryEvicted, StoreUnreadable, UnsupportedFormat
from rat_fsm.log import EventLog
from rat_fsm.log.heads import (
    Head,
    Problem,
    VerifyReport,
    head_path,
    keep_heads,
    read_heads,
    verify_log,
)
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import GENESIS, StoredFrame
from rat_fsm.testing import VirtualClock
from tests.frames import START, frame_with, usual_body
from tests.logs import begin, crash, execute, register

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path


def with_two_writers(path: Path) -> None:
    """Frames 1 to 6, of w0 and w1 by turns, of two events the first two, of three the others."""
    clock = VirtualClock()
    logs = [EventLog.open(path, clock=clock) for _ in range(2)]
    for log in logs:
        begin(log)
    for number in range(2):
        for log in logs:
            register(log, f"c{number}")
            log.flush()
            clock.advance(1.0)
    for log in logs:
        crash(log)
        log.store.close()


def verified(path: Path, heads: dict[str, Head] | None = None) -> VerifyReport:
    """The report on a file that is opened for reading."""
    with contextlib.closing(open_store(path)) as store:
        return verify_log(store, heads)


def kept(path: Path) -> dict[str, Head]:
    """The heads of a file, noted beside it."""
    with contextlib.closing(open_store(path)) as store:
        return keep_heads(store, head_path(path))


def found(report: VerifyReport) -> list[tuple[int, str, str]]:
    """The problems of a report, as tuples."""
    return [attrs.astuple(problem) for problem in report.problems]


def test_a_sound_log_is_sound(tmp_path: Path) -> None:
    """Everything is counted, nothing is wrong, and progress is told frame by frame."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    seen: list[int] = []
    with contextlib.closing(open_store(path)) as store:
        report = verify_log(store, progress=seen.append)
    assert report == VerifyReport(6, 2 + 2 + 4 * 3, ("w0", "w1"), ())
    assert (report.sound, seen) == (True, [1, 2, 3, 4, 5, 6])
    assert verified(path, kept(path)) == report


def test_an_empty_log_is_sound() -> None:
    """There is nothing to be wrong."""
    assert verify_log(MemoryStore()) == VerifyReport(0, 0, (), ())


def one_writer() -> list[StoredFrame]:
    """Four frames of one writer, a second apart, of three events, the first of two."""
    clock = VirtualClock()
    with EventLog(clock=clock) as log:
        begin(log)
        for number in range(3):
            clock.advance(1.0)
            register(log, f"c{number}")
            log.flush()
        return list(log.store.read())


FOUR: Final = one_writer()
# A change of each column that the smallest difference makes.
CHANGES: Final[dict[str, Callable[[Any, int], Any]]] = {
    **dict.fromkeys(("first", "count", "first_at", "last_at"), lambda value, by: value + by),
    **dict.fromkeys(
        ("salt", "body", "prev", "hash"),
        lambda value, by: bytes([*value[: by % len(value)], 7, *value[by % len(value) + 1 :]]),
    ),
    "writer": lambda value, by: f"{value}{by}",
    "fingerprints": lambda value, by: (*value, f"{by}"),
}


@given(st.integers(1, 4), st.sampled_from(sorted(CHANGES)), st.integers(-200, 200).filter(bool))
def test_a_change_anywhere_is_found(position: int, column: str, by: int) -> None:
    """Whatever is changed of whatever frame, that frame is named, or the one that it broke."""
    frames = list(FOUR)
    before = getattr(frames[position - 1].frame, column)
    changed = attrs.evolve(frames[position - 1].frame, **{column: CHANGES[column](before, by)})
    if changed == frames[position - 1].frame:  # the byte was a 7
        return
    frames[position - 1] = StoredFrame(position, changed)
    (problem, *others) = verify_log(showing(frames)).problems
    assert (problem.position, len(others)) == (position, column == "writer" and position < 4)
    assert verify_log(showing(FOUR)).sound


def test_the_first_bad_frame_of_each_writer_is_reported(tmp_path: Path) -> None:
    """One problem a chain, however much is wrong in it; the other chains are verified on."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    execute(
        path,
        "UPDATE frames SET body = body || ' ' WHERE position IN (3, 5)",
        "UPDATE frames SET prev = zeroblob(32) WHERE position = 6",
    )
    report = verified(path)
    assert found(report) == [
        (3, "w0", "frame 3 is damaged: its hash does not match its content"),
        (6, "w1", "frame 6 is damaged: it does not continue the chain of w1"),
    ]
    assert (report.frames, report.events, report.writers) == (3, 2 + 2 + 3, ("w0", "w1"))


def test_frames_that_are_missing_are_reported(tmp_path: Path) -> None:
    """A gap in the positions is told, and the chain that breaks there; also a whole writer's."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    execute(path, "DELETE FROM frames WHERE position = 3")
    assert found(verified(path)) == [
        (3, "", "frames 3 to 3 are missing"),
        (5, "w0", "frame 5 is damaged: it does not continue the chain of w0"),
    ]
    execute(path, "DELETE FROM frames WHERE writer = 'w0'")
    assert [problem.position for problem in verified(path).problems] == [1, 3, 5]


def test_a_row_that_is_no_frame_hides_nothing(tmp_path: Path) -> None:
    """What SQLite holds in place of a frame is reported, and verifying goes on behind it."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    execute(path, "UPDATE frames SET salt = 'x' WHERE position = 1")
    assert found(verified(path)) == [
        (1, "", "frame 1 is damaged: its columns are not of their types"),
        (3, "w0", "frame 3 is damaged: it does not continue the chain of w0"),
    ]


def test_a_torn_file_is_reported(tmp_path: Path) -> None:
    """Where the database itself cannot be read on, that is the problem."""
    path = tmp_path / "log.db"
    with EventLog.open(path) as log:
        for number in range(40):
            register(log, *(f"{number} {index}" for index in range(50)))
            log.flush()
    with path.open("r+b") as file:
        file.seek(100_000)
        file.write(b"\xff" * 50_000)
    report = verified(path)
    assert not report.sound
    assert "cannot read" in report.problems[-1].message


def showing(frames: Iterable[StoredFrame]) -> MemoryStore:
    """A store in which these frames stand, which it would not have taken."""
    store = MemoryStore()
    store._frames.extend(frames)
    return store


def rewritten(number: int, **changes: Any) -> MemoryStore:
    """Four frames, one of them changed, and every hash from there on made right again."""
    frames: list[StoredFrame] = []
    for stored in FOUR:
        prev = frames[-1].frame.hash if frames else GENESIS
        frame = attrs.evolve(stored.frame, prev=prev)
        if stored.position == number:
            frame = attrs.evolve(frame, **changes)
        frames.append(StoredFrame(stored.position, attrs.evolve(frame, hash=hash_of(frame))))
    return showing(frames)


SECOND: Final = 1_000_000
BEGINNING: Final = VirtualClock().now()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first": 7}, "it begins with event 7 of w0, not 6"),
        ({"first": 5}, "it begins with event 5 of w0, not 6"),
        ({"first_at": BEGINNING, "last_at": BEGINNING}, f"its time goes back {SECOND} µs"),
        ({"body": b"{}"}, "its body cannot be read"),
        ({"last_at": BEGINNING + 9 * SECOND}, "its times are not those of its header"),
        ({"format": 2}, "newer than this rat_fsm"),
    ],
)
def test_a_chain_forged_with_right_hashes_is_found(changes: dict[str, Any], message: str) -> None:
    """Sequence and time must go on, and bodies be readable, whatever the hashes say."""
    report = verify_log(rewritten(3, **changes))
    ((position, writer, problem),) = found(report)
    assert (position, writer, report.frames) == (3, "w0", 2)
    assert message in problem


def test_a_log_rewritten_with_right_hashes_is_sound_without_a_head() -> None:
    """That is what a chain cannot find, and a head can."""
    heads = {"w0": Head(4, FOUR[3].frame.hash.hex())}
    assert verify_log(showing(FOUR), heads).sound
    forged = rewritten(2, salt=bytes(16))
    assert verify_log(forged).sound
    assert found(verify_log(forged, heads)) == [(4, "w0", "frame 4 of w0 is not the one it was")]


def test_an_evicted_beginning_cannot_be_verified() -> None:
    """A bounded memory log says so."""
    log = EventLog(MemoryStore(max_events=5))
    register(log, "c1")
    log.flush()
    register(log, "c2")
    log.flush()
    with pytest.raises(HistoryEvicted):
        verify_log(log.store)
    log.close()


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
        assert verify_log(log.store, before).sound
        log.flush()
        after = keep_heads(log.store, head_path(path))
    assert after["w0"].position > before["w0"].position
    assert verified(path, before).sound
    assert verified(path, after).sound


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
    problems = found(verified(path, heads))
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
    assert found(verified(path, heads)) == [(6, "w1", "frame 6 of w1 is not the one it was")]
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


def test_a_problem_says_where() -> None:
    """Problems are values that programs can compare."""
    store = MemoryStore()
    store.append(frame_with(usual_body(), last_at=START + 8).frame)
    reason = "its rows do not fit its header: its times are not those of its header"
    message = f"frame 1 is damaged: {reason}"
    assert verify_log(store).problems == (Problem(1, "w0", message),)
