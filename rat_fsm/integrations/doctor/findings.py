"""What the doctor says: findings, and the report that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.errors import InvalidArgument

if TYPE_CHECKING:
    from rat_fsm.integrations.doctor.facts import Facts

LEVELS: Final = ("ok", "note", "warning", "problem")  # from harmless to harmful


def _level(_: Any, __: Any, value: str) -> None:
    if value not in LEVELS:
        raise InvalidArgument(f"a level is one of {', '.join(LEVELS)}, not {value!r}")


@attrs.frozen
class Finding:
    """One thing that works, or does not.

    Attributes:
        code: a slug that programs can compare.
        level: ok (works), note (worth knowing), warning (may fail) or problem (will fail).
        text: what is the case.
        advice: what to do; empty only where there is nothing to do.
    """

    code: str
    level: str = attrs.field(validator=_level)
    text: str
    advice: str = ""


@attrs.frozen
class Report:
    """What `examine` found, the worst first.

    Attributes:
        facts: what it went by.
        findings: at most one of each code.
    """

    facts: Facts
    findings: tuple[Finding, ...] = ()

    @property
    def worst(self) -> str:
        """The highest level among the findings, ok where there are none."""
        return max((finding.level for finding in self.findings), key=LEVELS.index, default="ok")

    def of(self, level: str) -> tuple[Finding, ...]:
        """The findings of one level."""
        return tuple(finding for finding in self.findings if finding.level == level)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: ``worst``, ``findings`` and ``facts``."""
        return {
            "worst": self.worst,
            "findings": [attrs.asdict(finding) for finding in self.findings],
            "facts": self.facts.as_dict(),
        }
