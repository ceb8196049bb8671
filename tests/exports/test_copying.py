"""A copy is the same log, goes on where it ended, and is never made of anything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm import EventLog, replay
from rat_fsm.errors import (
    DamagedFrame,
    InvalidArgument,
    LogsDiverged,
    LogUnavailable,
    StoreUnreadable,
    WriterBusy,
)
from rat_fsm.exports import copy_log
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.stores.port import SupportsSnapshots
from rat_fsm.testing import FaultyStore
from tests.cli.logs import change
from tests.exports.stores import frames_of, stores, written

if TYPE_CHECKING:
    from rat_fsm.stores.port import Frame

PROJECT = Path(__file__).parents[2]
COPYING = """
import sys
from rat_fsm.exports import copy_log

copy_log(sys.argv[1], sys.argv[2], progress=lambda position: print(position, flush=True))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of two writers."""
    return written(tmp_path / "events.db", "c1", "c2", writers=("w0", "w1"))


@given(store=stores(), data=st.data())
def test_a_copy_is_the_same_log(store: MemoryStore, data: st.DataObject) -> None:
    """However much of it was there before, and again when nothing is missing."""
    frames, again = frames_of(store), MemoryStore()
    cut = data.draw(st.integers(0, len(frames)))
    for stored in frames[:cut]:
        again.append(stored.frame)
    copied = copy_log(store, again)
    assert (copied.before, copied.frames) == (cut, len(frames) - cut)
    assert copied.events == sum(stored.frame.count for stored in frames[cut:])
    assert frames_of(again) == frames
    assert copy_log(store, again).frames == 0
    assert not again._claimed


@given(store=stores(least=1), data=st.data())
def test_only_an_earlier_copy_is_gone_on_with(store: MemoryStore, data: st.DataObject) -> None:
    """A destination with another frame, or with more of them, is left as it is."""
    frames, other = frames_of(store), MemoryStore()
    left_out = data.draw(st.integers(0, len(frames) - 1))
    writer = frames[left_out].frame.writer
    kept = [f for f in frames if f.frame.writer != writer or f.position < left_out + 1]
    for stored in kept:
        other.append(stored.frame)
    if frames_of(other) == frames[: len(kept)]:
        source, destination = other, store
        problem = f"it has {len(frames)} frames, and memory: {len(kept)}"
    else:
        source, destination = store, other
        problem = "is another one"
    before = frames_of(destination)
    with pytest.raises(LogsDiverged, match=problem):
        copy_log(source, destination)
    assert frames_of(destination) == before


def test_a_copy_in_a_file(path: Path, tmp_path: Path) -> None:
    """It is sound, private, tells the same, has no snapshot, and leaves nothing beside it."""
    copied = copy_log(path, f"sqlite:{tmp_path / 'copy.db'}")
    copy = tmp_path / "copy.db"
    assert (copied.frames, copied.writers) == (40, ("w0", "w1"))
    assert copy_log(path, copy).before == 40
    assert frames_of(open_store(copy)) == frames_of(open_store(path))
    assert verify_log(open_store(copy)).sound
    assert replay(copy) == replay(path)
    assert copy.stat().st_mode & 0o777 == 0o600
    store = open_store(copy)
    assert isinstance(store, SupportsSnapshots)
    assert store.load_snapshot("w0") is None
    names = {file.name for file in tmp_path.iterdir() if file.name.startswith("copy")}
    assert names - {"copy.db.w0.lock", "copy.db.w1.lock"} == {"copy.db"}


def test_a_log_in_memory_is_saved(tmp_path: Path) -> None:
    """What a log of this process holds goes into a file."""
    with EventLog() as log:
        log.begin()
        log.flush()
        copy_log(log, tmp_path / "saved.db")
        assert replay(tmp_path / "saved.db") == log.read_model


def test_what_a_server_writes_meanwhile(tmp_path: Path) -> None:
    """The source may be open for writing; a later copy goes on with what came."""
    with EventLog.open(tmp_path / "events.db") as log:
        log.begin()
        log.flush()
        copy_log(log, tmp_path / "copy.db")
    copied = copy_log(tmp_path / "events.db", tmp_path / "copy.db")
    assert (copied.before, copied.frames) == (1, 1)


def test_a_destination_that_somebody_writes(path: Path, tmp_path: Path) -> None:
    """Its slots are claimed, so a server that has it open is noticed before anything changes."""
    copy_log(path, tmp_path / "copy.db")
    busy = EventLog.open(tmp_path / "copy.db", writer="w1")
    with busy, pytest.raises(WriterBusy, match="writer w1 of"):
        copy_log(path, tmp_path / "copy.db")
    with EventLog.open(tmp_path / "copy.db", writer="w0"):
        pass  # that nobody else holds a slot now


class Intruder(MemoryStore):
    """A store to which somebody else writes, under another slot, before its third frame."""

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self._frame = frame

    def append(self, frame: Frame) -> int:
        if self._last == 2:
            super().append(self._frame)
        return super().append(frame)


def test_somebody_who_writes_meanwhile(path: Path) -> None:
    """Frames that end up at other positions end the copy."""
    with EventLog(writer="w7") as log:
        log.begin()
        log.flush()
        store = Intruder(frames_of(log.store)[0].frame)
    with pytest.raises(LogsDiverged, match="somebody else wrote its frame 3 meanwhile") as caught:
        copy_log(path, store)
    assert caught.value.position == 3


def test_a_destination_that_fails(path: Path) -> None:
    """A full disk ends the copy, with what was added before; the next one goes on."""
    store = FaultyStore(faults=["refused"])
    with pytest.raises(LogUnavailable, match="; what was added before stays"):
        copy_log(path, store)
    store = FaultyStore(store.real)
    copy_log(path, store)
    assert frames_of(store) == frames_of(open_store(path))


@pytest.mark.parametrize(
    "damage",
    ["UPDATE frames SET last_at = last_at + 1", "UPDATE frames SET salt = 7", "DELETE FROM frames"],
)
@pytest.mark.parametrize("position", [3, 40])
def test_a_damaged_source(path: Path, tmp_path: Path, damage: str, position: int) -> None:
    """The frames before the damage are copied, and it is named."""
    sound = frames_of(open_store(path))
    change(path, f"{damage} WHERE position = {position}")
    copy = tmp_path / "copy.db"
    if position == 40 and damage.startswith("DELETE"):
        copy_log(path, copy)  # a shortened log is a log: only a head kept elsewhere would tell
    else:
        with pytest.raises(DamagedFrame, match=f"frame ({position}|{position + 1}) is damaged"):
            copy_log(path, copy)
    assert frames_of(open_store(copy)) == sound[: position - 1]


def test_places_that_are_none(path: Path, tmp_path: Path) -> None:
    """A source must be there, and a destination must stay and be writable."""
    with pytest.raises(StoreUnreadable, match="no log at"):
        copy_log(tmp_path / "nothing.db", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    with pytest.raises(StoreUnreadable, match="opened for reading only"):
        copy_log(path, open_store(path))
    with pytest.raises(InvalidArgument, match="would be gone"):
        copy_log(path, "memory:")


@pytest.mark.parametrize("after", [1, 5, 17])
def test_a_copy_that_was_killed(path: Path, tmp_path: Path, after: int) -> None:
    """Killed at any frame, it is a sound log, and started again it becomes the whole."""
    copy = tmp_path / "copy.db"
    with subprocess.Popen(
        [sys.executable, "-c", COPYING, str(path), str(copy)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= after:
                process.kill()
                break
    whole, part = frames_of(open_store(path)), frames_of(open_store(copy))
    assert after <= len(part)
    assert part == whole[: len(part)]
    assert copy_log(path, copy).before == len(part)
    assert frames_of(open_store(copy)) == whole
