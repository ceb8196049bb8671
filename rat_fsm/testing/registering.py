"""Tells Hypothesis, whoever imports it, how to make what rat_fsm defines.

Hypothesis calls `register` by its entry point, so that `hypothesis.strategies.from_type` and
`hypothesis.strategies.builds` know our classes. No strategy is made before one is asked for.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from rat_fsm import core
from rat_fsm.events import Position, Recorded, Stream, UnknownEvent
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.table import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OURS: Final = (CONNECTION, NODE)
# By the fingerprint of a lifecycle: a user's own of the same name has other requests.
REQUESTS: Final[Mapping[str, tuple[type, ...]]] = {
    CONNECTION.fingerprint: (
        *(core.Register, core.Activate, core.Activity, core.ReportError, core.Retry),
        *(core.ResetRetries, core.Stall, core.Unstall, core.BeginClose, core.Close),
    ),
    NODE.fingerprint: (core.Serve, core.StartDrain, core.ForceDrain),
}


def register() -> None:
    """Registers our events, requests and envelopes; of a lifecycle, those of rat_fsm."""
    for lifecycle in _OURS:
        for kind in lifecycle.events:
            st.register_type_strategy(kind.cls, _events)
    for request in chain.from_iterable(REQUESTS.values()):
        st.register_type_strategy(request, _requests)
    for cls, strategy in _OTHERS.items():
        st.register_type_strategy(cls, strategy)


def _events(cls: type) -> st.SearchStrategy[Any]:
    from rat_fsm.testing.strategies import events

    return events(cls)


def _requests(cls: type) -> st.SearchStrategy[Any]:
    from rat_fsm.testing.requesting import requests

    return requests(CONNECTION, cls)


def _positions(_cls: type) -> st.SearchStrategy[Position]:
    return st.builds(Position, st.integers(1, 2**31), st.integers(0, 9_999))


def _streams(_cls: type) -> st.SearchStrategy[Stream]:
    borns = st.builds("w{}:{}".format, st.integers(0, 3), st.integers(1, 2**31))
    names = st.sampled_from([lifecycle.name for lifecycle in _OURS])
    return st.builds(Stream, names, st.uuids().map(str), borns)


def _recorded(_cls: type) -> st.SearchStrategy[Recorded]:
    from rat_fsm.testing.recording import histories

    return histories(_OURS, legal=None, min_size=1).flatmap(st.sampled_from)


def _unknown(_cls: type) -> st.SearchStrategy[UnknownEvent]:
    from rat_fsm.testing.strategies import objects

    return st.builds(UnknownEvent, st.text(), st.integers(1, 9), objects, st.text())


def _lifecycles(_cls: type) -> st.SearchStrategy[Lifecycle]:
    return st.sampled_from(_OURS)


_OTHERS: Final[dict[type, Callable[[type], st.SearchStrategy[Any]]]] = {
    Position: _positions,
    Stream: _streams,
    Recorded: _recorded,
    UnknownEvent: _unknown,
    Lifecycle: _lifecycles,
}
