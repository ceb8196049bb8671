"""One Hypothesis profile for a desk and one for CI: both find the same examples on every run.

And the servers that stores need, which start when a test asks for one.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

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
