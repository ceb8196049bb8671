"""Walks that take every edge of a lifecycle, so that a system under test can be led along them.

Drawn at random, walks miss edges: whatever leads into a final state swallows them. These are
computed: the fewest steps that take every edge (the directed Chinese postman problem; Edmonds and
Johnson, 1973), each walk a whole life from before the first event into a final state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.errors import InvalidArgument, InvalidArgumentType, MissingExtra
from rat_fsm.table import Lifecycle
from rat_fsm.testing.postman import ways

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest


@attrs.frozen
class Step:
    """One edge of a table on the way: an event of class ``cls`` leads from source to dest."""

    cls: type
    tag: str
    source: str
    dest: str

    def __str__(self) -> str:
        """Such as ``open -order.done-> done``."""
        return f"{self.source} -{self.tag}-> {self.dest}"


@attrs.frozen
class Walk:
    """A life of a stream, step by step, from before its first event into a final state.

    Iterate over it to lead a system along it yourself, or let `drive` do that. Its text, which
    names the states it passes, is what pytest calls a test of it.

    Attributes:
        lifecycle: the name of the lifecycle.
        number: which of the tour's walks it is, counted from 1.
    """

    lifecycle: str
    number: int
    steps: tuple[Step, ...]

    def __iter__(self) -> Iterator[Step]:
        """Its steps."""
        return iter(self.steps)

    def __len__(self) -> int:
        """How many steps it has."""
        return len(self.steps)

    def __str__(self) -> str:
        """Such as ``order-1-open-done``."""
        passed = [step.dest for step in self.steps if step.source != step.dest]
        return "-".join((self.lifecycle, str(self.number), *passed))

    def events(self, *samples: Any) -> list[Any]:
        """The walk as events, to append to a log or to fold.

        Args:
            samples: an event of each class on the way; one that can be made without arguments
                needs none.

        Raises:
            InvalidArgument: a class needs arguments, and there is no sample of it.
        """
        known = {type(sample): sample for sample in samples}
        return [known[step.cls] if step.cls in known else _made(step.cls) for step in self.steps]

    def drive(self, take: Callable[[Step], object], state: Callable[[], str]) -> None:
        """Leads a system along the walk, and compares where it stands with the table.

        Args:
            take: makes the system do what the step says, such as calling a method of it.
            state: answers with the state that the system is in.

        Raises:
            AssertionError: the system is in another state than the table says.
            Exception: what ``take`` or ``state`` raised, with a note of where that was.
        """
        for number, step in enumerate(self.steps, 1):
            where = f"step {number} of {len(self)} of {self}: {step}"
            try:
                take(step)
                found = state()
            except Exception as problem:
                problem.add_note(where)
                raise
            if found != step.dest:
                raise AssertionError(f"the system is in {found!r} after {where}")


def _made(cls: type) -> Any:
    needed = [field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING]
    if needed:
        raise InvalidArgument(
            f"a tour wants a sample of {cls.__qualname__}, which needs {', '.join(needed)}"
        )
    return cls()


def edge_tour(lifecycle: Lifecycle) -> tuple[Walk, ...]:
    """Walks that together take every edge of a lifecycle, the same ones every time.

    No other whole lives take every edge in fewer steps. There are at least as many walks as ways
    into final states and as ways to begin. A walk knows nothing but the table: where your system
    refuses by rules of its own what the table allows, such as a fourth retry, it will refuse here.

    ::

        for walk in edge_tour(ORDER):
            for step in walk:
                print(step)

    Raises:
        InvalidArgumentType: it is no lifecycle.
    """
    if not isinstance(lifecycle, Lifecycle):
        raise InvalidArgumentType(f"a tour is of a Lifecycle, not of {lifecycle!r}")
    steps = [
        Step(kind.cls, kind.tag, source, dest)
        for kind in lifecycle.events
        for source, dest in kind.moves.items()
    ]
    steps.sort(key=lambda step: step.source != step.dest)  # what changes nothing comes first
    final = lifecycle.final or lifecycle.states  # an observed one may end anywhere
    ends = [state for state in lifecycle.states if state in final]
    found = ways([(step.source, step.dest) for step in steps], lifecycle.initial, ends)
    lives = sorted(([steps[number] for number in way] for way in found), key=len)
    return tuple(Walk(lifecycle.name, n, tuple(life)) for n, life in enumerate(lives, 1))


def tour(lifecycle: Lifecycle, argument: str = "walk") -> pytest.MarkDecorator:
    """Runs a test once for each walk of the `edge_tour`; the test takes it as ``walk``.

    ::

        @tour(ORDER)
        def test_the_shop_follows_the_table(walk):
            shop = Shop()
            walk.drive(lambda step: shop.handle(step.cls), lambda: shop.state)

    Args:
        lifecycle: whose edges to take.
        argument: the name of the test's argument.

    Raises:
        InvalidArgumentType: it is no lifecycle.
        MissingExtra: pytest is not installed.
    """
    try:
        import pytest
    except ImportError as problem:
        raise MissingExtra("a tour as a parametrised test", "testing") from problem
    return pytest.mark.parametrize(argument, edge_tour(lifecycle), ids=str)
