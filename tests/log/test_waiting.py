"""Those who wait for the committing thread, and how much they hurry it."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from rat_fsm.log.accept import Mark
from rat_fsm.log.progress import Progress
from rat_fsm.log.waiting import Waiter, Waiters

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("failing", "patient", "hurries"),
    [
        (False, True, True),
        (False, False, True),
        (True, False, True),
        (True, True, False),
    ],
)
def test_who_waits_on_does_not_hurry_a_store_that_fails(
    *, failing: bool, patient: bool, hurries: bool
) -> None:
    """Only those do who are told of the next failure; else all who wait."""
    waiters = Waiters(Progress())
    waiters.put(Waiter(Mark(0, 1), lambda _answer: None, patient=patient))
    assert waiters.pause(0.01, failing=failing) is hurries
    assert waiters


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_everybody_is_dismissed_once_however_many_threads_do_it() -> None:
    """The thread that ends and those who ask after that meet here."""
    for _ in range(300):
        waiters = Waiters(Progress())
        told: list[Any] = []
        for number in range(60):
            waiters.put(Waiter(Mark(0, 1 + number), told.append, patient=True))
        waiters.listen()
        with ThreadPoolExecutor(3) as threads:
            for done in [threads.submit(waiters.dismiss) for _ in range(3)]:
                done.result(30)
        assert len(told) == 60
