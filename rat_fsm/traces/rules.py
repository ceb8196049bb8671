"""Names each edge of a table as a call, alike for state machine tests and for written traces."""

from __future__ import annotations

import unicodedata
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.table import Lifecycle

ILLEGAL: Final = "illegal_event"
INVARIANT: Final = "agrees_with_its_log"


def machine_name(lifecycle: Lifecycle) -> str:
    """What the state machine test of a lifecycle is called: ``order`` → ``OrderMachine``."""
    return "".join(part.capitalize() for part in lifecycle.name.split("_")) + "Machine"


def rule_names(lifecycle: Lifecycle) -> Mapping[tuple[str, str], str]:
    """What each edge is called, (tag, source) → such as ``activated_from_connecting``.

    No two are alike, whatever the states are called.
    """
    names: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    for tag, source, _ in lifecycle.rows():
        name = _identifier(f"{tag.rpartition('.')[2]}_from_{source}")
        numbered = (name if number == 1 else f"{name}_{number}" for number in count(1))
        names[tag, source] = next(free for free in numbered if free not in taken)
        taken.add(names[tag, source])
    return names


def _identifier(name: str) -> str:
    """The name with an underscore for what no identifier has, composed as Python reads it."""
    characters = unicodedata.normalize("NFKC", name)
    return "".join(c if f"_{c}".isidentifier() else "_" for c in characters)
