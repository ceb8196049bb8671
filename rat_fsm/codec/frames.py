"""A frame's header, limits and hash: all that can be said without decoding its events."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from rat_fsm.errors import DamagedFrame, UnsupportedFormat
from rat_fsm.stores.port import Frame

if TYPE_CHECKING:
    from rat_fsm.stores.port import StoredFrame

FORMAT: Final = 1
ALGORITHM: Final = "sha256"
MAX_BODY: Final = 512 * 1024
MAX_EVENTS: Final = 10_000
MAX_DEPTH: Final = 16
FIRST_TIME: Final = -62_135_596_800_000_000  # the years 1 to 9999, in microseconds
LAST_TIME: Final = 253_402_300_799_999_999

_NOT_STRUCTURE: Final = bytes(c for c in range(256) if c not in b'[]{}"')
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_STRINGS: Final = re.compile(rb'"[^"]*+"?')  # an unclosed one reaches to the end


def seal(
    *,
    writer: str,
    first: int,
    count: int,
    first_at: int,
    last_at: int,
    body: bytes,
    fingerprints: tuple[str, ...],
    salt: bytes,
    prev: bytes,
) -> Frame:
    """The frame for a body that `encode_body` made, with its hash."""
    frame = Frame(writer, first, count, first_at, last_at, fingerprints, salt, body, prev, b"")
    return attrs.evolve(frame, hash=hash_of(frame))


def hash_of(frame: Frame) -> bytes:
    """SHA-256 over the compact JSON array of the header, a newline, and the body as stored."""
    header = [
        frame.format,
        frame.algorithm,
        frame.writer,
        frame.first,
        frame.count,
        frame.first_at,
        frame.last_at,
        list(frame.fingerprints),
        frame.salt.hex(),
        frame.prev.hex(),
    ]
    digest = hashlib.sha256(msgspec.json.encode(header) + b"\n")
    digest.update(frame.body)
    return digest.digest()


def check_frame(stored: StoredFrame, prev: bytes | None) -> None:
    """Checks everything about a frame that can be checked without decoding its events.

    Args:
        stored: the frame.
        prev: the hash of its writer's frame before, None where that is not known.

    Raises:
        UnsupportedFormat: a newer rat_fsm wrote it.
        DamagedFrame: it contradicts its hash or its chain, or exceeds a limit.
    """
    frame, position = stored.frame, stored.position
    check_format(frame, position)
    check_limits(frame, position)
    if prev is not None and frame.prev != prev:
        raise DamagedFrame(f"it does not continue the chain of {frame.writer}", position=position)
    if hash_of(frame) != frame.hash:
        raise DamagedFrame("its hash does not match its content", position=position)


def check_format(frame: Frame, position: int) -> None:
    """Refuses what a newer rat_fsm wrote."""
    if frame.format < 1:
        raise DamagedFrame(f"there is no frame format {frame.format}", position=position)
    if frame.format > FORMAT or frame.algorithm != ALGORITHM:
        raise UnsupportedFormat(
            f"frame {position} has format {frame.format} ({frame.algorithm}), newer than this "
            f"rat_fsm, which reads up to {FORMAT} ({ALGORITHM}); upgrade to read it"
        )


def check_limits(frame: Frame, position: int) -> None:
    """Refuses a header or a body beyond the limits, without decoding it."""
    if len(frame.body) > MAX_BODY:
        raise DamagedFrame(f"{len(frame.body)} bytes exceed {MAX_BODY}", position=position)
    if not 1 <= frame.count <= MAX_EVENTS:
        raise DamagedFrame(f"{frame.count} events are not 1 to {MAX_EVENTS}", position=position)
    if not FIRST_TIME <= frame.first_at <= frame.last_at <= LAST_TIME:
        raise DamagedFrame(
            f"{frame.first_at} to {frame.last_at} is no span of time", position=position
        )
    if too_deep(frame.body):
        raise DamagedFrame(f"its body is nested deeper than {MAX_DEPTH}", position=position)


def too_deep(body: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether JSON is nested deeper than a limit (or unbalanced), without decoding it.

    Takes the innermost brackets away as often as is allowed; objects count as arrays. Two quotes
    side by side are an empty string, or join two: either way the brackets outside stay outside.
    """
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    brackets = body.translate(_SQUARE, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in brackets:  # only strings with brackets in them are left, which are few
        brackets = _STRINGS.sub(b"", brackets)
    for _ in range(limit):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)
