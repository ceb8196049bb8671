"""Frames as rows: the values of a statement from a frame, and a frame from what it answers."""

from __future__ import annotations

import functools
from typing import Any

import attrs

from rat_fsm.errors import DamagedFrame
from rat_fsm.stores.port import Frame, StoredFrame


def values_of(frame: Frame) -> dict[str, Any]:
    """A frame's columns by name."""
    return {**attrs.asdict(frame, recurse=False), "fingerprints": _array(frame.fingerprints)}


@functools.lru_cache
def _array(texts: tuple[str, ...]) -> str:
    """Texts as PostgreSQL writes an array of them; the driver took as long as for the rest."""
    escaped = (text.replace("\\", r"\\").replace('"', r"\"") for text in texts)
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}"


def stored_in(row: tuple[Any, ...]) -> StoredFrame:
    """The frame in a row of `statements.COLUMNS`.

    Raises:
        DamagedFrame: the columns have types, but an array may have holes.
    """
    position, *columns = row
    if None in columns[5]:
        raise DamagedFrame("its fingerprints are not all there", position=position)
    columns[5] = tuple(columns[5])
    return StoredFrame(position, Frame(*columns))
