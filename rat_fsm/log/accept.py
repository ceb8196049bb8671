"""Accepts events: decides, checks, stamps and folds them under one lock, never waiting for I/O.

Three things interrupt a thread inside the lock, and none may tear a fold, lose a call or deadlock:

* Signal handlers and finalisers that call the log again. The lock is re-entrant and a flag says
  that somebody is inside; such a call is queued and runs when the outer one leaves.
* Signal handlers that raise, as Ctrl-C does. CPython looks for signals right after a call of C
  code, on entering a function and on jumping back, nowhere else. So what belongs together stands
  in a straight line: a fold and the append of its row, leaving and waking the committing half.
  A transaction that has begun is kept as `_unfinished` until its last row is in: if one
  interruption after another keeps its own thread from finishing it, whoever takes the lock next
  does, at the latest the committing thread, where no signal handler ever runs.
* Other threads: they wait for the lock.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rat_fsm.codec import WIDTH
from rat_fsm.errors import LogUnavailable, RatFsmError
from rat_fsm.events import ActivityRecorded
from rat_fsm.log.transactions import Call, Transaction, plan_of
from rat_fsm.projections.connections import record_activity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rat_fsm.codec import Rows
    from rat_fsm.log.transactions import Decide
    from rat_fsm.projections.model import ReadModel
    from rat_fsm.projections.record import ConnectionRecord
    from rat_fsm.table import Lifecycle

MAX_PENDING: Final = 200_000
# What an open connection needs to end: Closing and Closed.
END: Final = 2
# What a run needs to end: DrainStarted, DrainForced and Stopped.
NODE_END: Final = 3
# Beyond this a recording thread offers the interpreter to the committing one now and then, which
# would otherwise get it only once every switch interval, and fall ever further behind. Not after
# each event: an offer takes 60 µs, and while the store is away nobody needs it.
CROWDED: Final = 30_000 * WIDTH
OFFER_MASK: Final = 1023
MAX_INTERRUPTIONS: Final = 1_000
# An exception of a queued call is its refusal if it comes again; a signal handler's does not.
TRIES: Final = 3


class Mark(NamedTuple):
    """How far has been accepted: up to which event, after how many changes of the slot."""

    generation: int
    seq: int


class Acceptor:
    """The accepting half of a log, for one writer.

    Attributes:
        model: the live read model.
        pending: accepted rows, flat, that the committing half has not taken.
        taken: the sequence number of the last row it has taken.
        writer: whose events these are; another one once the slot was lost.
        generation: how often that has happened.
        run: the id of the writer's run, None until it has begun.
        last_at: when the last event was accepted, microseconds.
        sleeping: set by the committing half when it wants ``wake`` to be called.
        refusal: why nothing is accepted any more, None while the log is open.
        refused: why queued calls came to nothing; for the committing half to say.
    """

    def __init__(
        self,
        model: ReadModel,
        writer: str,
        now: Callable[[], int],
        wake: Callable[[], None],
        *,
        max_pending: int = MAX_PENDING,
        tick: int = 1,
    ) -> None:
        """Takes what it needs.

        Args:
            model: the live read model.
            writer: whose events these are.
            now: the time, in units of which ``tick`` make a microsecond.
            wake: C code, so that no signal is seen on entering it.
            max_pending: how many events may wait.
            tick: see ``now``.
        """
        self.model = model
        self.writer = writer
        self.generation = 0
        self.run: str | None = None
        self.pending: Rows = []
        self.taken = model.cursor.get(writer, 0)
        self.last_at = model.last_at.get(writer, 0)
        self.lock = threading.RLock()
        self.sleeping = True
        self.refusal: Exception | None = None
        self.refused: list[Exception] = []
        self._now = now
        self._tick = tick
        self._wake = wake
        self._totals = model.totals
        # Both count items of rows, as len(pending) does.
        self._room = self._whole_room = WIDTH * max_pending
        self._limit = self._room - WIDTH * (END * model.totals.open + NODE_END)
        # Somebody is inside; once the lock is free: was interrupted there, leaving `_unfinished`.
        self._inside = False
        self._unfinished: Transaction | None = None
        self._deferred: list[Call] = []
        self._connection = model.lifecycles.get("connection")
        self._activity = self._connection and self._connection.event_type(ActivityRecorded)

    @property
    def seq(self) -> int:
        """The sequence number of the last event accepted."""
        return self.taken + len(self.pending) // WIDTH

    @property
    def inside(self) -> bool:
        """Whether this thread holds the lock already, having interrupted itself."""
        return self.lock._is_owned()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001

    @property
    def restless(self) -> bool:
        """Whether there is something to take, or to finish."""
        return bool(self.pending or self._deferred or self._unfinished)

    @property
    def under_pressure(self) -> bool:
        """Whether there is no more room than the ends of open connections need."""
        return len(self.pending) >= self._limit

    def check_open(self) -> None:
        """Raises the refusal, if there is one: a new one each time, as a traceback grows."""
        if self.refusal is not None:
            raise type(self.refusal)(*self.refusal.args)

    def stop(self, refusal: Exception) -> None:
        """Accepts nothing from now on; later calls raise ``refusal``."""
        self.refusal = refusal
        self._room = self._limit = 0

    def forked(self, refusal: Exception) -> None:
        """For a forked child: another thread of the parent may have held the lock."""
        self.lock = threading.RLock()
        self.pending, self._deferred, self._unfinished = [], [], None
        self._inside = False
        self.stop(refusal)

    def record_activity(self, record: ConnectionRecord, sent: int, messages: int) -> bool:
        """Accepts one activity of an active connection: the hot path.

        Answers False, having done nothing, where `transact` must decide: the connection is not
        active, there is no room, the log is not open, or this call interrupted another.
        """
        with self.lock:
            pending = self.pending
            # The call of len comes first: a handler that ran after it may have closed the record.
            if len(pending) >= self._limit or self._inside or record.state != "active":
                return False
            self._inside = True
            try:
                at = self._now() // self._tick
                if at < self.last_at:  # noqa: PLR1730 - max() would be a call
                    at = self.last_at
                row = (at, record, self._activity, sent, messages)
                self.last_at = at
                record_activity(self._totals, record, at, sent, messages)
                record.version += 1
                pending.extend(row)
            finally:
                self._inside = False
                if self.sleeping:
                    self.sleeping = False
                    self._wake()
                if self._deferred:
                    self._serve()
        if len(pending) > CROWDED and not len(pending) & OFFER_MASK:
            time.sleep(0)
        return True

    def transact(
        self, lifecycle: Lifecycle, stream_id: str, decide: Decide, *, reserved: bool = False
    ) -> int | None:
        """Runs a decision under the lock and accepts its events, all or none.

        Returns:
            The sequence number of the last event, or of the log where there were none; None
            where the call interrupted another on this thread and has been queued.
        """
        call = Call(lifecycle, stream_id, decide, reserved)
        if self._inside and self.inside:
            self._defer(call)
            return None
        with self.lock:
            if self._inside:
                self._serve()
            self._inside = True
            try:
                self._unfinished = self._prepare(call)
                self._finish()
                seq = self.seq
            finally:
                self._inside = self._unfinished is not None
                if self.sleeping and (self.pending or self._inside):
                    self.sleeping = False
                    self._wake()
                if self._deferred or self._inside:
                    self._serve()
        return seq

    @property
    def mark(self) -> Mark:
        """How far has been accepted; hold the lock where it must not grow meanwhile."""
        return Mark(self.generation, self.seq)

    @property
    def crowded(self) -> bool:
        """Whether half the room is taken."""
        return len(self.pending) >= self._limit // 2

    def settle(self) -> Mark:
        """Runs what is queued; answers with how far has been accepted."""
        with self.lock:
            if self._deferred or self._inside:
                self._serve()
            return self.mark

    def take(self) -> tuple[int, Rows]:
        """Hands the pending rows over: the first's sequence number, and the rows.

        For the committing thread only, where finalisers run but no signal handlers.
        """
        fresh: Rows = []
        with self.lock:
            if self._deferred or self._inside:
                self._serve()
            self._inside = True
            rows, first = self.pending, self.taken + 1
            self.taken += len(rows) // WIDTH
            self.pending = fresh
            self._inside = False
            if self._deferred:
                self._serve()
        return first, rows

    def succeed(
        self, writer: str, model: ReadModel, begin: Callable[[list[Any], int], Iterable[Call]]
    ) -> tuple[int, Rows]:
        """Goes on as another writer, in the model that it has folded; as `take` does otherwise.

        Args:
            writer: the new writer.
            model: what it has recorded so far; it is used up.
            begin: the streams of the old writer, and how many events of its are left → what is
                to be accepted first.

        Returns:
            What the old one had accepted and `take` had not taken.
        """
        with self.lock:
            if self._deferred or self._inside:
                self._serve()
            self._inside = True
            first, rows, mine = self.taken + 1, self.pending, self.model
            former = mine.records(self.writer)
            self._begin_anew(writer, model)
            for call in begin(former, len(rows) // WIDTH):
                self._begin_with(call)
            mine.become(model)
            for record in former:  # whoever still holds one finds that nothing can be done to it
                record.state = ""
            self.model, self._totals = mine, mine.totals
            self._room, self._inside = self._whole_room, False
            self._limit = self._room - WIDTH * (END * self._totals.open + NODE_END)
            if self._deferred:
                self._serve()
        return first, rows

    def _begin_anew(self, writer: str, model: ReadModel) -> None:
        self.model, self.writer, self.pending, self.run = model, writer, [], None
        self.generation += 1
        self.taken = model.cursor.get(writer, 0)
        self.last_at = max(self.last_at, model.last_at.get(writer, 0))
        self._totals, self._room = model.totals, sys.maxsize

    def _begin_with(self, call: Call) -> None:
        """Accepts what a stream begins again with, unless its lifecycle's own code fails."""
        try:
            self._unfinished = self._prepare(call)
        except Exception as problem:  # noqa: BLE001 - it hurts this stream only
            self.refused.append(problem)
            return
        self._finish()
        if call.lifecycle.name == "node":
            self.run = call.stream_id

    def _defer(self, call: Call) -> None:
        """Queues a call that came from inside; the committing half sees that it is not left."""
        self.check_open()
        self._deferred.append(call)
        self._wake()

    def _serve(self) -> None:
        """Finishes what was interrupted and runs what was queued; the lock is held."""
        self._inside = True
        interruption: BaseException | None = None
        try:
            for _ in range(MAX_INTERRUPTIONS):
                self._finish()  # in each turn: the last one may have been interrupted right before
                if not self._deferred:
                    break
                problem = self._serve_first()
                interruption = interruption if problem is None else problem
        finally:
            self._inside = self._unfinished is not None
        if interruption is not None:
            raise interruption

    def _serve_first(self) -> BaseException | None:
        """Tries a queued call; answers with what interrupted it, if anything did.

        It leaves the queue in a straight line with its transaction's beginning, so that it is
        run once, however often it is tried.
        """
        call = self._deferred[0]
        call.tries += 1
        try:
            transaction = self._prepare(call)
            self._unfinished = transaction
            del self._deferred[0]
            self._finish()
        except Exception as problem:  # noqa: BLE001 - whatever the decision raised
            if not self._deferred or self._deferred[0] is not call:
                return problem
            if call.tries < TRIES and not isinstance(problem, RatFsmError):
                call.interruption = problem
                return None
            self.refused.append(problem)
            del self._deferred[0]
            return None
        except BaseException as problem:  # noqa: BLE001 - raised by the caller
            return problem
        return call.interruption

    def _prepare(self, call: Call) -> Transaction:
        """Decides and checks; nothing has changed yet."""
        self.check_open()
        lifecycle, model = call.lifecycle, self.model
        record = model.record(lifecycle.name, call.stream_id)
        if record is None:
            record = model.new_record(lifecycle, call.stream_id, self.writer)
        plan, state = plan_of(lifecycle, record, tuple(call.decide(record, model)))
        ends = lifecycle is self._connection and state in lifecycle.final and len(plan) <= END
        room = self._room if call.reserved or ends else self._limit
        if plan and len(self.pending) + WIDTH * len(plan) > room:
            raise LogUnavailable(
                f"{len(self.pending) // WIDTH} events wait for a store that does not take them"
            )
        at = max(self._now() // self._tick, self.last_at)
        return Transaction(record, at, self.seq + 1, plan)

    def _finish(self) -> None:
        """Completes the transaction that has begun, if any; raises what interrupted it after."""
        interruption: BaseException | None = None
        for _ in range(MAX_INTERRUPTIONS):
            try:
                self._commit()
                break
            except BaseException as problem:  # noqa: BLE001 - raised below
                interruption = problem
        if interruption is not None:
            raise interruption

    def _commit(self) -> None:
        """Folds and appends what is left of the transaction, event by event."""
        transaction = self._unfinished
        if transaction is None:
            return
        record, at, plan = transaction.record, transaction.at, transaction.plan
        first, fold = transaction.first, self.model.fold
        for number in range(self.seq + 1 - first, len(plan)):
            kind, payload, event = plan[number]
            row = (at, record, kind, payload, number > 0)
            extend = self.pending.extend
            fold(record, kind, first + number, at, event)
            extend(row)
        self.last_at = at
        self._limit = self._room - WIDTH * (END * self._totals.open + NODE_END)
        self._unfinished = None
