# ruff: noqa: INP001 - scripts of this repository, no package
"""Draws which edges of a connection some made-up tests take, and which the made-up hour does."""

from __future__ import annotations

import traffic

from rat_fsm import CONNECTION, ConnectionManager, ErrorRecovery
from rat_fsm.diagrams import svg
from rat_fsm.replay.coverage import transition_coverage


def _test_a_page_is_streamed(manager: ConnectionManager) -> None:
    manager.register_connection("page", "192.0.2.1")
    for _ in range(3):
        manager.record_activity("page", 2_000, 1)
    manager.unregister_connection("page")


def _test_a_client_that_leaves(manager: ConnectionManager) -> None:
    manager.register_connection("gone", "192.0.2.1")
    manager.close_connection("gone", reason="client_disconnect", ended_by="client")


def _test_a_retry(manager: ConnectionManager) -> None:
    error = ConnectionResetError("upstream")
    manager.register_connection("retry", "192.0.2.1")
    manager.record_activity("retry", 2_000, 1)
    manager.record_error("retry", error)
    ErrorRecovery(3, log=manager.log).should_retry("retry", error)
    manager.record_activity("retry", 2_000, 1)
    manager.unregister_connection("retry")


TESTS = (_test_a_page_is_streamed, _test_a_client_that_leaves, _test_a_retry)


def files() -> dict[str, str]:
    """File name → content."""
    hour, manager = traffic.Hour(), ConnectionManager()
    try:
        hour.pass_by()
        for test in TESTS:
            test(manager)
        manager.log.flush()
        coverage = transition_coverage(CONNECTION, manager.log, production=hour.log)
        return {"connection-coverage.svg": svg(coverage)}
    finally:
        manager.shutdown()
        hour.log.close()
