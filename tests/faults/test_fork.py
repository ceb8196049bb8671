"""A fork of a process whose log is busy: both processes write the same file from then on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rat_fsm import read_events
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(300)

# The parent closes its log while the child goes on; the child is then as good as killed. A child
# that shared SQLite's idea of who holds which lock would lose what it commits after that.
PROGRAM = """
import json, os, sys, threading, warnings
from rat_fsm.events import Activated, ActivityRecorded, Registered
from rat_fsm.log import EventLog

warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads forks
path = sys.argv[1]
log = EventLog.open(path)
log.append(("connection", "p"), Registered("192.0.2.1"), Activated())
log.flush()
stop, busy = threading.Event(), threading.Event()

def write():
    while not stop.is_set():
        log.append(("connection", "p"), ActivityRecorded(1, 1))
        log.flush()
        busy.set()

def read():
    while not stop.is_set():
        for _ in log.read():
            pass

threads = [threading.Thread(target=work) for work in (write, read)]
for thread in threads:
    thread.start()
busy.wait(20)
ready, closed = os.pipe(), os.pipe()
child = os.fork()
others = (ready[0], closed[1]) if child == 0 else (ready[1], closed[0])
for descriptor in others:  # so that neither waits for the other when it has died
    os.close(descriptor)
if child == 0:
    own = EventLog.open(path)
    own.append(("connection", "c"), Registered("192.0.2.2"), Activated())
    own.flush()
    os.write(ready[1], b"1")
    os.read(closed[0], 1)
    for _ in range(3):
        seq = own.append(("connection", "c"), ActivityRecorded(1, 1))
        own.flush()
    print(json.dumps({"child": [own.writer, seq]}), flush=True)
    os._exit(0)
os.read(ready[0], 1)
stop.set()
for thread in threads:
    thread.join(20)
last = log.append(("connection", "p"), ActivityRecorded(1, 1))
log.close()
os.write(closed[1], b"1")
os.waitpid(child, 0)
print(json.dumps({"parent": [log.writer, last + 1]}), flush=True)
"""


@pytest.mark.parametrize("_time", range(3))
def test_neither_process_loses_what_it_flushed(tmp_path: Path, _time: int) -> None:
    """Whoever closes first, and whatever the parent's threads were doing at the fork."""
    path = tmp_path / "log.db"
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        cwd=PROJECT,
        check=False,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert result.returncode == 0, result.stderr
    told = [
        tuple(pair) for line in result.stdout.splitlines() for pair in json.loads(line).values()
    ]
    last: dict[str, int] = {}
    for recorded in read_events(path):
        assert recorded.seq == last.get(recorded.writer, 0) + 1
        last[recorded.writer] = recorded.seq
    assert last == dict(told)
    store = open_store(path)
    assert verify_log(store).problems == ()
    store.close()
