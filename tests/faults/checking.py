"""What must hold of a log after anything that may happen to its writers and its store."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Protocol

from rat_fsm import Position, Recorded, read_events
from rat_fsm.events import ActivityRecorded
from rat_fsm.log.verifying import verify_log
from rat_fsm.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.faults.account import Acknowledged, Ended, Sampled

Records = dict[str, list[tuple[int, Recorded]]]


class Process(Protocol):
    """What a process said of itself."""

    @property
    def name(self) -> str:
        """With which the ids of its connections begin."""

    @property
    def state(self) -> Path:
        """Where its log set aside what nobody stores any more."""

    @property
    def acknowledged(self) -> Sequence[Acknowledged]:
        """What it heard to be durable."""

    @property
    def samples(self) -> Sequence[Sampled]:
        """What its health said."""

    @property
    def ended(self) -> Ended | None:
        """How it closed its log, None where it did not come to that."""


def records_in(events: Iterable[Recorded]) -> Records:
    """The numbered records of every process, in the order of the log."""
    found: Records = defaultdict(list)
    for recorded in events:
        if isinstance(recorded.event, ActivityRecorded):
            name = recorded.stream.id.partition("-")[0]
            found[name].append((recorded.event.bytes_sent, recorded))
    return found


def set_aside(process: Process) -> list[Recorded]:
    """What a process set aside, each file being a log."""
    return [r for path in sorted(process.state.rglob("*.aside.db")) for r in read_events(path)]


def check_log(url: str, processes: Iterable[Process]) -> None:
    """Chains verify, positions have no gaps, and every record is there once and in order."""
    with contextlib.closing(open_store(url)) as store:
        assert verify_log(store).problems == ()
    events = list(read_events(url))
    records = records_in(events)
    for process in processes:
        aside = [number for number, _ in records_in(set_aside(process))[process.name]]
        check_records(process, records[process.name], aside)
        check_claims(process, events)


def check_records(
    process: Process, records: list[tuple[int, Recorded]], aside: Sequence[int] = ()
) -> None:
    """What was acknowledged is there, where it was said to be; nothing comes twice or is dropped.

    Args:
        process: who recorded.
        records: its records in the log.
        aside: the numbers of those that it set aside, of which none was acknowledged.
    """
    numbers = [number for number, _ in records]
    last = max((*numbers, *aside), default=0)
    due = sorted({*range(1, last + 1)} - {*aside})
    assert not {*numbers} & {*aside}, f"{process.name} set aside what is stored"
    assert numbers == due, f"{process.name} lost or repeated records: {_differing(numbers, due)}"
    places = {number: recorded.position for number, recorded in records if recorded.position}
    for told in process.acknowledged:
        assert told.number <= last, f"{process.name} lost record {told.number}"
        place = places.get(told.number)
        assert place is None or place <= Position(told.frame, told.offset)
        if aside and told.number >= aside[0] > 1:  # it was asked once they were set aside
            assert Position(told.frame, told.offset) > places[aside[0] - 1]
    if process.ended is not None and process.ended.error is None:
        assert last == process.ended.number


def _differing(numbers: list[int], due: list[int]) -> list[int]:
    """Some of the numbers that are missing, or come more than once."""
    surplus = Counter(numbers) - Counter(due)
    return sorted(Counter(due) - Counter(numbers) | surplus)[:9]


def check_claims(process: Process, events: list[Recorded]) -> None:
    """No sample called durable what is not in the log: `pending` never understated."""
    durable: dict[str, int] = defaultdict(int)
    for recorded in events:
        durable[recorded.writer] = recorded.seq
    for sample in process.samples:
        assert sample.claimed <= durable[sample.writer], f"{process.name}: {sample}"
        assert sample.ready == (sample.status == "ok"), f"{process.name}: {sample}"
