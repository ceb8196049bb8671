"""Watches the logs of a pytest session, and reports in the end which edges its tests took."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from rat_fsm.diagrams import svg
from rat_fsm.diagrams.__main__ import write
from rat_fsm.errors import InvalidArgument, LogError
from rat_fsm.lifecycles import NODE
from rat_fsm.log import observing, process
from rat_fsm.replay.coverage import counted, covered, lifecycles_in
from rat_fsm.replay.sources import opened
from rat_fsm.runtime.escaping import escape
from rat_fsm.testing.collecting import Collector
from rat_fsm.testing.reporting import Report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rat_fsm.replay.counting import Counting

KEY: Final = "rat_coverage"


@attrs.frozen
class Wish:
    """What the command line and the configuration ask for.

    Attributes:
        production: the URL of a log to compare with, empty where there is none.
        least: the percentage of edges to take, None where any will do.
        names: the lifecycles to report; none are all that tests wrote, but the node's.
        pictures: the folder for a drawing of each, None where there shall be none.
    """

    production: str
    least: float | None
    names: Sequence[str]
    pictures: Path | None


class Session:
    """The part of the plugin that is there only where coverage is asked for.

    Under pytest-xdist each worker counts, and sends what it counted to the controller.

    Raises:
        pytest.UsageError: the log to compare with cannot be read.
    """

    def __init__(self, wish: Wish) -> None:
        _check(wish.production)
        self._wish = wish
        self._collector = Collector()
        self._failures: list[str] = []
        self._report = Report({}, (), None, self._failures)
        observing.observe(self._collector)

    def pytest_unconfigure(self) -> None:
        """Looks no further."""
        observing.forget(self._collector)

    @pytest.hookimpl(trylast=True)  # once the fixtures of the session have closed their logs
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Sends what was counted to the controller, or sums up and passes judgement."""
        process.flush_all()
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[KEY] = self._collector.dump()
            return
        self._report = self._sum_up()
        self._draw()
        if self._report.problems() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Takes what a worker of pytest-xdist counted."""
        dumped = getattr(node, "workeroutput", {}).get(KEY)
        if dumped is None:
            self._failures.append("a worker has crashed, and what it counted is lost")
        else:
            self._collector.load(dumped)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints the report."""
        terminalreporter.write_sep("=", "rat_fsm coverage")
        for line in self._report.lines():
            terminalreporter.write_line(escape(line))
        for problem in self._report.problems():
            terminalreporter.write_line(escape(f"FAIL: {problem}"), red=True)

    def _sum_up(self) -> Report:
        """By lifecycle; by fingerprint, too, where one has several definitions."""
        tests = [entry for entry in self._collector.counts() if self._wants(entry[1].name)]
        production = self._in_production()
        names = [table.name for _, table, _ in tests]
        tests += [("", c.table, {}) for name, c in production.items() if name not in names]
        coverages = {}
        for fingerprint, table, edges in tests:
            several = names.count(table.name) > 1
            busy = production[table.name].taken() if table.name in production else None
            called = f"{table.name} ({fingerprint[:8]})" if several else table.name
            coverages[called] = covered(table, edges, busy)
        missing = set(self._wish.names) - {table.name for _, table, _ in tests}
        return Report(coverages, sorted(missing), self._wish.least, self._failures)

    def _wants(self, name: str) -> bool:
        return name in self._wish.names if self._wish.names else name != NODE.name

    def _in_production(self) -> dict[str, Counting]:
        """By lifecycle, what production did; those that no test touched are among them."""
        url = self._wish.production
        if not url:
            return {}
        try:
            known = [counted(name, url) for name in sorted(lifecycles_in(url)) if self._wants(name)]
        except LogError as problem:
            self._failures.append(f"cannot read {url}: {problem}")
            return {}
        # One that the log has no definition of has no edges that a test could take.
        return {counting.table.name: counting for counting in known if counting.table.rows()}

    def _draw(self) -> None:
        """Draws each coverage into the folder for pictures."""
        folder = self._wish.pictures
        if folder is None:
            return
        coverages = self._report.coverages
        try:
            write(folder, {f"{_plain(name)}-coverage.svg": svg(c) for name, c in coverages.items()})
        except OSError as problem:
            self._failures.append(f"cannot write the pictures to {folder}: {problem.strerror}")


def _plain(name: str) -> str:
    """What may stand in the name of a file; the lifecycles of a log are called what it says."""
    return re.sub(r"[^a-z0-9_]+", "-", name).strip("-")


def _check(url: str) -> None:
    """Refuses what is no log before a test has run."""
    if not url:
        return
    try:
        with opened(url):
            pass
    except (InvalidArgument, LogError) as problem:
        hint = "; name tests before this option" if url.endswith(".py") or "::" in url else ""
        raise pytest.UsageError(escape(f"--rat-coverage={url}: {problem}{hint}")) from problem
