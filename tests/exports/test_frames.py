"""Frames go out as lines and come back as they were, or not at all."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm import EventLog
from rat_fsm.codec import hash_of
from rat_fsm.errors import (
    DamagedFrame,
    HistoryEvicted,
    InvalidArgument,
    InvalidArgumentType,
    LogsDiverged,
    StoreUnreadable,
    UnsupportedFormat,
)
from rat_fsm.events import Registered
from rat_fsm.exports import export_frames, import_frames
from rat_fsm.exports.importing import MAX_LINE
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from tests.cli.logs import change
from tests.exports.stores import frames_of, stores, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rat_fsm.replay.sources import LogSource


def exported(source: LogSource, after: int = 0) -> bytes:
    """The lines of a log."""
    file = io.BytesIO()
    export_frames(source, file, after=after)
    return file.getvalue()


@given(store=stores(), data=st.data())
def test_out_and_in_is_identity(store: MemoryStore, data: st.DataObject) -> None:
    """Frames, hashes and positions are what they were, whole or in parts one after the other."""
    again = MemoryStore()
    cut = data.draw(st.integers(0, len(frames_of(store))))
    whole = exported(store)
    import_frames(io.BytesIO(whole), again)
    assert frames_of(again) == frames_of(store)
    parts = MemoryStore()
    for frame in frames_of(store)[:cut]:
        parts.append(frame.frame)
    copied = import_frames(io.BytesIO(exported(store, cut)), parts)
    assert frames_of(parts) == frames_of(store)
    assert (copied.before, copied.frames) == (cut, len(frames_of(store)) - cut)
    assert exported(parts) == whole


@given(store=stores(least=2), data=st.data())
def test_nothing_of_a_changed_file_is_imported(store: MemoryStore, data: st.DataObject) -> None:
    """Whatever line is left out, doubled, swapped or changed: an error, and an empty log."""
    lines = exported(store).splitlines(keepends=True)
    number = data.draw(st.integers(0, len(lines) - 1))
    changed = list(lines)
    match data.draw(st.sampled_from(["left out", "twice", "cut", "swapped", "another"])):
        case "left out":
            del changed[number]
        case "twice":
            changed.insert(number, lines[number])
        case "cut":
            changed[number:] = [lines[number][: data.draw(st.integers(0, len(lines[number]) - 2))]]
        case "swapped":
            changed[number], changed[number - 1] = changed[number - 1], changed[number]
        case "another":
            changed[number] = lines[number].replace(b"1", b"2")
    if changed == lines:
        return
    again = MemoryStore()
    with pytest.raises((StoreUnreadable, UnsupportedFormat)):
        import_frames(io.BytesIO(b"".join(changed)), again)
    assert frames_of(again) == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of two writers."""
    return written(tmp_path / "events.db", "c1", "überall", writers=("w0", "w1"))


def change_line(lines: list[dict[str, Any]], number: int, **values: Any) -> bytes:
    """An export with other values in one line, whose hash is made to fit."""
    lines = [dict(line) for line in lines]
    lines[number].update(values)
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_a_file_is_what_it_says(path: Path, tmp_path: Path) -> None:
    """A first line, a line a frame, a last line; the same log comes of it in a file."""
    again = tmp_path / "again.db"
    lines = [json.loads(line) for line in exported(path).splitlines()]
    frames = frames_of(open_store(path))
    assert lines[0] == {"line": "begin", "content": "rat_fsm frames", "version": 1, "after": 0}
    assert [line["hash"] for line in lines[1:-1]] == [f.frame.hash.hex() for f in frames]
    assert [line["body"].encode() for line in lines[1:-1]] == [f.frame.body for f in frames]
    events = sum(stored.frame.count for stored in frames)
    assert lines[-1] == {"line": "end", "frames": len(frames), "events": events}
    positions: list[int] = []
    copied = import_frames(io.BytesIO(exported(path)), again, progress=positions.append)
    assert attrs.asdict(copied) == {
        "frames": len(frames),
        "events": events,
        "before": 0,
        "writers": ("w0", "w1"),
    }
    assert positions == [stored.position for stored in frames]
    assert frames_of(open_store(again)) == frames


BAD: dict[str, tuple[Callable[[list[dict[str, Any]]], bytes], str]] = {
    "nothing": (lambda _: b"", "line 1: the file ends before its end"),
    "no JSON": (lambda _: b"PAR1", "line 1: JSON is malformed"),
    "other JSON": (lambda _: b"[]", "line 1: Expected `object`"),
    "no beginning": (lambda ls: json.dumps(ls[1]).encode(), "line 1: it does not begin"),
    "other content": (lambda ls: change_line(ls, 0, content="songs"), "line 1: it does not begin"),
    "a negative after": (lambda ls: change_line(ls, 0, after=-1), "line 1: Expected `int` >= 0"),
    "another after": (lambda ls: change_line(ls, 0, after=5), "line 2: frame 1 is damaged: it fol"),
    "no hash": (lambda ls: change_line(ls, 2, hash="xyz"), "line 3: Expected `str` matching"),
    "odd salt": (lambda ls: change_line(ls, 2, salt="abc"), "line 3: Expected `str` matching"),
    "a large number": (lambda ls: change_line(ls, 2, first=2**70), "line 3: Expected `int` <="),
    "a large position": (lambda ls: change_line(ls, 2, position=2**62), "line 3: frame 461"),
    "another body": (lambda ls: change_line(ls, 2, body="{}"), "line 3: frame 2 is damaged: its h"),
    "deep nesting": (lambda _: b"[" * 100_000, "line 1: "),
    "other bytes": (lambda _: b'{"line":"begin","content":"\xff"}', "line 1: "),
    "a long line": (lambda _: b" " * (MAX_LINE + 1), f"line 1: it is longer than {MAX_LINE} bytes"),
    "another end": (lambda ls: change_line(ls, -1, frames=7), "it does not end a file of 40 fram"),
    "more": (lambda ls: change_line(ls, -1) + b"\n", "line 43: the end came before it"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_export(path: Path, tmp_path: Path, case: str) -> None:
    """The line that is wrong is named, and no log is made."""
    made, message = BAD[case]
    lines = [json.loads(line) for line in exported(path).splitlines()]
    with pytest.raises(StoreUnreadable, match=r"^no export of frames: line ") as caught:
        import_frames(io.BytesIO(made(lines)), tmp_path / "again.db")
    assert message in str(caught.value)
    assert not (tmp_path / "again.db").exists()


def test_a_newer_version(path: Path) -> None:
    """An export or a frame of a newer rat_fsm is not guessed at."""
    lines = [json.loads(line) for line in exported(path).splitlines()]
    for number, values in ((0, {"version": 2}), (1, {"format": 2})):
        with pytest.raises(UnsupportedFormat, match="upgrade to read it"):
            import_frames(io.BytesIO(change_line(lines, number, **values)), MemoryStore())


def test_a_writer_that_nobody_could_claim() -> None:
    """A hostile name for a writer is refused, even where hash and chain are right."""
    store = MemoryStore()
    with EventLog(MemoryStore()) as log:
        log.append(("connection", "c1"), Registered("10.0.0.1"))
        log.flush()
        frame = attrs.evolve(frames_of(log.store)[0].frame, writer="w\x1b[2J")
    store.append(attrs.evolve(frame, hash=hash_of(frame)))
    again = MemoryStore()
    with pytest.raises(InvalidArgument, match=r"control characters: 'w\\x1b\[2J'"):
        import_frames(io.BytesIO(exported(store)), again)
    assert frames_of(again) == []


def test_into_a_log_that_is_there(path: Path, tmp_path: Path) -> None:
    """What it has already is compared and left; what is missing before or differs is an error."""
    again, other = tmp_path / "again.db", written(tmp_path / "other.db", "c1")
    import_frames(io.BytesIO(exported(path)), again)
    copied = import_frames(io.BytesIO(exported(path, 7)), again)
    assert (copied.frames, copied.before) == (0, 40)
    before = frames_of(open_store(other))
    with pytest.raises(LogsDiverged, match="its frame 1 is another one") as caught:
        import_frames(io.BytesIO(exported(path)), other)
    assert caught.value.position == 1
    with pytest.raises(LogsDiverged, match=r"begins after frame 30, and .* ends with frame "):
        import_frames(io.BytesIO(exported(path, 30)), other)
    assert frames_of(open_store(other)) == before
    shorter = len(before)
    with pytest.raises(DamagedFrame, match="does not continue the chain of w"):
        import_frames(io.BytesIO(exported(path, shorter)), other)
    assert frames_of(open_store(other)) == before


def test_a_part_says_what_log_it_is_of(path: Path) -> None:
    """A part begins after a frame that is there."""
    assert json.loads(exported(path, 40).splitlines()[0])["after"] == 40
    for after in (41, -1):
        with pytest.raises(InvalidArgument, match=f"no frame {after} to begin after: .* has 40"):
            exported(path, after)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE frames SET body = replace(body, 'conn', 'cONN')",
        "UPDATE frames SET body = x'ff'",
        "UPDATE frames SET hash = zeroblob(32)",
        "UPDATE frames SET count = 'many'",
        "DELETE FROM frames",
    ],
)
def test_a_damaged_frame_is_not_exported(path: Path, damage: str) -> None:
    """The export stops before it, without an end, so that nobody takes it for whole."""
    change(path, f"{damage} WHERE position = 3")
    file = io.BytesIO()
    with pytest.raises(DamagedFrame, match=r"frame [34] is damaged"):
        export_frames(path, file)
    assert [json.loads(line)["line"] for line in file.getvalue().splitlines()] == [
        *("begin", "frame", "frame")
    ]


def test_sources_that_cannot_be_exported(path: Path) -> None:
    """A bounded memory log that lost its beginning says so; what is no log is refused."""
    store = MemoryStore(max_events=5)
    for stored in frames_of(open_store(path)):
        store.append(stored.frame)
    with pytest.raises(HistoryEvicted):
        exported(store)
    with pytest.raises(InvalidArgument):
        exported("memory:")
    with pytest.raises(InvalidArgumentType):
        exported(7)  # type: ignore[arg-type]  # a type checker refuses it too
