"""What the commands about evidence share: checkpoints and keys as they are named at a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from rat_fsm.audit import read_checkpoint, read_public_key
from rat_fsm.audit.keys import encode_base64

if TYPE_CHECKING:
    from pathlib import Path

    from rat_fsm.audit import Checkpoint, PublicKey


@attrs.frozen
class KeptCheckpoint:
    """A checkpoint that somebody kept.

    Attributes:
        path: the file it is in.
        checkpoint: what it says.
        signed_by: whose signature was checked; None where nobody's was.
    """

    path: Path
    checkpoint: Checkpoint
    signed_by: PublicKey | None

    @classmethod
    def read(cls, path: Path, public_key: str | None) -> KeptCheckpoint:
        """Reads one, and checks that it is signed by a key, if one is told.

        Raises:
            Unproven: the key has not signed it.
            InvalidArgument, StoreUnreadable, UnsupportedFormat: file or key are no such thing.
            MissingExtra: the package ``cryptography`` is not installed.
        """
        key = None if public_key is None else read_public_key(public_key)
        checkpoint, note = read_checkpoint(path)
        if key is not None:
            note.check(key)
        return cls(path, checkpoint, key)

    def as_json(self) -> dict[str, Any]:
        """What it says, for programs."""
        signed_by = None if self.signed_by is None else str(self.signed_by)
        return {"file": str(self.path), **told(self.checkpoint), "signed_by": signed_by}


def told(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint says, as plain values; the root in base64, as it stands in the note."""
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": encode_base64(checkpoint.root),
    }
