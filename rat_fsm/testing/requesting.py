"""Hypothesis strategies for requests: what is asked of a lifecycle's decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from hypothesis import strategies as st

from rat_fsm import core
from rat_fsm.errors import InvalidArgument
from rat_fsm.events import RetryRefused, RetryScheduled
from rat_fsm.testing.registering import REQUESTS
from rat_fsm.testing.strategies import built, events, objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.table import Lifecycle

_count: Final = st.integers(0, 2**40)
_FIELDS: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "metadata": objects,
    "limit": st.none() | st.integers(0, 5),
    "bytes_sent": _count,
    "messages_sent": _count,
    "now": st.integers(0, 2**52),
    "waited": st.floats(0, 1e6),
    "deadline": st.floats(0, 1e6),
}


@attrs.frozen
class Answer:
    """A retry policy that always answers the same."""

    event: RetryScheduled | RetryRefused

    def __call__(self, _view: object) -> RetryScheduled | RetryRefused:
        """The same."""
        return self.event


def requests(lifecycle: Lifecycle, *types: type) -> st.SearchStrategy[Any]:
    """Requests to a lifecycle's decisions.

    Those of CONNECTION and NODE are known; of a lifecycle of your own, say of which attrs classes
    its requests are.

    ::

        from hypothesis import given
        from rat_fsm import CONNECTION, ReadModel
        from rat_fsm.core import Register, decide
        from rat_fsm.errors import Refused
        from rat_fsm.testing import requests

        @given(requests(CONNECTION))
        def test_only_who_registered_is_known(request):
            model = ReadModel([CONNECTION])
            stream = model.new_record(CONNECTION, "a", "w0")
            try:
                decide(request, stream, model)
            except Refused as refused:
                assert refused.cause in {"unknown", "max_connections"}
            else:
                assert isinstance(request, Register)

    Raises:
        InvalidArgument: it is a lifecycle of your own, and no types are given.
        InvalidArgumentType: as `events`.
    """
    classes = types or REQUESTS.get(lifecycle.fingerprint, ())
    if not classes:
        raise InvalidArgument(f"say of which classes the requests to {lifecycle.name} are")
    return st.one_of(*map(_request, classes))


def _request(cls: type) -> st.SearchStrategy[Any]:
    if cls is core.Retry:
        answers = events(RetryScheduled) | events(RetryRefused)
        return st.builds(core.Retry, st.builds(Answer, answers))
    fields = {field.name for field in attrs.fields(cls)} if cls.__module__ == core.__name__ else ()
    return built(cls, {name: _FIELDS[name] for name in fields if name in _FIELDS})
