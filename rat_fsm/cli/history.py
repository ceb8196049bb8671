"""``rat-fsm history``: what happened to one id, life by life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
import msgspec

from rat_fsm.cli.decisions import explain
from rat_fsm.cli.loading import LIFECYCLES
from rat_fsm.cli.moments import TimeType
from rat_fsm.cli.nearby import NeighbourLines, as_dict
from rat_fsm.cli.reading import CACHE, progress
from rat_fsm.cli.render import Screen, style_of
from rat_fsm.cli.text import clock, counted, date, duration, moment, size
from rat_fsm.cli.words import (
    describe,
    ending,
    joined,
    label,
    sent,
    style_of_event,
    troubles,
)
from rat_fsm.codec import encode_recorded
from rat_fsm.events import ActivityRecorded
from rat_fsm.replay.lives import history_of, lives_of
from rat_fsm.replay.neighbours import WITHIN, neighbours
from rat_fsm.replay.sources import opened
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rat_fsm.cli.render import Cell
    from rat_fsm.replay.lives import Life, Step
    from rat_fsm.replay.neighbours import Neighbours
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle

_EVENT: Final = 17
_STATE: Final = 22  # connecting → retrying, and forcing → draining
_WAITED: Final = 7
_SENT: Final = 8


@click.command("history")
@click.argument("url")
@click.argument("id")
@click.option("--all", "everything", is_flag=True, help="Each activity on a line of its own.")
@click.option(
    "--around",
    type=TimeType(),
    metavar="TIME",
    help="Also tell what happened to others near this time.",
)
@click.option(
    "--within",
    type=click.FloatRange(min=0, max=10**9),
    default=WITHIN,
    metavar="SECONDS",
    help=f"How near, before and after it; {WITHIN:g} by default.",
)
@click.option("--json", "as_json", is_flag=True, help="One envelope of JSON a line.")
@LIFECYCLES
@CACHE
def command(
    url: str,
    id: str,
    *,
    everything: bool,
    around: datetime.datetime | None,
    within: float,
    as_json: bool,
    lifecycles: Mapping[str, Lifecycle],
    cache: Path | None,
) -> None:
    """Tell what happened to ID, a connection or any other stream, in the log at URL.

    An id may be used again once its connection has closed, so each of its lives is told by
    itself: when, which event, the state before and after it, how long that state had lasted,
    the bytes sent so far, and why it ended and by whom. A run of activities is one line. A retry
    tells by which policy it was decided, and how its delay came about.

    Whether others had the same trouble, --around tells: who began, ended or had errors then, and
    how many were there. With --json each of them is an object with the key neighbour.

    Of a log of half a million events or more an index is kept in the cache folder, so only the
    first question takes time.
    """
    screen = Screen()
    with opened(url) as store:
        if as_json:
            _json(screen, store, id, lifecycles.values(), cache)
        else:
            _told(screen, store, id, lifecycles.values(), cache, merge=not everything)
        if around is not None:
            near = _near(store, id, around, within, cache)
            if as_json:
                for one in near.near:
                    screen.json(msgspec.json.encode({"neighbour": as_dict(one)}))
            else:
                screen.line()
                NeighbourLines(screen).show(around, within, near)


def _json(
    screen: Screen,
    store: Store,
    stream_id: str,
    lifecycles: Iterable[Lifecycle],
    cache: Path | None,
) -> None:
    with progress("searching", last_frame(store)) as advance:
        for _, recorded in history_of(store, stream_id, lifecycles, cache=cache, progress=advance):
            screen.json(encode_recorded(recorded))


def _told(
    screen: Screen,
    store: Store,
    stream_id: str,
    lifecycles: Iterable[Lifecycle],
    cache: Path | None,
    *,
    merge: bool,
) -> None:
    with progress("searching", last_frame(store)) as advance:
        lives = lives_of(store, stream_id, lifecycles, merge=merge, cache=cache, progress=advance)
    for number, life in enumerate(lives, 1):
        if number > 1:
            screen.line()
        LifeLines(screen, life).show(f"life {number} of {len(lives)}" if len(lives) > 1 else "")


def _near(
    store: Store, stream_id: str, around: datetime.datetime, within: float, cache: Path | None
) -> Neighbours:
    with progress("searching", last_frame(store)) as advance:
        return neighbours(
            store, around, within=within, but=stream_id, cache=cache, progress=advance
        )


class LifeLines:
    """Writes one life: who it was, what happened, how it ended."""

    def __init__(self, screen: Screen, life: Life) -> None:
        self._screen = screen
        self._life = life
        self._day = ""
        self._event_width = max(_EVENT, *(len(label(step.type)) for step in life.steps))
        counted_bytes = any(isinstance(step.event, ActivityRecorded) for step in life.steps)
        self._sent_width = _SENT if counted_bytes else 0

    def show(self, which: str) -> None:
        """Writes it all; ``which`` says which of several lives it is."""
        self._title(which)
        for step in self._life.steps:
            self._step(step)
        self._ending()

    def _title(self, which: str) -> None:
        stream = self._life.stream
        about = joined(which, f"writer {self._life.writer}", by=" · ")
        self._screen.line((f"{stream.lifecycle} {stream.id}", "bold"), (f"  {about}", "dim"))

    def _step(self, step: Step) -> None:
        if self._screen.width is not None and date(step.micros) != self._day:
            self._day = date(step.micros)
            self._head()
        at = clock(step.micros) if self._day else moment(step.micros)
        cells: list[Cell] = [
            (at, len(at), "dim"),
            (label(step.type), self._event_width, style_of_event(step.event)),
            (_change(step), _STATE, style_of(step.after) if step.legal else "bold red"),
            (duration(step.waited), -_WAITED, "" if step.before != step.after else "dim"),
        ]
        if self._sent_width:
            cells.append((size(step.sent), -_SENT, "dim"))
        self._screen.row(*cells, rest=(_detail(step, self._life), ""), under=1)

    def _head(self) -> None:
        cells = [(f"{self._day} UTC", 12), ("event", self._event_width - 2), ("state", _STATE)]
        head: list[Cell] = [(text, width, "dim") for text, width in cells]
        head.append(("for", -_WAITED, "dim"))
        if self._sent_width:
            head.append(("sent", -_SENT, "dim"))
        self._screen.row(*head)

    def _ending(self) -> None:
        life = self._life
        spent = [f"{state} {duration(micros)}" for state, micros in life.spent.items() if micros]
        if life.closing is not None and life.over:
            self._screen.line(("ended  ", "bold"), (ending(life.closing), style_of("closing")))
        elif life.over:
            self._screen.line(("ended  ", "bold"), (life.state, style_of(life.state)))
        else:
            since = f" since {moment(life.entered)} UTC"
            self._screen.line(("open   ", "bold"), (life.state, style_of(life.state)), (since, ""))
        total = sent(life.sent, life.messages) if self._sent_width else ""
        trouble = troubles(life.errors, life.retries)
        self._screen.line(
            ("total  ", "bold"), (joined(duration(life.lived), total, trouble, by=" · "), "")
        )
        if spent:
            self._screen.line(("spent  ", "bold"), (" · ".join(spent), ""))


def _change(step: Step) -> str:
    if not step.legal:
        return f"{step.before}  (illegal)"
    return step.before if step.before == step.after else f"{step.before} → {step.after}"


def _detail(step: Step, life: Life) -> str:
    if step.count == 1:
        plain = "" if isinstance(step.event, ActivityRecorded) else describe(step.event)
        return joined(plain, explain(step.event, life.policy), by=": ")
    took = duration(step.until - step.micros)
    return f"{counted(step.count, 'time')} in {took}, {describe(step.event)}"
