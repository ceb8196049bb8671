"""A program whose log calls are interrupted thousands of times; says what went wrong, as JSON.

Run as ``python -m tests.faults.interrupted MODE COUNT PATH``. Every acknowledged call is counted,
and every one that was interrupted before it could answer; in the end the log must hold at least
the former and at most both, and its live model must be what its replay is.
"""

from __future__ import annotations

import gc
import itertools
import json
import signal
import sys
import weakref
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from rat_fsm.errors import FlushTimeout, IllegalEvent
from rat_fsm.events import (
    Activated,
    Closed,
    Closing,
    ErrorRecorded,
    Registered,
    RetriesReset,
    Stalled,
    Unstalled,
)
from rat_fsm.log import EventLog
from rat_fsm.replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

TICK: Final = 0.0002
# On a slow machine the next signal comes before the handler of the last one is done.
DEEPEST: Final = 3
KINDS: Final = ("activity", "pair", "open", "end", "reset", "flush", "handler", "handler activity")
FROM_HANDLER: Final = ErrorRecorded("Handler", "", "bug", retryable=False)
END: Final = (Closing("normal", "app", "streaming"), Closed("normal", 0, 0, 0, 0, 0.0))


class Interrupt(BaseException):
    """What the handler raises, as Ctrl-C raises KeyboardInterrupt."""


class Alarm(Exception):
    """What the handler raises at other times, as many a time-out does."""


class Interrupted:
    """The program.

    Attributes:
        acknowledged: how often each kind of call has answered.
        unknown: how often each kind of call was interrupted instead.
        interruptions: how often the handler ran or an object was finalised.
        depth: how many handlers are at work, one interrupting another.
        armed: whether the handler may raise now.
    """

    def __init__(self, log: EventLog, mode: str) -> None:
        self.log = log
        self.mode = mode
        # Plain dicts: counting up in one is never interrupted half-way.
        self.acknowledged = dict.fromkeys(KINDS, 0)
        self.unknown = dict.fromkeys(KINDS, 0)
        self.interruptions = 0
        self.queued = 0
        self.depth = 0
        self.armed = False
        log.append(("connection", "main"), Registered("192.0.2.1"), Activated())
        log.append(("connection", "handler"), Registered("192.0.2.2"), Activated())
        self.record: Any = log.read_model.record("connection", "main")
        self.other: Any = log.read_model.record("connection", "handler")

    def work(self, count: int) -> None:
        """Calls the log until it has been interrupted often enough."""
        for turn in itertools.count():
            if self.interruptions >= count:
                return
            for _ in range(20):
                self.guarded("activity", lambda: self.log.record_activity(self.record, 1, 1))
            name = f"n{turn}"
            self.guarded("pair", lambda: self.append("main", Stalled(1.0), Unstalled(1.0)))
            self.guarded("open", lambda name=name: self.append(name, Registered("192.0.2.3")))  # type: ignore[misc]
            self.guarded("end", lambda name=name: self.append(name, *END))  # type: ignore[misc]
            self.guarded("reset", lambda: self.append("main", RetriesReset()))
            if self.mode == "finalisers":
                self.leave_garbage()
            if turn % 50 == 0:
                self.guarded("flush", lambda: self.log.flush() is not None)

    def guarded(self, kind: str, call: Callable[[], Any]) -> None:
        """Makes a call during which the handler may raise once."""
        self.armed = True
        try:
            accepted = call()
            self.armed = False
            self.acknowledged[kind] += accepted is not False
        except (Interrupt, Alarm):
            self.unknown[kind] += 1
        except IllegalEvent:
            self.armed = False
            # Its predecessor was interrupted before it began the stream.
            if kind != "end":
                raise

    def append(self, name: str, *events: Any) -> bool:
        """Appends; whatever it answers, it has accepted."""
        self.log.append(("connection", name), *events)
        return True

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Calls the log, raises, or both, at whatever moment this is."""
        if self.depth == DEEPEST:
            return
        self.depth += 1
        try:
            self.interrupt()
        finally:
            self.depth -= 1

    def interrupt(self) -> None:
        """Does what the mode says."""
        self.interruptions += 1
        if self.mode != "raises":
            self.call_back()
        if self.mode != "calls" and self.armed and self.interruptions % 3 == 0:
            self.armed = False
            raise (Interrupt if self.interruptions % 2 else Alarm)

    def call_back(self) -> None:
        """The calls of a handler or finaliser."""
        self.unknown["handler"] += 1
        seq = self.log.append(("connection", "handler"), FROM_HANDLER)
        self.unknown["handler"] -= 1
        self.acknowledged["handler"] += 1
        self.queued += seq is None
        self.unknown["handler activity"] += 1
        accepted = self.log.record_activity(self.other, 1, 1)
        self.unknown["handler activity"] -= 1
        self.acknowledged["handler activity"] += accepted
        assert self.log.health.pending >= 0
        if self.log.inside:
            with suppress(FlushTimeout):
                self.log.flush()
                raise AssertionError

    def leave_garbage(self) -> None:
        """Makes objects that call the log when they are collected, at any allocation."""
        for kind in (Finalised, Watched):
            garbage = kind(self)
            garbage.cycle = garbage

    def finalised(self) -> None:
        """An object was finalised."""
        self.interruptions += 1
        self.call_back()

    def faults(self) -> list[str]:
        """What went wrong, once nothing interrupts any more."""
        log, found = self.log, []
        log.flush()
        if log.read_model != replay(log):
            found.append("the live model is not the replayed one")
        recorded = list(log.read())
        if [event.seq for event in recorded] != list(range(1, len(recorded) + 1)):
            found.append("there are holes, or events come twice")
        if log.read_model.totals.illegal:
            found.append(f"{log.read_model.totals.illegal} illegal events")
        stored = Counter(_kind(event) for event in recorded[6:])
        stored["pair"] //= 2
        stored["flush"] = self.acknowledged["flush"]
        for kind in KINDS:
            least = self.acknowledged[kind]
            if not least <= stored[kind] <= least + self.unknown[kind]:
                found.append(f"{kind}: {stored[kind]} stored, {least} acknowledged")
        return found


def _kind(recorded: Any) -> str:
    tag: str = recorded.type.partition(".")[2]
    if tag == "activity_recorded":
        return "activity" if recorded.stream.id == "main" else "handler activity"
    kinds = {
        "stalled": "pair",
        "unstalled": "pair",
        "registered": "open",
        "closed": "end",
        "retries_reset": "reset",
        "error_recorded": "handler",
    }
    return kinds.get(tag, tag)


class Finalised:
    """Garbage with a ``__del__``."""

    def __init__(self, program: Interrupted) -> None:
        self.program = program
        self.cycle: object = None

    def __del__(self) -> None:
        """Calls the log."""
        self.program.finalised()


class Watched:
    """Garbage with a `weakref.finalize`."""

    def __init__(self, program: Interrupted) -> None:
        self.cycle: object = None
        weakref.finalize(self, program.finalised)


def main() -> None:
    """Runs and reports."""
    mode, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with EventLog.open(path) as log:
        program = Interrupted(log, mode)
        if mode == "finalisers":
            gc.set_threshold(1)
        else:
            signal.signal(signal.SIGALRM, program.handle)
            signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
        program.work(count)
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.set_threshold(700)
        gc.collect()
        report = {
            "faults": program.faults(),
            "interruptions": program.interruptions,
            "queued": program.queued,
            "raised": sum(program.unknown.values()),
        }
    print(json.dumps(report))  # noqa: T201 - this is how it answers


if __name__ == "__main__":
    main()
