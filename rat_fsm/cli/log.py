"""``rat-fsm log``: the events of a log in the order of its store, one a line."""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

import click

from rat_fsm.cli.loading import LIFECYCLES
from rat_fsm.cli.moments import PositionType
from rat_fsm.cli.reading import warnings_on_stderr
from rat_fsm.cli.render import Screen
from rat_fsm.cli.text import clock, date, moment
from rat_fsm.cli.words import describe, joined, label, style_of_event
from rat_fsm.codec import MAX_EVENTS, encode_recorded
from rat_fsm.events import Position
from rat_fsm.log.subscription import Subscription, events_after, read_recorded
from rat_fsm.replay.sources import new_model, opened
from rat_fsm.stores.port import StoredFrame, last_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rat_fsm.events import Recorded
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle

WIDEST_ID: Final = 36  # a UUID
_EVENT: Final = 18  # node.drain_started; connections need one less


@click.command("log")
@click.argument("url")
@click.option("--follow", "-f", is_flag=True, help="Go on with new events until interrupted.")
@click.option("--json", "as_json", is_flag=True, help="One envelope of JSON a line.")
@click.option(
    "--after",
    type=PositionType(),
    metavar="POSITION",
    help="Begin after this event (12.3), or after a whole frame (12).",
)
@click.option(
    "--last", type=click.IntRange(min=0), metavar="N", help="Begin with the N newest events."
)
@click.option(
    "--limit", type=click.IntRange(min=0), metavar="N", help="Stop once N events are printed."
)
@LIFECYCLES
def command(
    url: str,
    *,
    follow: bool,
    as_json: bool,
    after: Position | None,
    last: int | None,
    limit: int | None,
    lifecycles: Mapping[str, Lifecycle],
) -> None:
    """Print the events of the log at URL in their order.

    On a terminal times are UTC, under the day they belong to, and long details are folded.
    In a pipe each event is one whole line. A log may be read while it is written. With --follow, a
    store that goes away is asked again until it is back.
    """
    show = _shower(Screen(), as_json=as_json, at_once=follow)
    with opened(url) as store:
        model = new_model(lifecycles.values())
        newest = None if last is None else _newest(store, model, after, last)
        if follow:
            after = newest[-1].position if newest else _start(store, after, last)
            with (
                warnings_on_stderr(),
                Subscription(store, model, after) as coming,
                closed_by_signals(coming),
            ):
                _each(chain(newest or (), coming), limit, show)
        else:
            _each(read_recorded(store, model, after) if newest is None else newest, limit, show)


def _shower(screen: Screen, *, as_json: bool, at_once: bool) -> Callable[[Recorded], None]:
    lines = EventLines(screen)

    def show(recorded: Recorded) -> None:
        if as_json:
            screen.json(encode_recorded(recorded))
        else:
            lines.show(recorded)
        if at_once:
            screen.flush()

    return show


def _each(events: Iterable[Recorded], limit: int | None, show: Callable[[Recorded], None]) -> None:
    for recorded in islice(events, limit):
        show(recorded)


def _start(store: Store, after: Position | None, last: int | None) -> Position | None:
    """Where the newest events begin at the latest: each frame holds one, so N frames suffice."""
    if last is None:
        return after
    recent = Position(max(0, last_frame(store) - last), MAX_EVENTS)
    return recent if after is None else max(after, recent)


def _newest(store: Store, model: ReadModel, after: Position | None, last: int) -> deque[Recorded]:
    """The newest events; frames that turn out to be too old are not even decoded."""
    start, frames, held = _start(store, after, last), deque[StoredFrame](), 0
    for stored in store.read(max(0, start.frame - 1) if start else 0):
        frames.append(stored)
        held += stored.frame.count
        while frames and held - frames[0].frame.count >= last:
            held -= frames.popleft().frame.count
    events = (event for stored in frames for event in events_after(stored, model, start))
    return deque(events, maxlen=last)


@contextlib.contextmanager
def closed_by_signals(subscription: Subscription) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets the event being written end, and then ends the command.

    A second one does what it always does: the output may be a pipe that nobody reads.
    """

    def stop(_number: int, _frame: object) -> None:
        restore()
        subscription.close()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield
    finally:
        restore()


class EventLines:
    """Writes events as lines in columns that grow with the ids they have seen."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._day = ""
        self._position = 4
        self._id = 0

    def show(self, recorded: Recorded, state: str = "") -> None:
        """Writes one event, and in words what it did to a state."""
        at = self._time(recorded.micros)
        position, stream_id = str(recorded.position), recorded.stream.id
        self._position = max(self._position, len(position))
        self._id = max(self._id, min(len(stream_id), WIDEST_ID))
        self._screen.row(
            (position, self._position, "dim"),
            (at, len(at), "dim"),
            (label(recorded.type), _EVENT, style_of_event(recorded.event)),
            (stream_id, self._id, "bold"),
            rest=(joined(state, describe(recorded.event), by="  "), ""),
            under=3,
        )

    def _time(self, micros: int) -> str:
        """The time in full in a pipe; on a terminal the day is said once."""
        if self._screen.width is None:
            return moment(micros)
        if date(micros) != self._day:
            self._day = date(micros)
            self._screen.line((f"{self._day} UTC", "bold"))
        return clock(micros)
