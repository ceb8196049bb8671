"""What verifying finds without help, and what it cannot find."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import HistoryEvicted
from rat_fsm.log import EventLog
from rat_fsm.log.heads import Head, KeptHeads
from rat_fsm.log.verifying import Problem, VerifyReport, verify_log
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import StoredFrame
from rat_fsm.testing import VirtualClock
from tests.chains import FOUR, found, rewritten, showing, verified, with_two_writers
from tests.frames import START, frame_with, usual_body
from tests.logs import execute, register

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_sound_log_is_sound(tmp_path: Path) -> None:
    """Everything is counted, nothing is wrong, and progress is told frame by frame."""
    path = tmp_path / "log.db"
    with_two_writers(path)
    seen: list[int] = []
    with contextlib.closing(open_store(path)) as store:
        report = verify_log(store, progress=seen.append)
    assert report == VerifyReport(6, 2 + 2 + 4 * 3, ("w0", "w1"), ())
    assert (report.sound, seen) == (True, [1, 2, 3, 4, 5, 6])
    assert verified(path) == report


def test_an_empty_log_is_sound() -> None:
    """There is nothing to be wrong."""
    assert verify_log(MemoryStore()) == VerifyReport(0, 0, (), ())


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
    heads = KeptHeads({"w0": Head(4, FOUR[3].frame.hash.hex())})
    assert verify_log(showing(FOUR), [heads]).sound
    forged = rewritten(2, salt=bytes(16))
    assert verify_log(forged).sound
    assert found(verify_log(forged, [heads])) == [(4, "w0", "frame 4 of w0 is not the one it was")]


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


def test_a_problem_says_where() -> None:
    """Problems are values that programs can compare."""
    store = MemoryStore()
    store.append(frame_with(usual_body(), last_at=START + 8).frame)
    reason = "its rows do not fit its header: its times are not those of its header"
    message = f"frame 1 is damaged: {reason}"
    assert verify_log(store).problems == (Problem(1, "w0", message),)
