"""Events as lines of JSON, the envelopes that ``rat-fsm log --json`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from rat_fsm.codec import encode_recorded
from rat_fsm.exports.selecting import EVERYTHING, Exported, selected
from rat_fsm.replay.sources import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rat_fsm.exports.selecting import Progress, Selection
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.table import Lifecycle


def to_jsonl(
    source: LogSource,
    selection: Selection = EVERYTHING,
    *,
    lifecycles: Iterable[Lifecycle] | None = None,
    progress: Progress | None = None,
) -> Iterator[bytes]:
    """Each event as a line of JSON, without the newline.

    Args:
        source: the log.
        selection: which events.
        lifecycles: how events are read; CONNECTION and NODE by default, with the events of
            others as they were written.
        progress: called with the position of each frame that was read.

    Raises:
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
        HistoryEvicted: a bounded memory log no longer holds the beginning.
    """
    with opened(source) as store:
        yield from map(encode_recorded, selected(store, selection, lifecycles, progress))


def write_jsonl(
    source: LogSource,
    file: BinaryIO,
    selection: Selection = EVERYTHING,
    *,
    lifecycles: Iterable[Lifecycle] | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Writes each event as a line of JSON; see `to_jsonl`."""
    events = 0
    for line in to_jsonl(source, selection, lifecycles=lifecycles, progress=progress):
        file.write(line + b"\n")
        events += 1
    return Exported(events, events)
