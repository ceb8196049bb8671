"""Walks along while a log is folded, and takes each decision again as it passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from rat_fsm.events import (
    Closed,
    ConnectionRefused,
    ErrorRecorded,
    Position,
    Recovered,
    Registered,
    RetriesReset,
    RetryRefused,
    RetryScheduled,
    Started,
    Stream,
)
from rat_fsm.replay.what_if.answer import Compared, Fate, WhatIf
from rat_fsm.replay.what_if.differing import Differences
from rat_fsm.replay.what_if.errors import UNKNOWN, RecordedError
from rat_fsm.replay.what_if.policies import draw_of, recorded_policy, retry_after
from rat_fsm.replay.what_if.questions import Question, World
from rat_fsm.replay.what_if.retries import Retried, Retries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rat_fsm.projections.record import ConnectionRecord, StreamRecord
    from rat_fsm.replay.what_if.admissions import Admissions
    from rat_fsm.replay.what_if.policies import Policies
    from rat_fsm.replay.what_if.questions import Decided
    from rat_fsm.replay.what_if.window import Window
    from rat_fsm.stores.port import StoredFrame

    Step = Callable[[Any, Any], None]

_OURS: Final = frozenset({"connection", "node"})


@attrs.define
class _Life:
    """What is kept of an open connection that fares differently, or may.

    Attributes:
        error: the last one that was recorded.
        retried: where it stands once a decision was made again.
        parted: whether it is known to fare differently.
        refused: whether it would not have been let in.
    """

    stream: Stream
    error: ErrorRecorded | None = None
    retried: Retried | None = None
    parted: bool = False
    refused: bool = False


class Walk:
    """One question to one log, while it is folded.

    Args:
        policies: who decides about retries.
        admissions: who decides about arrivals.
        window: where the question applies.
        seed, samples: of draws that are missing.
        limit: how many connections are listed.
    """

    def __init__(
        self,
        policies: Policies,
        admissions: Admissions,
        window: Window,
        *,
        seed: int,
        samples: int,
        limit: int,
    ) -> None:
        self.window = window
        self._policies = policies
        self._admissions = admissions
        self._retries = Retries(seed, samples)
        self._differences = Differences(limit)
        self._seed, self._samples, self._untold = seed, samples, 0
        self._runs: dict[str, Mapping[str, Any]] = {}
        self._lives: dict[tuple[str, int], _Life] = {}
        self._frame = self._first = 0
        # Of the event that passes: when and where it stands, and whether the question is about it.
        self._at, self._position, self._asked = 0, Position(0, 0), False
        self._steps: Mapping[type, Step] = {
            Started: self._started,
            ConnectionRefused: self._turned_away,
            Registered: self._registered,
            ErrorRecorded: self._erred,
            RetryScheduled: self._decided,
            RetryRefused: self._decided,
            Recovered: self._recovered,
            RetriesReset: self._reset,
            Closed: self._closed,
        }

    def enter(self, stored: StoredFrame) -> None:
        """The events that pass from now on are those of this frame."""
        self._frame, self._first = stored.position, stored.frame.first

    def pass_by(self, record: StreamRecord, seq: int, at: int, event: Any) -> None:
        """An event is about to be folded, and its stream's record still stands before it."""
        step = self._steps.get(event.__class__)
        if step is None or record.lifecycle not in _OURS:
            return
        self._at, self._position = at, Position(self._frame, seq - self._first)
        if not self.window.is_after(at, self._position):
            self._asked = not self.window.is_before(at, self._position)
            step(record, event)

    def _started(self, record: StreamRecord, event: Started) -> None:
        self._runs[record.writer] = event.policy
        self._admissions.begin(record.writer, event.limits)

    def _turned_away(self, record: StreamRecord, event: ConnectionRefused) -> None:
        if self._asked:
            self._admissions.refuse(record.writer, event.cause, event.count)

    def _registered(self, record: StreamRecord, event: Registered) -> None:
        cause = self._admissions.arrive(record.writer, event.remote_addr, asked=self._asked)
        if cause is not None:
            life = self._life(record, self._first + self._position.offset)
            life.refused = True
            self._part(life, "refused", None, ConnectionRefused(cause))

    def _life(self, record: StreamRecord, born: int) -> _Life:
        life = self._lives.get((record.writer, born))
        if life is None:
            stream = Stream(record.lifecycle, record.id, f"{record.writer}:{born}")
            life = self._lives[record.writer, born] = _Life(stream)
        return life

    def _part(
        self, life: _Life, what: str, then: Decided | None, now: Decided | ConnectionRefused
    ) -> None:
        if not life.parted:
            life.parted = True
            fate = Fate(life.stream, self._at, self._position, what, then, now)
            self._differences.part(fate)

    def _erred(self, record: StreamRecord, event: ErrorRecorded) -> None:
        if not self._policies.are_recorded:
            self._life(record, record.born).error = event

    def _decided(self, record: ConnectionRecord, event: Decided) -> None:
        if not self._asked:
            return
        self._retries.count(event)
        known = self._lives.get((record.writer, record.born))
        if known is not None and known.refused:
            self._retries.skip(event)
        elif self._policies.are_recorded:
            self._retries.stand(event)
        else:
            self._decide_again(record, self._life(record, record.born), event)

    def _decide_again(self, record: ConnectionRecord, life: _Life, event: Decided) -> None:
        if life.retried is None:
            life.retried = Retried([World(max(0, record.retries), record.delay)])
        answer = self._retries.decide(life.retried, self._question(record, life.error, event))
        if answer is not None:
            what = "retries_on" if isinstance(event, RetryRefused) else "gives_up"
            self._part(life, what, event, answer)

    def _question(
        self, record: ConnectionRecord, known: ErrorRecorded | None, event: Decided
    ) -> Question:
        recorded = recorded_policy(event, self._runs.get(record.writer, {}))
        self._untold += not recorded.told
        category = UNKNOWN if known is None else known.category
        error = RecordedError(
            "" if known is None else known.error_type,
            "" if known is None else known.message,
            event.category if isinstance(event, RetryScheduled) else category,
            event,
            retry_after(event, recorded, record.delay),
        )
        policy = self._policies.asked(recorded)
        return Question(policy, error, draw_of(event), record.bytes_sent > 0)

    def _recovered(self, record: StreamRecord, _event: Recovered) -> None:
        retried = self._retried(record)
        if retried is not None:
            retried.recovered()

    def _reset(self, record: StreamRecord, _event: RetriesReset) -> None:
        retried = self._retried(record)
        if retried is not None:
            retried.reset()

    def _retried(self, record: StreamRecord) -> Retried | None:
        life = self._lives.get((record.writer, record.born))
        return None if life is None else life.retried

    def _closed(self, record: ConnectionRecord, event: Closed) -> None:
        life = self._lives.pop((record.writer, record.born), None)
        let_in = life is None or not life.refused
        self._admissions.leave(record.writer, record.remote_addr, was_let_in=let_in)
        if life is not None:
            self._end(life)
            self._differences.ended(life.stream, event.reason)

    def _end(self, life: _Life) -> None:
        if life.retried is not None:
            self._differences.waited(life.stream, self._retries.end(life.retried))

    def answer(self) -> WhatIf:
        """What there is to say, once everything has passed."""
        for life in self._lives.values():
            self._end(life)
        doors, differences = self._admissions, self._differences
        let_in = doors.let_in_then - doors.refused_now
        turned_away = sum(doors.refused_then.values())
        all_refused = turned_away + doors.refused_now
        return WhatIf(
            **self._retries.compared(),
            let_in=Compared(doors.let_in_then, let_in, let_in + doors.found_room),
            refused=Compared(turned_away, all_refused - doors.found_room, all_refused),
            refused_then=dict(doors.refused_then),
            found_room=doors.found_room,
            changed=dict(differences.changed),
            fates=differences.fates,
            waits=differences.waits,
            longer=differences.longer,
            shorter=differences.shorter,
            untold=self._untold,
            samples=self._samples if self._retries.sampled else 0,
            seed=self._seed,
        )
