"""Frames as messages: the header in one header line, the body as it is, the writer in the subject.

A message on ``rat_fsm.STREAM.frames.WRITER`` has the header line ``Rat-Fsm-Frame``, a JSON object
in ASCII, and the frame's body as its payload, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import attrs
import msgspec

from rat_fsm.errors import DamagedFrame
from rat_fsm.stores.port import Frame, StoredFrame

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER: Final = "Rat-Fsm-Frame"
MAX_TOKEN: Final = 200  # a server's control line, which holds the subject, is 4096 bytes at most


@attrs.frozen
class Message:
    """A message of a stream.

    Attributes:
        sequence: its place, from 1.
        headers: by name.
        data: its payload.
        at: when the server took it, RFC 3339.
    """

    sequence: int
    headers: Mapping[str, str]
    data: bytes
    at: str = ""


class _Header(msgspec.Struct):
    """What the header line says."""

    format: int
    algorithm: str
    writer: str
    first: int
    count: int
    first_at: int
    last_at: int
    fingerprints: list[str]
    salt: str
    prev: str
    hash: str


def token_of(writer: str) -> str:
    """A writer's name as a token of a subject: legal, unambiguous, never too long.

    What is hashed begins with a character that quoting leaves nowhere.
    """
    name = quote(writer, safe="").replace(".", "%2E")
    return name if len(name) <= MAX_TOKEN else "=" + hashlib.sha256(writer.encode()).hexdigest()


def header_of(frame: Frame) -> str:
    """The header line of a frame."""
    header = _Header(
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
        frame.hash.hex(),
    )
    return json.dumps(msgspec.to_builtins(header), separators=(",", ":"))


def stored_of(message: Message) -> StoredFrame:
    """The frame in a message; anybody who may publish can put anything there.

    Raises:
        DamagedFrame: there is none in it.
    """
    line = message.headers.get(HEADER)
    if line is None:
        raise DamagedFrame(f"the message has no {HEADER} header", position=message.sequence)
    try:
        header = msgspec.json.decode(line, type=_Header)
        frame = Frame(
            writer=header.writer,
            first=header.first,
            count=header.count,
            first_at=header.first_at,
            last_at=header.last_at,
            fingerprints=tuple(header.fingerprints),
            salt=bytes.fromhex(header.salt),
            body=message.data,
            prev=bytes.fromhex(header.prev),
            hash=bytes.fromhex(header.hash),
            format=header.format,
            algorithm=header.algorithm,
        )
    except ValueError as problem:  # msgspec's errors are among them
        raise DamagedFrame(f"its {HEADER} header: {problem}", position=message.sequence) from None
    return StoredFrame(message.sequence, frame)


def headers_of(raw: bytes) -> dict[str, str]:
    """The header lines of a message as the server keeps them."""
    lines = (line.partition(":") for line in raw.decode("utf-8", "replace").split("\r\n")[1:])
    return {name: value.strip() for name, colon, value in lines if colon}
