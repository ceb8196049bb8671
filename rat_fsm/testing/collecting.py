"""Counts the edges that every log of this process takes, as its frames are written."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from rat_fsm.codec import open_body
from rat_fsm.projections.definitions import read_table
from rat_fsm.stores.port import StoredFrame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.log.observing import Look
    from rat_fsm.projections.definitions import Table
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.replay.counting import Edge
    from rat_fsm.stores.port import Frame
    from rat_fsm.table import Lifecycle


class Collector:
    """What the tests of a session have taken so far; an observer of all logs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._definitions: dict[str, Mapping[str, Any]] = {}
        self._counts: dict[str, Counter[Edge]] = {}

    def begin(self, writer: str, model: ReadModel) -> Look:
        """Follows the streams of a writer from where they stand."""
        return Follower(self, writer, model).take

    def add(
        self, fingerprint: str, definition: Mapping[str, Any], edges: Mapping[Edge, int]
    ) -> None:
        """Adds to what was counted of a definition; from any thread."""
        with self._lock:
            self._definitions[fingerprint] = definition
            self._counts.setdefault(fingerprint, Counter()).update(edges)

    def counts(self) -> list[tuple[str, Table, Mapping[Edge, int]]]:
        """Each definition that an event was written under, by name: fingerprint, table, edges."""
        with self._lock:
            found = [
                (name, read_table(self._definitions[name]), edges.copy())
                for name, edges in self._counts.items()
            ]
        return sorted(found, key=lambda entry: (entry[1].name, entry[0]))

    def dump(self) -> str:
        """Everything as text, for another process to `load`."""
        with self._lock:
            plain = [
                [name, self._definitions[name], list(edges.items())]
                for name, edges in self._counts.items()
            ]
        return json.dumps(plain)

    def load(self, dumped: str) -> None:
        """Adds what another process has counted."""
        for fingerprint, definition, edges in json.loads(dumped):
            self.add(fingerprint, definition, {tuple(edge): count for edge, count in edges})


class Follower:
    """Follows the streams of one writer of one log through their states."""

    def __init__(self, collector: Collector, writer: str, model: ReadModel) -> None:
        self._collector = collector
        self._lifecycles: dict[str, Lifecycle] = dict(model.lifecycles)
        self._kinds = {kind.tag: kind for lc in self._lifecycles.values() for kind in lc.events}
        self._states = {record.born: record.state for record in model.records(writer)}

    def take(self, frame: Frame) -> None:
        """Counts what the events of a frame took; the log has checked that each was legal."""
        body = open_body(StoredFrame(0, frame))
        counts: dict[str, Counter[Edge]] = {}
        for _, stream, number, *_ in body.events:
            name, _, born, _ = body.streams[stream]
            counts.setdefault(name, Counter())[self._step(name, born, body.types[number][0])] += 1
        for name, edges in counts.items():
            lifecycle = self._lifecycles[name]
            self._collector.add(lifecycle.fingerprint, lifecycle.definition, edges)

    def _step(self, name: str, born: int, tag: str) -> Edge:
        """The edge that a stream takes, which stands at its end then; one that ended is let go."""
        lifecycle = self._lifecycles[name]
        source = self._states.pop(born, lifecycle.initial)
        dest = self._kinds[tag].moves[source]
        if dest not in lifecycle.final:
            self._states[born] = dest
        return tag, source, dest
