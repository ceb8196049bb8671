"""Knows whether a body of ``text/event-stream`` stands between two events, chunk after chunk."""

from __future__ import annotations

from typing import Final

# WHATWG HTML, section 9.2: a blank line ends an event, and a line ends with LF, CR or CRLF. After
# a CR an LF may follow that belongs to it: what is put between them then costs one blank line,
# which means nothing between two events.
_BLANK_LINES: Final = (b"\n\n", b"\r\r", b"\n\r\n", b"\n\r", b"\r\n\r", b"\r\n\n")
_LONGEST: Final = 4


def is_boundary(tail: bytes) -> bool:
    """Whether an event may begin after a body that ends with ``tail``."""
    return not tail or tail.endswith(_BLANK_LINES)


def tail_of(tail: bytes, chunk: bytes) -> bytes:
    """The end of the body once a chunk has followed."""
    return chunk[-_LONGEST:] if len(chunk) >= _LONGEST else (tail + chunk)[-_LONGEST:]
