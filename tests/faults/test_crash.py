"""A writing process is killed at random moments; what it had acknowledged is there."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from rat_fsm import EventLog, Position, read_events, replay
from rat_fsm.events import Closed, Closing
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store

PROJECT = Path(__file__).parents[2]
NUMBERS = struct.Struct("qq")

pytestmark = pytest.mark.timeout(300)

# Shares two numbers through a file: a page of it outlives the process that wrote it.
WRITER = """
import mmap, struct, sys
from rat_fsm import ConnectionManager, EventLog
from rat_fsm.events import ActivityRecorded

path, level, shared = sys.argv[1:4]
numbers = struct.Struct("qq")
with open(shared, "r+b") as file:
    page = mmap.mmap(file.fileno(), numbers.size)
log = EventLog.open(path, durability=level)
manager = ConnectionManager(log=log)
names = [f"c{number}" for number in range(20)]
for name in names:
    manager.register_connection(name, "10.0.0.1")
    manager.activate_connection(name)
log.flush()
print("ready", flush=True)
rounds = 0
while True:
    for name in names:
        manager.record_activity(name, 1, 1)
    if level == "committed":
        acknowledged = log.append(("connection", "c0"), ActivityRecorded(1, 1))
        numbers.pack_into(page, 0, acknowledged, 0)
    else:
        rounds += 1
        if rounds % 50 == 0:
            position = log.flush()
            numbers.pack_into(page, 0, position.frame, position.offset)
"""


def kill_while_writing(folder: Path, level: str, delay: float) -> tuple[Path, tuple[int, int]]:
    """Kills a writer after so many seconds; answers with its log and its last acknowledgement."""
    log = folder / "events.db"
    return log, run_and_kill(WRITER, log, level, delay)


def run_and_kill(script: str, log: Path, level: str, delay: float) -> tuple[int, int]:
    """Kills a script so many seconds after it is ready; answers with the numbers it shared."""
    shared = log.with_suffix(".shared")
    shared.write_bytes(bytes(NUMBERS.size))
    with subprocess.Popen(
        [sys.executable, "-c", script, str(log), level, str(shared)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
    first, second = NUMBERS.unpack(shared.read_bytes())
    return first, second


def check_what_is_left(log: Path, level: str, acknowledged: tuple[int, int]) -> None:
    """The file opens, verifies, holds what was acknowledged, and ends what was left open."""
    before = list(read_events(log))
    if level == "committed":
        assert before[-1].seq >= acknowledged[0]
    elif acknowledged != (0, 0):
        assert before[-1].position is not None
        assert before[-1].position >= Position(*acknowledged)
    assert [recorded.seq for recorded in before] == list(range(1, len(before) + 1))
    died_at = before[-1].micros
    with EventLog.open(log) as again:
        assert again.writer == "w0"
        assert again.read_model.open_connections == 0
        again.flush()
        assert replay(again) == again.read_model
        after = list(again.read())[len(before) :]
    endings = [r for r in after if isinstance(r.event, Closing | Closed)]
    assert [r.event.reason for r in endings] == ["crash"] * 40
    assert {r.event.ended_by for r in endings if isinstance(r.event, Closing)} == {"crash"}
    assert {r.micros for r in endings} == {died_at}
    store = open_store(log)
    assert verify_log(store).problems == ()
    store.close()


@pytest.mark.parametrize("level", ["batched", "committed"])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_writer_loses_nothing_it_acknowledged(
    tmp_path: Path, level: str, seed: int
) -> None:
    """Whatever flush, or append with durability committed, returned for is in the file."""
    delay = random.Random(f"{level} {seed}").uniform(0.05, 0.4)  # noqa: S311 - chance, not secrecy
    log, acknowledged = kill_while_writing(tmp_path, level, delay)
    check_what_is_left(log, level, acknowledged)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("level", ["batched", "committed"])
def test_fifty_killed_writers(tmp_path: Path, level: str) -> None:
    """Fifty random moments, half at each level."""
    chance = random.Random(level)  # noqa: S311 - chance, not secrecy
    acknowledged_some = 0
    for number in range(25):
        folder = tmp_path / str(number)
        folder.mkdir()
        log, acknowledged = kill_while_writing(folder, level, chance.uniform(0.02, 0.6))
        acknowledged_some += acknowledged != (0, 0)
        check_what_is_left(log, level, acknowledged)
    assert acknowledged_some >= 20


WINDOW = """
import mmap, struct, sys
from rat_fsm import ConnectionManager, EventLog

path, _, shared = sys.argv[1:4]
numbers = struct.Struct("qq")
with open(shared, "r+b") as file:
    page = mmap.mmap(file.fileno(), numbers.size)
log = EventLog.open(path)
manager = ConnectionManager(log=log)
manager.register_connection("a", "10.0.0.1")
manager.activate_connection("a")
log.flush()
accepted = 4
print("ready", flush=True)
while True:
    for _ in range(100):
        assert manager.record_activity("a", 1, 1)
        accepted += 1
    numbers.pack_into(page, 0, accepted - log.health.pending, accepted)
"""


@pytest.mark.slow
def test_health_never_understates_what_a_kill_would_lose(tmp_path: Path) -> None:
    """What ``health.pending`` did not count as pending is in the file."""
    for delay in (0.1, 0.23, 0.31):
        log = tmp_path / f"{delay}.db"
        claimed, accepted = run_and_kill(WINDOW, log, "batched", delay)
        durable = sum(1 for _ in read_events(log))
        assert claimed <= durable <= accepted + 100
