"""Shows what would have been beside what was, and what a log leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.cli.text import counted, moment, seconds
from rat_fsm.cli.words import joined
from rat_fsm.events import ConnectionRefused, RetryRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from rat_fsm.cli.render import Screen
    from rat_fsm.events import RetryScheduled
    from rat_fsm.replay.what_if import Compared, Fate, Span, WhatIf

_LABEL: Final = 12
_RECORDED: Final = 10
_OTHER: Final = 22
_WHAT: Final = {
    "refused": ("turned away", "yellow"),
    "gives_up": ("giving up", "red"),
    "retries_on": ("retrying on", "green"),
}
_OPEN: Final = {
    "gives_up": "who gives up earlier ends there: no log says whether it would have come back",
    "retries_on": "no log says whether a retry that never happened would have helped: the least "
    "supposes that the first would, the most that none",
    "refused": "who is turned away counts for nothing after that; the others leave when they did",
}
_WHAT_WIDTH: Final = 11
_ID: Final = 20


class AnswerLines:
    """Writes an answer: the counts, the connections, and what it leaves open."""

    def __init__(self, screen: Screen, answer: WhatIf) -> None:
        self._screen = screen
        self._answer = answer

    def show(self, question: str) -> None:
        """Writes it all."""
        self._screen.line((question, "bold"))
        self._counts()
        self._fates()
        self._waits()
        for remark in remarks(self._answer):
            self._screen.row(("·", 1, "dim"), rest=(remark, "dim"))

    def _counts(self) -> None:
        answer = self._answer
        heads = (("", _LABEL), ("recorded", -_RECORDED), ("would have been", -_OTHER))
        self._screen.row(*((text, width, "dim") for text, width in heads))
        self._count("retries", answer.attempts, _whole)
        self._count("given up", answer.give_ups, _whole)
        self._count("waiting", answer.waiting, seconds)
        self._count("let in", answer.let_in, _whole)
        self._count("turned away", answer.refused, _whole)

    def _count(self, name: str, compared: Compared, words: Callable[[float], str]) -> None:
        self._screen.row(
            (name, _LABEL, "bold"),
            (words(compared.recorded), -_RECORDED, ""),
            (_span(compared, words), -_OTHER, "bold" if compared.differs else "dim"),
            rest=(f"({_added(compared.added, words)})" if compared.differs else "", "yellow"),
            under=1,
        )

    def _fates(self) -> None:
        answer = self._answer
        if not answer.changed:
            self._screen.line(("no connection would have fared differently", "green"))
            return
        changed = sum(answer.changed.values())
        kinds = joined(*(f"{n:,} {_WHAT[what][0]}" for what, n in answer.changed.items()))
        listed = len(answer.fates)
        first = f"; the first {listed:,}" if 0 < listed < changed else ""
        fare = f"{counted(changed, 'connection')} would have fared differently"
        self._screen.line((fare, "bold"), (f": {kinds}{first}", ""))
        width = max((len(fate.stream.id) for fate in answer.fates), default=0)
        for fate in answer.fates:
            self._fate(fate, min(width, _ID))

    def _fate(self, fate: Fate, width: int) -> None:
        what, style = _WHAT[fate.what]
        at = moment(fate.micros)
        self._screen.row(
            (at, len(at), "dim"),
            (fate.stream.id, width, ""),
            (what, _WHAT_WIDTH, style),
            rest=(_told(fate), ""),
            under=1,
        )

    def _waits(self) -> None:
        answer = self._answer
        if not answer.longer and not answer.shorter:
            return
        numbers = joined(
            f"longer for {answer.longer:,}" if answer.longer else "",
            f"shorter for {answer.shorter:,}" if answer.shorter else "",
        )
        most = "; most for" if answer.waits else ""
        self._screen.line((f"waiting would have been {numbers}{most}", "bold"))
        width = max((len(wait.stream.id) for wait in answer.waits), default=0)
        for wait in answer.waits:
            cell = (wait.stream.id, min(width, _ID), "")
            self._screen.row(cell, rest=(_added(wait.added, seconds), ""), under=0)


def _whole(count: float) -> str:
    return f"{count:,.0f}"


def _span(span: Span | Compared, words: Callable[[float], str]) -> str:
    least, most = words(span.least), words(span.most)
    return least if least == most else f"{least} to {most}"


def _added(span: Span, words: Callable[[float], str]) -> str:
    return _span(span, lambda value: words(value) if value <= 0 else f"+{words(value)}")


def _told(fate: Fate) -> str:
    """What was decided, what would have been, and how it ended."""
    now = fate.now.cause if isinstance(fate.now, ConnectionRefused) else _verdict(fate.now)
    decided = now if fate.then is None else f"{_verdict(fate.then)} → {now}"
    ended = "recorded as open" if fate.ended is None else f"recorded end: {fate.ended}"
    return joined(decided, ended, by="; ")


def _verdict(decided: RetryScheduled | RetryRefused) -> str:
    if isinstance(decided, RetryRefused):
        return decided.cause
    return f"retry {decided.attempt} in {seconds(decided.delay)}"


def remarks(answer: WhatIf) -> list[str]:
    """What the answer leaves open, and why."""
    said = [_OPEN[what] for what in ("gives_up", "retries_on", "refused") if what in answer.changed]
    if answer.found_room:
        said.append(
            f"{_whole(answer.refused.recorded)} turned away then are counted and stay out, though "
            f"up to {answer.found_room:,} of them would have found room"
        )
    if answer.waiting.differs:
        said.append("a server's Retry-After is known only where it raised a delay or was too long")
    if answer.samples:
        said.append(
            f"{answer.samples} draws stand for each that was not recorded (seed {answer.seed})"
        )
    if answer.untold:
        said.append(
            f"the policy behind {counted(answer.untold, 'decision')} is not in the log: what you "
            "did not give is as each decision suggests, or else the default"
        )
    return said
