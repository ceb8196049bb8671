"""Checkpoints: what a log was at some moment, in a few lines that may be signed and kept elsewhere.

::

    example.com/log                      the origin: which log it is
    20852163                             how many events it had
    CsUYapGGPo4dkMgIAUqom/Xajj7h2f…=     the root of their Merkle tree, in base64
    rat_fsm leaves 1                     how an event becomes a leaf: `rat_fsm.audit.leaves`
    rat_fsm head w0 4711 q83v…=          a writer, the position and the hash of its last frame
    rat_fsm head w1 4708 ASNF…=

Specification: C2SP tlog-checkpoint v1.0.0 (c2sp.org/tlog-checkpoint), over the tree of RFC 9162,
section 2.1, which is that of RFC 6962. That specification recommends no extension lines, as a
monitor can make nothing of them. Here whoever verifies has the frames, and the heads say of them
what the events do not. What of a writer's name could end a line or a word is percent-encoded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

import attrs

from rat_fsm.audit.keys import decode_base64, encode_base64, reason_of
from rat_fsm.audit.leaves import LEAVES
from rat_fsm.audit.names import check_origin
from rat_fsm.audit.notes import MAX_NOTE, Note, parse_note
from rat_fsm.errors import InvalidArgument, StoreUnreadable, UnsupportedFormat
from rat_fsm.log.heads import Head

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

HASH: Final = 32
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")  # 63 bits
_OURS: Final = "rat_fsm "
_LEAVES: Final = f"{_OURS}leaves "


@attrs.frozen
class Checkpoint:
    """What a log was at some moment.

    Attributes:
        origin: which log it is.
        size: how many events it had.
        root: the root of the Merkle tree over them.
        heads: the last frame of every writer.
    """

    origin: str
    size: int
    root: bytes
    heads: Mapping[str, Head]

    def text(self) -> str:
        """Its lines.

        Raises:
            InvalidArgument: the origin cannot be a line.
        """
        check_origin(self.origin)
        lines = [self.origin, f"{self.size}", encode_base64(self.root), f"{_LEAVES}{LEAVES}"]
        return "".join(
            f"{line}\n" for line in [*lines, *map(_head_line, sorted(self.heads.items()))]
        )


def _head_line(item: tuple[str, Head]) -> str:
    writer, head = item
    encoded = encode_base64(bytes.fromhex(head.hash))
    return f"{_OURS}head {quote(writer, safe='')} {head.position} {encoded}"


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint that the text of a note is. Lines of others are passed over.

    Raises:
        InvalidArgument: it is none, or none of a log of rat_fsm.
        UnsupportedFormat: a newer rat_fsm wrote it.
    """
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < 3 or not all(lines):  # noqa: PLR2004 - origin, size, root
        raise InvalidArgument("that is no checkpoint: it has no three lines")
    origin, size, root, *others = lines
    check_origin(origin)
    if not _NUMBER.fullmatch(size):
        raise InvalidArgument("that is no checkpoint: its second line is no number of events")
    _check_leaves(others)
    return Checkpoint(origin, int(size), _hash(root, "its third line"), dict(_heads(others)))


def _check_leaves(lines: list[str]) -> None:
    versions = [line.removeprefix(_LEAVES) for line in lines if line.startswith(_LEAVES)]
    if not versions:
        raise InvalidArgument(
            "that is no checkpoint of a rat_fsm log: it does not say what a leaf is"
        )
    if versions != [str(LEAVES)]:
        raise UnsupportedFormat("a newer rat_fsm made that checkpoint; upgrade to verify it")


def _heads(lines: list[str]) -> Iterator[tuple[str, Head]]:
    seen = set()
    for words in (line.split(" ") for line in lines if line.startswith(_OURS)):
        match words:
            case [_, "head", name, position, encoded] if _NUMBER.fullmatch(position):
                writer = _writer(name)
                if writer in seen:
                    raise InvalidArgument("that is no checkpoint: it names a writer twice")
                seen.add(writer)
                yield writer, Head(int(position), _hash(encoded, "the hash of a head").hex())
            case [_, "leaves", _]:
                pass
            case _:
                raise InvalidArgument("that is no checkpoint: one of its lines makes no sense")


def _writer(name: str) -> str:
    try:
        writer = unquote(name, errors="strict")
    except UnicodeDecodeError as problem:
        raise InvalidArgument("that is no checkpoint: a writer's name is no UTF-8") from problem
    if not writer or quote(writer, safe="") != name:
        raise InvalidArgument("that is no checkpoint: a writer's name is not encoded as it must be")
    return writer


def _hash(encoded: str, what: str) -> bytes:
    raw = decode_base64(encoded)
    if raw is None or len(raw) != HASH:
        raise InvalidArgument(f"that is no checkpoint: {what} is no hash of {HASH} bytes in base64")
    return raw


def read_checkpoint(path: Path) -> tuple[Checkpoint, Note]:
    """The checkpoint in a file, and the note that it is the text of, to check its signatures.

    Raises:
        InvalidArgument: the file holds something else.
        StoreUnreadable: there is no such file.
        UnsupportedFormat: a newer rat_fsm wrote it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_NOTE + 1)
    except (OSError, ValueError) as problem:
        raise StoreUnreadable(f"no checkpoint at {path}: {reason_of(problem)}") from problem
    try:
        note = parse_note(content)
        return parse_checkpoint(note.text), note
    except InvalidArgument as problem:
        raise InvalidArgument(f"{path}: {problem}") from problem
