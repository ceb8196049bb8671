"""Frames of the event-stream format, WHATWG HTML section 9.2: text in, bytes out.

A frame is refused as a whole before any of it exists, and every frame ends with a blank line, so
that anything may be sent between two of them.
"""

from __future__ import annotations

import re
from typing import Final

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.streaming.arguments import utf8

# The format's own three line ends. str.splitlines would also cut at U+2028, form feeds and others,
# which are ordinary characters of a line here.
LINE_END: Final = re.compile(r"\r\n|\r|\n")
FORBIDDEN: Final = re.compile(r"[\r\n\0]")

HEARTBEAT: Final = b":\n\n"


def event_frame(event: str | None, data: str, event_id: str | None = None) -> bytes:
    """One event. An ``event_id`` of ``""`` resets the client's last event id, None leaves it.

    Raises:
        InvalidArgumentType: for anything that is not text.
        InvalidArgument: for a line break or NUL in ``event`` or ``event_id``, or lone surrogates.
    """
    fields = [_field("event", event), _field("id", event_id), *_lines("data", data)]
    return utf8("".join(fields) + "\n")


def comment_frame(text: str) -> bytes:
    """Lines that clients ignore and proxies take for a sign of life."""
    return utf8("".join(_lines("", text)) + "\n")


def retry_frame(milliseconds: int) -> bytes:
    """How long a client shall wait before it reconnects."""
    return b"retry: %d\n\n" % milliseconds


def _field(name: str, value: str | None) -> str:
    if value is None:
        return ""
    if FORBIDDEN.search(_text(name, value)):
        msg = f"{name} must be one line without NUL, not {value!r}"
        raise InvalidArgument(msg)
    return f"{name}: {value}\n"


def _lines(name: str, value: str) -> list[str]:
    # The space is always there: a client takes one away, which may be the first of the line.
    return [f"{name}: {line}\n" for line in LINE_END.split(_text(name or "a comment", value))]


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    advice = "decode it" if isinstance(value, bytes | bytearray) else "json.dumps it first"
    msg = f"{name} must be a str, not {type(value).__name__}: {advice}"
    raise InvalidArgumentType(msg)
