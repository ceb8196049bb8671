"""A file that is there as a whole or not at all, and is its owner's only."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rat_fsm.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def replaced(path: Path | str, *, force: bool = False) -> Iterator[BinaryIO]:
    """A new file that takes its place once the block has ended well; its mode is 0600.

    Args:
        path: where it goes; a link is followed.
        force: whether it may replace a file that is there.

    Raises:
        InvalidArgument: there is one, or what is there is no file.
        OSError: it cannot be written; nothing has changed then.
    """
    target = Path(path).resolve()
    _check_free(target, force=force)
    number, name = tempfile.mkstemp(prefix=f".{target.name[:64]}.", dir=target.parent)  # 0600
    try:
        with os.fdopen(number, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _check_free(target, force=force)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _check_free(path: Path, *, force: bool) -> None:
    if path.exists() and not path.is_file():
        raise InvalidArgument(f"{path} is no file, so it is not replaced")
    if path.exists() and not force:
        raise InvalidArgument(f"{path} is there already, and is replaced by --force only")
