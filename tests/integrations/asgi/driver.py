"""An ASGI server that a test drives by hand: no sockets, and time that passes when all wait.

It is as strict as the specification lets servers be: sends must not overlap, nothing may come
before the start of a response or after its end, and no body where none is allowed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from rat_fsm import ConnectionManager, EventLog, replay
from rat_fsm.events import Activated, ActivityRecorded, Closed, Closing, Registered
from rat_fsm.integrations.asgi import StreamingMiddleware
from rat_fsm.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from rat_fsm.log import EventLog as Log

Message: TypeAlias = dict[str, Any]
App: TypeAlias = "Callable[[Any, Any, Any], Awaitable[None]]"
ADDRESS: Final = ("10.0.0.1", 4711)
ACCEPTS_EVENTS: Final = (b"accept", b"text/event-stream")
SSE: Final = ((b"content-type", b"text/event-stream"),)
DENIAL: Final[dict[str, Any]] = {"websocket.http.response": {}}


class Call:
    """The server's side of one request.

    Attributes:
        scope: as the application gets it; it may change it.
        sent: what the application has sent, once the server has taken it.
        at: when each of those was taken, in seconds of the loop.
        taking: whether the client takes data; a send waits for that.
        failure: what every further send raises.
        faults: how the application broke the protocol.
        task: the application's.
    """

    def __init__(
        self,
        app: App,
        scope: dict[str, Any],
        *inbox: Message,
        task: asyncio.Task[None] | None = None,
    ) -> None:
        self.scope = scope
        self.sent: list[Message] = []
        self.at: list[float] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self.failure: BaseException | None = None
        self.faults: list[str] = []
        self._inbox = deque(inbox)
        self._news = asyncio.Event()
        self._sending = False
        self._gone: Message | None = None
        self._app = app
        self.task = task or asyncio.get_running_loop().create_task(self.serve())

    async def serve(self) -> None:
        """Calls the application; for a test that gives its own task to it."""
        await self._app(self.scope, self.receive, self.send)

    async def receive(self) -> Message:
        """The server's ``receive``; what it has for the application is not lost by a cancel."""
        while not self._inbox:
            if self._gone is not None:
                return dict(self._gone)
            if self.complete and self.scope["type"] == "http":
                return {"type": "http.disconnect"}
            self._news.clear()
            await self._news.wait()
        return self._inbox.popleft()

    async def send(self, message: Message) -> None:
        """The server's ``send``."""
        self._check(message)
        self._sending = True
        try:
            await asyncio.sleep(0)
            await self.taking.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            self._sending = False
        self.sent.append(message)
        self.at.append(asyncio.get_running_loop().time())
        self._news.set()

    def _check(self, message: Message) -> None:
        """Notes what is wrong as well as raising it: whoever sends may keep errors to itself."""
        kind = message["type"]
        wrong = {
            "two sends overlap": self._sending,
            "it comes after the end": self.complete,
            "a body before its start": kind == "http.response.body" and not self.sent,
            "a second start": kind == "http.response.start" and bool(self.sent),
            "a message before the handshake": kind == "websocket.send" and not self.accepted,
        }
        faults = [f"{what}: {message}" for what, is_so in wrong.items() if is_so]
        self.faults.extend(faults)
        assert not faults, faults

    def give(self, *messages: Message) -> None:
        """The client sends something."""
        self._inbox.extend(messages)
        self._news.set()

    def leave(self, code: int = 1005) -> None:
        """The client has gone."""
        if self.scope["type"] == "http":
            self._gone = {"type": "http.disconnect"}
        else:
            self._gone = {"type": "websocket.disconnect", "code": code, "reason": ""}
        self._news.set()

    @property
    def status(self) -> int | None:
        """The status of the response, or of a WebSocket's denial."""
        starts = [m for m in self.sent if m["type"].endswith("response.start")]
        return starts[0]["status"] if starts else None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        starts = [m for m in self.sent if m["type"].endswith("response.start")]
        return {name.decode(): value.decode() for name, value in starts[0].get("headers", ())}

    @property
    def body(self) -> bytes:
        """What came of the body."""
        return b"".join(m.get("body", b"") for m in self.sent)

    @property
    def accepted(self) -> bool:
        """Whether the WebSocket is open, or was."""
        return any(m["type"] == "websocket.accept" for m in self.sent)

    @property
    def complete(self) -> bool:
        """Whether the response, or the WebSocket, has its end."""
        if not self.sent:
            return False
        last = self.sent[-1]
        if last["type"] in {"http.response.body", "websocket.http.response.body"}:
            return not last.get("more_body", False)
        return bool(last["type"] == "websocket.close")

    @property
    def close_code(self) -> int | None:
        """What the WebSocket was closed with."""
        codes = [m.get("code", 1000) for m in self.sent if m["type"] == "websocket.close"]
        return codes[0] if codes else None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Lets the others run until something is so."""
        deadline = asyncio.get_running_loop().time() + 100
        while not condition():
            assert not self.task.done(), f"it has ended; sent: {self.sent}"
            assert asyncio.get_running_loop().time() < deadline, f"in vain; sent: {self.sent}"
            await asyncio.sleep(0.001)

    async def started(self) -> None:
        """Waits for the first thing that was sent."""
        await self.until(lambda: bool(self.sent))

    async def end(self) -> BaseException | None:
        """Waits for the application; what it raised."""
        await asyncio.wait({self.task})
        return asyncio.CancelledError() if self.task.cancelled() else self.task.exception()


class Stage:
    """An application behind the middleware, with a log in memory and a clock of its own.

    Attributes:
        app: what the server calls: the middleware, unless a test wraps it.
        problems: what nobody caught on the loop.
    """

    def __init__(
        self,
        app: App,
        *,
        manager: dict[str, Any] | None = None,
        clock: VirtualClock | None = None,
        **options: Any,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.log = EventLog(clock=self.clock)
        limits = {"max_connections": None, "stale_after": None, **(manager or {})}
        self.manager = ConnectionManager(log=self.log, **limits)
        self.middleware = StreamingMiddleware(app, self.manager, **{"signals": False, **options})
        self.app: App = self.middleware
        self.calls: list[Call] = []
        self.problems: list[dict[str, Any]] = []
        self._beside: list[asyncio.Task[None]] = []

    def run(self, scenario: Callable[[Stage], Awaitable[None]]) -> None:
        """Plays a scenario on a loop of its own; afterwards what was live is what was recorded."""
        self.clock.run(self._play(scenario))
        self.check()

    async def _play(self, scenario: Callable[[Stage], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self.problems.append(context))
        await scenario(self)

    def beside(self, doing: Coroutine[Any, Any, None]) -> None:
        """Does something while calls are served."""
        self._beside.append(asyncio.get_running_loop().create_task(doing))

    def http(self, path: str = "/", *headers: tuple[bytes, bytes], **more: Any) -> Call:
        """A request; its body is empty unless ``inbox`` says otherwise."""
        inbox = more.pop("inbox", ({"type": "http.request", "body": b"", "more_body": False},))
        task = more.pop("task", None)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("utf-8", "replace"),
            "query_string": b"",
            "root_path": "",
            "headers": list(headers),
            "client": ADDRESS,
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        return self._call({**scope, **more}, *inbox, task=task)

    def stream(self, path: str = "/", *headers: tuple[bytes, bytes], **more: Any) -> Call:
        """A request for events."""
        return self.http(path, ACCEPTS_EVENTS, *headers, **more)

    def websocket(self, path: str = "/", **more: Any) -> Call:
        """A handshake."""
        task = more.pop("task", None)
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode("utf-8", "replace"),
            "query_string": b"",
            "root_path": "",
            "headers": [],
            "client": ADDRESS,
            "server": ("127.0.0.1", 80),
            "subprotocols": [],
            "extensions": dict(DENIAL),
        }
        return self._call({**scope, **more}, {"type": "websocket.connect"}, task=task)

    def _call(
        self, scope: dict[str, Any], *inbox: Message, task: asyncio.Task[None] | None = None
    ) -> Call:
        call = Call(self.app, scope, *inbox, task=task)
        self.calls.append(call)
        return call

    @property
    def id(self) -> str:
        """The id of the only open connection."""
        (info,) = self.manager.get_all_connections()
        return info.connection_id

    def check(self) -> None:
        """What must be so at the end of every scenario."""
        self.log.flush()
        assert replay(self.log) == self.log.read_model
        assert self.problems == []
        assert [call.faults for call in self.calls if call.faults] == []
        assert self.middleware._service.gate.claimed == 0
        for life in lives(self.log):
            ends = [type(event) for event in life if isinstance(event, Closing | Closed)]
            assert ends == [Closing, Closed], life
            assert type(life[-1]) is Closed, life


def lives(log: Log) -> list[list[Any]]:
    """The events of each connection."""
    found: dict[str, list[Any]] = {}
    log.flush()
    for recorded in log.read():
        if recorded.stream.lifecycle == "connection":
            found.setdefault(recorded.stream.id, []).append(recorded.event)
    return list(found.values())


def life(log: Log) -> list[Any]:
    """The events of the only connection."""
    (found,) = lives(log)
    return found


def closing(log: Log) -> Closing:
    """How the only connection ended."""
    (found,) = (event for event in life(log) if isinstance(event, Closing))
    return found


def kind(log: Log) -> str:
    """What the only connection was registered as."""
    first = life(log)[0]
    assert isinstance(first, Registered)
    return first.kind


def totals(log: Log) -> tuple[int, int]:
    """Bytes and messages of the only connection, as its end says."""
    last = life(log)[-1]
    assert isinstance(last, Closed)
    return last.bytes_sent, last.messages_sent


def activities(log: Log) -> list[tuple[int, int]]:
    """What was recorded as sent, record by record."""
    return [
        (event.bytes_sent, event.messages_sent)
        for event in life(log)
        if isinstance(event, ActivityRecorded)
    ]


def route(log: Log) -> str:
    """The route of the only connection."""
    (found,) = (event.route for event in life(log) if isinstance(event, Activated))
    return found


def node_events(log: Log) -> list[Any]:
    """What the process has recorded about itself."""
    log.flush()
    return [r.event for r in log.read() if r.stream.lifecycle == "node"]
