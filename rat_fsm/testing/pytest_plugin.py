"""The pytest plugin: what a test can ask for by name once rat_fsm is installed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rat_fsm import ConnectionManager, EventLog, Lifecycle
    from rat_fsm.testing import VirtualClock

FOLDER: Final = "rat_golden_logs"
REPORTED: Final = "rat_coverage_lifecycles"
EVERYTHING: Final = 100.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the command line and of the configuration."""
    parser.addini(FOLDER, "the folder of the golden_logs fixture", default="tests/golden")
    parser.addini(
        REPORTED,
        "the lifecycles that --rat-coverage reports; by default all that tests write, but node",
        type="args",
    )
    group = parser.getgroup("rat_fsm", "coverage of lifecycles")
    group.addoption(
        "--rat-coverage",
        metavar="LOG",
        nargs="?",
        const="",
        help="report which edges of each lifecycle the tests take in the logs they write; given "
        "the URL or path of a production log, also the edges that it takes and no test does",
    )
    group.addoption(
        "--rat-fail-under",
        metavar="PERCENT",
        type=_percentage,
        help="fail where the tests take less than this part of all edges; implies --rat-coverage",
    )
    group.addoption(
        "--rat-pictures",
        metavar="FOLDER",
        type=Path,
        help="draw what the tests take of each lifecycle; implies --rat-coverage",
    )


def _percentage(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= EVERYTHING:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0 to 100")
    return value


def pytest_configure(config: pytest.Config) -> None:
    """Begins to watch where coverage is asked for; nothing more is imported where it is not."""
    production = config.getoption("rat_coverage")
    least = config.getoption("rat_fail_under")
    pictures = config.getoption("rat_pictures")
    if production is None and least is None and pictures is None:
        return
    from rat_fsm.testing.session import Session, Wish

    wish = Wish(production or "", least, config.getini(REPORTED), pictures)
    config.pluginmanager.register(Session(wish), "rat_fsm_coverage")


@pytest.fixture(scope="session")
def golden_logs(pytestconfig: pytest.Config) -> Path:
    """The folder of the golden logs, for ``rat_fsm.testing.check_golden``."""
    return pytestconfig.rootpath / str(pytestconfig.getini(FOLDER))


@pytest.fixture
def rat_lifecycles() -> Sequence[Lifecycle]:
    """The lifecycles of ``event_log`` besides CONNECTION and NODE: override it with your own."""
    return ()


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """A ``rat_fsm.testing.VirtualClock``, the same one for a test and for the fixtures below."""
    from rat_fsm.testing import VirtualClock

    return VirtualClock()


@pytest.fixture
def event_log(
    rat_lifecycles: Sequence[Lifecycle], virtual_clock: VirtualClock
) -> Iterator[EventLog]:
    """An ``EventLog`` in memory on the virtual clock, closed after the test."""
    from rat_fsm import CONNECTION, EventLog

    known = {CONNECTION.name: CONNECTION, **{lc.name: lc for lc in rat_lifecycles}}
    with EventLog(lifecycles=known.values(), clock=virtual_clock) as log:
        yield log


@pytest.fixture
def connection_manager(
    event_log: EventLog, virtual_clock: VirtualClock
) -> Iterator[ConnectionManager]:
    """A ``ConnectionManager`` on ``event_log`` and the virtual clock, shut down after the test."""
    from rat_fsm import ConnectionManager

    manager = ConnectionManager(log=event_log, clock=virtual_clock)
    yield manager
    manager.shutdown()
