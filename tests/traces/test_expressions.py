"""Expressions: what may be asked, what it means, and what is refused."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgument
from rat_fsm.events import Activated, Registered
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.traces import Told, expression, tell
from rat_fsm.traces.trace import names_of
from tests.orders import ORDER, New
from tests.traces.made import LIFE, trace

TOLD: Final = tell(trace(*LIFE))
YOUNG: Final = tell(trace(*LIFE[:1]))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("retries == 2", True),
        ("retries > 2", False),
        ("1 < retries <= 2 == errors", True),
        ("not stalled and (errors >= 3 or reason == 'completed')", True),
        ('reason in ["limit", "completed"]', True),
        ("reason not in ('limit', 'kicked')", True),
        ("state == 'closed' and 'retrying' in states", True),
        ("'error_recorded' in events and len(events) == 14", True),
        ("bytes_sent == 1600 and messages_sent == 5", True),
        ("duration == 6.501599", True),
        ("illegal == 0 and draw == 0.25", True),
        ("'reset' in message", True),
        ("len(kind) == 3 and kind == 'sse'", True),
        ("route == '/prices' and metadata == None", False),
        ("code is not None", True),
        ("code is None", False),
        ("code > -1", True),
        ("  errors  ", True),
        ("len(metadata)", True),
        ("False", False),
    ],
)
def test_what_a_stream_answers(text: str, answer: bool) -> None:  # noqa: FBT001 - an expected value
    """Comparisons, and, or, not, len, lists, and the declared fields mean what they say."""
    assert expression(text, CONNECTION)(TOLD) is answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("code is None", True),
        ("code == None", True),
        ("code > 1", False),
        ("not code <= 1", True),
        ("1 >= code", False),
        ("len(message)", False),
        ("'x' in message", False),
        ("'x' not in message", True),
        ("reason in 'completed'", False),
        ("reason in ['a', None]", True),
    ],
)
def test_a_field_that_never_came(text: str, answer: bool) -> None:  # noqa: FBT001 - an expected value
    """It is None, is neither smaller nor greater than anything, and holds nothing."""
    assert expression(text, CONNECTION)(YOUNG) is answer


def test_other_lifecycles() -> None:
    """A node and a user's lifecycle are asked about the fields of their own events."""
    told = tell(trace(New.Placed("tea", 250, "EUR"), lifecycle=ORDER))
    assert expression("cents > 200 and currency == 'EUR' and state == 'open'", ORDER)(told)
    assert {"cents", "boxes", "state"} <= names_of(ORDER)
    assert "bytes_sent" not in names_of(ORDER)
    assert {"deadline", "requested_by"} <= names_of(NODE)


_numbers = st.integers(-3, 9).map(str) | st.sampled_from(["retries", "errors", "len(events)"])
_comparisons = st.tuples(
    _numbers, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), _numbers
).map(" ".join)
_expressions = st.recursive(
    _comparisons,
    lambda inner: (
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(
            "({0[0]}{0[1]}{0[2]})".format
        )
        | inner.map("not {}".format)
    ),
    max_leaves=5,
)


@given(_expressions)
def test_it_means_what_python_means(text: str) -> None:
    """Of numbers that are there, an expression says what Python says."""
    names = {"retries": 2, "errors": 2, "events": LIFE}
    assert expression(text, CONNECTION)(TOLD) == eval(text, dict(names))  # noqa: S307 - the oracle


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "retries >", "retries = 2", "import os", "retries; errors", "retries\nerrors"),
        *("retries ** 99", "retries + 1 > 2", "-retries < 0", "~1", "+1", "retries and -True"),
        *("open('x')", "len()", "len(events, events)", "len(*events)", "len(x=events)"),
        *("print(len)", "len", "__import__('os')", "events.count(1)", "events[0]", "len(events)()"),
        *("lambda: 1", "[e for e in events]", "(x := 1)", "1 if errors else 2", "f'{errors}'"),
        *("b'x' in message", "1j", "...", "{1: 2}", "{1, 2}", "[errors]", "message is ''"),
        *(
            "errors is True",
            "None is errors",
            "await errors",
            "*errors",
            "1 is 1",
            r"'\d' == message",
        ),
        *("__class__", "told", "remote", "9" * 19 + " > errors", "1e999 > errors", "x" * 501),
        *("not " * 16 + "errors", "(" * 90 + "1" + ")" * 90 + "(", "'a\0b' == reason", "1_0_"),
        *("(" * 240 + "1" + ")" * 240, "errors\x00", "errors > 1 #" + "\ud800"),
    ],
)
def test_what_is_refused(text: str) -> None:
    """Everything else is refused in one message, whatever Python would make of it."""
    with pytest.raises(InvalidArgument) as caught:
        expression(text, CONNECTION)
    assert len(str(caught.value)) < 1200


@given(
    st.text(max_size=40) | st.text("()[]'\"\\ \n_.:=<>!not and or in len errors 019*-", max_size=40)
)
def test_whatever_is_typed(text: str) -> None:
    """Any text is an expression or is refused."""
    try:
        predicate = expression(text, CONNECTION)
    except InvalidArgument:
        return
    assert set(predicate.names) <= names_of(CONNECTION)


def test_a_name_that_is_none() -> None:
    """A misspelt name is refused with those that there are."""
    with pytest.raises(
        InvalidArgument, match=r"no 'retrys' here, only activated|attempt, .*retries"
    ):
        expression("retrys > 1", CONNECTION)


def test_what_it_was_told() -> None:
    """An expression tells what a stream answers to each of its names, in a bounded line."""
    told = tell(trace(Registered("10.0.0.1", "x" * 999), Activated()))
    answers = expression("kind == 'sse' or errors > retries and errors", CONNECTION).answers(told)
    assert answers == f"kind is 'x{'x' * 78}, errors is 0, retries is 0"


def test_no_name_is_private() -> None:
    """Whatever an expression may name begins with a letter."""
    for lifecycle in (CONNECTION, NODE, ORDER):
        assert [name for name in names_of(lifecycle) if not name[0].isalpha()] == []


def test_a_predicate_may_be_a_function() -> None:
    """What a function gets has the events, the states and where the stream stands in the end."""
    told: Told = tell(trace(*LIFE[:6]))
    assert (told.events, told.states[-2:]) == (LIFE[:6], ("active", "retrying"))
    assert (told.record.state, told.legal.count(True)) == ("retrying", 6)
