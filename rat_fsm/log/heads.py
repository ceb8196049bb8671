"""Keeps the head of a log, the last frame of every writer, in a file of its own.

SQLite drops a damaged tail of its WAL without a word, and what is left is sound; held against a
head that was kept before, it shows.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from rat_fsm.errors import DamagedFrame, StoreUnreadable, UnsupportedFormat
from rat_fsm.log.verifying import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rat_fsm.codec import Body
    from rat_fsm.stores.port import Store, StoredFrame

HEAD_FORMAT: Final = 1


@attrs.frozen
class Head:
    """The last frame of a writer: its position in the store and its hash in hexadecimal."""

    position: int
    hash: str


class _HeadFile(msgspec.Struct):
    """What a head file holds, as JSON."""

    format: int
    heads: dict[str, Head]


def head_path(path: Path | str) -> Path:
    """Where the head of the log in a file is kept: ``<file>.head``."""
    return Path(f"{path}.head")


def read_heads(path: Path) -> dict[str, Head]:
    """The heads in a head file, by writer.

    Raises:
        StoreUnreadable: there is no such file, or it is no head file.
        UnsupportedFormat: a newer rat_fsm wrote it.
    """
    try:
        plain = path.read_bytes()
    except OSError as problem:
        raise StoreUnreadable(f"no head at {path}: {problem.strerror}") from problem
    try:
        file = msgspec.json.decode(plain, type=_HeadFile)
    except (ValueError, RecursionError) as problem:
        raise StoreUnreadable(f"{path} is no head file: {problem}") from problem
    if file.format != HEAD_FORMAT:
        raise UnsupportedFormat(f"{path} has format {file.format}; upgrade rat_fsm to read it")
    return file.heads


def keep_heads(store: Store, path: Path) -> dict[str, Head]:
    """Notes every writer's last frame in a file, unless the log contradicts what stands there.

    The file is replaced as a whole and is its owner's only.

    Raises:
        DamagedFrame: the log no longer contains or extends the head that was kept before, which
            stays as it is.
        StoreUnreadable, UnsupportedFormat: what stands there is no head file.
        OSError: it cannot be written.
    """
    heads = {
        writer: Head(stored.position, stored.frame.hash.hex())
        for writer, stored in sorted(store.heads().items())
    }
    if path.exists():
        for problem in _contradictions(store, read_heads(path), heads):
            raise DamagedFrame(problem.message, position=problem.position)
    replace_file(path, msgspec.json.encode(_HeadFile(HEAD_FORMAT, heads)) + b"\n")
    return heads


def _contradictions(
    store: Store, kept: Mapping[str, Head], heads: Mapping[str, Head]
) -> Iterator[Problem]:
    """What a log lacks of the heads that were kept, looking at those frames only."""
    for writer, head in kept.items():
        found = None if writer not in heads else next(iter(store.read(head.position - 1)), None)
        known = {} if found is None else {found.position: _identity(found)}
        yield from _missing(writer, head, known)


class KeptHeads:
    """A witness: the log must contain the frames that were its last ones once.

    Args:
        heads: what `read_heads` gave.
    """

    def __init__(self, heads: Mapping[str, Head]) -> None:
        self._heads = dict(heads)
        self._wanted = {head.position for head in heads.values()}
        self._found: dict[int, tuple[str, str]] = {}

    def take(self, stored: StoredFrame, body: Body | None) -> None:  # noqa: ARG002 - a sound body is another's business
        """Notes a frame that a head names."""
        if stored.position in self._wanted:
            self._found[stored.position] = _identity(stored)

    def problems(self) -> Iterator[Problem]:
        """The heads whose frames are missing or have become others."""
        for writer, head in self._heads.items():
            yield from _missing(writer, head, self._found)


def _identity(stored: StoredFrame) -> tuple[str, str]:
    return stored.frame.writer, stored.frame.hash.hex()


def _missing(writer: str, head: Head, known: Mapping[int, tuple[str, str]]) -> Iterator[Problem]:
    found = known.get(head.position)
    if found is None:
        yield Problem(head.position, writer, f"frame {head.position} of {writer} is missing")
    elif found != (writer, head.hash):
        yield Problem(
            head.position, writer, f"frame {head.position} of {writer} is not the one it was"
        )


def replace_file(path: Path, content: bytes) -> None:
    """Writes a new file beside the old one and renames it: a reader sees the one or the other.

    It is its owner's only.

    Raises:
        OSError: it cannot be written; nothing has changed then.
    """
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
