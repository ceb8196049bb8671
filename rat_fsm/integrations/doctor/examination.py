"""Puts all rules to the facts; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rat_fsm.integrations.doctor import application, servers, surroundings, timeouts
from rat_fsm.integrations.doctor.findings import LEVELS, Report

if TYPE_CHECKING:
    from rat_fsm.integrations.doctor.facts import Facts

RULES: Final = (*surroundings.RULES, *servers.RULES, *timeouts.RULES, *application.RULES)


def examine(facts: Facts) -> Report:
    """Judges the facts: the worst findings first, and what works last."""
    findings = [finding for rule in RULES for finding in rule(facts)]
    return Report(facts, tuple(sorted(findings, key=lambda found: -LEVELS.index(found.level))))
