"""Recorded events of several writers, legal and illegal, without a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.testing import recording
from tests.frames import LIFECYCLES
from tests.orders import ORDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rat_fsm.events import Recorded
    from rat_fsm.table import Lifecycle

T = TypeVar("T")
# Few values, quickly drawn: what matters to a fold is the order of events.
_number = st.integers(0, 3) | st.just(2**53 - 1)
_words = st.sampled_from(["", "a", "b", "überall"])
_object = st.sampled_from([{}, {"max_connections": 7}, {"a": {"b": [1, None]}}])
_VALUES: Final = {
    "str": _words,
    "int": _number,
    "bool": st.booleans(),
    "float": st.sampled_from([0.0, 0.5, 1e-7, 1e300]),
    "float | None": st.sampled_from([None, 0.25]),
    "int | None": st.sampled_from([None, 1006]),
    "Any": _words,
    "dict[str, Any]": _object,
    "dict[str, str]": st.just({"python": "3"}),
    "list[dict[str, Any]]": st.lists(_object, max_size=2),
}
WRITERS: Final = ("w0", "w1")
IDS: Final = ("a", "b", "c")
TURNS: Final = (CONNECTION, CONNECTION, NODE, ORDER)
MAX_SIZE: Final = 30


def some(strategy: st.SearchStrategy[T], condition: Callable[[T], Any] = lambda _: True) -> T:
    """The first example drawn for which a condition holds."""
    how = settings(max_examples=1_000, database=None, phases=[Phase.generate])
    return find(strategy, condition, settings=how)


def few(cls: type) -> st.SearchStrategy[Any]:
    """Events of a class with one of a few values in each field."""
    return st.builds(cls, **{field.name: _VALUES[field.type] for field in attrs.fields(cls)})


class Recorder(recording.Recorder):
    """One that knows orders, too."""

    def __init__(self, lifecycles: Iterable[Lifecycle] = LIFECYCLES) -> None:
        super().__init__(lifecycles)


def histories(
    *, writers: Sequence[str] = WRITERS, least: int = 0
) -> st.SearchStrategy[list[Recorded]]:
    """What writers recorded: mostly legal events, some illegal, some unknown."""
    return recording.histories(
        TURNS,
        legal=None,
        min_size=least,
        max_size=MAX_SIZE,
        ids=IDS,
        writers=writers,
        events=few,
    )
