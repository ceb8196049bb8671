"""Several processes record into one file; one is killed, one is stopped for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.runs import fault_run

if TYPE_CHECKING:
    from pathlib import Path


def test_writers_of_one_file_are_killed_and_stopped(tmp_path: Path) -> None:
    """What each acknowledged is there once, in order, where it was said to be.

    One that is stopped amid a transaction holds the file's lock: the others can only wait.
    """
    with fault_run(f"sqlite:{tmp_path / 'log.db'}", tmp_path, 3) as run:
        run.acknowledge(100)
        run.writers[0].kill()
        run.writers[1].stop()
        run.writers[2].wait_for_records(100)
        run.writers[1].go_on()
        run.acknowledge(100)
