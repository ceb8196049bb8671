"""Says what ``rat-fsm import`` and ``rat-fsm copy`` put into a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import msgspec

from rat_fsm.cli.text import counted, without_credentials

if TYPE_CHECKING:
    from rat_fsm.cli.render import Screen
    from rat_fsm.exports import Copied


def show_copied(screen: Screen, log: str, copied: Copied, *, as_json: bool) -> None:
    """Writes it in a line, or as one object of JSON."""
    if as_json:
        screen.json(msgspec.json.encode({"log": without_credentials(log), **attrs.asdict(copied)}))
        return
    there = f"; {copied.before:,} had been there" if copied.before else ""
    added = f"{counted(copied.frames, 'frame')} with {counted(copied.events, 'event')}"
    name = without_credentials(log)
    screen.line((f"{name}: ", "bold"), (f"{added} verified and added{there}", ""))
