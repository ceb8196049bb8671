"""Says what will and will not work with the server at hand, and what to do about it.

`examine` judges facts and is pure; the facts come from `installed`, `running_server` and
`inspect_application`. `check_running` does it all in a process that serves.
"""

from rat_fsm.integrations.doctor.detection import running_server
from rat_fsm.integrations.doctor.examination import examine
from rat_fsm.integrations.doctor.facts import (
    SERVERS,
    UNLIMITED,
    Application,
    Facts,
    Layer,
    Server,
)
from rat_fsm.integrations.doctor.findings import LEVELS, Finding, Report
from rat_fsm.integrations.doctor.inspection import inspect_application, log_place
from rat_fsm.integrations.doctor.packages import as_started, installed
from rat_fsm.integrations.doctor.startup import check_running

__all__ = [
    "LEVELS",
    "SERVERS",
    "UNLIMITED",
    "Application",
    "Facts",
    "Finding",
    "Layer",
    "Report",
    "Server",
    "as_started",
    "check_running",
    "examine",
    "inspect_application",
    "installed",
    "log_place",
    "running_server",
]
