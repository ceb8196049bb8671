"""How far the shutdown of a node has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from rat_fsm.events import CallbackFailed, ConnectionRefused, DrainStarted, Started
from rat_fsm.table import fingerprint_of

if TYPE_CHECKING:
    from rat_fsm.projections.connections import Folds
    from rat_fsm.projections.record import NodeRecord
    from rat_fsm.projections.stats import Totals

DRAINING: Final = frozenset({"draining", "forcing", "stopped"})


@attrs.frozen
class Drain:
    """The progress of a shutdown.

    Attributes:
        phase: none (nothing has run yet), starting, serving, draining, forcing or stopped.
        started_at: when it began, microseconds since the epoch, None before it.
        deadline: how many seconds it may take, None before it began.
        total: how many connections were open when it began.
        remaining: how many connections are open now.
        stalled: how many of these have clients that take nothing.
        requested_by: what set it off, empty where unknown.
    """

    phase: str
    started_at: int | None
    deadline: float | None
    total: int
    remaining: int
    stalled: int = 0
    requested_by: str = ""

    @property
    def closed(self) -> int:
        """How many of the connections that were open have ended."""
        return max(0, self.total - self.remaining)

    @property
    def draining(self) -> bool:
        """Whether new connections are turned away."""
        return self.phase in DRAINING


def drain_of(node: NodeRecord | None, remaining: int, stalled: int) -> Drain:
    """The progress of a run's shutdown with this many connections remaining."""
    if node is None:
        return Drain("none", None, None, 0, remaining, stalled)
    if not node.drain_started:
        return Drain(node.state, None, None, 0, remaining, stalled)
    return Drain(
        node.state,
        node.drain_started,
        node.drain_deadline,
        node.drain_open,
        remaining,
        stalled,
        node.drain_requested_by,
    )


def _started(totals: Totals, record: NodeRecord, _at: int, event: Started) -> None:
    recorded = {fingerprint_of(definition): definition for definition in event.lifecycles}
    definitions = totals.definitions | recorded
    totals.definitions = definitions
    record.limits = event.limits


def _refused(totals: Totals, _record: NodeRecord, _at: int, event: ConnectionRefused) -> None:
    count = totals.refused.get(event.cause, 0)
    totals.refused[event.cause] = count + event.count


def _callback_failed(totals: Totals, _record: NodeRecord, _at: int, _event: CallbackFailed) -> None:
    totals.callback_failures += 1


def _drain_started(_totals: Totals, record: NodeRecord, at: int, event: DrainStarted) -> None:
    record.drain_started = at
    record.drain_deadline = event.deadline
    record.drain_open = event.open
    record.drain_requested_by = event.requested_by


NODE_FOLDS: Folds = {
    Started: _started,
    ConnectionRefused: _refused,
    CallbackFailed: _callback_failed,
    DrainStarted: _drain_started,
}
