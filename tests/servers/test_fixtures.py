"""What a test does that needs a server which is not installed."""

from __future__ import annotations

import pytest

from tests.servers.fixtures import REQUIRED, missing


def test_a_missing_server_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where servers may be missing, the reason is said."""
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no server"):
        missing("no server")


def test_a_missing_server_fails_where_servers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run that must have them passes without."""
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match=f"no server, and {REQUIRED} is set"):
        missing("no server")
