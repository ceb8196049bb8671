"""Takes one life of a stream out of a log."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import Position, to_micros
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.replay.lives import history_of
from rat_fsm.replay.sources import check_within, opened
from rat_fsm.traces.trace import Origin, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from rat_fsm.events import Recorded, Stream
    from rat_fsm.replay.index import Progress
    from rat_fsm.replay.sources import LogSource, Moment
    from rat_fsm.table import Lifecycle

    Fingerprints = tuple[str, ...]
    History = Iterable[tuple[Fingerprints, Recorded]]


def trace_of(
    source: LogSource,
    id: str,
    *,
    life: int | None = None,
    until: Moment | None = None,
    lifecycles: Iterable[Lifecycle] = (),
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Trace:
    """The events of one life of a stream, read and judged by the lifecycles as they are now.

    Args:
        source: a URL or path, a store, or a log.
        id: of a connection or any other stream.
        life: which, counted from 1 in the order they began; the last one by default.
        until: the last event to take: a position, or an aware datetime, both inclusive.
        lifecycles: others than CONNECTION and NODE, without which their streams cannot be told.
        cache: the folder of caches, the user's own by default; see `history_of`.
        progress: is told the frame that an index has been brought up to.

    Raises:
        StreamNotFound: no stream has this id; it names those that look like it.
        InvalidArgument: the id has no such life, nothing had happened until then, the log has
            no such position, or nobody said what the stream's lifecycle is.
        StoreUnreadable, UnsupportedFormat, DamagedFrame: the log cannot be read.
    """
    with opened(source) as store:
        moment = None if until is None else check_within(store, until)
        known = {lc.name: lc for lc in (CONNECTION, NODE, *lifecycles)}
        history = partial(history_of, store, id, known.values(), cache=cache, progress=progress)
        streams = _streams(history())  # read twice, so that one of the lives is held, not all
        number = len(streams) if life is None else life
        if not 0 < number <= len(streams):
            raise InvalidArgument(f"{id} has no life {life} here, only {len(streams)}")
        stream = streams[number - 1]
        lifecycle = _lifecycle(stream, known)
        of_it = (each for each in history() if each[1].stream == stream)
        taken = [each for each in of_it if moment is None or _is_until(each[1], moment)]
        if not taken:
            raise InvalidArgument(f"{stream} had not begun by {until}")
        return _trace(lifecycle, taken, number, len(streams))


def _streams(history: History) -> list[Stream]:
    """The lives of an id, in the order they began."""
    began: dict[Stream, int] = {}
    for _, recorded in history:
        began.setdefault(recorded.stream, recorded.micros)
    return sorted(began, key=began.__getitem__)


def _lifecycle(stream: Stream, known: Mapping[str, Lifecycle]) -> Lifecycle:
    lifecycle = known.get(stream.lifecycle)
    if lifecycle is None:
        raise InvalidArgument(
            f"{stream} is of the lifecycle {stream.lifecycle!r}, which is not known here: say "
            "where it is, as in --module MODULE"
        )
    return lifecycle


def _is_until(recorded: Recorded, moment: Moment) -> bool:
    if isinstance(moment, Position):
        return recorded.position is not None and recorded.position <= moment
    return recorded.micros <= to_micros(moment)


def _trace(
    lifecycle: Lifecycle, taken: Sequence[tuple[Fingerprints, Recorded]], life: int, lives: int
) -> Trace:
    first, last = taken[0][1], taken[-1][1]
    origin = Origin(
        stream=first.stream,
        life=life,
        lives=lives,
        first=first.position,
        last=last.position,
        foreign=any(lifecycle.fingerprint not in fingerprints for fingerprints, _ in taken),
    )
    events = tuple((recorded.micros - first.micros, recorded.event) for _, recorded in taken)
    return Trace(lifecycle, events, origin)
