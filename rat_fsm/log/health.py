"""What a log says about itself."""

from __future__ import annotations

import attrs


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
