"""Makes a log again of the lines that `rat_fsm.exports.export_frames` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

from rat_fsm.errors import DamagedFrame, LogsDiverged, StoreUnreadable, UnsupportedFormat
from rat_fsm.exports.chains import Chains
from rat_fsm.exports.copying import Copied, receiving
from rat_fsm.exports.frames import CONTENT, VERSION, Begin, End, Line, decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.exports.copying import Destination
    from rat_fsm.exports.selecting import Progress
    from rat_fsm.stores.port import StoredFrame

MAX_LINE: Final = 4 * 1024 * 1024  # eight bodies; nothing of ours comes near it


def import_frames(
    file: BinaryIO, destination: Destination, *, progress: Progress | None = None
) -> Copied:
    """Puts exported frames into a log, at the positions they had.

    The whole file is verified before anything is written: every hash, every chain, and that the
    end is there. The log must be new, or hold the very frames that come before those in the
    file; what it holds of the file itself is compared and left.

    Args:
        file: what was exported, from its beginning; it is read twice, so it must be seekable.
        destination: a URL or path, where a log is made if there is none, or a writable store.
        progress: called with the position of each frame that was imported.

    Raises:
        StoreUnreadable: it is no export, or not all of one, or damaged; says which line is.
        UnsupportedFormat: a newer rat_fsm wrote it.
        LogsDiverged: the log holds other frames than the file, or too few.
        WriterBusy, LogUnavailable, InvalidArgument: see `rat_fsm.exports.copy_log`.
    """
    export = _Export(file)
    export.verify()
    with receiving(destination, export.writers) as receiver:
        if receiver.before < export.after:
            raise LogsDiverged(
                f"the export begins after frame {export.after}, and {receiver.name} "
                f"ends with frame {receiver.before}",
                position=receiver.before + 1,
            )
        for stored in export.frames():
            receiver.take(stored)
            if progress is not None:
                progress(stored.position)
        return receiver.copied


class _Export:
    """A file of frames.

    Attributes:
        after: the position behind which its frames stand.
        writers: whose they are, once it is verified.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number = 0
        self._start = file.tell()
        self.after = self._begin().after
        self.writers: list[str] = []

    def verify(self) -> None:
        """Reads it to its end.

        Raises:
            StoreUnreadable, UnsupportedFormat: see `import_frames`.
        """
        chains = Chains(self.after)
        for stored in self.frames():
            try:
                chains.extend(stored)
            except DamagedFrame as problem:
                raise self._unreadable(str(problem)) from problem
        self.writers = chains.writers

    def frames(self) -> Iterator[StoredFrame]:
        """Its frames from the first to the last, and then the check that those were all."""
        self._begin()
        frames = events = 0
        while isinstance(line := self._line(), Line):
            frames, events = frames + 1, events + line.count
            yield line.stored
        if line != End(frames, events):
            raise self._unreadable(f"it does not end a file of {frames} frames, {events} events")
        if self._file.read(1):
            self._number += 1
            raise self._unreadable("the end came before it")

    def _begin(self) -> Begin:
        self._file.seek(self._start)
        self._number = 0
        begin = self._line()
        if not isinstance(begin, Begin) or begin.content != CONTENT:
            raise self._unreadable(f"it does not begin a file of {CONTENT}")
        if begin.version != VERSION:
            raise UnsupportedFormat(
                f"this export has version {begin.version}, newer than this rat_fsm, "
                f"which reads {VERSION}; upgrade to read it"
            )
        return begin

    def _line(self) -> Begin | Line | End:
        self._number += 1
        line = self._file.readline(MAX_LINE + 1)
        if not line:
            raise self._unreadable("the file ends before its end: it was cut off")
        if len(line) > MAX_LINE:
            raise self._unreadable(f"it is longer than {MAX_LINE} bytes")
        try:
            return decoder.decode(line)
        except (ValueError, RecursionError) as problem:
            raise self._unreadable(str(problem)) from problem

    def _unreadable(self, problem: str) -> StoreUnreadable:
        return StoreUnreadable(f"no export of frames: line {self._number}: {problem}")
