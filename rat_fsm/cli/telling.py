"""Says what came of a command of the stepper: in lines for people, or each in a line of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from rat_fsm.cli.differences import MomentLines
from rat_fsm.cli.log import EventLines
from rat_fsm.cli.replay import one_as_dict, whole
from rat_fsm.cli.then import SHOWN, ThenLines
from rat_fsm.codec import encode_recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rat_fsm.cli.render import Screen
    from rat_fsm.cli.stepper import Usage
    from rat_fsm.cli.then import Then
    from rat_fsm.events import Position, Recorded
    from rat_fsm.projections.connections import ConnectionInfo
    from rat_fsm.replay.diff import ModelDiff
    from rat_fsm.replay.lives import Life
    from rat_fsm.replay.timeline import Change
    from rat_fsm.stores.port import Store

    One = tuple[list[ConnectionInfo], list[Life]]

_COMMAND: Final = 16
_SORT: Final = "oldest"


class Teller(Protocol):
    """Says what came of a command."""

    def event(self, recorded: Recorded, change: Change | None) -> None:
        """The cursor has come to an event."""

    def whole(self, then: Then) -> None:
        """What is true at the cursor."""

    def one(self, then: Then, stream_id: str, found: One) -> None:
        """What is known of one id at the cursor."""

    def diff(self, store: Store, places: tuple[Position, Position], found: ModelDiff) -> None:
        """What has changed between two places."""

    def note(self, text: str) -> None:
        """Something that is good to know."""

    def error(self, text: str) -> None:
        """What is wrong with a command."""

    def help(self, usages: Sequence[Usage]) -> None:
        """Which commands there are."""


class TextTeller:
    """For people."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._events = EventLines(screen)

    def event(self, recorded: Recorded, change: Change | None) -> None:
        """A line as in `rat-fsm log`, with what became of the state."""
        self._events.show(recorded, "" if change is None else _told(change))

    def whole(self, then: Then) -> None:
        """As `rat-fsm replay` shows it."""
        ThenLines(self._screen, then).show(_SORT, SHOWN)

    def one(self, then: Then, stream_id: str, found: One) -> None:
        """As `rat-fsm replay --connection` shows it."""
        infos, lives = found
        lines = ThenLines(self._screen, then)
        if infos:
            lines.connection(infos)
        else:
            lines.lives(stream_id, lives)

    def diff(self, store: Store, places: tuple[Position, Position], found: ModelDiff) -> None:
        """As `rat-fsm diff` shows it."""
        MomentLines(self._screen, SHOWN).show(store, places, found)

    def note(self, text: str) -> None:
        """A line."""
        self._screen.line((text, "dim"))

    def error(self, text: str) -> None:
        """A line that stands out."""
        self._screen.line((f"error: {text}", "red"))

    def help(self, usages: Sequence[Usage]) -> None:
        """A line each."""
        for usage in usages:
            self._screen.row(
                (usage.words, _COMMAND, "bold"), (usage.argument, 6, ""), rest=(usage.does, "")
            )


class JsonTeller:
    """For programs: one object a line."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def _say(self, **facts: Any) -> None:
        self._screen.json(msgspec.json.encode(facts))
        self._screen.flush()

    def event(self, recorded: Recorded, change: Change | None) -> None:
        """Its envelope and the change."""
        self._say(event=msgspec.Raw(encode_recorded(recorded)), change=change)

    def whole(self, then: Then) -> None:
        """As `rat-fsm replay --json` has it."""
        self._say(**whole(then, _SORT, None))

    def one(self, then: Then, stream_id: str, found: One) -> None:
        """As `rat-fsm replay --connection --json` has it."""
        self._say(id=stream_id, **one_as_dict(then, *found))

    def diff(self, store: Store, places: tuple[Position, Position], found: ModelDiff) -> None:
        """As `rat-fsm diff --json` has it, and between which places of which log."""
        before, after = map(str, places)
        self._say(log=store.url, before=before, after=after, differs=bool(found), models=found)

    def note(self, text: str) -> None:
        """A note."""
        self._say(note=text)

    def error(self, text: str) -> None:
        """An error."""
        self._say(error=text)

    def help(self, usages: Sequence[Usage]) -> None:
        """The commands."""
        self._say(commands=[(usage.words, usage.argument, usage.does) for usage in usages])


def _told(change: Change) -> str:
    if not change.legal:
        return f"{change.before} (kept: no way for it)"
    return change.after if change.before == change.after else f"{change.before} → {change.after}"
