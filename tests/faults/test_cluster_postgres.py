"""What only PostgreSQL may meet: a disk that is full."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.faults.disks import fill, small_disk
from tests.faults.runs import fault_run
from tests.servers.fixtures import fresh
from tests.servers.postgres import NOBODY, PostgresServer, unprivileged

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_full_disk_is_named_and_made_up_for(
    mortal_postgres: PostgresServer, tmp_path: Path
) -> None:
    """Once there is room again."""
    with small_disk(tmp_path, "8m") as disk:
        if unprivileged()[1]:  # it runs as nobody
            shutil.chown(disk, NOBODY, NOBODY)
        mortal_postgres.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        small = "&options=-c%20default_tablespace%3Dsmall"
        with fault_run(fresh(mortal_postgres.url) + small, tmp_path, 2) as run:
            filler = fill(disk)
            run.wait_for_status("failing")
            run.record(100)
            for writer in run.writers:
                assert "No space left on device" in str(writer.samples[-1].error)
            filler.unlink()
            run.wait_for_status("ok")
            run.acknowledge(100)
        mortal_postgres.stop()
