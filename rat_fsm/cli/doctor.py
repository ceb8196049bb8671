"""``rat-fsm doctor``: says what will and will not work with the servers at hand."""

from __future__ import annotations

import contextlib
import platform
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import msgspec

from rat_fsm.cli.app import FOUND, Failure
from rat_fsm.cli.loading import load
from rat_fsm.cli.render import Screen
from rat_fsm.cli.text import counted
from rat_fsm.errors import RatFsmError
from rat_fsm.integrations.doctor import (
    LEVELS,
    SERVERS,
    Facts,
    Report,
    Server,
    as_started,
    examine,
    inspect_application,
    installed,
)
from rat_fsm.log.process import open_logs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rat_fsm.integrations.doctor import Finding

WIDTH: Final = 9
STYLES: Final = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
SECONDS: Final = click.FloatRange(min=0)


@click.command("doctor")
@click.argument("app", metavar="[MODULE:APP]", required=False)
@click.option("--server", type=click.Choice(SERVERS), help="One server, installed or not.")
@click.option("--workers", type=click.IntRange(min=0), help="How many processes serve.")
@click.option("--server-timeout", type=SECONDS, help="Seconds that the server waits at its end.")
@click.option("--grace", type=SECONDS, help="Seconds from SIGTERM, or preStop, to SIGKILL.")
@click.option("--drain-timeout", type=SECONDS, help="As in the middleware; 30 by default.")
@click.option("--lame-duck", type=SECONDS, help="As in the middleware; 0 by default.")
@click.option("--json", "as_json", is_flag=True, help="One object of JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    app: str | None,
    server: str | None,
    workers: int | None,
    server_timeout: float | None,
    grace: float | None,
    drain_timeout: float | None,
    lame_duck: float | None,
    as_json: bool,
) -> None:
    """Say what will and will not work with each server; exit with 1 if there is a problem.

    A server is examined as it starts without options, but for those given here. With MODULE:APP
    the application is imported and examined too: its middlewares, their order, and the numbers
    that the middleware was given.
    """
    numbers = {"grace": grace, "drain_timeout": drain_timeout, "lame_duck": lame_duck}
    facts = _facts(app, numbers)
    names = [server] if server else [name for name in SERVERS if name in facts.installed]
    started = (
        as_started(Server(name=name, version=version, workers=workers, timeout=server_timeout))
        for name, version in ((name, facts.installed.get(name, "")) for name in names)
    )
    reports = [examine(attrs.evolve(facts, server=one)) for one in started] or [examine(facts)]
    if as_json:
        Screen().json(msgspec.json.encode(_as_json(reports)))
    else:
        Sections(Screen()).show(reports)
    if any(report.worst == "problem" for report in reports):
        ctx.exit(FOUND)


def _facts(app: str | None, numbers: Mapping[str, float | None]) -> Facts:
    """What is known without a server; what is given here goes before what the application says."""
    application = None if app is None else _inspected(app)
    ours = None if application is None else application.ours
    given = {name: value for name, value in numbers.items() if value is not None}
    return Facts(
        installed=installed(),
        python=platform.python_version(),
        platform=sys.platform,
        application=application,
        **{**(ours.options if ours else {}), **given},
    )


def _inspected(target: str) -> Any:
    """The application that ``module:app`` names, taken apart.

    Whatever it prints while it is imported goes to stderr.
    """
    before = open_logs()
    try:
        app = load(target)
        with contextlib.redirect_stdout(sys.stderr):
            application = inspect_application(app, target)
    except Exception as problem:  # whatever the code of an application raises
        if isinstance(problem, RatFsmError):
            raise
        raise Failure(f"cannot import {target}: {_told(problem)}") from problem
    finally:
        for log in open_logs():  # an application may open its log when it is imported
            if log not in before:
                log.close()
    if not callable(app):
        raise Failure(f"{target} is no ASGI application, but a {type(app).__name__}")
    return application


def _told(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}"


def _worst(reports: Iterable[Report]) -> str:
    return max((report.worst for report in reports), key=LEVELS.index)


def _as_json(reports: list[Report]) -> dict[str, Any]:
    return {"worst": _worst(reports), "reports": [report.as_dict() for report in reports]}


class Sections:
    """Writes a section for each server, and one for what is the same on all."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, reports: list[Report]) -> None:
        """Writes all findings, and how many there are."""
        common = [
            finding
            for finding in reports[0].findings
            if len(reports) > 1 and all(finding in report.findings for report in reports)
        ]
        for report in reports:
            self._section(_title(report), [one for one in report.findings if one not in common])
        if common:
            self._section("on any of them", common)
        self._sum([*common, *(one for report in reports for one in report.findings)])

    def _section(self, title: str, findings: list[Finding]) -> None:
        self._screen.line((title, "bold"))
        for finding in findings:
            level = (finding.level, WIDTH, STYLES[finding.level])
            self._screen.row(("", 0, ""), level, rest=(finding.text, ""))
            if finding.advice:
                self._screen.row(("", 0, ""), ("", WIDTH, ""), rest=(f"-> {finding.advice}", "dim"))
        self._screen.line()

    def _sum(self, findings: list[Finding]) -> None:
        distinct = set(findings)
        counts = {level: sum(one.level == level for one in distinct) for level in LEVELS}
        worst = max((one.level for one in distinct), key=LEVELS.index)
        told = ", ".join(counted(counts[level], level) for level in ("problem", "warning", "note"))
        self._screen.line((told, STYLES[worst]))


def _title(report: Report) -> str:
    facts = report.facts
    server = "no server installed" if facts.server is None else facts.server.title
    numbers = "" if facts.server is None else _numbers(facts.server)
    return f"{server} on Python {facts.python}{numbers}"


def _numbers(server: Server) -> str:
    return "" if server.workers is None else f", {counted(server.workers, 'worker')}"
