"""What JetStream refuses, told apart by its codes: what passes, what is lost, what is full."""

from __future__ import annotations

from typing import Any, Final

NOT_FOUND: Final = 10059
NO_MESSAGE: Final = 10037
IN_USE: Final = 10058
NO_PEERS: Final = 10005
NO_STORAGE: Final = 10047
# Of the stream, its account, the server; the first is said where the disk is full, too.
FULL: Final = frozenset({10077, 10002, 10023, NO_STORAGE})
# The last message of the subject is another one; in a cluster also: one is on its way.
LOST_RACE: Final = frozenset({10071, 10164})
# Of a cluster that has just started or elects a leader, or of a stream that has too much to do:
# incomplete, not assigned, not available, not leader, not ready, too many requests.
PASSING: Final = frozenset({10004, 10007, 10008, 10009, 10163, 10167})


class Refusal(OSError):
    """JetStream answered with an error.

    Attributes:
        code: of the kind of error, unique in JetStream.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"JetStream refused: {error.get('description', 'no reason given')}")
        self.code = int(error.get("err_code", 0))

    @property
    def passes(self) -> bool:
        """Whether nothing is wrong with the question: it may be asked again in a moment."""
        return self.code in PASSING

    @property
    def undecided(self) -> bool:
        """Whether a message may be stored yet: what is last has to be asked for."""
        return self.passes or self.code in LOST_RACE
