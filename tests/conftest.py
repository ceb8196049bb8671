"""One Hypothesis profile for a desk and one for CI: both find the same examples on every run.

And the servers that stores need, which start when a test asks for one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import pytest

pytest_plugins = ("tests.servers.fixtures",)


# A slow machine must not fail a test: no deadline, and no health check that reads the time.
for profile, max_examples in (("dev", 25), ("ci", 75)):
    settings.register_profile(
        profile,
        max_examples=max_examples,
        derandomize=True,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )

settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with what takes longest, so that no process is left with it in the end."""
    items.sort(key=lambda item: item.name != "test_every_block_runs")
