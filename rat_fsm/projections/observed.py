"""Where a model stands whose state is payload, which the next `Observed` of it must continue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rat_fsm.events import Observed

if TYPE_CHECKING:
    from rat_fsm.projections.connections import Folds
    from rat_fsm.projections.record import ObservedRecord
    from rat_fsm.projections.stats import Totals


def continues(record: Any, event: Observed) -> bool:
    """Whether an event begins where its stream's last one ended."""
    return bool(event.source == record.dest)


def _observed(_totals: Totals, record: ObservedRecord, _at: int, event: Observed) -> None:
    record.dest = event.dest


OBSERVED_FOLDS: Folds = {Observed: _observed}
