"""What a log says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from rat_fsm.errors import LogClosed, LogForked

if TYPE_CHECKING:
    from rat_fsm.log.accept import Acceptor
    from rat_fsm.log.commit import Committer


@attrs.frozen
class Health:
    """The condition of a log at one moment.

    Attributes:
        status: ok, failing (the store refuses; it is retried), fenced or closed.
        pending: how many events were accepted and are not durable yet.
        window: how many seconds of the past a kill would lose now: the age of the oldest
            event that is neither stored nor in the spill file.
        durability: the level in force: memory, batched or committed.
        last_error: what the store said last while it failed, None while it works.
        outcome_unknown: whether a commit failed and the store could not be asked since.
        retries: how often the store has been tried again since the log was opened.
        spilled: how many of the pending events are in the spill file.
        set_aside: how many events this log could not store because its slot was lost; the log
            records in which file they are.
        guarantee: what an acknowledgement of the store means where it runs, empty where it does
            not say.
    """

    status: str
    pending: int
    window: float
    durability: str
    last_error: str | None
    outcome_unknown: bool
    retries: int
    spilled: int = 0
    set_aside: int = 0
    guarantee: str = ""

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send more."""
        return self.status == "ok"


def health_of(
    acceptor: Acceptor, committer: Committer, *, now: int, durability: str, guarantee: str
) -> Health:
    """The condition of the halves of a log at a time, microseconds."""
    progress, pending = committer.progress, acceptor.seq
    rows = acceptor.pending
    oldest = progress.oldest_at or (rows[0] if rows else 0)
    error = progress.error
    return Health(
        status=_status(acceptor.refusal, error),
        pending=max(0, pending - progress.durable),
        window=max(0, now - oldest) / 1_000_000 if oldest else 0.0,
        durability=durability,
        last_error=None if error is None else str(error),
        outcome_unknown=progress.unknown,
        retries=progress.retries,
        spilled=committer.spilled,
        set_aside=committer.set_aside,
        guarantee=guarantee,
    )


def _status(refusal: Exception | None, error: Exception | None) -> str:
    if isinstance(refusal, (LogClosed, LogForked)):
        return "closed"
    if refusal is not None:
        return "fenced"
    return "ok" if error is None else "failing"
