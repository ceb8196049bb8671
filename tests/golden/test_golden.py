"""Logs of released versions: what was found in them once is found for ever."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store
from tests.golden.make import record, told

LOGS = sorted(Path(__file__).parent.glob("*.sqlite"))


@pytest.mark.parametrize("path", LOGS, ids=[path.stem for path in LOGS])
def test_a_released_log_says_what_it_said(path: Path) -> None:
    """It verifies, and its events and statistics are those of its release."""
    with contextlib.closing(open_store(path)) as store:
        assert verify_log(store).problems == ()
    expected: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    found = told(path)
    for event, before in zip(found["events"], expected["events"], strict=True):
        known = {name: event["data"][name] for name in before["data"]}  # fields may be added
        assert {**event, "data": known} == before
    # Later versions may count more, and must not count otherwise.
    assert {name: found["stats"][name] for name in expected["stats"]} == expected["stats"]


def test_there_is_a_golden_log_that_holds_every_event(tmp_path: Path) -> None:
    """What today's program records is of the kinds that the newest golden log holds."""
    record(tmp_path / "today.sqlite")
    golden, today = (
        {event["type"] for event in told(path)["events"]}
        for path in (LOGS[-1], tmp_path / "today.sqlite")
    )
    assert golden == today
    assert len(golden) >= 16
