"""The loop that follows a store: each frame once, in order, whatever the store does."""

from __future__ import annotations

import logging
import re
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import HistoryEvicted
from rat_fsm.log import tailing
from rat_fsm.log.tailing import Tail
from rat_fsm.stores.memory import MemoryStore
from rat_fsm.testing.store_contract import make_chain
from tests.away import AwayStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rat_fsm.stores.port import StoredFrame

PATIENCE: Final = 30.0


@pytest.fixture(autouse=True, scope="module")
def soon() -> Iterator[None]:
    """A store that fails is asked again at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tailing, "SLICE", 0.001)
        yield


STEPS: Final = st.lists(st.sampled_from(["append", "take", "leave", "return", "again"]))


@given(STEPS, st.integers(0, 3))
def test_each_frame_comes_once_in_order(steps: list[str], after: int) -> None:
    """However often the store is away, in the middle of reading too; what is given back comes."""
    store, chain, taken = AwayStore(), make_chain("w0", len(steps)), list[int]()
    tail = Tail(store, after)
    for step in steps:
        if step == "append":
            store.append(chain.pop(0))
        elif step in {"leave", "return"}:
            store.away = step == "leave"
        elif step == "again" and taken:
            tail.give_back()
            taken.pop()
        elif step == "take":
            stored = tail.next(0.0)
            taken.extend([] if stored is None else [stored.position])
    store.away = False
    last = len(steps) - len(chain)
    while len(taken) < last - after or tail.problem is not None:
        stored = tail.next(0.001)
        taken.extend([] if stored is None else [stored.position])
    assert (taken, tail.position) == (list(range(after + 1, last + 1)), max(after, last))
    assert (tail.next(0.0), tail.problem) == (None, None)


def test_a_store_that_fails_is_asked_ever_more_slowly(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to a limit; that it fails, and that it works again, is said once."""
    monkeypatch.setattr(tailing, "MAX_PATIENCE", 0.008)
    store, asked = AwayStore(), list[tuple[float, float]]()
    tail = Tail(store, who="somebody")
    store.away = True
    while len(asked) < 7:
        before = time.monotonic()
        assert tail.next(0.0) is None
        if store.refused.acquire(blocking=False):
            asked.append((before, time.monotonic()))
    gaps = [after - before for (before, _), (_, after) in pairwise(asked)]
    least = [0.001, 0.002, 0.004, 0.008, 0.008, 0.008]
    assert all(gap >= wanted for gap, wanted in zip(gaps, least, strict=True))
    store.away = False
    store.append(make_chain("w0", 1)[0])
    assert tail.next(PATIENCE) is not None
    first, last = [record.getMessage() for record in caplog.records]
    assert first == "somebody waits for a store that fails: it is away"
    assert re.fullmatch(r"somebody can read the store again, after \d+\.\d s", last)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_it_ends_when_it_is_told_while_the_store_is_away() -> None:
    """Whatever it waits for."""
    store, seen = AwayStore(), list["StoredFrame"]()
    tail = Tail(store)
    store.away = True
    following = threading.Thread(target=lambda: seen.extend(tail))
    following.start()
    assert store.refused.acquire(timeout=PATIENCE)
    tail.end()
    following.join(PATIENCE)
    assert (following.is_alive(), seen, tail.next(PATIENCE)) == (False, [], None)


def test_it_ends_with_the_store() -> None:
    """After the last frame."""
    store, chain = MemoryStore(), make_chain("w0", 2)
    for frame in chain:
        store.append(frame)
    store.close()
    tail = Tail(store)
    assert [stored.frame for stored in tail] == chain
    assert tail.ended


def test_what_was_evicted_is_an_error_each_time() -> None:
    """And nothing is passed over."""
    store, chain = MemoryStore(max_events=1), make_chain("w0", 3)
    tail = Tail(store)
    for frame in chain:
        store.append(frame)
    for _ in range(2):
        with pytest.raises(HistoryEvicted):
            tail.next(PATIENCE)
    assert tail.position == 0


def test_it_says_when_nothing_was_left() -> None:
    """That is what a follower's lag is measured from."""
    store, tail = MemoryStore(), None
    store.append(make_chain("w0", 1)[0])
    tail = Tail(store)
    assert (tail.next(0.0) is not None, tail.current_at) == (True, 0.0)
    assert (tail.next(0.0), tail.current_at > 0) == (None, True)
