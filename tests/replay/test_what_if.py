"""Deciding the past again: what changes, what does not, and what a log cannot say."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm import ConnectionManager, ErrorRecovery, EventLog, RetryPolicy
from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ConnectionRefused,
    ErrorRecorded,
    Position,
    Registered,
    RetriesReset,
    RetryRefused,
    RetryScheduled,
    to_datetime,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.replay.what_if import Compared, RecordedError, Span, what_if
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing import VirtualClock
from tests.frames import accepted, frame_of
from tests.logs import LIFECYCLES
from tests.orders import New

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.replay.what_if import WhatIf

IDS = ("a", "b", "c", "d")
RESET = ConnectionResetError("reset by peer")


class AskedToWait(ConnectionError):
    """A network error whose server asked for a pause."""

    def __init__(self, seconds: float) -> None:
        super().__init__("busy")
        self.retry_after = seconds


ERRORS: Any = st.sampled_from(
    [RESET, ValueError("a bug"), "connection timeout", "who knows", TimeoutError("slow")]
) | st.builds(AskedToWait, st.floats(0, 200))


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """The options of any recovery whose policy a log can hold."""
    return {
        "max_retries": draw(st.integers(0, 4)),
        "base_delay": draw(st.floats(0.01, 20)),
        "max_delay": draw(st.floats(0.01, 60)),
        "jitter": draw(st.sampled_from(["none", "full", "equal"])),
        "retry_after_cap": draw(st.floats(0, 150)),
        "resumable": draw(st.booleans()),
    }


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), st.sampled_from(IDS), st.booleans()),
        st.tuples(st.just("send"), st.sampled_from(IDS), st.integers(0, 9)),
        st.tuples(st.just("fail"), st.sampled_from(IDS), ERRORS),
        st.tuples(st.just("fail"), st.sampled_from(IDS), ERRORS),
        st.tuples(st.just("succeed"), st.sampled_from(IDS), st.none()),
        st.tuples(st.just("end"), st.sampled_from(IDS), st.none()),
        st.tuples(st.just("wait"), st.just(""), st.floats(0, 3)),
    ),
    max_size=40,
)


def serve(steps: Any, limit: int | None, *options: Mapping[str, Any]) -> EventLog:
    """What a server records: one connection manager, and a recovery for each of the options."""
    clock = VirtualClock()
    log = EventLog(clock=clock)
    manager = ConnectionManager(limit, log=log)
    draws = Random(7)  # noqa: S311 - chance, not secrecy
    recoveries = [ErrorRecovery(log=log, random=draws.random, **option) for option in options]
    for number, (verb, name, value) in enumerate(steps):
        recovery = recoveries[number % len(recoveries)]
        match verb:
            case "register":
                manager.register_connection(name, f"10.0.0.{number % 2}", admitted=value)
            case "send":
                manager.record_activity(name, value)
            case "fail":
                manager.record_error(name, value)
                recovery.should_retry(name, value)
            case "succeed":
                recovery.reset_retry_count(name)
            case "end":
                manager.unregister_connection(name)
            case _:
                clock.advance(value)
    manager.flush_activity()
    log.flush()
    return log


@given(st.data(), STEPS, policies(), st.none() | st.integers(1, 3))
@settings(max_examples=60)
def test_with_the_recorded_policy_and_limits_nothing_changes(
    data: st.DataObject, steps: Any, options: dict[str, Any], limit: int | None
) -> None:
    """Given as a policy, as any of its parameters, or not at all; whatever was drawn or asked."""
    log = serve(steps, limit, options)
    name = data.draw(st.sampled_from(sorted(options)))
    same: list[Any] = [RetryPolicy(**options), options, {name: options[name]}]
    answer = what_if(log, max_connections=limit)
    assert [what_if(log, policy, max_connections=limit) for policy in same] == [answer] * 3
    assert not answer.differs
    assert (answer.samples, answer.untold, answer.fates, answer.waits) == (0, 0, (), ())
    stats = log.read_model.stats.as_dict()
    assert answer.attempts == Compared(*[stats["total_retries"]] * 3)
    assert answer.give_ups == Compared(*[stats["total_retries_refused"]] * 3)
    assert answer.let_in == Compared(*[stats["total_connections"]] * 3)
    assert answer.refused_then == stats["refused_by_cause"]


@given(STEPS, policies(), policies())
@settings(max_examples=50)
def test_each_decision_names_its_own_policy(
    steps: Any, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Two recoveries on one log differ, and changing what they have in common changes nothing."""
    log = serve(steps, None, one, {**other, "max_retries": one["max_retries"]})
    assert not what_if(log, {"max_retries": one["max_retries"]}).differs


@given(st.data(), policies(), st.integers(1, 3))
@settings(max_examples=50)
def test_whatever_else_is_asked_the_counts_add_up(
    data: st.DataObject, options: dict[str, Any], limit: int
) -> None:
    """Ranges are ranges, fates are counted, and the same question has the same answer."""
    log = serve(data.draw(STEPS), data.draw(st.none() | st.integers(1, 3)), options)
    policy = RetryPolicy(**data.draw(policies()))
    answer = what_if(log, policy, max_connections=limit, samples=3, limit=100)
    for counts in (answer.attempts, answer.give_ups, answer.waiting, answer.let_in, answer.refused):
        assert counts.least >= 0
        assert counts.least <= counts.most
    assert len(answer.fates) == sum(answer.changed.values())
    assert len({fate.stream for fate in answer.fates}) == len(answer.fates)
    assert answer.let_in.recorded - answer.let_in.least == answer.changed.get("refused", 0)
    totals = [
        sum(getattr(wait.added, bound) for wait in answer.waits) for bound in ("least", "most")
    ]
    if "refused" not in answer.changed and not answer.samples:
        assert answer.waiting.added.least == pytest.approx(totals[0], abs=1e-6)
        assert answer.waiting.added.most == pytest.approx(totals[1], abs=1e-6)
    assert what_if(log, policy, max_connections=limit, samples=3, limit=100) == answer
    assert what_if(log, policy, max_connections=limit, samples=3, limit=1).fates == answer.fates[:1]


def delays(count: int, base: float = 1.0, most: float = 30.0) -> float:
    """How long so many retries wait in all, without jitter."""
    return float(sum(min(most, base * 2**number) for number in range(count)))


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6))
def test_more_and_fewer_retries(errors: int, then: int, now: int) -> None:
    """Fewer end the connection there; of more, the first may have helped, or none."""
    steps = [("register", "a", False), *[("fail", "a", RESET)] * errors]
    answer = what_if(serve(steps, None, {"max_retries": then}), {"max_retries": now})
    recorded = min(errors, then)
    assert answer.attempts.recorded == recorded
    assert answer.waiting.recorded == delays(recorded)
    if now <= then:
        gives_up = errors > now  # and nothing is asked after that
        refusals = errors - now if gives_up and now == then else int(gives_up)
        assert answer.attempts == Compared(recorded, *[min(errors, now)] * 2)
        assert answer.give_ups == Compared(max(0, errors - then), refusals, refusals)
        assert answer.changed == ({"gives_up": 1} if gives_up and now < then else {})
    else:
        beyond = then < errors <= now  # its last retry was never recorded
        least, most = min(errors, now), now if beyond else min(errors, now)
        refusals = max(0, errors - now)
        assert answer.attempts == Compared(recorded, least, most)
        assert answer.give_ups == Compared(max(0, errors - then), refusals, refusals + beyond)
        assert answer.changed == ({"retries_on": 1} if errors > then else {})
        assert answer.waiting == Compared(delays(recorded), delays(least), delays(most))


def test_retries_that_never_happened_are_thought_of_up_to_a_hundred() -> None:
    """A policy without an end is no endless question."""
    log = serve([("register", "a", False), ("fail", "a", RESET)], None, {"max_retries": 0})
    answer = what_if(log, RetryPolicy(max_retries=10**9, max_delay=2.0, base_delay=2.0))
    assert answer.attempts == Compared(0, 1, 101)
    assert answer.give_ups == Compared(1, 0, 0)
    assert answer.waiting == Compared(0.0, 2.0, 202.0)


def test_recorded_draws_are_used_again() -> None:
    """What full jitter drew is what equal jitter would have drawn; nothing is sampled."""
    steps = [("register", "a", False), *[("fail", "a", RESET)] * 2]
    log = serve(steps, None, {"jitter": "full"})
    draws = [r.event.draw or 0.0 for r in log.read() if isinstance(r.event, RetryScheduled)]
    answer = what_if(log, {"jitter": "equal", "base_delay": 4.0})
    expected = 4 * (1 + draws[0]) / 2 + 8 * (1 + draws[1]) / 2
    assert answer.waiting.recorded == pytest.approx(draws[0] + 2 * draws[1])
    assert answer.waiting.least == answer.waiting.most == pytest.approx(expected)
    assert (answer.samples, answer.longer, answer.shorter) == (0, 1, 0)
    (wait,) = answer.waits
    assert wait.stream.id == "a"
    assert wait.added.most == pytest.approx(expected - answer.waiting.recorded)


def test_missing_draws_are_a_range_that_a_seed_repeats() -> None:
    """Where none was drawn, samples stand for it: more of them never make the range narrower."""
    steps = [("register", "a", False), *[("fail", "a", RESET)] * 3]
    log = serve(steps, None, {})
    few, many = (what_if(log, {"jitter": "full"}, samples=n, seed=1) for n in (2, 50))
    assert (few.samples, many.samples, many.seed) == (2, 50, 1)
    assert 0 <= many.waiting.least <= few.waiting.least
    assert few.waiting.least < few.waiting.most <= many.waiting.most < many.waiting.recorded == 7.0
    assert what_if(log, {"jitter": "full"}, samples=2, seed=1) == few
    assert what_if(log, {"jitter": "full"}, samples=2, seed=2) != few
    assert many.attempts == Compared(3, 3, 3)
    one = what_if(log, {"jitter": "full"}, samples=1)
    assert one.waiting.least == one.waiting.most


def test_a_retry_after_that_shows_is_kept() -> None:
    """It raised the delay, or it was too long; both hold under another policy too."""
    steps = [("register", "a", False), *[("fail", "a", AskedToWait(s)) for s in (50.0, 200.0)]]
    log = serve(steps, None, {"jitter": "full"})
    assert what_if(log, RetryPolicy(base_delay=2.0)).waiting == Compared(50.0, 50.0, 50.0)
    assert not what_if(log, {"max_retries": 9}).differs
    answer = what_if(log, RetryPolicy(base_delay=60.0, max_delay=90.0, retry_after_cap=40.0))
    assert answer.changed == {"gives_up": 1}
    assert answer.fates[0].now == RetryRefused("retry_after_too_long")


def test_a_retry_that_comes_later_in_the_count_waits_longer() -> None:
    """Where the other policy has retried more often before, the recorded delay does not stay."""
    steps: Any = [("register", "a", False), ("send", "a", 1), *[("fail", "a", RESET)] * 2]
    log = serve(steps, None, {"resumable": False}, {"resumable": True})
    events = [r.event for r in log.read() if isinstance(r.event, (RetryRefused, RetryScheduled))]
    assert [type(event) for event in events] == [RetryRefused, RetryScheduled]
    answer = what_if(log, {"resumable": True})
    assert answer.attempts == Compared(1, 2, 2)
    assert answer.waiting == Compared(1.0, 3.0, 3.0)


def test_a_jitter_of_ones_own_keeps_its_delays() -> None:
    """A log cannot hold it: recorded delays stay, and new ones are anything up to the highest."""
    steps = [("register", "a", False), *[("fail", "a", RESET)] * 2]
    log = serve(steps, None, {"max_retries": 1, "jitter": lambda *_: 0.125})
    answer = what_if(log, {"max_retries": 2})
    assert answer.samples == 20
    assert 0.125 < answer.waiting.least < answer.waiting.most < 2.125
    assert not what_if(log, {"max_retries": 1}).differs


@attrs.define
class Listener:
    """A policy of one's own that retries everything at once, once, and remembers what it saw."""

    needs_draw: bool = False
    seen: list[tuple[Any, ...]] = attrs.field(factory=list)

    def decide(self, error: RecordedError, **facts: Any) -> RetryScheduled | RetryRefused:
        """As a policy does."""
        known = (error.error_type, error.message, error.category, error.retryable)
        self.seen.append((*known, error.retry_after, facts))
        if facts["attempts"]:
            return RetryRefused("once is enough")
        return RetryScheduled(1, 0.0, facts["draw"], 0.0, error.category)


def test_any_object_may_decide() -> None:
    """It sees what the log knows of the error, and where its own decisions have led."""
    steps = [("register", "a", False), ("fail", "a", ValueError("a bug")), ("send", "a", 5)]
    log = serve([*steps, ("fail", "a", RESET)], None, {"jitter": "full"})
    (draw,) = [r.event.draw for r in log.read() if isinstance(r.event, RetryScheduled)]
    listener = Listener()
    answer = what_if(log, listener)
    first = {"attempts": 0, "draw": None, "previous": None, "committed": False}
    second = {"attempts": 1, "draw": draw, "previous": 0.0, "committed": True}
    assert listener.seen == [
        ("ValueError", "a bug", "bug", False, None, first),
        ("ConnectionResetError", "reset by peer", "network_error", True, None, second),
    ]
    assert answer.changed == {"retries_on": 1}
    assert answer.attempts == answer.give_ups == Compared(1, 1, 1)
    drawing = Listener(needs_draw=True)
    assert what_if(log, drawing, samples=3).samples == 3
    assert len({facts["draw"] for *_, facts in drawing.seen}) == 4


class Broken:
    """A policy with a bug, wherever one asks."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    @property
    def needs_draw(self) -> bool:
        """Whether it needs a draw."""
        if self._answer == "draw":
            raise RuntimeError("not\neven that")
        return False

    def decide(self, *_: Any, **__: Any) -> Any:
        """Does what it does."""
        return 1 / 0 if self._answer is None else self._answer


@pytest.mark.parametrize(
    ("policy", "kind", "message"),
    [
        (Broken(None), InvalidArgument, "ConnectionResetError (network_error): ZeroDivisionError"),
        (Broken("draw"), InvalidArgument, "the policy cannot decide about"),
        (Broken("yes"), InvalidArgumentType, "with RetryScheduled or RetryRefused, not with str"),
        (
            Broken(RetryScheduled(1, float("nan"), None, 1.0, "x")),
            InvalidArgumentType,
            "finite numbers, not 1 and nan",
        ),
        (RetryPolicy, InvalidArgumentType, "not the class RetryPolicy"),
        ("fewer", InvalidArgumentType, "a policy is a RetryPolicy or another object"),
        ({"retries": 3}, InvalidArgument, "'retries' is no parameter to change: max_retries, "),
        ({"max_delay": -1}, InvalidArgument, "max_delay must be finite and not negative"),
        ({"jitter": "some"}, InvalidArgument, "jitter is 'some'"),
    ],
)
def test_a_policy_that_is_none_or_raises_is_one_error(
    policy: Any, kind: type[Exception], message: str
) -> None:
    """Whatever the code of others does, it says what failed."""
    log = serve([("register", "a", False), ("fail", "a", RESET)], None, {})
    with pytest.raises(kind, match=message.replace("(", r"\(").replace(")", r"\)")):
        what_if(log, policy)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"max_connections": 0}, InvalidArgument),
        ({"max_per_client": True}, InvalidArgumentType),
        ({"samples": 0}, InvalidArgument),
        ({"limit": -1}, InvalidArgument),
        ({"since": "noon"}, InvalidArgumentType),
        ({"until": to_datetime(0).replace(tzinfo=None)}, InvalidArgument),
    ],
)
def test_arguments_are_checked(given: dict[str, Any], kind: type[Exception]) -> None:
    """Before anything is read."""
    with pytest.raises(kind):
        what_if("no such file.db", **given)


def recorded(*events: Any, policy: Any = None) -> EventLog:
    """One connection with these events, as an older program or a user's own recorded them."""
    log = EventLog(clock=VirtualClock())
    log.begin(policy=policy)
    log.append(("connection", "a"), Registered("10.0.0.1"), *events)
    log.flush()
    return log


def test_a_decision_without_its_policy_stands_where_nothing_else_is_said() -> None:
    """The verdict, the cap and the draw are in it; the rest is the default's."""
    log = recorded(
        *(RetryScheduled(n, 7.5 * n, None, 60.0, "network_error") for n in (1, 2, 3, 4)),
        RetryRefused("exhausted"),
        RetryRefused("committed"),
        RetryRefused("not_retryable"),
        RetryRefused("retry_after_too_long"),
    )
    for changes in ({"jitter": "none"}, {"resumable": True}, {"max_delay": 60.0}):
        answer = what_if(log, changes)
        assert answer.untold == 8
        assert not answer.changed
    assert not what_if(log, {"resumable": True}).differs
    assert what_if(log, {"base_delay": 20.0}).waiting == Compared(75.0, 180.0, 180.0)
    assert what_if(log, {"max_retries": 2}).waiting == Compared(75.0, 22.5, 22.5)
    drawn = recorded(RetryScheduled(1, 0.5, 0.5, -1.0, "x"), RetryRefused("exhausted"))
    assert what_if(drawn, {"base_delay": 2.0}).waiting == Compared(0.5, 1.0, 1.0)


def test_the_start_of_a_run_may_tell_its_policy() -> None:
    """Where the decisions do not; nonsense in it tells nothing."""
    told = {"max_retries": 1, "base_delay": 8.0, "jitter": "none", "unheard": [], "max_delay": []}
    events = (RetryScheduled(1, 8.0, None, 30.0, "x"), RetryRefused("exhausted"))
    answer = what_if(recorded(*events, policy=told), {"max_retries": 2})
    assert answer.untold == 0
    assert answer.waiting == Compared(8.0, 24.0, 24.0)
    nonsense = what_if(recorded(*events, policy={"max_retries": -1}), {"max_retries": 2})
    assert nonsense.untold == 2
    assert nonsense.waiting == Compared(8.0, 10.0, 10.0)


def test_a_connection_that_works_again_has_missed_no_retry() -> None:
    """A reset counts from zero under either policy, and nothing is thought of beyond it."""
    scheduled = RetryScheduled(1, 1.0, None, 30.0, "x")
    log = recorded(scheduled, RetryRefused("exhausted"), RetriesReset(), scheduled)
    answer = what_if(log, {"max_retries": 2})
    assert answer.attempts == Compared(2, 3, 3)
    assert answer.waiting == Compared(2.0, 4.0, 4.0)
    (fate,) = answer.fates
    assert (fate.what, fate.then, fate.ended) == ("retries_on", RetryRefused("exhausted"), None)
    assert isinstance(fate.now, RetryScheduled)
    assert fate.position == Position(1, 4)
    steps = [("register", "a", False), *[("fail", "a", RESET)] * 2, ("send", "a", 1)]
    log = serve([*steps, ("succeed", "a", None)], None, {"max_retries": 1})
    assert what_if(log, {"max_retries": 9}).attempts.most == 2
    assert what_if(log, max_connections=1).attempts.most == 1


def arrivals(log: EventLog, visits: Any, sent: int = 0) -> None:
    """Visitors that come and go, given as (id, whether it comes)."""
    for name, comes in visits:
        stream = ("connection", name)
        if comes:
            log.append(stream, Registered(f"10.0.0.{name[0]}"), Activated())
            log.append(stream, ActivityRecorded(sent, 1), ErrorRecorded("E", "", "x", True))  # noqa: FBT003 - as in the event
            log.append(stream, RetryScheduled(1, 2.0, None, 30.0, "x"))
        else:
            log.append(stream, Closing("normal", "app", "streaming"))
            log.append(stream, Closed("normal", sent, 1, 1, 1, 0.0))
    log.flush()


@st.composite
def visits(draw: st.DrawFn) -> list[tuple[str, bool]]:
    """Who comes and who goes, in an order that can be."""
    inside: set[str] = set()
    story = []
    for name in draw(st.lists(st.sampled_from(["1a", "1b", "2a", "2b", "3a"]), max_size=30)):
        story.append((name, name not in inside))
        inside ^= {name}
    return story


def turned_away(story: Any, most: int, most_of_one: int) -> tuple[int, int]:
    """The same by a plain walk: how many for the limit, and how many for their client's."""
    inside: set[str] = set()
    full = same = 0
    for name, comes in story:
        inside.discard(name)
        if comes and len(inside) >= most:
            full += 1
        elif comes and sum(other[0] == name[0] for other in inside) >= most_of_one:
            same += 1
        elif comes:
            inside.add(name)
    return full, same


@given(visits(), visits(), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=50)
def test_arrivals_are_let_in_while_there_is_room(
    story: Any, other: Any, most: int, most_of_one: int
) -> None:
    """In order, writer by writer; whoever is turned away counts for nothing after that."""
    store = MemoryStore()
    logs = [EventLog(store=store, clock=VirtualClock(), writer=name) for name in ("w0", "w1")]
    for log, part in zip(logs, (story, other), strict=True):
        arrivals(log, part)
    expected = [turned_away(part, most, most_of_one) for part in (story, other)]
    full, same = (sum(counts) for counts in zip(*expected, strict=True))
    answer = what_if(
        store, max_connections=most, max_per_client=most_of_one, policy={"max_retries": 9}, limit=99
    )
    came = sum(comes for _, comes in [*story, *other])
    assert answer.let_in == Compared(came, *[came - full - same] * 2)
    assert answer.refused == Compared(0, *[full + same] * 2)
    causes = [fate.now.cause for fate in answer.fates if isinstance(fate.now, ConnectionRefused)]
    assert sorted(causes) == [*["max_connections"] * full, *["per_client"] * same]
    assert answer.attempts == Compared(came, *[came - full - same] * 2)
    assert answer.waiting == Compared(2.0 * came, *[2.0 * (came - full - same)] * 2)
    limits = what_if(store, max_connections=most, max_per_client=most_of_one)
    assert limits.attempts == answer.attempts
    for log in logs:
        log.close()


def test_those_turned_away_then_are_counted_and_never_simulated() -> None:
    """Each is held against the door as it stood, for nobody knows how long it would have stayed."""
    clock = VirtualClock()
    manager = ConnectionManager(1, clock=clock)
    for name in IDS:
        manager.register_connection(name, "10.0.0.1")
    manager.flush_activity()
    manager.log.flush()
    answer = what_if(manager.log, max_connections=3)
    assert answer.refused_then == {"max_connections": 3}
    assert answer.found_room == 3  # if the first of them had left in time
    assert answer.let_in == Compared(1, 1, 4)
    assert answer.refused == Compared(3, 0, 3)
    assert not answer.changed
    assert what_if(manager.log, max_connections=1).found_room == 0


def test_refusals_that_were_recorded_late_found_no_room() -> None:
    """They are merged by the second, and whoever was in may have left before it was over."""
    clock = VirtualClock()
    manager = ConnectionManager(1, clock=clock)
    for name in IDS:
        manager.register_connection(name, "10.0.0.1")
    manager.unregister_connection("a")
    clock.advance(2)
    manager.log.flush()
    assert manager.get_stats()["refused_connections"] == 3
    assert not what_if(manager.log, max_connections=1).differs
    assert what_if(manager.log, max_connections=2).found_room == 2  # one of each event


def test_a_question_may_begin_and_end_anywhere() -> None:
    """Before it, everything is as recorded; after it, nothing is looked at."""
    clock = VirtualClock()
    log = EventLog(clock=clock)
    manager, recovery = ConnectionManager(log=log), ErrorRecovery(log=log)
    manager.register_connection("a", "x")
    moments: list[Any] = []
    for _ in range(3):
        clock.advance(10)
        recovery.should_retry("a", RESET)
        moments.append((log.flush(), to_datetime(clock.now())))
    for kind in (0, 1):
        one, two, three = (moment[kind] for moment in moments)
        ask: Callable[..., WhatIf] = lambda **within: what_if(log, {"base_delay": 2.0}, **within)  # noqa: E731 - three times below
        assert ask(since=two).waiting == Compared(6.0, 12.0, 12.0)
        assert ask(until=two).waiting == Compared(3.0, 6.0, 6.0)
        assert ask(since=two, until=two).waiting == Compared(2.0, 4.0, 4.0)
        assert ask(since=three, until=one).attempts == Compared(0, 0, 0)
    from_two = what_if(log, {"max_retries": 1}, since=moments[1][0])
    assert from_two.attempts == Compared(2, 0, 0)
    assert from_two.fates[0].micros == clock.now() - 10_000_000
    assert what_if(log, max_connections=1, since=moments[0][0]).let_in == Compared(0, 0, 0)
    log.append_node(ConnectionRefused("draining"))
    log.flush()
    assert what_if(log, max_connections=1, until=moments[2][0]).refused_then == {}
    assert what_if(log, max_connections=1, since=moments[0][0]).refused_then == {"draining": 1}


@given(accepted((CONNECTION, NODE)), policies(), st.integers(1, 2))
@settings(max_examples=60)
def test_whatever_a_log_holds_there_is_an_answer(
    made: Any, options: dict[str, Any], limit: int
) -> None:
    """Illegal events are not decided again, and numbers that nobody would record do no harm."""
    store = MemoryStore()
    store.append(frame_of(made[0], (CONNECTION, NODE)).frame)
    for policy in (RetryPolicy(**options), options):
        answer = what_if(store, policy, max_connections=limit, max_per_client=limit)
        for counts in (answer.attempts, answer.give_ups, answer.waiting):
            assert counts.least <= counts.most


def test_lifecycles_of_users_are_read_past() -> None:
    """Their streams are neither connections nor nodes, known or not."""
    log = EventLog(clock=VirtualClock(), lifecycles=LIFECYCLES)
    log.append(("order", "o1"), New.Placed("book", 1200, "EUR"))
    arrivals(log, [("1a", True)])
    for source in (log, log.store):
        assert what_if(source, max_connections=1).let_in == Compared(1, 1, 1)


def test_progress_is_told_frame_by_frame() -> None:
    """And reading ends with the last frame that is asked about."""
    log = EventLog(clock=VirtualClock())
    for name in IDS:
        log.append(("connection", name), Registered("x"))
        log.flush()
    seen: list[int] = []
    what_if(log, max_connections=1, progress=seen.append)
    what_if(log, max_connections=1, until=Position(2, 0), progress=seen.append)
    last = log.store.heads()["w0"].position
    assert seen == [*range(1, last + 1), 1, 2]


def test_a_difference_is_from_the_recorded_to_the_other() -> None:
    """Below zero is saved."""
    assert Compared(5.0, 3.0, 9.0).added == Span(-2.0, 4.0)
    assert Compared(5.0, 5.0, 9.0).differs
    assert not Compared(5.0, 5.0, 5.0).differs
