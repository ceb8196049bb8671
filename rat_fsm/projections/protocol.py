"""What a user's own projection is, for whoever reads a log or follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rat_fsm.events import Recorded


class Projection(Protocol):
    """Whatever takes events one after the other and has something to say in the end."""

    def fold(self, recorded: Recorded) -> object:
        """Takes the next event of the log; what it answers is left alone."""


class SnapshotProjection(Projection, Protocol):
    """A projection that can be put away and taken up again, so that not all is folded each time.

    Attributes:
        name: what it is kept under; no other projection of the log has it.
        version: of its code. Raise it whenever the same events would fold to something else: what
            another version has saved is not used.
    """

    name: str
    version: int

    def dump(self) -> Any:
        """Everything it knows, as plain JSON values."""

    def load(self, data: Any) -> None:
        """Takes over what `dump` of the same version gave."""
