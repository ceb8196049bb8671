"""The two lifecycles that come with rat_fsm: a connection, and a run of the node that serves it.

Everything that moves either machine is in these two literals; the diagrams are drawn from them.
"""

from __future__ import annotations

from typing import Final

from rat_fsm.core import abandon_connection, abandon_node, resume_connection
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    CallbackFailed,
    Closed,
    Closing,
    ConnectionRefused,
    DrainForced,
    DrainRequested,
    DrainStarted,
    ErrorRecorded,
    MonitorViolated,
    Recovered,
    Registered,
    RetriesReset,
    RetryRefused,
    RetryScheduled,
    Serving,
    Stalled,
    Started,
    Stopped,
    StoreRestored,
    Unstalled,
    WriterReplaced,
)
from rat_fsm.table import Lifecycle

CONNECTION: Final = Lifecycle(
    "connection",
    states=("connecting", "active", "retrying", "closing", "closed"),
    final={"closed"},
    transitions=[
        [Registered, "new", "connecting"],
        [Activated, ["connecting", "retrying"], "active"],
        [ActivityRecorded, ["active", "closing"], None],
        [ErrorRecorded, ["connecting", "active", "retrying", "closing"], None],
        [RetryScheduled, ["connecting", "active", "retrying"], "retrying"],
        [RetryRefused, ["connecting", "active", "retrying"], None],
        [Recovered, "retrying", "active"],
        [RetriesReset, ["active", "retrying"], "active"],
        [Stalled, "active", None],
        [Unstalled, "active", None],
        [Closing, ["connecting", "active", "retrying"], "closing"],
        [Closed, "closing", "closed"],
    ],
    abandon=abandon_connection,
    resume=resume_connection,
    reusable_ids=True,
)

NODE: Final = Lifecycle(
    "node",
    states=("starting", "serving", "draining", "forcing", "stopped"),
    final={"stopped"},
    transitions=[
        [Started, "new", "starting"],
        [Serving, "starting", "serving"],
        [ConnectionRefused, ["starting", "serving", "draining", "forcing"], None],
        [CallbackFailed, ["starting", "serving", "draining", "forcing"], None],
        [MonitorViolated, ["starting", "serving", "draining", "forcing"], None],
        [StoreRestored, ["starting", "serving", "draining", "forcing"], None],
        [WriterReplaced, ["starting", "serving", "draining", "forcing"], None],
        [DrainRequested, "new", "stopped"],  # all of a run that serves nobody, and only asks
        [DrainStarted, ["starting", "serving"], "draining"],
        [DrainForced, "draining", "forcing"],
        [Stopped, ["starting", "serving", "draining", "forcing"], "stopped"],
    ],
    abandon=abandon_node,
    # A run's id holds the sequence number it began at, so it never comes again by itself.
    reusable_ids=True,
)
