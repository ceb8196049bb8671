"""Recorded events of several writers, legal and illegal, without a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from hypothesis import strategies as st

from rat_fsm.events import Recorded, Stream, UnknownEvent
from rat_fsm.lifecycles import CONNECTION, NODE
from tests.frames import LIFECYCLES, START
from tests.orders import ORDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rat_fsm.table import Lifecycle

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
_EVENTS: Final = {
    kind.cls: st.builds(kind.cls, **{f.name: _VALUES[f.type] for f in attrs.fields(kind.cls)})
    for lifecycle in LIFECYCLES
    for kind in lifecycle.events
}
WRITERS: Final = ("w0", "w1")
IDS: Final = ("a", "b", "c")


@attrs.define
class Life:
    """One life of a stream, as far as its envelopes need it."""

    state: str
    born: int
    version: int = 0


class Recorder:
    """Gives events their envelopes, as the log of each writer would, and refuses none.

    What comes before a stream has begun is a stream of its own: it was born there, and nothing
    came of it.
    """

    def __init__(self, lifecycles: Sequence[Lifecycle] = LIFECYCLES) -> None:
        self.lifecycles = {lifecycle.name: lifecycle for lifecycle in lifecycles}
        self._seqs = dict.fromkeys(WRITERS, 0)
        self._lives: dict[tuple[str, str, str], Life] = {}

    def state(self, lifecycle: str, stream_id: str, writer: str = "w0") -> str:
        """Where a stream stands."""
        life = self._lives.get((writer, lifecycle, stream_id))
        return self.lifecycles[lifecycle].initial if life is None else life.state

    def record(
        self, lifecycle: str, stream_id: str, event: Any, *, at: int = START, writer: str = "w0"
    ) -> Recorded:
        """The next event of a writer."""
        machine = self.lifecycles[lifecycle]
        self._seqs[writer] += 1
        seq = self._seqs[writer]
        key = (writer, lifecycle, stream_id)
        life = self._lives.get(key) or Life(machine.initial, seq)
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


@st.composite
def histories(
    draw: st.DrawFn, *, writers: Sequence[str] = WRITERS, least: int = 0
) -> list[Recorded]:
    """What writers recorded: mostly legal events, some illegal, some unknown."""
    recorder, at, recorded = Recorder(), START, []
    steps = st.tuples(
        st.sampled_from(writers),
        st.sampled_from([CONNECTION, CONNECTION, NODE, ORDER]),
        st.sampled_from(IDS),
        st.integers(0, 9),
        st.integers(0, 10**7),
    )
    size = draw(st.sampled_from([least, 15]))  # else most histories would end before they matter
    for writer, lifecycle, stream_id, manner, later in draw(st.lists(steps, min_size=size)):
        at += later
        state = recorder.state(lifecycle.name, stream_id, writer)
        legal = [kind for kind in lifecycle.events if state in kind.moves]
        kinds = legal if legal and manner else lifecycle.events
        event = draw(_EVENTS[draw(st.sampled_from(kinds)).cls])
        if manner == 1:
            event = UnknownEvent(f"{lifecycle.name}.novelty", 7, {}, "unknown tag")
        recorded.append(recorder.record(lifecycle.name, stream_id, event, at=at, writer=writer))
    return recorded
