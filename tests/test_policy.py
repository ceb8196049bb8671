"""Whether to try again, and how long to wait before it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import RetryRefused, RetryScheduled
from rat_fsm.policy import Drawn, RetryPolicy

RESET = ConnectionResetError("reset by peer")

attempts = st.integers(1, 40) | st.integers(1, 10**6)
draws = st.floats(0, 1)
delays = st.floats(1e-6, 1e6)


class AskedToWait(ConnectionError):
    """A network error whose server asked for a pause."""

    def __init__(self, seconds: float) -> None:
        super().__init__("busy")
        self.retry_after = seconds


@st.composite
def policies(draw: st.DrawFn, jitters: Any = ("none", "full", "equal")) -> RetryPolicy:
    """Any policy that can be made."""
    return RetryPolicy(
        max_retries=draw(st.integers(0, 10)),
        base_delay=draw(delays),
        max_delay=draw(delays),
        jitter=draw(st.sampled_from(jitters)),
        retry_after_cap=draw(st.floats(0, 1e6)),
    )


@given(policies(["none"]), attempts)
def test_without_jitter_delays_double_up_to_the_highest(policy: RetryPolicy, attempt: int) -> None:
    """``min(max_delay, base_delay * 2 ** (attempt - 1))`` exactly, and without overflow."""
    exact = policy.base_delay * 2 ** min(attempt - 1, 60)
    assert policy.delay(attempt) == min(policy.max_delay, exact)


@given(policies(["full"]), attempts, draws)
def test_full_jitter_is_between_zero_and_the_delay(
    policy: RetryPolicy, attempt: int, draw: float
) -> None:
    """The draw's part of it; a whole one where nothing was drawn."""
    whole = RetryPolicy(base_delay=policy.base_delay, max_delay=policy.max_delay).delay(attempt)
    assert policy.delay(attempt, draw) == whole * draw
    assert policy.delay(attempt, 0.0) == 0.0
    assert policy.delay(attempt, 1.0) == policy.delay(attempt) == whole


@given(policies(["equal"]), attempts, draws)
def test_equal_jitter_is_between_half_the_delay_and_the_delay(
    policy: RetryPolicy, attempt: int, draw: float
) -> None:
    """So that nobody comes back at once."""
    whole = RetryPolicy(base_delay=policy.base_delay, max_delay=policy.max_delay).delay(attempt)
    assert whole / 2 <= policy.delay(attempt, draw) <= whole
    assert policy.delay(attempt, 0.0) == whole / 2
    assert policy.delay(attempt, 1.0) == whole


@given(policies(), attempts, attempts, draws, draws)
def test_delays_grow_with_attempts_and_with_draws(
    policy: RetryPolicy, one: int, other: int, draw: float, another: float
) -> None:
    """A later attempt never waits less, nor does a higher draw, and none beyond the highest."""
    (early, late), (low, high) = sorted((one, other)), sorted((draw, another))
    assert policy.delay(early, draw) <= policy.delay(late, draw) <= policy.max_delay
    assert policy.delay(one, low) <= policy.delay(one, high)


@given(policies(), draws)
def test_no_attempt_is_too_late_for_a_delay(policy: RetryPolicy, draw: float) -> None:
    """The millionth is like the hundredth, also for the smallest and the largest numbers."""
    assert policy.delay(10**6, draw) == policy.delay(100, draw)
    for base in (5e-324, 1e300, 10**300 - 1):
        extreme = RetryPolicy(base_delay=base, max_delay=1e300, jitter=policy.jitter)
        assert 0 <= extreme.delay(10**6, draw) <= 1e300


@given(st.floats() | st.integers(-5, 5), attempts, draws, st.none() | delays)
def test_a_callable_is_bounded_too(
    answer: float, attempt: int, draw: float, previous: float | None
) -> None:
    """It sees the attempt, the last delay and the draw; what it answers is cut to 0..max_delay."""
    seen: list[tuple[int, float | None, float]] = []

    def jitter(attempt: int, previous: float | None, random: Drawn) -> float:
        seen.append((attempt, previous, random.random()))
        return answer

    policy = RetryPolicy(max_delay=7.0, jitter=jitter)
    delay = policy.delay(attempt, draw, previous)
    assert delay == (0.0 if math.isnan(answer) else min(7.0, max(0.0, answer)))
    assert seen == [(attempt, previous, draw)]


@given(policies(), attempts, draws, st.floats(0, 1e9))
def test_a_server_that_asks_to_wait_raises_the_delay(
    policy: RetryPolicy, attempt: int, draw: float, asked: float
) -> None:
    """It never lowers it."""
    own = policy.delay(attempt, draw)
    assert policy.delay(attempt, draw, retry_after=asked) == max(own, asked)


@pytest.mark.parametrize(
    ("jitter", "wanted"),
    [("none", False), ("full", True), ("equal", True), (lambda *_: 1.0, True)],
)
def test_a_policy_says_whether_it_wants_a_draw(jitter: Any, *, wanted: bool) -> None:
    """So that nothing is drawn for nothing."""
    assert RetryPolicy(jitter=jitter).needs_draw is wanted


@given(draws, st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_what_was_drawn_is_a_source_of_randomness(draw: float, low: float, high: float) -> None:
    """With the one number in it, however a callable asks for it."""
    drawn = Drawn(draw)
    assert (drawn(), drawn.random()) == (draw, draw)
    assert drawn.uniform(low, high) == low + (high - low) * draw


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0,), InvalidArgument),
        ((-3,), InvalidArgument),
        ((1.0,), InvalidArgumentType),
        ((True,), InvalidArgumentType),
        ((1, 1.5), InvalidArgument),
        ((1, -0.1), InvalidArgument),
        ((1, math.nan), InvalidArgument),
        ((1, "0.5"), InvalidArgumentType),
    ],
)
def test_a_delay_is_asked_for_with_sense(arguments: tuple[Any, ...], error: type) -> None:
    """Attempts count from 1 and draws are within 0..1."""
    with pytest.raises(error, match=r"^attempt\b" if len(arguments) == 1 else r"^draw\b"):
        RetryPolicy().delay(*arguments)


@pytest.mark.parametrize("answer", [None, "1", True])
def test_a_jitter_that_gives_no_number_says_so(answer: Any) -> None:
    """Rather than waiting for nothing."""
    with pytest.raises(InvalidArgumentType, match="the jitter's delay must be a number"):
        RetryPolicy(jitter=lambda *_: answer).delay(1)


def later(_attempt: int, previous: float | None, random: Drawn) -> float:
    """A jitter that goes on from the last delay."""
    return (previous or 0.0) + random.random()


BUG, LONG = ValueError("bug"), AskedToWait(121.0)


@pytest.mark.parametrize(
    ("error", "options", "circumstances", "cause"),
    [
        (BUG, {"resumable": False}, {"attempts": 9, "committed": True}, "not_retryable"),
        (LONG, {"resumable": False}, {"attempts": 9, "committed": True}, "committed"),
        (LONG, {}, {"attempts": 3, "committed": True}, "exhausted"),
        (LONG, {"max_retries": 0}, {"attempts": 0}, "exhausted"),
        (LONG, {}, {"attempts": 2, "committed": True}, "retry_after_too_long"),
        (AskedToWait(0.1), {"retry_after_cap": 0}, {"attempts": 0}, "retry_after_too_long"),
        ("not found", {}, {"attempts": 0}, "not_retryable"),
        (RESET, {"rules": [(OSError, "mine", False)]}, {"attempts": 0}, "not_retryable"),
    ],
)
def test_refusals_are_looked_for_in_order(
    error: Any, options: dict[str, Any], circumstances: dict[str, Any], cause: str
) -> None:
    """What the error is, what went downstream, how often, how long."""
    assert RetryPolicy(**options).decide(error, **circumstances) == RetryRefused(cause)


@pytest.mark.parametrize(
    ("error", "options", "circumstances", "event"),
    [
        (RESET, {}, {"attempts": 0}, RetryScheduled(1, 1.0, None, 30.0, "network_error")),
        (
            *(RESET, {"resumable": False, "max_delay": 3.0}, {"attempts": 2}),
            RetryScheduled(3, 3.0, None, 3.0, "network_error"),
        ),
        (
            *("service unavailable", {"jitter": "full"}, {"attempts": 1, "draw": 0.25}),
            RetryScheduled(2, 0.5, 0.25, 30.0, "server_error"),
        ),
        (
            *(AskedToWait(120.0), {}, {"attempts": 0, "committed": True}),
            RetryScheduled(1, 120.0, None, 120.0, "network_error"),
        ),
        (
            BUG,
            {"rules": [lambda _: ("mine", True)], "jitter": later},
            {"attempts": 1, "draw": 0.5, "previous": 2.0},
            RetryScheduled(2, 2.5, 0.5, 30.0, "mine"),
        ),
    ],
)
def test_a_retry_is_scheduled_with_all_that_led_to_it(
    error: Any, options: dict[str, Any], circumstances: dict[str, Any], event: RetryScheduled
) -> None:
    """Its number, its delay, the draw, the highest delay there could have been, the category."""
    assert RetryPolicy(**options).decide(error, **circumstances) == event


@given(
    policy=policies(),
    count=st.integers(0, 12),
    draw=draws,
    asked=st.floats(0, 1e6),
    committed=st.booleans(),
)
def test_the_same_values_lead_to_the_same_decision(
    policy: RetryPolicy,
    count: int,
    draw: float,
    asked: float,
    *,
    committed: bool,
) -> None:
    """It is retried exactly when there are retries left and the pause is not too long."""
    error = AskedToWait(asked)
    first = policy.decide(error, attempts=count, draw=draw, committed=committed)
    assert first == policy.decide(error, attempts=count, draw=draw, committed=committed)
    allowed = count < policy.max_retries and asked <= policy.retry_after_cap
    assert isinstance(first, RetryScheduled) == allowed
    if isinstance(first, RetryScheduled):
        assert first.delay == policy.delay(count + 1, draw, retry_after=asked)


WRONG_VALUES: list[dict[str, Any]] = [
    {"max_retries": -1},
    {"base_delay": 0},
    {"base_delay": -1.0},
    {"base_delay": math.nan},
    {"base_delay": 10**400},
    {"max_delay": 0.0},
    {"max_delay": math.inf},
    {"retry_after_cap": -0.1},
    {"retry_after_cap": math.inf},
    {"jitter": "some"},
]
WRONG_TYPES: list[dict[str, Any]] = [
    {"max_retries": 1.0},
    {"max_retries": True},
    {"max_retries": "3"},
    {"base_delay": "1"},
    {"base_delay": None},
    {"max_delay": True},
    {"retry_after_cap": None},
    {"jitter": None},
    {"jitter": ["full"]},
    {"resumable": 1},
    {"resumable": None},
    {"rules": None},
    {"rules": [ValueError]},
    {"rules": [(int, "network_error", True)]},
    {"rules": [(OSError, "network_error", 1)]},
    {"rules": [ValueError("an instance")]},
    {"rules": [(OSError, "network_error")]},
    {"rules": [("OSError", "network_error", True)]},
]


@pytest.mark.parametrize("options", WRONG_VALUES, ids=str)
def test_a_policy_that_could_not_work_is_not_made(options: dict[str, Any]) -> None:
    """The message names what is wrong."""
    with pytest.raises(InvalidArgument, match=next(iter(options))):
        RetryPolicy(**options)


@pytest.mark.parametrize("options", WRONG_TYPES, ids=str)
def test_a_policy_of_wrong_types_is_not_made(options: dict[str, Any]) -> None:
    """Rather than failing when the first error comes."""
    with pytest.raises(InvalidArgumentType, match=next(iter(options)).removesuffix("s")):
        RetryPolicy(**options)


def test_policies_are_values() -> None:
    """Frozen, equal by value, with the guide's defaults."""
    assert RetryPolicy() == RetryPolicy(3, 1.0, 30.0, "none", 120.0, True, ())  # noqa: FBT003 - all of them
    assert RetryPolicy(max_retries=0, retry_after_cap=0).max_retries == 0
    assert RetryPolicy(rules=[(OSError, "mine", True)]).rules == ((OSError, "mine", True),)
    assert RetryPolicy(rules=[(OSError, "mine", True)]).classify(RESET) == ("mine", True)


@given(policies())
def test_a_policy_can_be_made_again_from_what_a_log_keeps(policy: RetryPolicy) -> None:
    """All but its rules, and a jitter of one's own, of which it says only that it is one."""
    assert RetryPolicy(**msgspec.json.decode(msgspec.json.encode(policy.as_dict()))) == policy
    mine = RetryPolicy(jitter=lambda *_: 1.0, rules=[(OSError, "mine", True)])
    assert mine.as_dict() == {**RetryPolicy().as_dict(), "jitter": "custom"}
