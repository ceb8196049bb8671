"""Knows when a body of ``text/event-stream`` stands between two events, and what to say there."""

from __future__ import annotations

import random
from typing import Final

from rat_fsm.streaming.framing import event_frame, retry_frame

# WHATWG HTML, section 9.2: a blank line ends an event, and a line ends with LF, CR or CRLF. After
# a CR an LF may follow that belongs to it: what is put between them then costs one blank line,
# which means nothing between two events.
_BLANK_LINES: Final = (b"\n\n", b"\r\r", b"\n\r\n", b"\n\r", b"\r\n\r", b"\r\n\n")
_LONGEST: Final = 4
# Milliseconds until an EventSource comes back, spread so that not all come back at once.
RETRY: Final = (1_000, 5_000)


def is_boundary(tail: bytes) -> bool:
    """Whether an event may begin after a body that ends with ``tail``."""
    return not tail or tail.endswith(_BLANK_LINES)


def tail_of(tail: bytes, chunk: bytes) -> bytes:
    """The end of the body once a chunk has followed."""
    if len(chunk) >= _LONGEST:
        return bytes(chunk[-_LONGEST:])  # of a memoryview, which Starlette lets through, too
    return (tail + bytes(chunk))[-_LONGEST:]


def farewell() -> bytes:
    """The last of a stream whose server restarts: when to come back, and a drain event."""
    return retry_frame(random.randint(*RETRY)) + event_frame("drain", "{}")  # noqa: S311 - a spread
