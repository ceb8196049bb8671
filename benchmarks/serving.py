"""Rows ``chunk`` and ``request``: what the middleware costs where the server costs nothing.

The server is driven by hand: its `send` and `receive` do nothing. What is left is the CPU time of
the middleware, its recording and committing threads included, which other processes do not change.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import statistics
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs

from benchmarks.events import address, require
from benchmarks.measure import Measure
from rat_fsm import ConnectionManager, EventLog
from rat_fsm.integrations.asgi import StreamingMiddleware
from rat_fsm.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from benchmarks.measure import Result, Scale

    Send = Callable[[dict[str, Any]], Awaitable[None]]
    App = Callable[[Any, Any, Any], Awaitable[None]]
    Job = Callable[["Subject"], Awaitable[float]]

CHUNK_MICROS: Final = 1.5
REQUEST_MICROS: Final = 15
RATE: Final = 10  # chunks a stream and second
BODY: Final = "http.response.body"
PART: Final = {"type": BODY, "body": b"data: " + b"x" * 200 + b"\n\n", "more_body": True}
SHORT: Final = b'{"short": true}'
SHORT_HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(SHORT)).encode()),
]


class Handler:
    """An application: streams whose `send` somebody else uses, and short answers.

    Attributes:
        sends: what the streams that have begun send with.
        over: set when the streams shall end.
    """

    def __init__(self) -> None:
        self.sends: list[Send] = []
        self.over = asyncio.Event()

    async def __call__(self, scope: Any, _receive: Any, send: Send) -> None:
        """Serves one request."""
        if scope["path"] == "/short":
            await _start(send, SHORT_HEADERS)
            await send({"type": BODY, "body": SHORT})
            return
        await _start(send, [(b"content-type", b"text/event-stream")])
        self.sends.append(send)
        await self.over.wait()
        await send({"type": BODY, "body": b""})


async def _start(send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _nothing_sent(_message: Any) -> None:
    """The server's ``send``."""


async def _nothing_received() -> Any:
    """The server's ``receive``: the client says nothing."""
    await asyncio.Event().wait()


@attrs.frozen
class Subject:
    """The application, with the middleware around it or without.

    Attributes:
        second: makes a second pass for the middleware, and waits until its log has committed.
    """

    name: str
    handler: Handler
    app: App
    second: Callable[[], object] = lambda: None


@contextmanager
def _subjects(scale: Scale) -> Iterator[list[Subject]]:
    logging.getLogger("rat_fsm").setLevel(logging.CRITICAL)
    with scale.folder() as folder, ExitStack() as stack:
        handler = Handler()
        yield [
            Subject("bare", handler, handler),
            _wrapped(stack, "memory log", "memory:"),
            _wrapped(stack, "SQLite log", folder / "log.db"),
        ]


def _wrapped(stack: ExitStack, name: str, url: str | Path) -> Subject:
    handler, clock = Handler(), VirtualClock()
    log = stack.enter_context(EventLog.open(url))
    manager = ConnectionManager(None, log=log, clock=clock, stale_after=None)
    stack.callback(manager.shutdown)
    app = StreamingMiddleware(handler, manager, signals=False)
    stack.callback(app.ended)

    def second() -> None:
        clock.advance(1)
        log.flush()

    return Subject(name, handler, app, second)


def chunk(scale: Scale) -> list[Result]:
    """CPU time a chunk of many event streams, each of which is recorded once a second."""
    count, seconds = scale.of(1_000, 100), scale.of(3, 2)

    async def send(subject: Subject) -> float:
        sends = subject.handler.sends
        require(len(sends), count, "streams")
        started = time.process_time()
        for _ in range(seconds):
            for _ in range(RATE):
                for send in sends:
                    await send(PART)
            subject.second()
        return (time.process_time() - started) / (count * seconds * RATE)

    with _subjects(scale) as subjects:
        costs = asyncio.run(_stream(subjects, count, send, scale.of(25, 3)))
    note = f"{count:,} streams, recorded every {RATE} chunks"
    return _added("chunk", "a chunk of an event stream", costs, CHUNK_MICROS, note)


async def _stream(
    subjects: list[Subject], count: int, job: Job, rounds: int
) -> dict[str, list[float]]:
    """Opens so many streams of every subject, measures in turns, and ends them."""
    for subject in subjects:
        subject.handler.over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for subject in subjects:
            for number in range(count):
                group.create_task(_request(subject, "/stream", number))
        await asyncio.sleep(0)  # all of them begin
        costs = await _in_turns(subjects, job, rounds)
        for subject in subjects:
            subject.handler.over.set()
    return costs


async def _request(subject: Subject, path: str, number: int) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "http_version": "1.1",
        "client": (address(number), 40_000),
        "headers": [
            (b"host", b"localhost"),
            (b"user-agent", b"benchmark"),
            (b"accept", b"text/event-stream" if path == "/stream" else b"*/*"),
        ],
    }
    await subject.app(scope, _nothing_received, _nothing_sent)


def request(scale: Scale) -> list[Result]:
    """CPU time a short request, which is no stream and goes unrecorded."""
    count = scale.of(5_000, 500)

    async def ask(subject: Subject) -> float:
        started = time.process_time()
        for number in range(count):
            await _request(subject, "/short", number)
        return (time.process_time() - started) / count

    with _subjects(scale) as subjects:
        costs = asyncio.run(_in_turns(subjects, ask, scale.of(25, 3)))
    return _added("request", "a short request", costs, REQUEST_MICROS, "")


async def _in_turns(subjects: list[Subject], job: Job, rounds: int) -> dict[str, list[float]]:
    """Seconds of CPU time, A B C A B C …, after a round that counts for nothing."""
    costs: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    for number in range(rounds + 1):
        for subject in subjects:
            gc.collect()
            cost = await job(subject)
            if number:
                costs[subject.name].append(cost)
    return costs


def _added(
    row: str, what: str, costs: dict[str, list[float]], budget: float, note: str
) -> list[Result]:
    """The medians of what each has cost more than the bare application in the same round."""
    bare = costs.pop("bare")
    without = f"{statistics.median(bare) * 1e6:.2g} µs without it"
    return [
        Measure(
            row,
            f"{what}, {name}",
            statistics.median(a - b for a, b in zip(own, bare, strict=True)) * 1e6,
            "µs",
            budget,
            at_least=False,
            note="; ".join(filter(None, (note, without))),
        )
        for name, own in costs.items()
    ]
