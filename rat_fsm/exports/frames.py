r"""Frames as lines of JSON: a log as one stream of text, from which it can be made again.

The first line says what it is, each further one holds a frame, and the last says how many there
were, so that an export that was cut off shows::

    {"line":"begin","content":"rat_fsm frames","version":1,"after":0}
    {"line":"frame","position":1,"writer":"w0","first":1,"count":2, …,"body":"{\"types\":…}"}
    {"line":"end","frames":1,"events":2}

Hashes and the salt are hexadecimal. The body is a string, not an object: its bytes are what the
hash is of, and a body is valid UTF-8 or damaged. Base64 would be a third longer than the body and
tell nobody anything; escaped quotes cost less, and ``jq -r .body`` gives the bytes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import msgspec

from rat_fsm.codec import MAX_INTEGER
from rat_fsm.errors import InvalidArgument
from rat_fsm.exports.chains import Chains
from rat_fsm.exports.selecting import Exported
from rat_fsm.replay.sources import opened
from rat_fsm.stores.port import Frame, StoredFrame, last_frame

if TYPE_CHECKING:
    from rat_fsm.exports.selecting import Progress
    from rat_fsm.replay.sources import LogSource

CONTENT: Final = "rat_fsm frames"
VERSION: Final = 1

_Integer = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Salt = Annotated[str, msgspec.Meta(pattern="^(?:[0-9a-f]{2})*$")]


class Begin(msgspec.Struct, tag_field="line", tag="begin"):
    """The first line; the frames that follow stand behind the position ``after``."""

    content: str
    version: int
    after: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


class Line(msgspec.Struct, tag_field="line", tag="frame"):
    """A frame with its position."""

    position: _Integer
    writer: str
    first: _Integer
    count: _Integer
    first_at: _Integer
    last_at: _Integer
    fingerprints: tuple[str, ...]
    salt: _Salt
    prev: _Hash
    hash: _Hash
    format: _Integer
    algorithm: str
    body: str

    @classmethod
    def of(cls, stored: StoredFrame) -> Line:
        """The line for a frame whose body is UTF-8."""
        frame = stored.frame
        return cls(
            position=stored.position,
            writer=frame.writer,
            first=frame.first,
            count=frame.count,
            first_at=frame.first_at,
            last_at=frame.last_at,
            fingerprints=frame.fingerprints,
            salt=frame.salt.hex(),
            prev=frame.prev.hex(),
            hash=frame.hash.hex(),
            format=frame.format,
            algorithm=frame.algorithm,
            body=frame.body.decode(),
        )

    @property
    def stored(self) -> StoredFrame:
        """The frame in the line."""
        frame = Frame(
            writer=self.writer,
            first=self.first,
            count=self.count,
            first_at=self.first_at,
            last_at=self.last_at,
            fingerprints=self.fingerprints,
            salt=bytes.fromhex(self.salt),
            body=self.body.encode(),
            prev=bytes.fromhex(self.prev),
            hash=bytes.fromhex(self.hash),
            format=self.format,
            algorithm=self.algorithm,
        )
        return StoredFrame(self.position, frame)


class End(msgspec.Struct, tag_field="line", tag="end"):
    """The last line: how much there was."""

    frames: int
    events: int


encode = msgspec.json.Encoder().encode
decoder: Final[msgspec.json.Decoder[Begin | Line | End]] = msgspec.json.Decoder(Begin | Line | End)


def export_frames(
    source: LogSource, file: BinaryIO, *, after: int = 0, progress: Progress | None = None
) -> Exported:
    """Writes the frames of a log as lines of JSON, each verified first.

    `rat_fsm.exports.import_frames` makes the same log of them: frames, hashes and positions.
    What a server stores meanwhile may be among them or not.

    Args:
        source: the log.
        file: where the lines go.
        after: begin after this frame. Such a part can be imported where the frames before it
            are; what it says about them is believed here, and checked there.
        progress: called with the position of each frame that is written.

    Raises:
        InvalidArgument: the log does not have the frame ``after``.
        DamagedFrame: a frame is not what its writer stored; what came before it is written, and
            no end.
        HistoryEvicted: a bounded memory log no longer holds the beginning.
        StoreUnreadable, UnsupportedFormat: the log cannot be read.
    """
    frames = events = 0
    with opened(source) as store:
        if after and not 0 < after <= last_frame(store):
            raise InvalidArgument(
                f"there is no frame {after} to begin after: this log has {last_frame(store)}"
            )
        chains = Chains(after)
        file.write(encode(Begin(CONTENT, VERSION, after)) + b"\n")
        for stored in store.read(after):
            chains.extend(stored)
            file.write(encode(Line.of(stored)) + b"\n")
            frames, events = frames + 1, events + stored.frame.count
            if progress is not None:
                progress(stored.position)
    file.write(encode(End(frames, events)) + b"\n")
    return Exported(events, frames)
