"""Reads the moments that are typed at a command: a time with its zone, or a position."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import click

from rat_fsm.codec import MAX_EVENTS
from rat_fsm.events import Position

if TYPE_CHECKING:
    from rat_fsm.replay.sources import Moment


class PositionType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A position as it is printed, ``frame.offset``; a frame alone means the whole of it."""

    name = "position"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Position:
        """Reads it, or refuses it as click does."""
        frame, dot, offset = str(value).partition(".")
        if not _is_number(frame) or (dot and not _is_number(offset)):
            self.fail(f"{value!r} is neither a position, such as 12.3, nor a frame", param, ctx)
        return Position(int(frame), int(offset) if dot else MAX_EVENTS)


class TimeType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """An ISO 8601 time with its zone, such as ``2026-09-21T14:03Z``."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime.datetime:
        """Reads it, or refuses it as click does."""
        try:
            moment = datetime.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time, such as 2026-09-21T14:03:20Z", param, ctx)
        if moment.tzinfo is None:
            self.fail(
                f"{value!r} has no time zone: say {value}Z for UTC, or {value}+02:00", param, ctx
            )
        return moment


class MomentType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """Either: digits with at most one dot are a position, everything else is a time.

    A frame without an offset is answered with the offset `MAX_EVENTS`, which stands for the
    frame's last event; `rat_fsm.replay.sources.check_within` puts the real one in its place.
    """

    name = "time|position"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Moment:
        """Reads it, or refuses it as click does."""
        if set(str(value)) <= set("0123456789."):
            return PositionType().convert(value, param, ctx)
        return TimeType().convert(value, param, ctx)


def _is_number(text: str) -> bool:
    """Whether these are ASCII digits, and not so many that Python refuses to read them."""
    return text.isascii() and text.isdecimal() and len(text) <= 18  # noqa: PLR2004 - 63 bits
