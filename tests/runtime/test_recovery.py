"""Error recovery, with and without a log."""

from __future__ import annotations

from typing import Any

import pytest

from rat_fsm import ConnectionManager, ErrorRecovery, replay
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import RetryRefused, RetryScheduled
from rat_fsm.testing import VirtualClock

RESET = ConnectionResetError("reset")


@pytest.mark.parametrize("with_log", [False, True])
def test_delays_double_until_retries_are_exhausted(*, with_log: bool) -> None:
    """One, two, four seconds, capped; then no more; a reset starts again."""
    manager = ConnectionManager(clock=VirtualClock())
    manager.register_connection("a", "x")
    recovery = ErrorRecovery(4, 1.0, 5.0, log=manager.log if with_log else None)
    assert recovery.get_retry_delay("a") == 1.0
    delays = []
    while recovery.should_retry("a", RESET):
        delays.append(recovery.get_retry_delay("a"))
    assert delays == [1.0, 2.0, 4.0, 5.0]
    assert dict(recovery.retry_counts) == {"a": 4}
    assert len(recovery.retry_counts) == 1
    assert "zzz" not in recovery.retry_counts
    recovery.reset_retry_count("a")
    assert dict(recovery.retry_counts) == {}
    assert recovery.should_retry("a", RESET)
    assert (recovery.max_retries, recovery.base_delay, recovery.max_delay) == (4, 1.0, 5.0)


@pytest.mark.parametrize("with_log", [False, True])
def test_an_error_that_is_not_retryable_is_not_retried(*, with_log: bool) -> None:
    """And the refusal says why."""
    manager = ConnectionManager(clock=VirtualClock())
    manager.register_connection("a", "x")
    recovery = ErrorRecovery(log=manager.log if with_log else None)
    assert not recovery.should_retry("a", ValueError("bug"))
    assert not recovery._is_recoverable_error(ValueError("bug"))
    assert recovery._is_recoverable_error("broken pipe")
    assert recovery.get_retry_delay("a") == 1.0
    manager.log.flush()
    refused = [r.event for r in manager.log.read() if isinstance(r.event, RetryRefused)]
    expected = RetryRefused("not_retryable", recovery.policy.as_dict())
    assert refused == ([expected] if with_log else [])


def test_an_unknown_connection_is_never_retried_on_a_log() -> None:
    """A log knows which connections there are; without one any id will do."""
    manager = ConnectionManager(clock=VirtualClock())
    recovery = ErrorRecovery(log=manager.log)
    assert not recovery.should_retry("nobody", RESET)
    recovery.reset_retry_count("nobody")
    manager.register_connection("closing", "x")
    manager.unregister_connection("closing")
    assert not recovery.should_retry("closing", RESET)
    assert ErrorRecovery().should_retry("anybody", RESET)
    ErrorRecovery().reset_retry_count("nobody")


def test_the_drawn_delay_is_recorded_and_never_drawn_again() -> None:
    """What the user waits is what the log says and what a replay finds."""
    draws = iter([0.25, 0.5])
    manager = ConnectionManager(clock=VirtualClock())
    manager.register_connection("a", "x")
    recovery = ErrorRecovery(log=manager.log, jitter="full", random=lambda: next(draws))
    assert recovery.should_retry("a", RESET)
    assert recovery.get_retry_delay("a") == recovery.get_retry_delay("a") == 0.25
    assert recovery.should_retry("a", RESET)
    assert recovery.get_retry_delay("a") == 1.0
    manager.log.flush()
    scheduled = [r.event for r in manager.log.read() if isinstance(r.event, RetryScheduled)]
    policy = {
        "max_retries": 3,
        "base_delay": 1.0,
        "max_delay": 30.0,
        "jitter": "full",
        "retry_after_cap": 120.0,
        "resumable": True,
    }
    assert scheduled == [
        RetryScheduled(1, 0.25, 0.25, 30.0, "network_error", policy),
        RetryScheduled(2, 1.0, 0.5, 30.0, "network_error", policy),
    ]
    assert replay(manager.log).retry.delay("a") == 1.0


def test_nothing_is_retried_once_a_byte_has_gone_unless_resumable() -> None:
    """The second half of an answer cannot follow another first half."""
    manager = ConnectionManager(clock=VirtualClock())
    manager.register_connection("a", "x")
    manager.record_activity("a", 1)
    assert not ErrorRecovery(log=manager.log, resumable=False).should_retry("a", RESET)
    assert ErrorRecovery(log=manager.log).should_retry("a", RESET)


def test_after_the_log_is_closed_nothing_is_retried() -> None:
    """A late error is no reason to raise into a handler."""
    manager = ConnectionManager(clock=VirtualClock())
    manager.register_connection("a", "x")
    recovery = ErrorRecovery(log=manager.log)
    manager.shutdown()
    assert not recovery.should_retry("a", RESET)


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"base_delay": 0},
        {"max_delay": float("inf")},
        {"jitter": "some"},
        {"base_delay": "long"},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    """A policy that could not work is not made."""
    with pytest.raises((InvalidArgument, InvalidArgumentType)):
        ErrorRecovery(**options)


def test_an_id_that_cannot_be_one_is_refused() -> None:
    """Also without a log."""
    with pytest.raises(InvalidArgument):
        ErrorRecovery().should_retry("", RESET)
