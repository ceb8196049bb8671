"""Below the store: a disk whose syncs fail, and a file system with no room left, for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rat_fsm import read_events, replay
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store
from tests.faults.disks import small_disk

PROJECT = Path(__file__).parents[2]
SHIM = Path(__file__).with_name("failing_fsync.c")

pytestmark = pytest.mark.timeout(300)

# Writes until a file that makes trouble does; tells what the log says; removes it; tells again.
WRITER = """
import json, pathlib, sys
from rat_fsm.errors import LogUnavailable
from rat_fsm.events import Activated, ActivityRecorded, Registered
from rat_fsm.log import EventLog

path, trouble = sys.argv[1], pathlib.Path(sys.argv[2])
log = EventLog.open(path)
log.append(("connection", "a"), Registered("192.0.2.1"), Activated())
log.flush()
durable = 4

def append():
    return log.append(("connection", "a"), *[ActivityRecorded(1, 1)] * 2000)

def tell(**facts):
    health = log.health
    facts.update(status=health.status, ready=health.ready, pending=health.pending)
    print(json.dumps(facts), flush=True)

trouble.touch()
refused = None
try:
    while True:
        accepted = append()
        log.flush()
        durable = accepted
except LogUnavailable as problem:
    refused = problem
tell(durable=durable, accepted=accepted, error=str(refused))
accepted = append()
trouble.unlink()
log.flush(30)
tell(durable=accepted, accepted=accepted, error=None)
log.close()
"""


def told(path: Path, trouble: Path, **environment: str) -> list[dict[str, Any]]:
    """What the writer tells while something is broken, and after it has been mended."""
    result = subprocess.run(
        [sys.executable, "-c", WRITER, str(path), str(trouble)],
        cwd=PROJECT,
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def check(path: Path, broken: dict[str, Any], mended: dict[str, Any]) -> None:
    """While broken it said so; what was accepted is there once, and the chain is whole."""
    assert (broken["status"], broken["ready"]) == ("failing", False)
    assert broken["pending"] == broken["accepted"] - broken["durable"] > 0
    assert (mended["status"], mended["ready"], mended["pending"]) == ("ok", True, 0)
    seqs = [recorded.seq for recorded in read_events(path)]
    # And that the store was away, and the end of the run.
    assert seqs == list(range(1, mended["accepted"] + 3))
    assert replay(path).totals.bytes_sent == mended["accepted"] - 4
    store = open_store(path)
    assert verify_log(store).problems == ()
    store.close()


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes syncs fail."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and LD_PRELOAD")
    library = tmp_path_factory.mktemp("shim") / "failing_fsync.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(SHIM)]
    subprocess.run(command, check=True, timeout=250)
    return library


def test_a_sync_that_fails_acknowledges_nothing(tmp_path: Path, shim: Path) -> None:
    """The store is reopened and asked until a sync succeeds; then everything is there, once."""
    path, flag = tmp_path / "log.db", tmp_path / "failing"
    broken, mended = told(path, flag, LD_PRELOAD=str(shim), FAILING_FSYNC=str(flag))
    assert broken["durable"] == 4  # not one flush has returned meanwhile
    check(path, broken, mended)


@pytest.mark.slow
def test_a_full_file_system_loses_nothing(tmp_path: Path) -> None:
    """When there is room again, everything that was accepted is stored."""
    with small_disk(tmp_path, "1m") as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes(600_000))
        path = disk / "log.db"
        broken, mended = told(path, filler)
        check(path, broken, mended)
