"""What a bad network does to the messages that store something, drawn from a seed."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Sequence

# Cut before a message, within it, or once it was answered, which nobody hears; the answer lost, and
# silence before the cut; late; twice.
Fault = Literal["cut_before", "cut_within", "cut_after", "lose_ack", "delay", "duplicate"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)


class Plan:
    """Draws what happens to each message that stores something; a seed makes it the same again.

    Attributes:
        seed: what it draws from.
        delay: of a message that is late, seconds.
        silence: before the cut where an answer was lost, seconds.
        happened: every fault so far, in order.
        active: while it is false, as it is at first, nothing happens.
    """

    def __init__(
        self,
        seed: int,
        faults: Sequence[Fault] = FAULTS,
        *,
        share: float = 0.05,
        delay: float = 0.2,
        silence: float = 1.0,
    ) -> None:
        self.seed = seed
        self.happened: list[Fault] = []
        self.active = False
        self.delay = delay
        self.silence = silence
        self._faults = faults
        self._share = share
        self._chance = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self._lock = threading.Lock()

    @property
    def complete(self) -> bool:
        """Whether every kind of fault has happened."""
        return set(self.happened) == set(self._faults)

    def draw(self) -> Fault | None:
        """What happens to the next message."""
        with self._lock:
            if not self.active or self._chance.random() >= self._share:
                return None
            fault = self._chance.choice(self._faults)
            self.happened.append(fault)
            return fault

    def part(self, length: int) -> int:
        """How many bytes of a message get through before its connection is cut."""
        with self._lock:
            return self._chance.randrange(1, max(2, length))
