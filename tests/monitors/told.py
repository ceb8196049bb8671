"""Short histories, and monitors to judge them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.histories import Recorder

if TYPE_CHECKING:
    from rat_fsm.events import Recorded
    from rat_fsm.monitors import Step, Verdict

SECOND = 1_000_000
START = 1_790_000_000_000_000  # 2026-09-21 14:13:20 UTC


def told(*steps: tuple[float, str, Any], recorder: Recorder | None = None) -> list[Recorded]:
    """What happened: after how many seconds, to which stream (``order/o1``, ``w1:order/o1``)."""
    recorder = recorder or Recorder()
    recorded = []
    for seconds, where, event in steps:
        writer, _, stream = where.rpartition(":")
        lifecycle, _, stream_id = stream.partition("/")
        at = START + round(seconds * SECOND)
        recorded.append(recorder.record(lifecycle, stream_id, event, at=at, writer=writer or "w0"))
    return recorded


class Seen:
    """A predicate that everything satisfies, and what it was asked about.

    Attributes:
        steps: that.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __call__(self, step: Step) -> bool:
        """Keeps it."""
        self.steps.append(step)
        return True


def found(verdict: Verdict) -> list[tuple[str, str, int, int | None, float]]:
    """Of each violation: how, of which stream, since and by which number, after how long."""
    return [
        (
            one.cause.value,
            one.since.stream.id,
            one.since.seq,
            None if one.by is None else one.by.seq,
            (one.micros - START) / SECOND,
        )
        for one in verdict.violations
    ]


def still_open(verdict: Verdict) -> list[tuple[str, int, float | None]]:
    """Of each obligation: which stream, since which number, until when."""
    return [
        (
            one.since.stream.id,
            one.since.seq,
            None if one.deadline is None else (one.deadline - START) / SECOND,
        )
        for one in verdict.open
    ]
