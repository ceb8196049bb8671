"""The leaves of a log's Merkle tree: its events in the order of their positions, each salted.

The data of a leaf is 32 bytes of salt and the event as a JSON array without spaces::

    [frame, writer, first seq, first time µs, offset,
     [lifecycle, id, born], version, [tag, schema version, [field, …]], row]

* The first four are those of the frame. The event's position is ``frame.offset``, its sequence
  number ``first seq + offset``, its time ``first time + row[0]``.
* ``born`` is ``writer:seq`` of the stream's first event, ``version`` counts the stream's events
  from 1.
* ``row`` are the very bytes that stand for the event in its frame's body, ``[time offset, stream,
  type, payload …]``: writing JSON again might write a number otherwise. Its stream and type are
  numbers within the frame; what they stand for is spelt out before.
* Strings are written as RFC 8785, section 3.2.2.2, writes them.
* The salt is HMAC-SHA-256 (RFC 2104) of the offset, eight bytes, the most significant first, with
  the frame's 16 random bytes as the key. So the leaf of one event can be shown without telling
  anything about its neighbours, not even to somebody who guesses what they say.

The frames' other facts, such as the definitions in force, are covered by the heads that a
checkpoint carries.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.codec import Body
    from rat_fsm.stores.port import StoredFrame

LEAVES: Final = 1  # the version of what is said above
SALT: Final = 32
_BLOCK: Final = 64  # of SHA-256, bytes
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))
_encode: Final = msgspec.json.Encoder().encode


class _RawBody(msgspec.Struct):
    """A body whose rows stay the bytes they are."""

    events: list[msgspec.Raw]


_decoder: Final = msgspec.json.Decoder(_RawBody)


def leaves_of(stored: StoredFrame, body: Body) -> Iterator[bytes]:
    """The data of the leaves that a sound frame adds, salt first.

    Args:
        stored: the frame.
        body: its body, as `rat_fsm.codec.open_body` gives it.
    """
    frame = stored.frame
    streams = [_encode((name, id, f"{frame.writer}:{born}")) for name, id, born, _ in body.streams]
    versions = [base for _, _, _, base in body.streams]
    forms = _forms(stored, body)
    rows = zip(_salts(frame.salt), body.events, _decoder.decode(frame.body).events, strict=False)
    for offset, (salt, decoded, row) in enumerate(rows):
        stream = decoded[1]
        versions[stream] = version = versions[stream] + 1
        yield salt + forms[decoded[2]] % (offset, streams[stream], version, row)


def _forms(stored: StoredFrame, body: Body) -> list[bytes]:
    """What all events of a type have in common in a frame, to be written once."""
    frame = stored.frame
    common = (stored.position, frame.writer, frame.first, frame.first_at)
    before = _encode(common)[:-1].replace(b"%", b"%%")
    types = (_encode(described).replace(b"%", b"%%") for described in body.types)
    return [b"%b,%%d,%%b,%%d,%b,%%b]" % (before, described) for described in types]


def _salts(key: bytes) -> Iterator[bytes]:
    """The salts of a frame's events, without end.

    What HMAC begins each of its two hashes with depends on the key only, and is hashed once:
    `hmac.digest` would take twice as long.
    """
    block = key.ljust(_BLOCK, b"\x00")
    inner = hashlib.sha256(block.translate(_INNER))
    outer = hashlib.sha256(block.translate(_OUTER))
    offset = 0
    while True:
        message, salt = inner.copy(), outer.copy()
        message.update(offset.to_bytes(8, "big"))
        salt.update(message.digest())
        yield salt.digest()
        offset += 1
