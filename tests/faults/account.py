"""What a writing process says of itself: lines in a file, which outlive it however it ends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


class Acknowledged(msgspec.Struct, frozen=True, tag=True):
    """A flush returned: so many records were accepted before it, and this is the last frame.

    Attributes:
        number: of the last record that was accepted before the flush.
        frame: where its last durable event is.
        offset: likewise.
        writer: who the log was then.
    """

    number: int
    frame: int
    offset: int
    writer: str


class Sampled(msgspec.Struct, frozen=True, tag=True):
    """What the log's health said at one moment.

    Attributes:
        number: of the last record that was accepted before.
        claimed: the events accepted before, less those that health called pending.
        status: of the health.
        ready: likewise.
        error: likewise.
        spilled: likewise.
        set_aside: likewise.
        writer: who the log was then.
    """

    number: int
    claimed: int
    status: str
    ready: bool
    error: str | None
    spilled: int
    set_aside: int
    writer: str


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The process closed its log.

    Attributes:
        number: of the last record that was accepted.
        error: what closing the log raised.
    """

    number: int
    error: str | None


Entry = Acknowledged | Sampled | Ended


class Account:
    """The file, written by one process; several of its threads may add to it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, entry: Entry) -> None:
        """Adds a line, by one call to the kernel: a kill leaves all of it or nothing."""
        os.write(self._file, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        os.close(self._file)


class AccountReader:
    """The file, read by another process while it grows.

    Attributes:
        entries: what was read so far.
    """

    def __init__(self, path: Path) -> None:
        self.entries: list[Entry] = []
        self._path = path
        self._read = 0

    def refresh(self) -> list[Entry]:
        """Everything that is in the file now; a line that is being written is not there yet."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                whole = file.read().rpartition(b"\n")[0]
            self._read += len(whole) + 1 if whole else 0
            self.entries += [msgspec.json.decode(line, type=Entry) for line in whole.splitlines()]
        return self.entries
