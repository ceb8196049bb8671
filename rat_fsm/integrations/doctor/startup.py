"""The doctor's visit to a process that has just begun to serve."""

from __future__ import annotations

import logging
import platform
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.integrations.doctor.detection import running_server
from rat_fsm.integrations.doctor.examination import examine
from rat_fsm.integrations.doctor.facts import Facts
from rat_fsm.integrations.doctor.inspection import inspect_application
from rat_fsm.integrations.doctor.packages import installed
from rat_fsm.runtime.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rat_fsm.integrations.doctor.findings import Report

_log: Final = logging.getLogger("rat_fsm")
_LEVELS: Final = {
    "problem": logging.ERROR,
    "warning": logging.WARNING,
    "note": logging.DEBUG,
    "ok": logging.DEBUG,
}


def check_running(
    scope: Mapping[str, Any],
    app: Any = None,
    *,
    drain_timeout: float,
    lame_duck: float = 0.0,
    grace: float | None = None,
    signals: bool = True,
    log: str | None = None,
    per_client: bool = False,
) -> Report:
    """Examines this process and logs what it finds: problems as errors, warnings as such.

    Call it in the task that serves the lifespan's startup or, where none came, the first request.

    Args:
        scope: of that lifespan or request.
        app: the middleware itself, to look at what it wraps.
        drain_timeout: seconds that connections have to end by themselves in a drain.
        lame_duck: seconds before that in which new ones are still let in.
        grace: seconds from SIGTERM to SIGKILL, None where it is not known.
        signals: whether the middleware is to start a drain at SIGTERM.
        log: memory or shared; None where it is not known.
        per_client: whether connections are limited for each client.
    """
    facts = Facts(
        python=platform.python_version(),
        platform=sys.platform,
        drain_timeout=drain_timeout,
        lame_duck=lame_duck,
        grace=grace,
        signals=signals,
        log=log,
        per_client=per_client,
    )
    try:
        facts = attrs.evolve(
            facts,
            installed=installed(),
            server=running_server(scope),
            application=None if app is None else inspect_application(app, whole=False),
        )
    except Exception:  # noqa: BLE001 - foreign objects may do anything when asked, and the server must start
        _log.exception("what serves here could not be found out")
    report = examine(facts)
    _write(report)
    return report


def _write(report: Report) -> None:
    server = report.facts.server
    _log.info(
        "served by %s: %d problems, %d warnings",
        "an unknown server" if server is None else escape(server.title),
        len(report.of("problem")),
        len(report.of("warning")),
    )
    for finding in report.findings:
        said = "; ".join(part for part in (finding.text, finding.advice) if part)
        _log.log(_LEVELS[finding.level], "%s", escape(said))
