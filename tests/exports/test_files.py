"""A file is there as a whole or not at all."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from rat_fsm.errors import InvalidArgument
from rat_fsm.exports import replaced

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_file(tmp_path: Path) -> None:
    """It appears when all is written, for its owner only."""
    path = tmp_path / "out"
    with replaced(path) as file:
        file.write(b"all")
        assert not path.exists()
    assert path.read_bytes() == b"all"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_there(tmp_path: Path) -> None:
    """It stays unless force is said, also where it came only meanwhile."""
    path = tmp_path / "out"
    ours = replaced(path)
    ours.__enter__().write(b"ours")
    path.write_bytes(b"somebody's")
    with pytest.raises(InvalidArgument, match="is there already"):
        ours.__exit__(None, None, None)
    with pytest.raises(InvalidArgument, match="is there already"), replaced(path):
        pytest.fail("it is refused before anything is written")
    assert path.read_bytes() == b"somebody's"
    with replaced(path, force=True) as file:
        file.write(b"ours")
    assert path.read_bytes() == b"ours"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure(tmp_path: Path) -> None:
    """What fails half-way leaves nothing, and what was there stays."""
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), replaced(path, force=True) as file:
        file.write(bytes(1 // len(b"")))
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file(tmp_path: Path) -> None:
    """A device or a pipe is never replaced, whoever asks; a link is followed."""
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(InvalidArgument, match="is no file"),
        replaced(tmp_path / "pipe", force=True),
    ):
        pytest.fail("it is refused before anything is written")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with replaced(tmp_path / "link") as file:
        file.write(b"all")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "out").read_bytes() == b"all"
    with pytest.raises(FileNotFoundError), replaced(tmp_path / "none" / "out"):
        pytest.fail("there is no folder for it")
