"""Knows a log again, after another server has taken the place of the one that had it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from rat_fsm.errors import DamagedFrame, StoreUnreadable

if TYPE_CHECKING:
    from rat_fsm.stores.port import StoredFrame

KEPT: Final = 256


def is_gone(position: int, known: bytes, last: int, found: bytes | None) -> bool:
    """Whether a frame that was stored is there no more; one that was pruned counts as there.

    Args:
        position: where it was.
        known: its hash.
        last: where the log ends.
        found: the hash of the frame at that position, None where there is none.
    """
    return last < position or found not in {None, known}


class Witness:
    """Remembers the frames at which the readers of a URL stopped to wait for more."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._hashes: dict[int, bytes] = {}
        self._lock = threading.Lock()

    def saw(self, stored: StoredFrame) -> None:
        """A reader has come as far as this."""
        with self._lock:
            self._hashes.pop(stored.position, None)
            self._hashes[stored.position] = stored.frame.hash
            if len(self._hashes) > KEPT:
                del self._hashes[next(iter(self._hashes))]

    def check(self, position: int, last: int, found: bytes | None) -> None:
        """Holds the log against what was read of it up to a position, if anything was.

        Args:
            position: where a reader waits.
            last: where the log ends.
            found: the hash of the frame at that position, None where there is none.

        Raises:
            StoreUnreadable: the log ends before; a standby that is behind may make up for it.
            DamagedFrame: another frame stands there.
        """
        with self._lock:
            known = self._hashes.get(position)
        if known is None or not is_gone(position, known, last, found):
            return
        if last < position:
            raise StoreUnreadable(
                f"{self._url} ends at frame {last}, and was read up to {position} before: the "
                "server lacks the rest, as a standby does that is behind or was when it took over"
            )
        raise DamagedFrame(
            "it is not the one that was read before; the log had lost that when it went on",
            position=position,
        )
