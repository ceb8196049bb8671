"""Why a retry was decided so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.cli.decisions import explain
from rat_fsm.events import Activated, RetryRefused, RetryScheduled
from rat_fsm.policy import RetryPolicy
from rat_fsm.testing.strategies import plain_json

if TYPE_CHECKING:
    from collections.abc import Mapping

POLICY: Final = RetryPolicy(max_retries=5, base_delay=0.5, max_delay=4.0, jitter="full").as_dict()


@pytest.mark.parametrize(
    ("event", "policy", "expected"),
    [
        (
            RetryScheduled(2, 0.7, 0.7, 4.0, "network_error"),
            POLICY,
            "backoff 1.0 s, full jitter with draw 0.70, 5 retries allowed, at most 4.0 s",
        ),
        (
            RetryScheduled(9, 4.0, None, 4.0, "network_error"),
            {**POLICY, "jitter": "none"},
            "backoff 4.0 s, 5 retries allowed, at most 4.0 s",
        ),
        (
            RetryScheduled(1, 60.0, 0.5, 60.0, "throttled"),
            {**POLICY, "jitter": "equal"},
            (
                "backoff 500 ms, equal jitter with draw 0.50, raised by Retry-After, "
                "5 retries allowed, at most 1m 00s"
            ),
        ),
        (
            RetryScheduled(1, 0.1, 0.25, 4.0, "network_error"),
            {**POLICY, "jitter": "custom"},
            "backoff 500 ms, custom jitter with draw 0.25, 5 retries allowed, at most 4.0 s",
        ),
        (RetryScheduled(1, 0.1, 0.25, 4.0, "bug"), {}, "draw 0.25, at most 4.0 s"),
        (
            RetryScheduled(1, 0.1, None, 4.0, "bug", {"max_retries": 1}),
            POLICY,
            "1 retries allowed, at most 4.0 s",
        ),
        (RetryRefused("exhausted"), POLICY, "all 5 retries are used up"),
        (RetryRefused("exhausted"), {}, "all retries are used up"),
        (RetryRefused("not_retryable"), POLICY, "errors of this kind are not retried"),
        (
            RetryRefused("committed"),
            POLICY,
            "a byte had gone to the client, and the policy is not resumable",
        ),
        (RetryRefused("retry_after_too_long"), POLICY, "the server asked for more than 2m 00s"),
        (RetryRefused("retry_after_too_long"), {}, "the server asked for more than is allowed"),
        (RetryRefused("because"), POLICY, ""),
        (Activated(), POLICY, ""),
    ],
)
def test_why(event: Any, policy: Mapping[str, Any], expected: str) -> None:
    """The numbers behind a delay, and what a cause means, as far as the policy is known."""
    assert explain(event, policy) == expected


@given(st.dictionaries(st.sampled_from(sorted(POLICY)), plain_json), st.integers(1, 10**6))
def test_a_policy_may_say_anything(policy: dict[str, Any], attempt: int) -> None:
    """What a log holds is no reason to fail."""
    assert isinstance(explain(RetryScheduled(attempt, 1.0, 0.5, 1.0, "bug"), policy), str)
    assert isinstance(explain(RetryRefused("exhausted", policy), {}), str)
