"""The words, times and sizes that a person reads."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.cli.text import (
    counted,
    duration,
    harmless_json,
    moment,
    size,
    without_credentials,
)
from rat_fsm.runtime.escaping import escape

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_nothing_escaped_is_obeyed(text: str) -> None:
    """What was escaped holds no control, no line break, no bidi control and no surrogate."""
    shown = escape(text)
    assert {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"} == set()
    assert {unicodedata.bidirectional(c) for c in shown} & BIDI == set()
    assert not set(shown) & set("\u200e\u200f\u061c")
    assert escape(shown) == shown


@pytest.mark.parametrize("text", ["c1", "名前", "café", "🛰", "שלום", "[red]", r"\x1b", "a b"])
def test_what_is_harmless_stays(text: str) -> None:
    """Letters of any script, spaces and markup are no danger and stay as they are."""
    assert escape(text) == text


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(), max_size=3))
def test_harmless_json_means_the_same(value: dict[str, object]) -> None:
    """JSON for a terminal means what it did, and holds nothing that a terminal obeys."""
    line = json.dumps(value, ensure_ascii=False).encode()
    shown = harmless_json(line)
    assert json.loads(shown) == value
    assert escape(shown.decode()) == shown.decode()


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        *((0, "0 ms"), (400, "0.4 ms"), (9_900, "9.9 ms"), (123_000, "123 ms")),
        *((999_400, "999 ms"), (999_600, "1.0 s"), (14_200_000, "14.2 s")),
        *((59_970_000, "1m 00s"), (754_000_000, "12m 34s"), (3_599_600_000, "1h 00m")),
        *((11_100_000_000, "3h 05m"), (86_399_990_000, "1d 00h"), (190_800_000_000, "2d 05h")),
        (-5_000_000, "-5.0 s"),
        (1e300, "over 1,000,000 d"),
    ],
)
def test_durations(micros: float, shown: str) -> None:
    """A duration has two units at most, and what rounds up to the next unit is in it."""
    assert duration(micros) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        *((0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB")),
        *((999_950, "1.0 MB"), (1_234_567, "1.2 MB"), (10**9, "1.0 GB"), (10**15, "1.0 PB")),
        *((10**19, "10,000.0 PB"), (-1500, "-1.5 kB")),
    ],
)
def test_sizes(count: int, shown: str) -> None:
    """Bytes are told in decimal units."""
    assert size(count) == shown


def test_plurals() -> None:
    """One is singular, and a y becomes ies."""
    assert [counted(n, "retry") for n in (0, 1, 1204)] == ["0 retries", "1 retry", "1,204 retries"]
    assert [counted(n, "error") for n in (1, 2)] == ["1 error", "2 errors"]


def test_times() -> None:
    """Times are UTC to the millisecond, cut and not rounded."""
    assert moment(1_790_000_000_123_999) == "2026-09-21 14:13:20.123"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at postgresql://me:pw@host/db: no", "at postgresql://host/db: no"),
        ("//me:p@w@host", "//host"),
        ("mail me@host", "mail me@host"),
        ("https://host/a@b", "https://host/a@b"),
    ],
)
def test_userinfo_is_left_out(text: str, shown: str) -> None:
    """URLs lose user and password, and nothing else."""
    assert without_credentials(text) == shown
