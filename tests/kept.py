"""A projection that keeps every event, to see what is folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from rat_fsm.events import Recorded


@attrs.define
class Kept:
    """Keeps everything."""

    events: list[Recorded] = attrs.field(factory=list)

    def fold(self, recorded: Recorded) -> None:
        """Keeps it."""
        self.events.append(recorded)
