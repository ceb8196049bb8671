"""Keeps pieces of text under keys until each key's are asked for, in bounded memory."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from types import TracebackType

Key = TypeVar("Key", bound="Hashable")

LIMIT: Final = 32 * 1024 * 1024


class Spool(Generic[Key]):
    """Pieces by key; beyond a limit they go to a temporary file that nobody else can open.

    A context manager that forgets everything at its end.

    Args:
        limit: how many bytes stay in memory.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._held = 0
        self._pieces: dict[Key, list[bytes]] = {}
        self._spilled: dict[Key, list[tuple[int, int]]] = {}
        self._file: Any = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `__exit__`

    def add(self, key: Key, piece: bytes) -> None:
        """Keeps a piece behind the others of its key."""
        self._pieces.setdefault(key, []).append(piece)
        self._held += len(piece)
        if self._held > self._limit:
            self._spill()

    def _spill(self) -> None:
        """Writes what is in memory, each key's pieces in one go."""
        position = self._file.seek(0, 2)
        for key, pieces in self._pieces.items():
            length = self._file.write(b"".join(pieces))
            self._spilled.setdefault(key, []).append((position, length))
            position += length
        self._pieces.clear()
        self._held = 0

    def take(self, key: Key) -> Iterator[bytes]:
        """The pieces of a key in the order they came, some joined, and forgets them."""
        for position, length in self._spilled.pop(key, ()):
            self._file.seek(position)
            yield self._file.read(length)
        pieces = self._pieces.pop(key, [])
        self._held -= sum(map(len, pieces))
        yield from pieces

    def waiting(self) -> list[Key]:
        """Every key that has pieces, those that were spilled first."""
        return list({**self._spilled, **self._pieces})

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Forgets everything."""
        self._file.close()
