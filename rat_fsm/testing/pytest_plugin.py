"""The pytest plugin: what a test can ask for by name once rat_fsm is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

FOLDER: Final = "rat_golden_logs"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Lets the configuration say where golden logs are kept."""
    parser.addini(FOLDER, "the folder of the golden_logs fixture", default="tests/golden")


@pytest.fixture(scope="session")
def golden_logs(pytestconfig: pytest.Config) -> Path:
    """The folder of the golden logs, for ``rat_fsm.testing.check_golden``."""
    return pytestconfig.rootpath / str(pytestconfig.getini(FOLDER))
