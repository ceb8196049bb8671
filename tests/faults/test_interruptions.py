"""Signals and finalisers that interrupt the log at any moment, calling it, raising, or both."""

from __future__ import annotations

import _thread
import functools
import gc
import json
import queue
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rat_fsm.codec import each
from rat_fsm.events import Activated, ErrorRecorded, Registered, RetriesReset, Stalled, Unstalled
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.log import EventLog, accept
from rat_fsm.log.accept import Acceptor
from rat_fsm.log.commit import Committer
from rat_fsm.projections.model import ReadModel
from rat_fsm.replay import replay
from rat_fsm.stores.memory import MemoryStore
from tests.processes import untraced

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

PROJECT = Path(__file__).parents[2]
TRACED = (str(Path(accept.__file__).parents[1]), threading.__file__)
ERROR = ErrorRecorded("Handler", "", "bug", retryable=False)
MODES = ("calls", "raises", "both", "finalisers")

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not hasattr(signal, "SIGUSR1"), reason="needs a signal that nothing else uses"
    ),
]


def interrupted(mode: str, count: int, path: Path) -> dict[str, Any]:
    """The report of the program that is interrupted so many times."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.faults.interrupted", mode, str(count), str(path)],
        cwd=PROJECT,
        env=untraced(),
        check=False,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert result.returncode == 0, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    report["faults"] += result.stderr.splitlines()
    return report


@pytest.mark.parametrize(
    "mode", [*MODES[:2], *(pytest.param(mode, marks=pytest.mark.slow) for mode in MODES[2:])]
)
def test_thousands_of_interruptions_tear_and_lose_nothing(mode: str, tmp_path: Path) -> None:
    """No deadlock, live is replay, and every call that was acknowledged is in the file."""
    report = interrupted(mode, 2_000, tmp_path / "log.db")
    assert report["faults"] == []
    assert report["interruptions"] >= 2_000
    assert mode == "raises" or report["queued"] > 50
    assert mode in {"calls", "finalisers"} or report["raised"] > 300


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_many_more_interruptions(mode: str, tmp_path: Path) -> None:
    """The same for long enough to meet the rare moments."""
    assert interrupted(mode, 12_000, tmp_path / "log.db")["faults"] == []


class Interrupt(BaseException):
    """What the signal handler raises."""


class Trip:
    """Runs a call and sets off a signal right before chosen bytecodes of ours and of threading.

    CPython then handles it where it looks for signals next. Nothing else may look before that:
    what sets it off is no call, and tracing ends with it, until the signal is handled.
    """

    def __init__(self, handler: Callable[[], None], *targets: int) -> None:
        self.handler = handler
        self.targets = targets
        self.count = 0
        self.raised = self.running = False
        self._set_off: defaultdict[int, None] = defaultdict(
            functools.partial(_thread.interrupt_main, signal.SIGUSR1)
        )

    def run(self, call: Callable[[], object]) -> Trip:
        """Runs the call; counts the bytecodes and says whether it raised."""
        before, tracing = signal.signal(signal.SIGUSR1, self._handle), sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 asks for it before settrace
        gc.disable()  # its callbacks, such as those of Hypothesis, are no place for a signal
        try:
            sys.settrace(self._trace)
            self.running = True
            call()
        except Interrupt:
            self.raised = True
        finally:
            self.running = False  # a signal set off at the very end has nothing to interrupt
            sys.settrace(tracing)
            signal.signal(signal.SIGUSR1, before)
            gc.enable()
        return self

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.running:
            sys.settrace(self._trace)
            self.handler()

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(TRACED):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.count += 1
            if self.count in self.targets:
                sys.settrace(None)
                self._set_off[self.count]
        return self._trace


def interrupt() -> None:
    """The handler that only raises."""
    raise Interrupt


class Halves:
    """An acceptor with two connections, whose rows nobody takes until `check`."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.model = ReadModel([CONNECTION, NODE])
        self.acceptor = Acceptor(
            self.model, "w0", lambda: 1, functools.partial(self.calls.put, None)
        )
        for name in ("main", "handler"):
            self.acceptor.transact(CONNECTION, name, lambda *_: (Registered("a"), Activated()))
        self.record: Any = self.model.record("connection", "main")
        self.sleep()

    def sleep(self) -> None:
        """What the committing half does when it has nothing to do."""
        while not self.calls.empty():
            self.calls.get()
        self.acceptor.sleeping = True

    def record_activity(self) -> None:
        """The hot call."""
        self.acceptor.record_activity(self.record, 1, 1)

    def transact(self) -> None:
        """The general call, with two events."""
        self.acceptor.transact(CONNECTION, "main", lambda *_: (Stalled(1.0), Unstalled(1.0)))

    def append_from_handler(self) -> None:
        """What a handler does."""
        self.acceptor.transact(CONNECTION, "handler", lambda *_: (ERROR,))

    def left(self) -> list[str]:
        """What an interruption must not leave."""
        found = []
        acceptor = self.acceptor
        if acceptor._inside or acceptor._unfinished:
            found.append("somebody seems to be inside")
        if acceptor._deferred:
            found.append("a queued call has not been run")
        if self.calls.empty() and acceptor.seq > self.seen:
            found.append("nobody woke the committing half")
        free = threading.Thread(target=acceptor.settle)
        free.start()
        free.join(10)
        if free.is_alive():
            found.append("the lock is held")
        return found

    def mark(self) -> None:
        """Before an interruption."""
        self.seen = self.acceptor.seq
        self.sleep()

    def check(self) -> None:
        """Commits everything; live is replay."""
        store = MemoryStore()
        committer = Committer(store, "w0", (CONNECTION.fingerprint, NODE.fingerprint))
        committer.attach(self.acceptor, None)
        self.acceptor.taken = 0
        committer.progress.durable = 0
        committer.flush(self.acceptor.mark, 10)
        committer.stop()
        assert committer.join(10)
        assert self.model == replay(store)
        assert self.model.totals.illegal == 0


@pytest.mark.parametrize("calls_back", [False, True])
@pytest.mark.parametrize("name", ["record_activity", "transact"])
def test_a_signal_at_every_bytecode_leaves_nothing_behind(name: str, *, calls_back: bool) -> None:
    """Lock, flag and queue are free, the committing half is awake, events are whole or absent."""
    halves = Halves()
    call = getattr(halves, name)
    events = 1 if name == "record_activity" else 2

    def handler() -> None:
        if calls_back:
            halves.append_from_handler()
        raise Interrupt

    raised = 0
    length = Trip(handler).run(call).count
    for target in range(1, length + 1):
        halves.mark()
        interrupted = Trip(handler, target).run(call).raised
        raised += interrupted
        assert halves.left() == [], f"at bytecode {target} of {length}"
        accepted = halves.acceptor.seq - halves.seen - (calls_back and interrupted)
        assert accepted in {0, events}
    assert raised > length // 2
    halves.check()


@pytest.mark.slow
def test_a_signal_at_every_bytecode_of_serving_calls_loses_none() -> None:
    """Two calls of a handler are queued; a second signal raises while they are served."""
    halves = Halves()
    middle = Trip(interrupt).run(halves.transact).count // 2
    signals = asked = acknowledged = 0

    def handler() -> None:
        nonlocal signals, asked, acknowledged
        signals += 1
        if signals > 1:
            raise Interrupt
        for _ in range(2):
            asked += 1
            halves.append_from_handler()
            acknowledged += 1

    length = Trip(handler, middle).run(halves.transact).count
    other: Any = halves.model.record("connection", "handler")
    raised = 0
    for target in range(middle + 1, length + 1):
        signals = asked = acknowledged = 0
        before = other.version
        raised += Trip(handler, middle, target).run(halves.transact).raised
        halves.acceptor.settle()
        stored = other.version - before
        assert acknowledged <= stored <= asked, f"at bytecode {target} of {length}"
    assert raised > (length - middle) // 2
    halves.check()


@given(
    name=st.sampled_from(["record_activity", "transact"]),
    targets=st.lists(st.integers(1, 900), min_size=2, max_size=6, unique=True),
    calls_back=st.booleans(),
)
@settings(max_examples=300)
def test_signals_in_quick_succession_leave_nothing_that_the_next_call_does_not_finish(
    name: str, targets: list[int], *, calls_back: bool
) -> None:
    """However many signals hit one call, whoever takes the lock next puts everything in order."""
    halves = Halves()
    halves.mark()

    def handler() -> None:
        if calls_back:
            halves.append_from_handler()
        raise Interrupt

    Trip(handler, *targets).run(getattr(halves, name))
    acceptor = halves.acceptor
    unseen = acceptor.seq > halves.seen or acceptor._deferred or acceptor._unfinished
    assert not (unseen and halves.calls.empty())
    finisher = threading.Thread(target=acceptor.settle)
    finisher.start()
    finisher.join(10)
    assert not finisher.is_alive()
    assert (acceptor._inside, acceptor._deferred, acceptor._unfinished) == (False, [], None)
    own = sum(row[1] is halves.record for row in each(acceptor.pending)) - 2
    assert own in {0, 1 if name == "record_activity" else 2}
    halves.check()


@pytest.mark.slow
def test_starting_a_log_may_be_interrupted() -> None:
    """Wherever the first append is interrupted, the next one finds one run and one thread."""
    target, raised = 0, True
    while raised:
        target += 1 if target < 400 else 41  # the thread starts at the beginning
        with EventLog() as log:
            first = functools.partial(log.append, ("connection", "a"))
            raised = Trip(interrupt, target).run(first).raised
            log.append(("connection", "b"), Registered("192.0.2.1"))
            log.flush(10)
            tags = [recorded.type for recorded in log.read()]
            assert tags == ["node.started", "node.serving", "connection.registered"]
            assert log.read_model == replay(log)
    assert target > 1_000


def test_a_flush_may_be_interrupted() -> None:
    """Ctrl-C comes out of a flush as itself, wherever it hits, and the next flush works."""
    with EventLog() as log:
        log.append(("connection", "a"), Registered("192.0.2.1"), Activated())
        target, raised = 0, True
        while raised:
            target += 1
            log.append(("connection", "a"), RetriesReset())
            raised = Trip(interrupt, target).run(log.flush).raised
        assert target > 20
        log.flush(10)
        assert log.health.pending == 0
