"""Obeys the commands of somebody who steps through a log, and lets a teller say what came of it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import attrs
import click

from rat_fsm.cli.moments import MomentType
from rat_fsm.cli.reading import progress
from rat_fsm.cli.replay import one
from rat_fsm.cli.text import clock
from rat_fsm.cli.then import Then
from rat_fsm.cli.words import joined, label
from rat_fsm.codec import no_collection
from rat_fsm.errors import InvalidArgument, RatFsmError
from rat_fsm.events import Position
from rat_fsm.lifecycles import CONNECTION
from rat_fsm.replay.diff import diff_models
from rat_fsm.replay.lives import lives_of
from rat_fsm.replay.naming import near_misses
from rat_fsm.replay.timeline import Timeline
from rat_fsm.runtime.escaping import escape
from rat_fsm.stores.port import last_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from rat_fsm.cli.telling import Teller
    from rat_fsm.events import Recorded
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.replay.sources import Moment
    from rat_fsm.stores.port import Store
    from rat_fsm.table import Lifecycle

MOST_TOLD: Final = 50
MOST: Final = 10**12


@attrs.frozen
class Usage:
    """What one command is called, and does."""

    words: str
    argument: str
    does: str

    @property
    def names(self) -> list[str]:
        """What may be typed for it."""
        return self.words.split(", ")


USAGES: Final = (
    Usage("n, next", "[N]", "go to the next event, or N events on"),
    Usage("p, prev", "[N]", "go to the event before, or N events back"),
    Usage("g, goto", "MOMENT", "go to a position (12.3), a frame (12) or a time with its zone"),
    Usage("f, find", "TYPE", "go to the next event of a type, such as closed or node.stopped"),
    Usage("b, back", "TYPE", "go to the one before"),
    Usage("first", "", "go to the first event"),
    Usage("last", "", "go to the last event, as of now"),
    Usage("m, mark", "", "remember this place"),
    Usage("d, diff", "", "tell what has changed since the place that was marked"),
    Usage(
        "c, connection", "[ID]", "follow one id: n, p, f and b stop at its events; c alone ends it"
    ),
    Usage("s, show", "[ID]", "show what is true here, or all that is known of ID"),
    Usage("?, help", "", "list the commands"),
    Usage("q, quit", "", "leave"),
)


class Stepper:
    """Somebody's way through a log.

    Args:
        store: the log.
        teller: says what came of a command.
        lifecycles: how events are read.
        cache: the folder of caches.
    """

    def __init__(
        self,
        store: Store,
        teller: Teller,
        lifecycles: Collection[Lifecycle],
        cache: Path | None,
    ) -> None:
        self._teller = teller
        self._tags = [kind.tag for lifecycle in lifecycles for kind in lifecycle.events]
        self._cache = cache
        self._total = last_frame(store)
        self._advance: Callable[[int], None] = lambda _frame: None
        self._timeline = Timeline(
            store, lifecycles=lifecycles, cache=cache, progress=self._progress
        )
        self._mark: tuple[Position, ReadModel] | None = None
        self._over = False
        does: tuple[Callable[[str], None], ...] = (
            *(self._next, self._previous, self._goto, self._find, self._back, self._first),
            *(self._last, self._set_mark, self._diff, self._follow, self._show, self._help),
            self._quit,
        )
        self._commands: Mapping[str, Callable[[str], None]] = {
            name: do for usage, do in zip(USAGES, does, strict=True) for name in usage.names
        }

    @property
    def prompt(self) -> str:
        """Where the cursor is, for whoever types the next command."""
        event, focus = self._timeline.event, self._timeline.focused
        where = "start" if event is None else f"{event.position} {clock(event.micros)}"
        return escape(joined(where, focus or "", by=" ")) + "> "

    def begin(self, moment: Moment | None, stream_id: str | None) -> None:
        """Goes to where it begins: a moment, or else the first event, of one id where it is given.

        Raises:
            InvalidArgument, StreamNotFound: there is no such moment, or no such id.
        """
        with self._shown():
            if moment is not None:
                self._timeline.goto(moment)
            if stream_id is not None:
                self._follow(stream_id)
            elif moment is None:
                self._first("")
            else:
                self._tell("before the first event")

    def obey(self, line: str) -> bool:
        """Runs one command, and tells what is wrong with it; whether another may follow."""
        word, _, argument = line.strip().partition(" ")
        try:
            if word:
                with self._shown():
                    self._command(word)(argument.strip())
        except KeyboardInterrupt:
            self._teller.note("interrupted")
        except RatFsmError as problem:
            self._teller.error(str(problem))
        except click.UsageError as problem:
            self._teller.error(problem.message)
        return not self._over

    def close(self) -> None:
        """Lets go of the cache."""
        self._timeline.close()

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """Shows how far a long way has come.

        Garbage is collected afterwards: with so many records in memory that takes longer than
        most steps do.
        """
        with no_collection(), progress("reading", self._total) as self._advance:
            yield

    def _progress(self, frame: int) -> None:
        self._advance(frame)

    def _command(self, word: str) -> Callable[[str], None]:
        if word not in self._commands:
            raise InvalidArgument(f"there is no command {word}; ? lists those there are")
        return self._commands[word]

    def _tell(self, otherwise: str) -> None:
        """Tells the event at the cursor and what it changed."""
        event = self._timeline.event
        if event is None:
            self._teller.note(otherwise)
        else:
            self._teller.event(event, self._timeline.change)

    def _next(self, argument: str) -> None:
        last = "this is the last event so far"
        self._walk(self._timeline.next, _number(argument), last)

    def _previous(self, argument: str) -> None:
        first = "this is its first event" if self._timeline.focused else "before the first event"
        self._walk(self._timeline.previous, _number(argument), first)

    def _walk(self, step: Callable[[int], Recorded | None], count: int, otherwise: str) -> None:
        """Goes some way, telling every event of it if they are few, or else where it ends."""
        each = count <= MOST_TOLD
        for _ in range(count if each else 1):
            if step(1 if each else count) is None:
                self._teller.note(otherwise)
                return
            self._tell(otherwise)

    def _goto(self, argument: str) -> None:
        if not argument:
            raise InvalidArgument("go where? to a position such as 12.3, or a time")
        moment: Moment = MomentType().convert(argument, None, None)
        self._timeline.goto(moment)
        self._tell("before the first event")

    def _find(self, argument: str) -> None:
        self._seek(argument, backward=False)

    def _back(self, argument: str) -> None:
        self._seek(argument, backward=True)

    def _seek(self, argument: str, *, backward: bool) -> None:
        if not argument:
            raise InvalidArgument("find what? a type of event, such as closed or node.stopped")
        tag = argument if "." in argument else f"{CONNECTION.name}.{argument}"
        if self._timeline.seek(tag, backward=backward) is not None:
            self._tell("")
            return
        meant = () if tag in self._tags else near_misses(self._tags, tag)
        hint = f"; did you mean {' or '.join(map(label, meant))}?" if meant else ""
        self._teller.note(f"there is no {tag} {'before' if backward else 'after'} this{hint}")

    def _first(self, _argument: str) -> None:
        self._timeline.first()
        self._tell("the log is empty")

    def _last(self, _argument: str) -> None:
        self._timeline.last()
        self._tell("the log is empty")

    def _set_mark(self, _argument: str) -> None:
        position = self._timeline.position
        if position is None:
            raise InvalidArgument("there is nothing to mark before the first event")
        self._mark = position, self._timeline.model
        self._teller.note(f"marked {position}; d tells what has changed since")

    def _diff(self, _argument: str) -> None:
        if self._mark is None:
            raise InvalidArgument("no place is marked; m marks this one")
        position, model = self._mark
        here = self._timeline.position or Position(0, 0)
        found = diff_models(model, self._timeline.model)
        self._teller.diff(self._timeline.store, (position, here), found)

    def _follow(self, argument: str) -> None:
        """Follows an id from its event at the cursor, or the next, or else the last before."""
        before = self._timeline.focused
        self._timeline.focus(argument or None)
        if not argument:
            self._teller.note("following everything")
            return
        event = self._timeline.event
        if (
            (event is not None and event.stream.id == argument)
            or self._timeline.next() is not None
            or self._timeline.previous() is not None
        ):
            self._tell("")
            return
        self._timeline.focus(before)
        # It says that there is none, and who is like it.
        lives_of(self._timeline.store, argument, cache=self._cache)

    def _show(self, argument: str) -> None:
        then, stream_id = self._then(), argument or self._timeline.focused
        if stream_id is None:
            self._teller.whole(then)
        else:
            found = one(then, self._timeline.store, stream_id, self._cache)
            self._teller.one(then, stream_id, found)

    def _then(self) -> Then:
        timeline = self._timeline
        return Then(timeline.position, timeline.event, timeline.model)

    def _help(self, _argument: str) -> None:
        self._teller.help(USAGES)

    def _quit(self, _argument: str) -> None:
        self._over = True


def _number(argument: str) -> int:
    """How often; once where that is not said.

    Raises:
        InvalidArgument: it is no such number.
    """
    if not argument:
        return 1
    number = int(argument) if argument.isascii() and argument.isdecimal() else 0
    if not 0 < number <= MOST:
        raise InvalidArgument(f"{argument} is no number of events")
    return number
