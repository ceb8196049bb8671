"""What checks the fault runs notices what it is there for."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
import pytest

from rat_fsm import EventLog
from rat_fsm.events import Activated, ActivityRecorded, Registered
from tests.faults.account import Acknowledged, Ended, Sampled
from tests.faults.checking import check_log
from tests.logs import begin

if TYPE_CHECKING:
    from pathlib import Path

HEALTHY: Final = Sampled(3, 6, "ok", ready=True, error=None, spilled=0, set_aside=0, writer="w0")
CLOSED: Final = Ended(3, None)


@attrs.frozen
class Told:
    """A process that recorded 1, 2, 3, was told that 3 were durable, and closed its log."""

    state: Path
    name: str = "p0"
    acknowledged: tuple[Acknowledged, ...] = (Acknowledged(3, 2, 4, "w0"),)
    samples: tuple[Sampled, ...] = (HEALTHY,)
    ended: Ended | None = CLOSED


def log_of(folder: Path, *numbers: int) -> str:
    """A log with the records of such a process, all in its second frame."""
    url = f"sqlite:{folder / 'log.db'}"
    with EventLog.open(url) as log:
        begin(log)
        records = [ActivityRecorded(number, 1) for number in numbers]
        log.append(("connection", "p0-1"), Registered("10.0.0.1"), Activated(), *records)
    return url


def test_a_sound_log_passes(tmp_path: Path) -> None:
    """Everything is as the process was told."""
    check_log(log_of(tmp_path, 1, 2, 3), [Told(tmp_path)])


@pytest.mark.parametrize("numbers", [(1, 2), (1, 3), (1, 2, 2, 3), (1, 3, 2), (2, 3, 4), ()])
def test_a_record_that_is_missing_or_not_in_its_place_is_noticed(
    tmp_path: Path, numbers: tuple[int, ...]
) -> None:
    """At the end, in the middle, twice, out of order."""
    with pytest.raises(AssertionError, match="p0 lost"):
        check_log(log_of(tmp_path, *numbers), [Told(tmp_path)])


@pytest.mark.parametrize(
    "told",
    [
        {"acknowledged": (Acknowledged(3, 2, 3, "w0"),)},
        {"acknowledged": (Acknowledged(4, 2, 4, "w0"),)},
        {"samples": (msgspec.structs.replace(HEALTHY, claimed=99),)},
        {"samples": (msgspec.structs.replace(HEALTHY, ready=False),)},
        {"ended": Ended(4, None)},
    ],
)
def test_a_process_that_was_told_what_is_not_so_is_noticed(
    tmp_path: Path, told: dict[str, Any]
) -> None:
    """An earlier place, more records or durable events than there are, a health at odds."""
    with pytest.raises(AssertionError):
        check_log(log_of(tmp_path, 1, 2, 3), [Told(tmp_path, **told)])


def test_a_damaged_log_is_noticed(tmp_path: Path) -> None:
    """Whatever the processes say."""
    url = log_of(tmp_path, 1, 2, 3)
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("UPDATE frames SET body = replace(body, 'p0-1', 'p0-2')")
    connection.close()
    with pytest.raises(AssertionError):
        check_log(url, [Told(tmp_path)])


def test_a_record_that_was_set_aside_and_is_stored_is_noticed(tmp_path: Path) -> None:
    """It would come twice to whoever puts both together."""
    url = log_of(tmp_path, 1, 2, 3)
    shutil.copy(tmp_path / "log.db", tmp_path / "w0.aside.db")
    with pytest.raises(AssertionError, match="set aside what is stored"):
        check_log(url, [Told(tmp_path)])
