"""Makes a trace as small as it can be while a predicate still holds, and every step legal.

Delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input",
2002) over a table: a run of events is left out whole where the rest goes on without it, and
otherwise down to the fewest of its own events that lead where the rest begins. Nothing is ever
made up. Then the values in the events and the times between them are made simpler. All this goes
on until none of it changes anything, in an order that is always the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.errors import InvalidArgument
from rat_fsm.traces.expressions import Expression
from rat_fsm.traces.simpler import simpler, simpler_events
from rat_fsm.traces.trace import Told, Trace, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rat_fsm.table import EventType, Lifecycle

    Predicate = Callable[[Told], object]
    Event = tuple[int, Any]
    Events = tuple[Event, ...]

LIMIT: Final = 2_000_000


@attrs.frozen
class Shrunk:
    """What shrinking has come to.

    Attributes:
        trace: the smallest that was found.
        tried: how many smaller ones were put to the predicate.
        minimal: whether no event can be left out of it; False where the limit came first.
    """

    trace: Trace
    tried: int
    minimal: bool


def shrink(trace: Trace, predicate: Predicate, *, limit: int = LIMIT) -> Shrunk:
    """The smallest trace found for which the predicate holds.

    Events that the table has no way for are left out before all else. Where the result is
    minimal, no single event can be left out of it such that the rest is legal and the predicate
    holds; the predicate need not be monotone.

    Args:
        trace: what to begin with.
        predicate: whether a stream still shows what matters, given what it comes to.
        limit: how many events may be folded for it in all.

    Raises:
        InvalidArgument: the predicate raises, does not hold at the beginning, or holds only
            with events that the table has no way for.
    """
    told = tell(trace)
    if not _holds(predicate, told):
        why = f": {predicate.answers(told)}" if isinstance(predicate, Expression) else ""
        raise InvalidArgument(f"the predicate does not hold for the stream as recorded{why}")
    legal = tuple(event for event, ok in zip(trace.events, told.legal, strict=True) if ok)
    search = _Search(attrs.evolve(trace, events=legal), predicate, limit)
    if not all(told.legal) and not (legal and _holds(predicate, tell(search.trace))):
        raise InvalidArgument(
            "the predicate holds only with the events that the table has no way for, "
            "and a stream is kept legal while it is shrunk"
        )
    minimal = search.run()
    return Shrunk(search.trace, search.tried, minimal)


def _holds(predicate: Predicate, told: Told) -> bool:
    try:
        return bool(predicate(told))
    except (Exception, SystemExit) as problem:  # whatever the code of others raises
        raise InvalidArgument(
            f"the predicate raised {type(problem).__name__} for a stream of "
            f"{len(told.states)} events: {problem}"
        ) from problem


class _Exhausted(Exception):
    """No more events may be folded."""


class _Search:
    """Looks for smaller traces around the smallest so far."""

    def __init__(self, trace: Trace, predicate: Predicate, limit: int) -> None:
        self.trace = trace
        self.tried = 0
        self._predicate = predicate
        self._left = limit
        self._kinds = {kind.cls: kind for kind in trace.lifecycle.events}

    def run(self) -> bool:
        """Looks on until nothing changes; whether it came to that."""
        try:
            while self._drop() or self._simplify():
                pass
        except _Exhausted:
            return False
        return True

    @property
    def events(self) -> Events:
        """Those of the smallest trace so far."""
        return self.trace.events

    def _adopts(self, events: Events) -> bool:
        """Takes legal events, if any, where the predicate holds for them."""
        if not events:
            return False
        if len(events) > self._left:
            raise _Exhausted
        self._left -= len(events)
        self.tried += 1
        begin = events[0][0]
        candidate = attrs.evolve(self.trace, events=tuple((at - begin, e) for at, e in events))
        if not _holds(self._predicate, tell(candidate)):
            return False
        self.trace = candidate
        return True

    def _drop(self) -> bool:
        """Leaves out ever shorter runs, then pairs, until no single event can be left out.

        Pairs come before single events: to leave out what stands between the two may take away
        the only other way to the rest.
        """
        before, size = len(self.events), len(self.events)
        while size > 1:
            self._drop_runs(size)
            size = min(size, len(self.events)) // 2
        while self._drop_pairs() or self._drop_runs(1):
            pass
        return len(self.events) < before

    def _drop_runs(self, size: int) -> bool:
        """Leaves out what it can of runs of one size, the last first; whether it did."""
        before = len(self.events)
        ways = _Ways(self.trace.lifecycle, self.events)
        for end in range(before, 0, -size):
            events = ways.without(max(end - size, 0), end)
            if len(events) < len(self.events) and self._adopts(events):
                ways = _Ways(self.trace.lifecycle, self.events)
        return len(self.events) < before

    def _drop_pairs(self) -> bool:
        """Leaves out two events of which neither can go alone, such as a retry and its end."""
        ways = _Ways(self.trace.lifecycle, self.events)
        return any(map(self._adopts, ways.without_pairs()))

    def _simplify(self) -> bool:
        """Makes values and the times between events simpler; whether it did."""
        changed = False
        for number, (_, event) in enumerate(self.events):
            changed |= self._improve(self._sooner, number)
            kind = self._kinds[type(event)]
            for place in range(len(kind.fields)):
                changed |= self._improve(self._plainer, number, kind, place)
        return changed

    def _improve(self, candidates: Callable[..., Iterator[Events]], *what: Any) -> bool:
        """Takes the first candidate that will do, and then one of those it has, until none does."""
        changed = False
        while any(map(self._adopts, candidates(*what))):
            changed = True
        return changed

    def _sooner(self, number: int) -> Iterator[Events]:
        """The events with less time before one of them."""
        events = self.events
        gap = events[number][0] - events[max(number - 1, 0)][0]
        for shorter in simpler(gap):
            if shorter is not None:
                late = ((at - gap + shorter, event) for at, event in events[number:])
                yield (*events[:number], *late)

    def _plainer(self, number: int, kind: EventType, place: int) -> Iterator[Events]:
        """The events with a simpler value in one field of one of them."""
        at, event = self.events[number]
        for other in simpler_events(kind, event, place):
            yield (*self.events[:number], (at, other), *self.events[number + 1 :])


class _Ways:
    """What of legal events can be left out such that the rest is legal too."""

    def __init__(self, lifecycle: Lifecycle, events: Events) -> None:
        self._lifecycle = lifecycle
        self._events = events
        self._before = [lifecycle.initial]
        for _, event in events:
            self._before.append(lifecycle.evolve(self._before[-1], event))
        self._goes_on = self._find_goes_on()

    def _find_goes_on(self) -> list[frozenset[str]]:
        """For each event, the states from which it and all that follow are legal."""
        states = frozenset((self._lifecycle.initial, *self._lifecycle.states))
        found = [states]
        for _, event in reversed(self._events):
            nexts = ((state, self._lifecycle.next_state(state, event)) for state in states)
            found.append(frozenset(state for state, after in nexts if after in found[-1]))
        return found[::-1]

    def without(self, begin: int, end: int) -> Events:
        """All but a run of events, of which the fewest stay that are needed to go on."""
        bridge = self._bridge(begin, end)
        return (*self._events[:begin], *bridge, *self._events[end:])

    def _bridge(self, begin: int, end: int) -> Sequence[Event]:
        """The fewest events of a run that lead to a state from which the rest goes on."""
        shortest: dict[str, tuple[Event, ...]] = {self._before[begin]: ()}
        for at, event in self._events[begin:end]:
            for state, path in list(shortest.items()):
                after = self._lifecycle.next_state(state, event)
                known = None if after is None else shortest.get(after)
                if after is not None and (known is None or len(path) + 1 < len(known)):
                    shortest[after] = (*path, (at, event))
        ways = [path for state, path in shortest.items() if state in self._goes_on[end]]
        return min(ways, key=len)

    def without_pairs(self) -> Iterator[Events]:
        """All but two events, where the rest is legal only without both."""
        for first in range(len(self._events)):
            state: str | None = self._before[first]
            for second in range(first + 1, len(self._events)):
                if state in self._goes_on[second]:
                    break  # the first could have gone alone
                if state in self._goes_on[second + 1]:
                    yield tuple(
                        event
                        for number, event in enumerate(self._events)
                        if number not in {first, second}
                    )
                state = self._lifecycle.next_state(str(state), self._events[second][1])
                if state is None:
                    break
