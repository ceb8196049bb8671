"""Judges what a log records by monitors while it is recorded: a violation becomes an event.

Nobody who records waits for it. The predicates run on a thread of the monitors' own, which
follows what is durable, and where a deadline passes the clock's scheduler says so.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Final, Self

from rat_fsm.errors import HistoryEvicted, LogError
from rat_fsm.events import MonitorViolated, Position, Started
from rat_fsm.monitors import Checker
from rat_fsm.runtime.clock import SYSTEM_CLOCK
from rat_fsm.runtime.escaping import escape
from rat_fsm.runtime.scheduler import weak

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rat_fsm.events import Recorded
    from rat_fsm.log.eventlog import EventLog
    from rat_fsm.log.subscription import Subscription
    from rat_fsm.monitors import Monitor, Violation
    from rat_fsm.runtime.clock import Clock, Handle

SLICE: Final = 0.25
TIMEOUT: Final = 10.0
_SECOND: Final = 1_000_000
_log = logging.getLogger("rat_fsm")


class LiveMonitors:
    """Some monitors over what one writer records from now on.

    Each violation becomes a `MonitorViolated` event in the stream of the writer's run, and an
    error of the logger ``rat_fsm``. A monitor whose predicate raises is logged once and judges
    nothing any more; the others, and whoever records, go on.

    What was recorded before is not judged: ``rat-fsm check --monitor`` does that. Where streams
    stand that are open already is known. Other writers of the store have monitors of their own.
    Where the log goes on under another slot, it is judged from there on.

    They end with the log; closing them before the log closes makes sure that all was judged.
    They are a context manager that closes itself.

    Args:
        log: what to follow.
        monitors: what to judge by.
        clock: says when a deadline has passed; the log's by default.

    Raises:
        InvalidArgument: a predicate is an event class that no lifecycle has; two monitors have
            one name.
        InvalidArgumentType: something else than a monitor was given.
        LogForked: in a forked child.
    """

    def __init__(self, log: EventLog, *monitors: Monitor, clock: Clock | None = None) -> None:
        self._log = log
        self._clock: Clock = clock or log.clock or SYSTEM_CLOCK  # type: ignore[assignment]
        known = log.read_model.lifecycles.values()
        self._checker = Checker(monitors, lifecycles=known, limit=0)
        # Held while the monitors are asked; never while anything is appended.
        self._judging = threading.Condition()
        self._delivered = self._told = 0
        self._judged: Position | None = None
        self._due: tuple[int, int] | None = None
        self._alarm: Handle | None = None
        self._alarm_at: int | None = None
        self._closed = threading.Event()
        self._before: dict[str, int] = {}
        self._subscription = self._begin()
        self._thread = threading.Thread(
            target=self._follow, name=f"rat-fsm-monitors-{log.writer}", daemon=True
        )
        self._thread.start()

    @property
    def counts(self) -> Mapping[str, int]:
        """Monitor → how many violations there have been."""
        with self._judging:
            return self._checker.verdict().counts

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until everything that was recorded so far has been judged, and told.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            Whether it has: False where it took too long, or these were closed.

        Raises:
            What `EventLog.flush` raises.
        """
        wanted = self._log.flush(timeout)
        with self._judging:
            self._judging.wait_for(lambda: self._has_judged(wanted) or self._is_over, timeout)
            return self._has_judged(wanted)

    def _has_judged(self, wanted: Position | None) -> bool:
        return wanted is None or (self._judged is not None and self._judged >= wanted)

    def close(self, timeout: float = TIMEOUT) -> None:
        """Judges what was recorded so far, if that takes no longer, and ends. Idempotent."""
        if not self._is_over:
            with contextlib.suppress(LogError):  # it will never be durable: nothing can be judged
                self.wait(timeout)
        self._end()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    @property
    def _is_over(self) -> bool:
        return self._closed.is_set() or not self._thread.is_alive()

    def _begin(self) -> Subscription:
        """Follows from what is durable now; what is accepted and not durable yet comes again."""
        log, heads = self._log, self._log.store.heads()
        last = max(heads.values(), key=lambda head: head.position, default=None)
        own = heads.get(log.writer)
        self._delivered = 0 if own is None else own.frame.last
        self._judged = None if own is None else Position(own.position, own.frame.count - 1)
        with log.reading() as model:
            for record in model.records(log.writer):
                born = f"{log.writer}:{record.born}"
                self._checker.begin(born, record.state)
                self._before[born] = record.version
        return log.subscribe(
            None if last is None else Position(last.position, last.frame.count - 1)
        )

    def _follow(self) -> None:
        try:
            for recorded in self._coming():
                self._take(recorded)
        except HistoryEvicted as problem:
            _log.error("monitors have fallen behind, and judge nothing any more: %s", problem)
        except BaseException:  # noqa: BLE001 - the code of others, on a thread of ours
            _log.exception("monitors cannot follow the log, and judge nothing any more")
        finally:
            self._end()

    def _coming(self) -> Iterator[Recorded]:
        """What this writer records, as it becomes durable."""
        while not (self._closed.is_set() or self._subscription.closed):
            recorded = self._subscription.next(SLICE)
            if recorded is not None and recorded.writer == self._log.writer:
                yield recorded

    def _take(self, recorded: Recorded) -> None:
        with self._judging:
            found: list[Violation] = []
            if not self._was_before(recorded):
                self._begin_anew(recorded)
                found += self._checker.fold(recorded)
            self._delivered = recorded.seq
            found += self._pass_time()
            self._set_alarm()
        self._tell(found)
        with self._judging:
            self._judged = recorded.position
            self._judging.notify_all()

    def _begin_anew(self, recorded: Recorded) -> None:
        """Where a run begins under another slot, the streams of the old one are somebody else's."""
        if isinstance(recorded.event, Started):
            self._checker.forget()
            self._before.clear()
            self._due = None

    def _was_before(self, recorded: Recorded) -> bool:
        """Whether an event was accepted before these monitors began, and became durable after."""
        born = recorded.stream.born
        version = self._before.get(born, 0)
        if recorded.version >= version:
            self._before.pop(born, None)
        return recorded.version <= version

    def _pass_time(self) -> Sequence[Violation]:
        """Passes the time that an alarm has told of, once all events before it are known."""
        if self._due is None or self._delivered < self._due[1]:
            return ()
        (micros, _), self._due = self._due, None
        return self._checker.pass_time(self._log.writer, micros)

    def _set_alarm(self) -> None:
        """Asks to be called when the next deadline has passed, unless that comes anyway."""
        deadline = self._checker.next_deadline
        if deadline is None or self._due is not None or self._closed.is_set():
            return
        if self._alarm is not None:
            if self._alarm_at is not None and self._alarm_at <= deadline:
                return
            self._alarm.cancel()
        self._alarm_at = deadline
        delay = (deadline + 1 - self._clock.now()) / _SECOND
        self._alarm = self._clock.schedule(max(0.0, delay), weak(self._ring))

    def _ring(self) -> None:
        """On the scheduler's thread, which must not wait for predicates."""
        self._clock.call(weak(self._judge_time))

    def _judge_time(self) -> None:
        # In this order: what is accepted later has a later time.
        now, accepted = self._clock.now(), self._log.seq
        with self._judging:
            self._alarm = self._alarm_at = None
            self._due = (now - 1, accepted)
            found = self._pass_time()
            self._set_alarm()
        self._tell(found)

    def _tell(self, found: Sequence[Violation]) -> None:
        with self._judging:
            failures = self._checker.failures[self._told :]
            self._told += len(failures)
        for failure in failures:
            _log.error(
                "the monitor %s judges nothing any more: its predicate raised at %s of %s",
                *(escape(failure.monitor), failure.at.type, escape(str(failure.at.stream))),
                exc_info=failure.error,
            )
        for violation in found:
            _log.error("monitor violated: %s", escape(str(violation)))
            try:
                self._log.append_node(_event_of(violation))
            except LogError as problem:
                _log.warning("a violation could not be recorded: %s", problem)

    def _end(self) -> None:
        self._subscription.close()
        with self._judging:
            self._closed.set()
            if self._alarm is not None:
                self._alarm.cancel()
            self._judging.notify_all()


def _event_of(violation: Violation) -> MonitorViolated:
    stream, by = violation.since.stream, violation.by
    return MonitorViolated(
        monitor=violation.monitor,
        cause=violation.cause.value,
        lifecycle=stream.lifecycle,
        id=stream.id,
        born=stream.born,
        since=violation.since.seq,
        by=None if by is None else by.seq,
        at=violation.micros,
    )
