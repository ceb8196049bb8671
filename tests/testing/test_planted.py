"""Bugs as they are in real managers of connections: the kit finds each, as it comes.

Beside each bug stands the right version, which passes the same test.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis.stateful import run_state_machine_as_test

from rat_fsm.errors import IllegalEvent
from rat_fsm.table import Lifecycle
from rat_fsm.testing import (
    cancel_anywhere,
    in_any_order,
    lifecycle_machine,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rat_fsm.log import EventLog
    from rat_fsm.testing import VirtualClock


@attrs.define
class Backend:
    """Where a manager keeps what it knows: everything takes a moment."""

    rows: dict[str, int] = attrs.field(factory=dict)

    async def read(self, key: str) -> int:
        await asyncio.sleep(0.01)
        return self.rows.get(key, 0)

    async def write(self, key: str, value: int) -> None:
        await asyncio.sleep(0.01)
        self.rows[key] = value


# An update that is lost at an await.


class Counting:
    """Counts what a connection sends: two at once read the same number, and one is lost."""

    def __init__(self, _clock: VirtualClock) -> None:
        self.backend = Backend()

    async def record_activity(self, connection_id: str, size: int) -> None:
        sent = await self.backend.read(connection_id)
        await self.backend.write(connection_id, sent + size)


class CountingRight(Counting):
    """One at a time."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self._lock = asyncio.Lock()

    async def record_activity(self, connection_id: str, size: int) -> None:
        async with self._lock:
            await super().record_activity(connection_id, size)


def check_counting(manager: type[Counting]) -> None:
    """Whoever comes first, nothing is lost."""

    async def send(manager: Counting) -> None:
        await asyncio.gather(*(manager.record_activity("a", size) for size in (10, 20, 30)))

    in_any_order(send, setup=manager, invariant=lambda manager: manager.backend.rows == {"a": 60})


# Closed twice.


class Closing:
    """Ends a connection once, as it believes: the check and the change are an await apart."""

    def __init__(self, _clock: VirtualClock) -> None:
        self.open = {"a"}
        self.told: list[str] = []

    async def close(self, connection_id: str) -> None:
        if connection_id in self.open:
            await asyncio.sleep(0)  # says goodbye
            self.open.discard(connection_id)
            self.told.append(connection_id)


class ClosingRight(Closing):
    """Changes first."""

    async def close(self, connection_id: str) -> None:
        if connection_id in self.open:
            self.open.discard(connection_id)
            await asyncio.sleep(0)
            self.told.append(connection_id)


def check_closing(manager: type[Closing]) -> None:
    """A handler that ends and a timeout that strikes tell it once, whichever comes first."""

    async def end(manager: Closing) -> None:
        async def strike() -> None:
            for _ in range(4):  # it looks at others before
                await asyncio.sleep(0)
            await manager.close("a")

        await asyncio.gather(manager.close("a"), strike())

    in_any_order(end, setup=manager, invariant=lambda manager: manager.told == ["a"])


# A retry after the first byte.


@attrs.frozen
class Called:
    """An upstream was asked."""


@attrs.frozen
class Sent:
    """The first byte has gone to the client: a retry would send it twice."""


@attrs.frozen
class Retried:
    """The upstream was asked again."""


@attrs.frozen
class Ended:
    """It is over."""


ANSWER: Final = Lifecycle(
    "answer",
    states=("calling", "streaming", "over"),
    final={"over"},
    transitions=[
        [Called, "new", "calling"],
        [Retried, "calling", "="],
        [Sent, "calling", "streaming"],
        [Ended, ["calling", "streaming"], "over"],
    ],
)


class Retrying:
    """Keeps a state of its own, and retries whatever has failed until it is over."""

    def __init__(self, log: EventLog, answer_id: str) -> None:
        self._log, self._id = log, answer_id
        self.state = "new"

    def apply(self, event: Any) -> None:
        if isinstance(event, Retried):
            self.retry()
        else:
            self._record(event)

    def retry(self) -> None:
        if self.state in {"new", "over"}:
            raise IllegalEvent(f"answer/{self._id}", self.state, "answer.retried", ())
        self.state = "calling"

    def _record(self, event: Any) -> None:
        self._log.append((ANSWER, self._id), event)
        record = self._log.read_model.record("answer", self._id)
        assert record is not None
        self.state = record.state


class RetryingRight(Retrying):
    """Asks the log."""

    def retry(self) -> None:
        self._record(Retried())


def check_retrying(manager: type[Retrying]) -> None:
    """It does what its table says, and nothing else."""
    run_state_machine_as_test(lifecycle_machine(ANSWER, manager))


# A callback under a lock.


class Calling:
    """Tells a callback that a connection has ended, while it holds its lock."""

    def __init__(self, _clock: VirtualClock) -> None:
        self._lock = asyncio.Lock()
        self.open = {"a", "b"}
        self.on_close: Callable[[str], Awaitable[None]] | None = None

    async def close(self, connection_id: str) -> None:
        async with self._lock:
            self.open.discard(connection_id)
            await self._tell(connection_id)

    async def _tell(self, connection_id: str) -> None:
        if self.on_close is not None:
            await self.on_close(connection_id)


class CallingRight(Calling):
    """Lets go first."""

    async def close(self, connection_id: str) -> None:
        async with self._lock:
            known = connection_id in self.open
            self.open.discard(connection_id)
        if known:
            await self._tell(connection_id)


def check_calling(manager: type[Calling]) -> None:
    """A callback may call the manager: the end of one connection is that of its twin."""

    async def end(manager: Calling) -> None:
        async def close_twin(_connection_id: str) -> None:
            await manager.close("b")

        manager.on_close = close_twin
        await manager.close("a")

    in_any_order(end, setup=manager, invariant=lambda manager: not manager.open)


# A cancellation that is missed.


class Serving:
    """Sends events until it is cancelled, and takes its cancellation for a client that failed."""

    def __init__(self, _clock: VirtualClock) -> None:
        self.open: set[str] = set()

    async def serve(self, connection_id: str) -> None:
        self.open.add(connection_id)
        try:
            for _ in range(5):
                await self._send()
        finally:
            self.open.discard(connection_id)

    async def _send(self) -> None:
        with contextlib.suppress(BaseException):  # a client that fails is no reason to stop
            await asyncio.sleep(1)


class ServingRight(Serving):
    """Knows the one from the other."""

    async def _send(self) -> None:
        with contextlib.suppress(OSError):
            await asyncio.sleep(1)


def check_serving(manager: type[Serving]) -> None:
    """Whenever its server cancels it, it ends, and holds nothing."""
    cancel_anywhere(
        lambda manager: manager.serve("a"),
        setup=manager,
        invariant=lambda manager: not manager.open,
    )


class Leaking(Serving):
    """Gives its slot back behind an await, which a cancellation skips."""

    async def serve(self, connection_id: str) -> None:
        self.open.add(connection_id)
        await asyncio.sleep(1)
        self.open.discard(connection_id)


PLANTED: Final = [
    pytest.param(check_counting, Counting, "the invariant does not hold", id="lost-update"),
    pytest.param(check_closing, Closing, "the invariant does not hold", id="double-close"),
    pytest.param(check_calling, Calling, "every task waits", id="callback-under-lock"),
    pytest.param(check_serving, Serving, "the cancellation is swallowed", id="missed-cancel"),
    pytest.param(check_serving, Leaking, "the invariant does not hold", id="leaked-slot"),
]
RIGHT: Final = [
    (check_counting, CountingRight),
    (check_closing, ClosingRight),
    (check_calling, CallingRight),
    (check_serving, ServingRight),
    pytest.param(check_retrying, RetryingRight, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("check", "manager", "told"), PLANTED)
def test_a_planted_bug_is_found(check: Any, manager: type, told: str) -> None:
    """With default settings, and what is wrong is told."""
    with pytest.raises(AssertionError, match=told):
        check(manager)


def test_a_planted_retry_after_the_first_byte_is_found() -> None:
    """By the rule for what the table does not allow."""
    with pytest.raises(AssertionError):
        check_retrying(Retrying)


@pytest.mark.parametrize(("check", "manager"), RIGHT, ids=lambda value: value.__name__)
def test_the_right_version_passes(check: Any, manager: type) -> None:
    """Nothing is wrong with it."""
    check(manager)
