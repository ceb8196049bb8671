"""Finds what belongs to one id by searching every frame: in a short log that takes no time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rat_fsm.codec import decode
from rat_fsm.replay.picking import pick
from rat_fsm.replay.sources import naming, new_model
from rat_fsm.replay.tables import STARTED, Tables, started_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rat_fsm.events import Recorded
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle


class Scan:
    """Answers as an index would, without one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def events(
        self, stream_id: str, lifecycles: Iterable[Lifecycle] | None = None
    ) -> Iterator[tuple[tuple[str, ...], Recorded]]:
        """The events of every stream with an id, and the fingerprints each was written under."""
        model = new_model(lifecycles)
        for stored in naming(self._store, stream_id):
            for recorded in pick(decode(stored, model), stream_id):
                yield stored.frame.fingerprints, recorded

    def ids(self) -> Iterator[str]:
        """Every id, some of them many times."""
        for stored in self._store.read():
            yield from {name for _, name, _, _ in decode(stored, new_model()).streams}

    def policy(self, writer: str, born: int) -> Mapping[str, Any]:
        """The policy that the run in which something was born recorded."""
        policy: Mapping[str, Any] = {}
        for stored in naming(self._store, STARTED):
            if stored.frame.writer == writer:
                for seq, started in started_in(decode(stored, new_model())):
                    policy = started.policy if seq <= born else policy
        return policy

    def tables(self) -> Tables:
        """What states are judged by."""
        return Tables(self._store)
