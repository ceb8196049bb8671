"""Logs whose frames are known to the event, which what is flushed in passing does not give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rat_fsm.events import Serving, Started, Stopped
from tests.cli.logs import Ticking
from tests.histories import Recorder
from tests.replay.written import write_file

if TYPE_CHECKING:
    from pathlib import Path


def write_frames(path: Path, *streams: tuple[str, Any], limit: int = 10) -> None:
    """A first frame with the start of a run and one event after the other, a second with its end.

    Each event is given with the id of its connection. They are half a second apart.
    """
    recorder, clock = Recorder(), Ticking()
    node: list[Any] = [Started([], {}, {"max_connections": limit}), Serving(), Stopped()]
    whose = [*(("node", "w0:1", event) for event in node[:2])]
    whose += [("connection", name, event) for name, event in streams]
    whose += [("node", "w0:1", node[2])]
    history = [recorder.record(*one, at=clock.now()) for one in whose]
    write_file(path, history, {len(history) - 1})
