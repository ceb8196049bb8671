"""Follows the chains of every writer through frames that come in the order of their log.

Whatever leaves a log as frames, or is put into one, passes here first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rat_fsm.errors import DamagedFrame
from rat_fsm.log.verifying import Chain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.stores.port import Frame, StoredFrame


class Chains:
    """Checks that each frame is sound, continues its writer's chain, and comes next.

    Args:
        after: the position of the frame before the first.
        heads: the last frame of every writer up to there. Where nobody knows them, the first
            frame of each writer is believed about the one before it; from the beginning of a
            log on there is nothing to believe.

    Attributes:
        last: the position of the last frame.
    """

    def __init__(self, after: int = 0, heads: Mapping[str, StoredFrame] | None = None) -> None:
        self.last = after
        self._believing = heads is None and after > 0
        self._chains = {writer: _chain_after(head.frame) for writer, head in (heads or {}).items()}

    @property
    def writers(self) -> list[str]:
        """Everybody whose frames are known, sorted."""
        return sorted(self._chains)

    def extend(self, stored: StoredFrame) -> None:
        """Takes the next frame.

        Raises:
            DamagedFrame, UnsupportedFormat: it is not what comes next; nothing has changed then.
        """
        if stored.position != self.last + 1:
            raise DamagedFrame(
                f"it follows frame {self.last}, and what was between them is missing",
                position=stored.position,
            )
        chain = self._chains.get(stored.frame.writer) or self._beginning(stored.frame)
        chain.extend(stored)
        self._chains[stored.frame.writer] = chain
        self.last = stored.position

    def _beginning(self, frame: Frame) -> Chain:
        return Chain(frame.prev, frame.first) if self._believing else Chain()


def _chain_after(frame: Frame) -> Chain:
    return Chain(frame.hash, frame.first + frame.count, frame.last_at)
