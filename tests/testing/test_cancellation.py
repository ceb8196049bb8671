"""A coroutine that is cancelled wherever it can be, and tasks that run in any order."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rat_fsm.errors import InvalidArgument, InvalidArgumentType
from rat_fsm.testing import VirtualClock, cancel_anywhere, in_any_order

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Work = Callable[[], Coroutine[Any, Any, Any]]


def faults(work: Work, **options: Any) -> str:
    """What is said about a coroutine that breaks."""
    with pytest.raises(AssertionError) as caught:
        cancel_anywhere(work, **options)
    return str(caught.value)


@attrs.define
class Account:
    """Something to be kept whole."""

    left: int = 100
    right: int = 0

    @property
    def total(self) -> int:
        return self.left + self.right


async def transfer(account: Account) -> None:
    """Is not whole in between."""
    await asyncio.sleep(1)
    account.left -= 10
    await asyncio.sleep(1)  # the bank
    account.right += 10


async def transfer_whole(account: Account) -> None:
    """Is."""
    await asyncio.sleep(1)
    await asyncio.sleep(1)
    account.left -= 10
    account.right += 10


def fresh(_clock: VirtualClock) -> Account:
    """An account for one run."""
    return Account()


def is_whole(account: Account) -> None:
    """Nothing is lost."""
    assert account.total == 100


def test_what_is_not_whole_in_between_is_found_and_where() -> None:
    """The line of the await in which it was cancelled, and what then did not hold."""
    with pytest.raises(AssertionError) as caught:
        cancel_anywhere(transfer, setup=fresh, invariant=is_whole)
    told = str(caught.value)
    assert re.search(r"cancelled at \d+ moments in turn, it goes wrong at \d+", told)
    places = re.findall(r"tests/testing/test_cancellation\.py:\d+ in transfer: (.*)", told)
    assert places == ["await asyncio.sleep(1)  # the bank"]
    assert "the invariant does not hold: AssertionError: assert 90 == 100" in told
    assert isinstance(caught.value.__cause__, AssertionError)


def test_what_is_whole_passes_and_says_where_it_was_cancelled() -> None:
    """Before its first line, at each await, and when it was about to go on."""
    places = cancel_anywhere(transfer_whole, setup=fresh, invariant=is_whole)
    lines = [place.partition(": ")[2] for place in places]
    assert lines[0] == "async def transfer_whole(account: Account) -> None:"
    assert lines.count("await asyncio.sleep(1)") >= 4
    assert len(set(places)) == 3


@pytest.mark.parametrize("holds", [lambda _: None, lambda _: True, lambda _: 0])
def test_an_invariant_says_no_by_raising_or_by_false(holds: Any) -> None:
    """Whatever else it answers is well."""
    assert cancel_anywhere(transfer, setup=fresh, invariant=holds)


def test_false_is_no() -> None:
    """A lambda can say it."""
    kept = Account()
    told = faults(lambda: transfer(kept), invariant=lambda: kept.total == 100)
    assert told.endswith("the invariant does not hold")


def test_setup_and_invariant_may_be_coroutine_functions() -> None:
    """They run on the loop of the run, in its time."""
    times: list[float] = []

    async def open_account(clock: VirtualClock) -> Account:
        await asyncio.sleep(5)
        assert clock.monotonic() == 5.0
        return Account()

    async def ask(account: Account) -> None:
        await asyncio.sleep(1)
        times.append(asyncio.get_running_loop().time())
        is_whole(account)

    assert cancel_anywhere(transfer_whole, setup=open_account, invariant=ask)
    assert max(times) == 8.0  # uncancelled


def test_a_scenario_that_fails_without_being_cancelled() -> None:
    """Says that first: nothing else is worth trying."""

    async def fail() -> None:
        raise LookupError("no such account")

    with pytest.raises(AssertionError, match="even when it is not cancelled:") as caught:
        cancel_anywhere(fail)
    assert isinstance(caught.value.__cause__, LookupError)


# How a cancellation goes wrong.


async def _swallow() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(1)


async def _swallow_and_go_on() -> None:
    for _ in range(3):
        with contextlib.suppress(BaseException):
            await asyncio.sleep(1)


async def _turn() -> None:
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        raise ConnectionError("gone") from None


async def _outlast() -> None:
    try:
        await asyncio.sleep(1)
    finally:
        await asyncio.sleep(3600)


_kept: set[asyncio.Task[Any]] = set()


async def _leave_a_task() -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    _kept.add(task)
    await asyncio.sleep(1)
    task.cancel()


async def _lock_up() -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        await lock.acquire()


async def _fail_in_a_callback() -> None:
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        asyncio.get_running_loop().call_soon(list[int]().pop)
        raise


@pytest.mark.parametrize(
    ("work", "problem"),
    [
        (_swallow, "the cancellation is swallowed: it goes on to its end"),
        (_swallow_and_go_on, "the cancellation is swallowed"),
        (_turn, "it raises ConnectionError: gone"),
        (_outlast, "cancelled, it has not ended 60 s later"),
        (_leave_a_task, "a task is left behind, at"),
        (_lock_up, "cancelled, it has not ended 60 s later"),
        (_fail_in_a_callback, "IndexError: pop from empty list"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_how_a_cancellation_goes_wrong(work: Work, problem: str) -> None:
    """Each is told, with the line where it was waiting."""
    told = faults(work)
    assert problem in told
    assert f"in {work.__name__}: await" in told


def test_everything_that_waits_for_ever_is_told() -> None:
    """With the place of the cancellation that led to it."""

    async def work(done: asyncio.Event) -> None:
        await asyncio.sleep(1)
        done.set()

    with pytest.raises(AssertionError) as caught:
        cancel_anywhere(work, setup=lambda _: asyncio.Event(), invariant=asyncio.Event.wait)
    told = str(caught.value)
    assert "in test_everything_that_waits_for_ever_is_told.<locals>.work" in told
    assert "every task waits, and nothing is left that could wake one" in told


def test_shielded_work_has_time_to_end() -> None:
    """It is not left behind, and the invariant is asked when it is done."""

    async def commit(account: Account) -> None:
        account.left -= 10
        await asyncio.sleep(5)
        account.right += 10

    async def transfer_shielded(account: Account) -> None:
        await asyncio.shield(commit(account))

    assert cancel_anywhere(transfer_shielded, setup=fresh, invariant=is_whole)
    with pytest.raises(AssertionError, match=r"a task is left behind, at .* in .*commit: await"):
        cancel_anywhere(transfer_shielded, setup=fresh, settle=1.0)


def test_a_task_is_cancelled_between_the_steps_of_others() -> None:
    """Where it waits for a child, the child has come this far or that."""
    seen: set[int] = set()

    async def child(steps: list[int]) -> None:
        for number in range(5):
            steps.append(number)
            await asyncio.sleep(0)

    async def parent(steps: list[int]) -> None:
        await asyncio.gather(child(steps))

    def note(steps: list[int]) -> None:
        seen.add(len(steps))

    cancel_anywhere(parent, setup=lambda _: list[int](), invariant=note)
    assert seen == {0, 1, 2, 3, 4, 5}


def test_there_are_only_so_many_moments() -> None:
    """What does not end within them is told as such."""

    async def serve() -> None:
        for _ in range(1_000):
            await asyncio.sleep(1)

    told = faults(serve, most=20)
    assert "more than 20 moments" in told
    assert told.endswith("give it less to do, or allow more: most=")


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda: cancel_anywhere(transfer_now, most=0), InvalidArgument, "most"),
        (lambda: cancel_anywhere(transfer_now, settle=-1.0), InvalidArgument, "settle"),
        (lambda: in_any_order(transfer_now, orders=0), InvalidArgument, "orders"),
        (lambda: cancel_anywhere(7), InvalidArgumentType, "coro_factory must be callable"),  # type: ignore[call-overload]  # wrong on purpose
        (lambda: in_any_order(transfer_now, invariant=7), InvalidArgumentType, "invariant must"),  # type: ignore[call-overload]  # likewise
        (lambda: cancel_anywhere(lambda: 7), InvalidArgumentType, "a coroutine, not int"),  # type: ignore[arg-type, return-value]  # likewise
        (lambda: VirtualClock().loop_factory(rounds=0), InvalidArgument, "rounds"),
        (lambda: VirtualClock().loop_factory(patience=-1), InvalidArgument, "patience"),
    ],
)
def test_what_could_never_be_right_is_refused(
    call: Callable[[], object], error: type[Exception], told: str
) -> None:
    """By name."""
    with pytest.raises(error, match=told):
        call()


def transfer_now() -> Coroutine[Any, Any, None]:
    """A coroutine factory."""
    return transfer(Account())


@given(st.lists(st.sampled_from([0.0, 0.5]), min_size=1, max_size=4), st.integers(0, 3))
def test_it_reaches_every_await(pauses: list[float], bad: int) -> None:
    """A coroutine that is broken at any one of its awaits is found, and only such a one."""

    async def work(state: list[int]) -> None:
        for number, pause in enumerate(pauses):
            state[0] = number
            await asyncio.sleep(pause)
        state[0] = -1

    def invariant(state: list[int]) -> bool:
        return state[0] != bad

    try:
        cancel_anywhere(work, setup=lambda _: [-1], invariant=invariant)
    except AssertionError:
        assert bad < len(pauses)
    else:
        assert bad >= len(pauses)


# In any order.


@attrs.define
class Counter:
    """Counts across an await."""

    value: int = 0

    async def count(self) -> None:
        before = self.value
        await asyncio.sleep(0)
        self.value = before + 1


def test_an_order_that_breaks_is_found_and_can_be_run_again() -> None:
    """It is told as a seed."""

    async def late(box: list[str], name: str, steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        box.append(name)

    async def race(box: list[str]) -> None:
        await asyncio.gather(late(box, "a", 1), late(box, "b", 3))

    with pytest.raises(AssertionError, match="in the order of seed=") as caught:
        in_any_order(race, setup=lambda _: list[str](), invariant=lambda box: box == ["a", "b"])
    seed = int(str(caught.value).partition("seed=")[2].partition(":")[0])
    box: list[str] = []
    VirtualClock().run(race(box), seed=seed)
    assert box == ["b", "a"]


def test_asyncio_s_own_order_comes_first() -> None:
    """What breaks without any luck is told so."""

    async def count_twice(counter: Counter) -> None:
        await asyncio.gather(counter.count(), counter.count())

    with pytest.raises(AssertionError, match="in asyncio's own order:"):
        in_any_order(
            count_twice, setup=lambda _: Counter(), invariant=lambda counter: counter.value == 2
        )


def test_what_holds_in_any_order_passes() -> None:
    """Without setup, too."""

    async def count_twice() -> None:
        counter, lock = Counter(), asyncio.Lock()

        async def count() -> None:
            async with lock:
                await counter.count()

        await asyncio.gather(count(), count())
        assert counter.value == 2

    in_any_order(count_twice, orders=50)


@pytest.mark.parametrize("told", [cancel_anywhere, in_any_order, VirtualClock.run])
def test_the_examples_of_the_kit_run(told: Callable[..., Any]) -> None:
    """As they stand in the docstrings."""
    text = inspect.getdoc(told) or ""
    example = re.search(r"Example::\n\n((?:    .*\n|\n)+)", text)
    assert example is not None
    exec(textwrap.dedent(example[1]), {})  # noqa: S102 - our own text


def test_an_example_fails_without_what_makes_it_right() -> None:
    """The lock of the example is what keeps its counter whole."""
    text = inspect.getdoc(in_any_order) or ""
    assert "async with self.lock:  # without it, an update is lost" in text
    broken = text.replace("async with self.lock:", "if self.lock:")
    example = re.search(r"Example::\n\n((?:    .*\n|\n)+)", broken)
    assert example is not None
    with pytest.raises(AssertionError, match="in asyncio's own order"):
        exec(textwrap.dedent(example[1]), {})  # noqa: S102 - as above
