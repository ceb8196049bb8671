"""Seals a log: reads it whole, verifies it, and signs what it is; and proves that it was extended.

Whoever can write a log can compute all of its hashes anew. What cannot be computed anew is a
signed checkpoint that somebody else keeps: relative to it every change of what was sealed shows,
and every event that is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rat_fsm.audit.checkpoints import Checkpoint
from rat_fsm.audit.leaves import leaves_of
from rat_fsm.audit.merkle import Tree, leaf_hash
from rat_fsm.audit.notes import sign_note
from rat_fsm.errors import InvalidArgument, Unproven
from rat_fsm.log.heads import Head, KeptHeads
from rat_fsm.log.verifying import Problem, verify_log
from rat_fsm.replay.sources import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rat_fsm.audit.keys import PrivateKey
    from rat_fsm.codec import Body
    from rat_fsm.replay.sources import LogSource
    from rat_fsm.stores.port import StoredFrame


def seal_log(
    source: LogSource,
    key: PrivateKey,
    *,
    origin: str | None = None,
    before: Checkpoint | None = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[Checkpoint, str]:
    """Verifies a log and signs a checkpoint of all that is durable in it.

    A log must never be sealed in two states of which neither extends the other: give the last
    checkpoint that was made of it, and keep the new one where whoever writes the log cannot.

    Args:
        source: a URL or path, a store, or a log.
        key: who signs.
        origin: which log it is; the key's name by default, as the specification recommends.
        before: an earlier checkpoint, which the log must extend.
        progress: called with the position of each frame that was looked at.

    Returns:
        The checkpoint, and the signed note that holds it.

    Raises:
        Unproven: the log is damaged, or does not extend the earlier checkpoint.
        InvalidArgument: the origin cannot be a line, or the earlier checkpoint has another.
        MissingExtra: the package ``cryptography`` is not installed.
        StoreUnreadable, UnsupportedFormat, HistoryEvicted: the log cannot be read.
    """
    origin = key.name if origin is None else origin
    if before is not None and before.origin != origin:
        raise InvalidArgument(f"the earlier checkpoint is of {before.origin}, not of {origin}")
    whole = _Whole()
    held = () if before is None else witnesses_of(before)
    with opened(source) as store:
        report = verify_log(store, (whole, *held), progress)
        if not report.sound:
            raise Unproven(f"{store.url} is not sealed: {report.problems[0].message}")
    checkpoint = Checkpoint(origin, whole.tree.size, whole.tree.root(), whole.heads)
    return checkpoint, sign_note(checkpoint.text(), key)


def witnesses_of(checkpoint: Checkpoint) -> tuple[KeptHeads, SealedEvents]:
    """What to give to `verify_log`, so that it proves that a log extends a checkpoint."""
    return KeptHeads(checkpoint.heads), SealedEvents(checkpoint)


class _Whole:
    """A witness that only remembers: the tree of a whole log, and its heads."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.heads: dict[str, Head] = {}

    def take(self, stored: StoredFrame, body: Body | None) -> None:
        """Adds a frame's events; of a log that is not sound nothing is wanted."""
        if body is not None:
            self.tree.extend(map(leaf_hash, leaves_of(stored, body)))
            self.heads[stored.frame.writer] = Head(stored.position, stored.frame.hash.hex())

    def problems(self) -> Iterator[Problem]:
        """Nothing is held against the log."""
        return iter(())


class SealedEvents:
    """A witness: the first events of a log must be those that a checkpoint was made of.

    Args:
        checkpoint: what was sealed; `KeptHeads` holds its heads against the log.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._tree = Tree()
        self._position = 0
        self._broken = False

    def take(self, stored: StoredFrame, body: Body | None) -> None:
        """Adds the frame's events to the tree, up to as many as were sealed."""
        left = self._checkpoint.size - self._tree.size
        if left <= 0 or self._broken:
            return
        self._position = stored.position
        if body is None:
            self._broken = True
        else:
            leaves = [leaf_hash(data) for data in leaves_of(stored, body)]
            self._tree.extend(leaves[:left])

    def problems(self) -> Iterator[Problem]:
        """That events are missing, or are not those that were sealed."""
        origin, size = self._checkpoint.origin, self._checkpoint.size
        sealed = f"the {size} events sealed as {origin}"
        if self._broken:
            message = f"{sealed} cannot be proven: the log is damaged among them"
        elif self._tree.size < size:
            message = f"of {sealed} the log has the first {self._tree.size} at most"
        elif self._tree.root() != self._checkpoint.root:
            message = f"the first {size} events are not those sealed as {origin}"
        else:
            return
        yield Problem(self._position, "", message)
