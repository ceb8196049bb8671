"""Verifies a log: every hash chain from its beginning, and against a head kept outside the log.

A chain finds any damage inside the frames that are there. That frames are missing at its end it
cannot tell, and SQLite drops a damaged tail of its WAL without a word; a head, the last frame of
every writer noted in a file of its own, can.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from rat_fsm.codec import check_frame, open_body
from rat_fsm.errors import DamagedFrame, StoreUnreadable, UnsupportedFormat
from rat_fsm.stores.port import GENESIS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rat_fsm.stores.port import Frame, Store, StoredFrame

HEAD_FORMAT: Final = 1


@attrs.frozen
class Head:
    """The last frame of a writer: its position in the store and its hash in hexadecimal."""

    position: int
    hash: str


@attrs.frozen
class Problem:
    """What is wrong with a log.

    Attributes:
        position: the frame it was found at.
        writer: whose chain it is; empty where nobody knows.
        message: what is wrong, in a sentence.
    """

    position: int
    writer: str
    message: str


@attrs.frozen
class VerifyReport:
    """What verifying found.

    Attributes:
        frames: how many frames are sound.
        events: how many events those hold.
        writers: everybody who wrote, sorted.
        problems: the first of each writer, and what is missing.
    """

    frames: int
    events: int
    writers: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


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
    _replace(path, msgspec.json.encode(_HeadFile(HEAD_FORMAT, heads)) + b"\n")
    return heads


def _contradictions(
    store: Store, kept: Mapping[str, Head], heads: Mapping[str, Head]
) -> Iterator[Problem]:
    """What a log lacks of the heads that were kept, looking at those frames only."""
    for writer, head in kept.items():
        found = None if writer not in heads else next(iter(store.read(head.position - 1)), None)
        known = {} if found is None or found.position != head.position else {found.position: found}
        yield from _missing(writer, head, known)


def _missing(writer: str, head: Head, known: Mapping[int, StoredFrame]) -> Iterator[Problem]:
    stored = known.get(head.position)
    if stored is None:
        yield Problem(head.position, writer, f"frame {head.position} of {writer} is missing")
    elif (stored.frame.writer, stored.frame.hash.hex()) != (writer, head.hash):
        yield Problem(
            head.position, writer, f"frame {head.position} of {writer} is not the one it was"
        )


def _replace(path: Path, content: bytes) -> None:
    """Writes a new file beside the old one and renames it: a reader sees the one or the other."""
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


def verify_log(
    store: Store,
    heads: Mapping[str, Head] | None = None,
    progress: Callable[[int], object] | None = None,
) -> VerifyReport:
    """Recomputes the chain of every writer and checks that sequence and time go on within it.

    Args:
        store: the log.
        heads: what `read_heads` gave; the log must contain these frames.
        progress: called with the position of each frame that was looked at.

    Raises:
        HistoryEvicted: a bounded memory log no longer holds the beginning.
    """
    check = _Check(dict(heads or {}))
    after = 0
    while True:
        try:
            for stored in store.read(after):
                check.take(stored)
                after = stored.position
                if progress is not None:
                    progress(after)
        except DamagedFrame as problem:  # of the store, which knows no more about the frame
            after = check.unreadable(problem.position or after + 1, problem)
        except StoreUnreadable as problem:
            check.unreadable(after + 1, problem)
            return check.report()
        else:
            return check.report()


class _Check:
    """What is known of a log while it is read."""

    def __init__(self, heads: Mapping[str, Head]) -> None:
        self._heads = heads
        self._at_heads: dict[int, StoredFrame] = {}
        self._wanted = {head.position for head in heads.values()}
        self._chains: dict[str, _Chain] = {}
        self._problems: list[Problem] = []
        self._last = 0
        self._frames = self._events = 0

    def take(self, stored: StoredFrame) -> None:
        """Looks at the next frame."""
        self._follow(stored.position)
        if stored.position in self._wanted:
            self._at_heads[stored.position] = stored
        writer = stored.frame.writer
        chain = self._chains.setdefault(writer, _Chain())
        if chain.broken:
            return
        try:
            chain.extend(stored)
        except (DamagedFrame, UnsupportedFormat) as problem:
            chain.broken = True
            self._problems.append(Problem(stored.position, writer, str(problem)))
        else:
            self._frames += 1
            self._events += stored.frame.count

    def unreadable(self, position: int, problem: Exception) -> int:
        """Notes a place where there is no frame to be had; answers with that place."""
        self._follow(position)
        self._problems.append(Problem(position, "", str(problem)))
        return position

    def _follow(self, position: int) -> None:
        if position != self._last + 1:
            missing = f"frames {self._last + 1} to {position - 1} are missing"
            self._problems.append(Problem(self._last + 1, "", missing))
        self._last = position

    def report(self) -> VerifyReport:
        """Everything that was found, in the order of the log."""
        for writer, head in self._heads.items():
            self._problems.extend(_missing(writer, head, self._at_heads))
        problems = tuple(sorted(self._problems, key=lambda problem: problem.position))
        return VerifyReport(self._frames, self._events, tuple(sorted(self._chains)), problems)


@attrs.define
class _Chain:
    """Where the chain of a writer has come to."""

    prev: bytes = GENESIS
    next: int = 1
    last_at: int | None = None
    broken: bool = False

    def extend(self, stored: StoredFrame) -> None:
        """Checks that a frame is sound and goes on from here.

        Raises:
            DamagedFrame, UnsupportedFormat: it does not.
        """
        frame = stored.frame
        check_frame(stored, self.prev)
        open_body(stored)
        problem = self._break(frame)
        if problem is not None:
            raise DamagedFrame(problem, position=stored.position)
        self.prev, self.last_at = frame.hash, frame.last_at
        self.next = frame.first + frame.count

    def _break(self, frame: Frame) -> str | None:
        if frame.first != self.next:
            return f"it begins with event {frame.first} of {frame.writer}, not {self.next}"
        if self.last_at is not None and frame.first_at < self.last_at:
            return f"its time goes back {self.last_at - frame.first_at} µs"
        return None
