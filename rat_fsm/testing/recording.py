"""Histories of any lifecycles, legal or not, in their envelopes: what folds are tested with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from hypothesis import reject
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import Recorded, Stream, UnknownEvent
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.table import Lifecycle
from rat_fsm.testing import strategies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rat_fsm.table import EventType

    Events = Callable[[type], st.SearchStrategy[Any]]

START: Final = 1_800_000_000_000_000
MAX_SIZE: Final = 20
_LATER: Final = 10**7
_UNKNOWN: Final = UnknownEvent("", 7, {}, "unknown tag")


@attrs.define
class _Life:
    """One life of a stream, as far as its envelopes need it."""

    state: str
    born: int
    version: int = 0


class Recorder:
    """Gives events their envelopes, as the log of each writer would, and refuses none.

    What comes before a stream has begun is a stream of its own: it was born there, and nothing
    came of it.

    ::

        from rat_fsm import replay
        from rat_fsm.events import Registered
        from rat_fsm.testing import Recorder

        recorder = Recorder()
        history = [recorder.record("connection", "a", Registered("10.0.0.1"))]
        assert replay(history).open_connections == 1

    Attributes:
        lifecycles: name → lifecycle.
    """

    def __init__(self, lifecycles: Iterable[Lifecycle] = (CONNECTION, NODE)) -> None:
        self.lifecycles = {lifecycle.name: lifecycle for lifecycle in lifecycles}
        self._seqs: dict[str, int] = {}
        self._lives: dict[tuple[str, str, str], _Life] = {}

    def state(self, lifecycle: str, stream_id: str, writer: str = "w0") -> str:
        """Where a stream stands."""
        life = self._lives.get((writer, lifecycle, stream_id))
        return self.lifecycles[lifecycle].initial if life is None else life.state

    def record(
        self, lifecycle: str, stream_id: str, event: Any, *, at: int = START, writer: str = "w0"
    ) -> Recorded:
        """The next event of a writer, at a time in microseconds."""
        machine = self.lifecycles[lifecycle]
        seq = self._seqs[writer] = self._seqs.get(writer, 0) + 1
        key = (writer, lifecycle, stream_id)
        life = self._lives.get(key) or _Life(machine.initial, seq)
        life.version += 1
        state = machine.next_state(life.state, event)
        if state is not None:
            life.state = state
            self._lives[key] = life
            if state in machine.final and machine.reusable_ids:
                del self._lives[key]
        tag = event.tag if isinstance(event, UnknownEvent) else machine.tag_of(event)
        stream = Stream(lifecycle, stream_id, f"{writer}:{life.born}")
        return Recorded(None, at, stream, life.version, writer, seq, tag, event)


def histories(
    lifecycles: Lifecycle | Sequence[Lifecycle],
    *,
    legal: bool | None = True,
    min_size: int = 0,
    max_size: int = MAX_SIZE,
    ids: Sequence[str] = ("a",),
    writers: Sequence[str] = ("w0",),
    events: Events = strategies.events,
) -> st.SearchStrategy[list[Recorded]]:
    """Histories of a lifecycle's streams: lists of recorded events in the order of a log.

    ::

        from hypothesis import given
        from rat_fsm import CONNECTION, replay
        from rat_fsm.testing import histories

        @given(histories(CONNECTION, ids="abc"))
        def test_no_more_are_open_than_were_registered(history):
            stats = replay(history).stats.as_dict()
            assert stats["active_connections"] <= stats["total_connections"]

    Args:
        lifecycles: one, or several whose streams take turns; one given twice comes more often.
        legal: whether every event is legal; False has at least one that is not, None is anything,
            with events among it that no lifecycle knows.
        min_size: the fewest events; a legal history whose streams have all ended has fewer.
        max_size: the most events.
        ids: of the streams of each lifecycle and writer.
        writers: who records, by turns.
        events: called with an event class; answers with a strategy for its events.

    Raises:
        InvalidArgument: no sizes, ids or writers, or nothing illegal is possible.
        InvalidArgumentType: something is no lifecycle.
    """
    machines = _checked(lifecycles)
    least = max(min_size, 1) if legal is False else min_size
    if not 0 <= least <= max_size:
        raise InvalidArgument(f"no history has from {least} to {max_size} events")
    for name, given in (("lifecycles", machines), ("ids", ids), ("writers", writers)):
        if not given:
            raise InvalidArgument(f"a history wants at least one of {name}")
    if legal is False and not any(map(_has_illegal, machines)):
        names = ", ".join(machine.name for machine in machines)
        raise InvalidArgument(f"no event is ever illegal in {names}")
    step = st.tuples(
        st.sampled_from(tuple(writers)),
        st.sampled_from(machines),
        st.sampled_from(tuple(ids)),
        st.integers(0, 9),
        st.integers(0, _LATER),
    )
    # Left to itself a list is short: most histories would end before they matter.
    long = max(least, max_size * 3 // 4)
    steps = st.lists(step, min_size=least, max_size=max_size) | st.lists(
        step, min_size=long, max_size=max_size
    )
    of = {kind.cls: events(kind.cls) for machine in machines for kind in machine.events}
    return _histories(machines, legal, steps, of)


def _checked(lifecycles: Lifecycle | Sequence[Lifecycle]) -> tuple[Lifecycle, ...]:
    machines = (lifecycles,) if isinstance(lifecycles, Lifecycle) else tuple(lifecycles)
    for machine in machines:
        if not isinstance(machine, Lifecycle):
            raise InvalidArgumentType(f"{machine!r} is no lifecycle")
    return machines


def _has_illegal(machine: Lifecycle) -> bool:
    states = (machine.initial, *machine.states)
    return any(state not in kind.moves for kind in machine.events for state in states)


@st.composite
def _histories(
    draw: st.DrawFn,
    machines: tuple[Lifecycle, ...],
    legal: bool | None,  # noqa: FBT001 - as `histories` has it
    steps: st.SearchStrategy[list[Any]],
    of: dict[type, st.SearchStrategy[Any]],
) -> list[Recorded]:
    recorder, at, recorded = Recorder(machines), START, []
    taken = draw(steps)
    breach = draw(st.integers(0, len(taken) - 1)) if legal is False else None
    for number, (writer, machine, stream_id, manner, later) in enumerate(taken):
        at += later
        kinds = _kinds(machine, recorder.state(machine.name, stream_id, writer), number != breach)
        if not kinds and number == breach:
            reject()
        if legal is None and not (kinds and manner):
            kinds = machine.events
        if kinds:
            event = draw(of[draw(st.sampled_from(kinds)).cls])
            if legal is None and manner == 1:
                event = attrs.evolve(_UNKNOWN, tag=f"{machine.name}.novelty")
            recorded.append(recorder.record(machine.name, stream_id, event, at=at, writer=writer))
    return recorded


def _kinds(machine: Lifecycle, state: str, legal: bool) -> Sequence[EventType]:  # noqa: FBT001 - likewise
    """The event types that are legal from a state, or those that are not."""
    return [kind for kind in machine.events if (state in kind.moves) is legal]
