"""Decides the past again: what another policy, or other limits, would have answered to it."""

from rat_fsm.replay.what_if.answer import Compared, Fate, Span, Wait, WhatIf
from rat_fsm.replay.what_if.asking import what_if
from rat_fsm.replay.what_if.errors import Policy, RecordedError
from rat_fsm.replay.what_if.projecting import project

__all__ = [
    "Compared",
    "Fate",
    "Policy",
    "RecordedError",
    "Span",
    "Wait",
    "WhatIf",
    "project",
    "what_if",
]
