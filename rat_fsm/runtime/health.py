"""Compares statistics with thresholds and raises alerts, as data and as log records."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.errors import InvalidArgument, InvalidArgumentType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.runtime.manager import ConnectionManager

_log = logging.getLogger("rat_fsm")

DEFAULT_THRESHOLDS: Final = {"max_connections": 80.0, "error_rate": 0.1, "avg_response_time": 5.0}
_MESSAGES: Final = {
    "max_connections": "connection usage is high: {:.1f} % of the limit",
    "error_rate": "error rate is high: {:.2%} of all connections are open with errors",
    "avg_response_time": "average response time is high: {:.2f} s",
}


@attrs.frozen
class Alert:
    """A statistic above its threshold.

    ``name`` is the threshold's; ``value`` and ``threshold`` are in its unit: per cent of the
    limit, a fraction, or seconds.
    """

    name: str
    value: float
    threshold: float
    message: str


@attrs.frozen
class HealthReport:
    """The alerts of one check and the statistics behind them."""

    alerts: tuple[Alert, ...]
    stats: Mapping[str, Any]

    @property
    def healthy(self) -> bool:
        """Whether there are no alerts."""
        return not self.alerts


class HealthMonitor:
    """Checks connection usage, error rate and average response time.

    Args:
        thresholds: ``max_connections`` (per cent of the limit in use, 80 by default),
            ``error_rate`` (open connections with errors over all connections, 0.1) and
            ``avg_response_time`` (seconds from registering to active, 5.0); what is left out
            keeps its default.
        manager: whose statistics; the default manager's if None.
    """

    def __init__(
        self,
        thresholds: Mapping[str, float] | None = None,
        *,
        manager: ConnectionManager | None = None,
    ) -> None:
        self.thresholds = {**DEFAULT_THRESHOLDS, **_checked(thresholds or {})}
        self._manager = manager

    def check_health(self) -> HealthReport:
        """Compares now; each alert is also a warning of the logger ``rat_fsm``."""
        stats = self._stats()
        values = {name: measure(stats) for name, measure in _MEASURES.items()}
        alerts = tuple(
            Alert(name, value, self.thresholds[name], _MESSAGES[name].format(value))
            for name, value in values.items()
            if value > self.thresholds[name]
        )
        for alert in alerts:
            _log.warning(alert.message)
        _log.info(
            "health checked: %d active connections, %d in total, %d bytes sent",
            stats["active_connections"],
            stats["total_connections"],
            stats["total_bytes_sent"],
        )
        return HealthReport(alerts, stats)

    def _stats(self) -> dict[str, Any]:
        if self._manager is not None:
            return self._manager.get_stats()
        from rat_fsm.runtime.defaults import get_streaming_stats

        return get_streaming_stats()


def _usage(stats: Mapping[str, Any]) -> float:
    limit = stats["max_connections"]
    return 100.0 * float(stats["active_connections"]) / float(limit) if limit else 0.0


def _error_rate(stats: Mapping[str, Any]) -> float:
    total = float(stats["total_connections"])
    return float(stats["connections_with_errors"]) / total if total else 0.0


def _response_time(stats: Mapping[str, Any]) -> float:
    return float(stats["average_response_time"])


_MEASURES: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "max_connections": _usage,
    "error_rate": _error_rate,
    "avg_response_time": _response_time,
}


def _checked(thresholds: Mapping[str, float]) -> dict[str, float]:
    for name, value in thresholds.items():
        if name not in DEFAULT_THRESHOLDS:
            known = ", ".join(sorted(DEFAULT_THRESHOLDS))
            raise InvalidArgument(f"no threshold {name!r}; there are {known}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidArgumentType(f"threshold {name} must be a number, not {value!r}")
    return dict(thresholds)
