"""Files for what was accepted and can not be stored any more, so that it is not lost as well."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rat_fsm.errors import RatFsmError
from rat_fsm.log.spilling import tidying

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rat_fsm.stores.port import Frame, StoredFrame
    from rat_fsm.stores.spill import SpillFile

_log = logging.getLogger("rat_fsm")


class Aside:
    """A file for what was not stored; made when something is to be put into it.

    Attributes:
        name: the file, empty where there is none.
        events: how many events were to be set aside.
    """

    def __init__(self, spill: Path | None, writer: str) -> None:
        self.name = ""
        self.events = 0
        self._spill = spill
        self._writer = writer
        self._file: SpillFile | None = None

    def keep(self, frames: Iterable[Frame]) -> bool:
        """Adds frames; whether the file has taken all of them."""
        events = 0
        try:
            fresh = list(frames)
            events = sum(frame.count for frame in fresh)
            if fresh:
                file = self._opened()
                file.keep(fresh)
                self.name = str(file.path)
        except (OSError, RatFsmError, RuntimeError) as problem:  # RuntimeError: there is no home
            _log.critical("%d events of %s cannot be set aside: %s", events, self._writer, problem)
            return False
        finally:
            self.events += events
        return True

    def leave(self, events: int, where: Path) -> None:
        """Says where those are that were not taken, if the file has no others."""
        _log.critical("%d events of %s stay in %s", events, self._writer, where)
        self.name = self.name or str(where)

    def expect(self, events: int) -> str:
        """Where so many more events will be, which `keep` is going to be given."""
        if events and not self.name:
            with contextlib.suppress(OSError, RatFsmError, RuntimeError):
                self.name = str(self._opened().path)
        return self.name

    def _opened(self) -> SpillFile:
        from rat_fsm.stores.spill import SpillFile  # SQLite, for those who lose their slot
        from rat_fsm.stores.sqlite import slot_name

        if self._file is None:
            folder = state_folder() if self._spill is None else self._spill.parent
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{slot_name(self._writer)}-{time.time_ns()}.aside.db"
            self._file = SpillFile(folder / name)
        return self._file

    def close(self) -> None:
        """Lets go of the file, which stays where there is something in it."""
        if self._file is not None:
            self._file.close()


def set_aside(file: SpillFile, frames: Sequence[StoredFrame]) -> None:
    """Moves frames of a spill file that no writer can deliver any more into files of their own."""
    for writer in {stored.frame.writer for stored in frames}:
        own = [stored for stored in frames if stored.frame.writer == writer]
        aside = Aside(file.path, writer)
        if aside.keep(stored.frame for stored in own):
            _log.error("%d events of %s are set aside in %s", aside.events, writer, aside.name)
            with tidying(file):
                file.remove(stored.position for stored in own)
        else:
            aside.leave(aside.events, file.path)
        aside.close()


def state_folder() -> Path:
    """Where files of ours are kept that nobody chose a place for.

    ``rat_fsm`` under ``$XDG_STATE_HOME``, or ``~/.local/state`` without one.
    Source: XDG Base Directory Specification 0.8, which wants a relative path to be ignored.
    """
    told = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (told if told.is_absolute() else Path.home() / ".local" / "state") / "rat_fsm"
