"""A list of models behaves as a list, and knows its models by identity."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from rat_fsm.integrations.transitions.models import Models


class Plain:
    """Equal to itself only."""


@attrs.define
class Equal:
    """Equal to whatever has its number."""

    number: int


THINGS: list[Any] = [Plain(), Plain(), Plain(), Equal(1), Equal(1), Equal(2)]
PLACES = st.integers(0, len(THINGS) - 1)
CALLS = st.tuples(
    st.sampled_from(
        ["append", "extend", "insert", "remove", "pop", "clear", "setitem", "delitem", "reverse"]
    ),
    PLACES,
)


def _apply(models: list[Any], call: str, thing: Any) -> object:
    """Does something to a list; what it answers, or the class of its error."""
    calls: dict[str, Any] = {
        "append": lambda: models.append(thing),
        "extend": lambda: models.extend([thing, THINGS[0]]),
        "insert": lambda: models.insert(0, thing),
        "remove": lambda: models.remove(thing),
        "pop": models.pop,
        "clear": models.clear,
        "setitem": lambda: models.__setitem__(0, thing),
        "delitem": lambda: models.__delitem__(0),
        "reverse": models.reverse,
    }
    try:
        return calls[call]()
    except (ValueError, IndexError) as problem:
        return type(problem)


@given(st.lists(CALLS))
@example([("append", 0), ("append", 1), ("setitem", 2)])
@example([("append", 0), ("delitem", 0), ("insert", 1)])
@example([("append", 0), ("clear", 0), ("insert", 1)])
def test_it_is_a_list(calls: list[tuple[str, int]]) -> None:
    """Whatever is done to it, it holds what a list would, and says so."""
    models, plain = Models(), list[Any]()
    for call, place in calls:
        assert _apply(models, call, THINGS[place]) == _apply(plain, call, THINGS[place])
        assert list(map(id, models)) == list(map(id, plain))
        assert [thing in models for thing in THINGS] == [thing in plain for thing in THINGS]


def test_identities_are_not_pickled() -> None:
    """They are another process's."""
    models = Models(THINGS)
    again = pickle.loads(pickle.dumps(models))  # noqa: S301 - our own bytes
    assert [thing in again for thing in THINGS] == [False] * 3 + [True] * 3
    assert all(thing in again for thing in list(again))


def test_asking_does_not_look_through_all() -> None:
    """A model that compares by identity is found, or not, without a comparison."""
    compared: list[object] = []

    class Told(list[Any]):
        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return self is other

        __hash__ = None

    models = Models([Plain() for _ in range(100)])
    assert Plain() not in models
    assert models[50] in models
    assert Told() not in models
    assert len(compared) == 100
