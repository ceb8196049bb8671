"""Rules about what may follow what, as pure folds: in a test, over a stored log and live."""

from rat_fsm.monitors.checker import Checker
from rat_fsm.monitors.rules import Monitor, always, eventually, leads_to, never_after
from rat_fsm.monitors.steps import Step
from rat_fsm.monitors.verdict import Cause, Failure, Obligation, Verdict, Violation

__all__ = [
    "Cause",
    "Checker",
    "Failure",
    "Monitor",
    "Obligation",
    "Step",
    "Verdict",
    "Violation",
    "always",
    "eventually",
    "leads_to",
    "never_after",
]
