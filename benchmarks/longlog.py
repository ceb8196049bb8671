"""Writes a long log, the same on every run: ``python -m benchmarks.longlog FILE [EVENTS]``.

What a busy server leaves, in a minute or two: frames come from the codec as the log's own
thread makes them, and nobody decides or folds. Up to ten thousand connections are open at once,
each with fifty to a hundred events: most are served and end, some stall, err, are retried and
recover, some exhaust their retries; clients come back under their old id, and others are refused.
"""

from __future__ import annotations

import random
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from benchmarks.events import address
from rat_fsm.codec import WIDTH, definitions, encode_body, seal
from rat_fsm.events import (
    Activated,
    ActivityRecorded,
    Closed,
    Closing,
    ConnectionRefused,
    ErrorRecorded,
    Recovered,
    Registered,
    RetriesReset,
    RetryRefused,
    Serving,
    Stalled,
    Started,
    Unstalled,
)
from rat_fsm.lifecycles import CONNECTION, NODE
from rat_fsm.policy import RetryPolicy
from rat_fsm.projections.record import StreamRecord
from rat_fsm.stores import open_store
from rat_fsm.stores.port import GENESIS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from rat_fsm.stores.port import Store
    from rat_fsm.table import EventType

    Row = tuple[EventType, Any, Any]
    End = tuple[str, str, int | None]

OPEN: Final = 10_000
FRAME: Final = 5_000  # with ids and addresses about 300 KB, as a busy log's thread makes them
CLIENTS: Final = 4_000
START: Final = 1_790_000_000_000_000
POLICY: Final = RetryPolicy(jitter="full")
KINDS: Final = ("sse", "sse", "websocket", "llm", "chunked")
ROUTES: Final = ("/events", "/chat/{room}", "/v1/completions", "/ticker/{symbol}")
ERRORS: Final = (
    ("ConnectionResetError", "connection reset by peer"),
    ("TimeoutError", "connection timeout"),
    ("OSError", "network unreachable"),
    ("UpstreamError", "503 service unavailable"),
    ("ValueError", "invalid request: no such room"),
)
ENDS: Final[tuple[End, ...]] = (
    *[("completed", "server", 1000)] * 6,
    *[("client_disconnect", "client", None)] * 3,
    ("client_close", "client", 1001),
    ("idle_timeout", "timeout", None),
    ("kicked", "admin", 1008),
)
GIVEN_UP_AT_ONCE: Final[End] = ("app_error", "app", 1011)
GIVEN_UP: Final[Mapping[str, End]] = {"exhausted": ("retries_exhausted", "app", 1011)}
# How likely an activity is followed by an error or a stall, a retry works, a client comes back.
ERRING: Final = 0.01
STALLING: Final = 0.001
RECOVERING: Final = 0.7
RETURNING: Final = 0.02


def _kind(cls: type) -> EventType:
    kind = CONNECTION.event_type(cls) or NODE.event_type(cls)
    if kind is None:
        raise TypeError(f"{cls} is no event of ours")
    return kind


_ACTIVITY: Final = _kind(ActivityRecorded)
_CLOSED: Final = _kind(Closed)


def _row(event: Any) -> Row:
    kind = _kind(type(event))
    return kind, tuple(getattr(event, name) for name in kind.fields), False


@attrs.define(eq=False)
class Life:
    """One connection: what happens to it, step by step.

    Attributes:
        drawn: where chance comes from.
        now: what time it is, microseconds.
        script: the steps, as rows; the one who takes them records them.
    """

    record: StreamRecord
    client: str
    drawn: random.Random
    now: Callable[[], int]
    sent: int = 0
    messages: int = 0
    errors: int = 0
    retries: int = 0
    attempts: int = 0
    script: Iterator[Row] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.script = self._steps()

    def _steps(self) -> Iterator[Row]:
        drawn, began = self.drawn, self.now()
        metadata = {"user": f"u{drawn.randrange(20_000)}"}
        yield _row(Registered(self.client, drawn.choice(KINDS), metadata))
        yield _row(Activated(drawn.choice(ROUTES)))
        end = yield from self._served()
        yield _row(Closing(end[0], end[1], "streaming", end[2]))
        lived = (self.now() - began) / 1_000_000
        yield _row(Closed(end[0], self.sent, self.messages, self.errors, self.retries, lived))

    def _served(self) -> Generator[Row, None, End]:
        """Activities, and what interrupts them; answers why it ends."""
        drawn, size = self.drawn, self.drawn.randrange(80, 1200)
        for sent in range(size, size + drawn.randrange(45, 95)):
            self.sent += sent
            self.messages += 1
            yield _ACTIVITY, sent, 1
            chance = drawn.random()
            if chance < ERRING:
                given_up = yield from self._trouble()
                if given_up is not None:
                    return given_up
            elif chance > 1 - STALLING:
                yield _row(Stalled(drawn.uniform(5, 10)))
                yield _row(Unstalled(drawn.uniform(10, 60)))
        return drawn.choice(ENDS)

    def _trouble(self) -> Generator[Row, None, End | None]:
        """Errors and retries, until it works again or is given up, with that as its end."""
        delay: float | None = None
        while True:
            name, message = self.drawn.choice(ERRORS)
            category, retryable = POLICY.classify(message)
            self.errors += 1
            yield _row(ErrorRecorded(name, message, category, retryable))
            draw = self.drawn.random()
            decided = POLICY.decide(message, attempts=self.attempts, draw=draw, previous=delay)
            yield _row(decided)
            if isinstance(decided, RetryRefused):
                return GIVEN_UP.get(decided.cause, GIVEN_UP_AT_ONCE)
            self.attempts, delay = decided.attempt, decided.delay
            self.retries += 1
            if self.drawn.random() < RECOVERING:
                yield from self._recovered()
                return None

    def _recovered(self) -> Iterator[Row]:
        yield _row(Recovered(self.attempts))
        if self.drawn.random() < RECOVERING:
            yield _row(RetriesReset())
            self.attempts = 0


class Writer:
    """Writes one writer's frames to a store."""

    def __init__(self, store: Store, open_at_once: int = OPEN, seed: int = 5) -> None:
        self._store = store
        self._random = random.Random(seed)  # noqa: S311 - the same log every time
        self._lives: list[Life | None] = [None] * open_at_once
        self._rows: list[Any] = []
        self._seq = self._connections = 0
        self._at = START
        self._prev = GENESIS
        self._node = StreamRecord("node", "w0:1", "w0", NODE.initial)

    def write(self, events: int) -> None:
        """Writes so many events, in round figures: a client that leaves makes room for one more."""
        self._begin_run()
        slots = range(len(self._lives))
        while self._seq < events:
            for slot in self._random.choices(slots, k=min(FRAME, events - self._seq)):
                self._step(slot)
            if None not in self._lives:
                self._refuse()
            self._commit()

    def _begin_run(self) -> None:
        """A run's first events, as `EventLog.begin` records them."""
        self._node.born = 1
        lifecycles = {lifecycle.name: lifecycle for lifecycle in (CONNECTION, NODE)}
        limits = {"max_connections": len(self._lives)}
        started = Started(definitions(lifecycles), {"rat_fsm": "0"}, limits, POLICY.as_dict())
        for event in (started, Serving()):
            self._add(self._node, _row(event))

    def _step(self, slot: int) -> None:
        life = self._lives[slot] or self._let_in(slot)
        row = next(life.script)
        self._add(life.record, row)
        if row[0] is _CLOSED:  # somebody was waiting at the door
            life = self._let_in(slot, life.record.id)
            self._add(life.record, next(life.script))

    def _let_in(self, slot: int, left: str = "") -> Life:
        """A new connection; now and then it is the one that left, under its old id."""
        self._connections += 1
        again = left and self._random.random() < RETURNING
        name = left if again else f"conn-{self._connections:07d}"
        record = StreamRecord("connection", name, "w0", CONNECTION.initial)
        record.born = self._seq + 1
        client = address(self._random.randrange(CLIENTS))
        life = self._lives[slot] = Life(record, client, self._random, lambda: self._at)
        return life

    def _add(self, record: StreamRecord, row: Row) -> None:
        self._seq += 1
        self._at += 50 + self._seq % 101
        self._rows.extend((self._at, record, *row))

    def _refuse(self) -> None:
        """Whom the limit kept out while this frame was filled."""
        cause = self._random.choice(["max_connections", "max_connections", "per_client"])
        self._add(self._node, _row(ConnectionRefused(cause, self._random.randint(1, 9))))

    def _commit(self) -> None:
        """Stores what was added as one frame, as the log's own thread does."""
        rows, self._rows = self._rows, []
        body, counts = encode_body(rows)
        frame = seal(
            writer="w0",
            first=self._seq - len(rows) // WIDTH + 1,
            count=len(rows) // WIDTH,
            first_at=rows[0],
            last_at=rows[-WIDTH],
            body=body,
            fingerprints=(CONNECTION.fingerprint, NODE.fingerprint),
            salt=self._random.randbytes(16),
            prev=self._prev,
        )
        self._store.append(frame)
        self._prev = frame.hash
        for record, count in counts.items():
            record.written += count


def write_log(path: Path, events: int, open_at_once: int = OPEN) -> None:
    """Writes a new log of so many events to a file."""
    with closing(open_store(path, writable=True)) as store:
        store.claim("w0")
        Writer(store, open_at_once).write(events)


def main(given: list[str]) -> None:
    """Writes the log that the command line asks for."""
    path, *rest = given
    write_log(Path(path), int(rest[0]) if rest else 10_000_000)


if __name__ == "__main__":
    main(sys.argv[1:])
