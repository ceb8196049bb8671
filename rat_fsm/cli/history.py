"""``rat-fsm history``: what happened to one id, life by life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from rat_fsm.cli.app import Finding
from rat_fsm.cli.reading import progress
from rat_fsm.cli.render import Screen, name_of, style_of
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
from rat_fsm.replay.sources import opened

if TYPE_CHECKING:
    from rat_fsm.cli.render import Cell
    from rat_fsm.replay.lives import Life, Step
    from rat_fsm.stores.port import Store

_EVENT: Final = 17
_STATE: Final = 22  # connecting → retrying, and forcing → draining
_WAITED: Final = 7
_SENT: Final = 8


@click.command("history")
@click.argument("url")
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="One envelope of JSON a line.")
@click.option("--all", "everything", is_flag=True, help="Each activity on a line of its own.")
def command(url: str, id: str, *, as_json: bool, everything: bool) -> None:
    """Tell what happened to ID, a connection or any other stream, in the log at URL.

    An id may be used again once its connection has closed, so each of its lives is told by
    itself: when, which event, the state before and after it, how long that state had lasted,
    the bytes sent so far, and why it ended and by whom. A run of activities is one line.
    """
    screen = Screen()
    with opened(url) as store:
        found = (
            _json(screen, store, id) if as_json else _told(screen, store, id, merge=not everything)
        )
        if not found:
            raise Finding(f"{name_of(store)} has never heard of {id}")


def _json(screen: Screen, store: Store, stream_id: str) -> bool:
    found = False
    for _, recorded in history_of(store, stream_id):
        screen.json(encode_recorded(recorded))
        found = True
    return found


def _told(screen: Screen, store: Store, stream_id: str, *, merge: bool) -> bool:
    with progress("searching", None):
        lives = lives_of(store, stream_id, merge=merge)
    for number, life in enumerate(lives, 1):
        if number > 1:
            screen.line()
        LifeLines(screen, life).show(f"life {number} of {len(lives)}" if len(lives) > 1 else "")
    return bool(lives)


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
        self._screen.row(*cells, rest=(_detail(step), ""), under=1)

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


def _detail(step: Step) -> str:
    if step.count == 1:
        return "" if isinstance(step.event, ActivityRecorded) else describe(step.event)
    took = duration(step.until - step.micros)
    return f"{counted(step.count, 'time')} in {took}, {describe(step.event)}"
