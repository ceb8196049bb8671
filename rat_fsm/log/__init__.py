"""The event log: accepting, committing, recovering and reading."""

from rat_fsm.log.eventlog import EventLog
from rat_fsm.log.health import Health
from rat_fsm.log.subscription import Subscription

__all__ = ["EventLog", "Health", "Subscription"]
